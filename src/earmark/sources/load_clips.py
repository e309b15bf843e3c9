"""The entry point for data: load tables of clips from the settings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from earmark.audio.reading import decoder_threads
from earmark.clips.clip import ClipTable, Splits
from earmark.clips.columns import MissingColumnError
from earmark.clips.folds import Folds, assign_folds, check_every_clip_has
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
    """Load the clips named by the settings.

    Several sources are combined first (:mod:`earmark.sources.combine`). Then, if there is no validation split, one is
    made from the training clips of all sources; with folds, ``fold`` is the test split; ``max_train_samples`` and
    ``max_eval_samples`` are applied. All random choices use only ``seed``, and notes report them.

    Args:
        options: the recordings, and the names of columns and splits.
        seed: seed for the splits and subsets.
        hub: access to the hub.
        check: whether to raise if clips have no label, fold or group, or if no validation clips can be set aside. If
            False, load the clips that can be loaded, and add notes about the rest.
        loaded: result of :func:`load_own_splits`. Then only settings with ``Scope.AFTER_LOADING`` are used.

    Raises:
        UsageError: no source, sources that cannot be combined, or folds without ``fold``.
        DataError: a source does not exist or cannot be used.
        NetworkError: the hub is needed and cannot be reached.
        MissingExtraError: a source needs the package ``datasets``.
    """
    if options.has_folds:
        if options.fold is None:
            raise UsageError("no fold is held out. Add --fold NAME (only `earmark train` can use all folds in turn)")
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
    """Load only the splits of the source itself, without making splits, folds or subsets.

    Args:
        options: see :func:`load_splits`.
        seed: seed for silence cut from the background of Speech Commands.
        hub: access to the hub.
        loaded: an earlier result of this function.

    Raises:
        EarmarkError: see :func:`load_splits`.
    """
    return _copy(loaded) or _load(options, seed, hub, needs_labels=True)


def load_folds(
    options: DataArguments, *, seed: int, hub: HubAccess = PUBLIC, check: bool = True, loaded: Splits | None = None
) -> Folds:
    """Load the clips named by the settings, divided into folds.

    Args:
        options: the recordings, and ``fold_column`` or ``folds``.
        seed: seed for folds that are made.
        hub: access to the hub.
        check: whether to raise if folds cannot be used or clips have no label.
        loaded: see :func:`load_splits`.

    Raises:
        EarmarkError: see :func:`load_splits`; or the folds cannot be used.
    """
    splits = _copy(loaded) or _load(options, seed, hub, needs_labels=check)
    return assign_folds(splits, options, seed, check=check)


def _copy(loaded: Splits | None) -> Splits | None:
    """Return a copy that can be changed without changing the caller's splits."""
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
        others = ". Use the same column names in all sources that are combined" if len(given) > 1 else ""
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
            f"{tables[0].origin}: no clip has a group, so --group_column {column} cannot be used. Class folders "
            f"have no columns. List file_name, label and {column} in a metadata.csv"
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
    """Describe which clips stay together, and what the split is stratified by."""
    if options.group_column:
        alone = sum(clip.group is None for clip in table)
        return f"whole groups of {options.group_column}" + (f", {alone:,} without a group" if alone else "")
    has_classes = find_task(options.task).has_classes
    if not has_recordings_of_several_clips(table):
        return "stratified by label" if has_classes else "over the range of numbers"
    each = "label" if has_classes else "part of the range"
    fraction = f"--validation_fraction {options.validation_fraction:g}"
    return f"by recording, as near to {fraction} of each {each} as whole recordings allow"
