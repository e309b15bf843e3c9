"""The one entry to data: from the settings to tables of clips, whatever form the recordings come in."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from earmark.audio.reading import decoder_threads
from earmark.clips.clip import ClipTable, Splits
from earmark.clips.columns import MissingColumnError
from earmark.clips.folds import Folds, check_every_clip_has, share_out
from earmark.clips.splits import has_recordings_of_several_clips, make_validation_split
from earmark.clips.subsets import draw_subsets
from earmark.errors import DataError, UsageError
from earmark.settings.data_flags import DataArguments
from earmark.settings.flags import declared_flags
from earmark.sources.background import add_background
from earmark.sources.combine import LoadedSource, combine
from earmark.sources.given_data import given_data, request_from
from earmark.sources.source import PUBLIC, HubAccess
from earmark.sources.source_registry import find_source, load_given, settings_without_effect
from earmark.store.waveforms import default_store_root
from earmark.tasks import find_task
from earmark.text import agreeing


def load_splits(
    options: DataArguments, *, seed: int, hub: HubAccess = PUBLIC, check: bool = True, loaded: Splits | None = None
) -> Splits:
    """Load the clips that the settings name.

    Several sources are combined first (:mod:`earmark.sources.combine`). Then, without a validation split, one is made
    from the training clips of all of them; with folds, the test split is ``fold``; ``max_train_samples`` and
    ``max_eval_samples`` are drawn. All use ``seed`` alone, and a line in the notes says so.

    Args:
        options: where the recordings are, and what columns and splits are called.
        seed: for the splits and subsets that are made.
        hub: how data sets are downloaded.
        check: whether clips without label, fold or group are an error, and that no validation clips can be set aside;
            else what can be had is given, and a note says what could not.
        loaded: splits that :func:`load_own_splits` has returned; of ``options`` only settings with
            ``Scope.AFTER_LOADING`` count then.

    Raises:
        UsageError: no source, or sources that cannot be combined; folds, and none that is held out.
        DataError: a source is not there or cannot serve.
        NetworkError: the hub is needed and cannot be reached.
        MissingExtraError: a source needs the package ``datasets``.
    """
    if options.has_folds:
        if options.fold is None:
            raise UsageError("which fold is held out? add --fold NAME (`earmark train` without it takes each in turn)")
        folds = load_folds(options, seed=seed, hub=hub, check=check, loaded=loaded)
        splits = folds.splits(options.fold, seed)
        draw_subsets(splits, options, seed)
        return splits
    splits = _copy(loaded) or _load(options, seed, hub, needs_labels=check)
    if check and options.group_column:
        _check_groups(splits, options.group_column)
    if splits.train is not None and splits.validation is None and options.validation_fraction > 0:
        _set_validation_aside(splits, options, seed, check)
    draw_subsets(splits, options, seed)
    return splits


def load_own_splits(
    options: DataArguments, *, seed: int, hub: HubAccess = PUBLIC, loaded: Splits | None = None
) -> Splits:
    """Load the splits that the source itself has: none is made, no folds are taken and nothing is drawn.

    Args:
        options: as for :func:`load_splits`.
        seed: for silence cut from the background of Speech Commands.
        hub: how data sets are downloaded.
        loaded: what this function returned before.

    Raises:
        EarmarkError: as :func:`load_splits`.
    """
    return _copy(loaded) or _load(options, seed, hub, needs_labels=True)


def load_folds(
    options: DataArguments, *, seed: int, hub: HubAccess = PUBLIC, check: bool = True, loaded: Splits | None = None
) -> Folds:
    """Load the clips that the settings name, shared out over folds.

    Args:
        options: where the recordings are, and ``fold_column`` or ``folds``.
        seed: for folds that are made.
        hub: how data sets are downloaded.
        check: whether folds that cannot be used and clips without label are an error.
        loaded: as for :func:`load_splits`.

    Raises:
        EarmarkError: as :func:`load_splits`; or the folds cannot be used.
    """
    splits = _copy(loaded) or _load(options, seed, hub, needs_labels=check)
    return share_out(splits, options, seed, check=check)


def _copy(loaded: Splits | None) -> Splits | None:
    """Return splits that can be changed without changing those of the caller."""
    return None if loaded is None else replace(loaded, notes=list(loaded.notes))


def _load(options: DataArguments, seed: int, hub: HubAccess, *, needs_labels: bool) -> Splits:
    request = request_from(options, seed=seed, hub=hub, needs_labels=needs_labels)
    given = given_data(options, request)
    try:
        kinds = [find_source(one) for one in given]
        sources = [
            LoadedSource(one.name, load_given(one, kind), one.split is not None)
            for one, kind in zip(given, kinds, strict=True)
        ]
    except MissingColumnError as exc:
        others = "; columns have the same names in all sources that are combined" if len(given) > 1 else ""
        raise DataError(f"{exc}{others}") from exc
    threads = decoder_threads(options.preprocessing_num_workers)
    stores = None if options.store == "off" else Path(options.store_dir or default_store_root())
    reasons = list(dict.fromkeys(reason for source in sources for reason in source.reasons()))
    columns = request.columns
    splits = combine(sources, task=columns.task, separator=columns.separator, num_workers=threads, stores=stores)
    splits.reasons = reasons
    asked = (name for name in declared_flags(DataArguments) if options.is_set(name))
    splits.notes[:0] = [
        *settings_without_effect(asked, kinds),
        *(reason.text for reason in reasons if not reason.is_obvious),
    ]
    add_background(splits, options)
    return splits


def _check_groups(splits: Splits, column: str) -> None:
    tables = [table for table in (splits.train, splits.validation, splits.test) if table is not None]
    if all(clip.group is None for table in tables for clip in table):
        raise DataError(
            f"{tables[0].origin}: no clip has a group, so --group_column {column} cannot be kept apart; class folders "
            f"have no columns: list file_name, label and {column} in a metadata.csv"
        )


def _set_validation_aside(splits: Splits, options: DataArguments, seed: int, check: bool) -> None:
    assert splits.train is not None
    everything = splits.train
    if options.group_column and check:
        check_every_clip_has(everything, "group", options.group_column, "--group_column", lambda clip: clip.group)
    if all(clip.label is None for clip in everything):
        return
    try:
        splits.train, splits.validation = make_validation_split(everything, options.validation_fraction, seed)
    except DataError as exc:
        if check:
            raise
        splits.notes.append(str(exc))
        return
    splits.is_made = True
    were = agreeing(len(splits.validation), "were")
    splits.notes.append(
        f"{everything.origin}: no validation split, so {len(splits.validation):,} of {len(everything):,} training "
        f"clips {were} set aside for validation ({_how_set_aside(everything, options)}, seed {seed})"
    )


def _how_set_aside(table: ClipTable, options: DataArguments) -> str:
    """Say what moved as one, and what the split kept to."""
    if options.group_column:
        alone = sum(clip.group is None for clip in table)
        return f"whole groups of {options.group_column}" + (f", {alone:,} without one alone" if alone else "")
    has_classes = find_task(options.task).has_classes
    if not has_recordings_of_several_clips(table):
        return "stratified by label" if has_classes else "over the range of numbers"
    each = "label" if has_classes else "part of the range"
    fraction = f"--validation_fraction {options.validation_fraction:g}"
    return f"by recording, as near to {fraction} of each {each} as whole recordings allow"
