"""The one entry to data: from the settings to tables of clips, whatever form the recordings come in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

from earmark.audio.reading import decoder_threads
from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.clips.columns import Columns, MissingColumnError
from earmark.clips.folds import Folds, check_every_clip_has, share_out
from earmark.clips.split_columns import splits_of_manifest, used_whole
from earmark.clips.split_names import SplitNames
from earmark.clips.splits import has_recordings_of_several_clips, make_validation_split
from earmark.clips.subsets import draw, draw_subsets
from earmark.errors import DataError, UsageError
from earmark.settings.data_flags import DataArguments, paths_in
from earmark.sources.background import add_background
from earmark.sources.combine import Source, combine
from earmark.sources.data_dir import is_table_folder, is_unlabelled_folder, load_data_dir
from earmark.sources.listing import list_recordings
from earmark.sources.manifests import load_manifest
from earmark.store.waveforms import default_store_root
from earmark.tasks import find_task
from earmark.words import agreeing

# what is loaded, by the name that messages give it, and whether it is a manifest of one split
_Loader = tuple[str, Callable[[], Splits], bool]
_OTHER_SOURCES = ("dataset_name", "train_file", "eval_file", "test_file")  # besides data_dir


def load_splits(
    options: DataArguments,
    *,
    seed: int,
    token: str | None = None,
    cache_dir: str | None = None,
    check: bool = True,
    loaded: Splits | None = None,
) -> Splits:
    """Load the clips that the settings name.

    Several sources are combined first (:mod:`earmark.sources.combine`). Then, without a validation split, one is made
    from the training clips of all of them; with folds, the test split is ``fold``; ``max_train_samples`` and
    ``max_eval_samples`` are drawn. All use ``seed`` alone, and a line in the notes says so.

    Args:
        options: where the recordings are, and what columns and splits are called.
        seed: for the splits and subsets that are made.
        token: for private data sets of the hub.
        cache_dir: where the hub's files go; ``None`` for the usual place.
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
        folds = load_folds(options, seed=seed, token=token, cache_dir=cache_dir, check=check, loaded=loaded)
        splits = folds.splits(options.fold, seed)
        draw_subsets(splits, options, seed)
        return splits
    splits = _copy(loaded) or _load(options, seed, token, cache_dir, needs_labels=check)
    if check and options.group_column:
        _check_groups(splits, options.group_column)
    if splits.train is not None and splits.validation is None and options.validation_fraction > 0:
        _set_validation_aside(splits, options, seed, check)
    draw_subsets(splits, options, seed)
    return splits


def load_own_splits(
    options: DataArguments,
    *,
    seed: int,
    token: str | None = None,
    cache_dir: str | None = None,
    loaded: Splits | None = None,
) -> Splits:
    """Load the splits that the source itself has: none is made, no folds are taken and nothing is drawn.

    Args:
        options: as for :func:`load_splits`.
        seed: for silence cut from the background of Speech Commands.
        token: for private data sets of the hub.
        cache_dir: where the hub's files go; ``None`` for the usual place.
        loaded: what this function returned before.

    Raises:
        EarmarkError: as :func:`load_splits`.
    """
    return _copy(loaded) or _load(options, seed, token, cache_dir, needs_labels=True)


def load_unlabelled(options: DataArguments, *, seed: int, anyway: bool = False) -> Splits | None:
    """Load the recordings of folders without labels as training clips, for those who can do without.

    Args:
        options: where the recordings are.
        seed: for ``max_train_samples``.
        anyway: take all recordings below the folders as not labelled, whatever the folders between are.

    Returns:
        ``None`` if :func:`load_splits` would find labels or reports why not, also if other sources are combined with
        the folders.

    Raises:
        UsageError: settings that need labels or columns; ``anyway`` without a folder, or with other sources.
        DataError: no recordings there.
    """
    roots = [Path(folder) for folder in paths_in(options.data_dir)]
    names = _split_names(options)
    there = bool(roots) and all(root.is_dir() for root in roots)
    if not there or not (anyway or all(is_unlabelled_folder(root, names) for root in roots)):
        if anyway:
            raise UsageError("--unlabelled needs a folder of recordings. Add --data_dir FOLDER")
        return None
    origin = ", ".join(map(str, roots))
    others = [name for name in _OTHER_SOURCES if getattr(options, name) is not None]
    if others and anyway:
        raise UsageError(
            f"--unlabelled takes the recordings of {origin} only, without --{others[0]}. Leave one of the flags out"
        )
    if others:
        return None
    for name in ("group_column", "fold_column", "folds", "shots"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name}: {origin} has recordings without labels and columns; leave it out")
    listings = [list_recordings(root) for root in roots]
    table = ClipTable([Clip(source=path, path=path) for listing in listings for path in listing.paths], origin)
    notes = [note for listing in listings for note in listing.skipped.notes(listing.root)]
    if not table:
        raise DataError("; ".join([f"{origin}: no recordings in this folder", *notes]))
    splits = Splits(train=table, notes=notes)
    draw(splits, "train", options.max_train_samples, seed, "--max_train_samples")
    return splits


def load_folds(
    options: DataArguments,
    *,
    seed: int,
    token: str | None = None,
    cache_dir: str | None = None,
    check: bool = True,
    loaded: Splits | None = None,
) -> Folds:
    """Load the clips that the settings name, shared out over folds.

    Args:
        options: where the recordings are, and ``fold_column`` or ``folds``.
        seed: for folds that are made.
        token: for private data sets of the hub.
        cache_dir: where the hub's files go; ``None`` for the usual place.
        check: whether folds that cannot be used and clips without label are an error.
        loaded: as for :func:`load_splits`.

    Raises:
        EarmarkError: as :func:`load_splits`; or the folds cannot be used.
    """
    splits = _copy(loaded) or _load(options, seed, token, cache_dir, needs_labels=check)
    return share_out(splits, options, seed, check=check)


def _copy(loaded: Splits | None) -> Splits | None:
    """Return splits that can be changed without changing those of the caller."""
    return None if loaded is None else replace(loaded, notes=list(loaded.notes))


def _load(options: DataArguments, seed: int, token: str | None, cache_dir: str | None, *, needs_labels: bool) -> Splits:
    columns = Columns(
        options.audio_column_name,
        options.label_column_name,
        options.group_column,
        options.fold_column,
        find_task(options.task),
        options.label_separator,
        needs_labels,
        skip_missing_labels=options.on_missing_label == "skip",
        start=options.start_column_name,
        end=options.end_column_name,
        audio_dir=options.audio_dir,
    )
    loaders = list(_loaders(options, columns, seed, token, cache_dir))
    if not loaders:
        raise UsageError(
            "which recordings? give --data_dir FOLDER, --train_file MANIFEST (and --eval_file), or --dataset_name NAME"
        )
    try:
        sources = [Source(name, load(), is_manifest) for name, load, is_manifest in loaders]
    except MissingColumnError as exc:
        others = "; columns have the same names in all sources that are combined" if len(loaders) > 1 else ""
        raise DataError(f"{exc}{others}") from exc
    threads = decoder_threads(options.preprocessing_num_workers)
    stores = None if options.store == "off" else Path(options.store_dir or default_store_root())
    tables = [table for source in sources for table in source.tables().values()]
    reasons = list(dict.fromkeys(reason for table in tables for reason in table.reasons))
    splits = combine(sources, task=columns.task, separator=columns.separator, num_workers=threads, stores=stores)
    splits.reasons = reasons
    splits.notes[:0] = [reason.text for reason in reasons if not reason.is_obvious]
    add_background(splits, options)
    return splits


def _loaders(
    options: DataArguments, columns: Columns, seed: int, token: str | None, cache_dir: str | None
) -> Iterator[_Loader]:
    """Yield the sources in the order in which they count: data set, folders, manifests, each flag's as given.

    Raises:
        UsageError: a data set of the hub and a folder.
        DataError: Speech Commands without its archive.
    """
    names, folders = _split_names(options), paths_in(options.data_dir)
    name, config = options.dataset_name, options.dataset_config_name

    def folder_loader(folder: str, config: str | None = None) -> _Loader:
        return folder, lambda: load_data_dir(folder, columns, names, config=config, cache_dir=cache_dir), False

    if name and _is_superb_ks(name, config):
        folders = folders or ([name] if Path(name).is_dir() else [])
        if not folders:
            raise DataError(_HOW_TO_GET_SUPERB_KS)
        archive = folders.pop(0)
        if is_table_folder(Path(archive)):
            yield folder_loader(archive, config)
        else:
            yield archive, lambda: _superb_ks(archive, columns, options, seed), False
    elif name and folders:
        raise UsageError(
            f"recordings from two sources: --dataset_name {name} and --data_dir {folders[0]}; give one of them "
            "(both only for --dataset_name superb --dataset_config_name ks)"
        )
    elif name and Path(name).is_dir():
        yield folder_loader(name, config)
    elif name:
        yield name, lambda: _hub(name, columns, names, options, token, cache_dir), False
    for folder in folders:
        yield folder_loader(folder, config)
    for path in paths_in(options.train_file):
        yield path, partial(_manifest, "train", path, columns, options), True
    for path in paths_in(options.eval_file):
        yield path, partial(_manifest, "validation", path, columns, options), True
    for path in paths_in(options.test_file):
        yield path, partial(_manifest, "test", path, columns, options), True


def _manifest(split: str, path: str, columns: Columns, options: DataArguments) -> Splits:
    table, names = load_manifest(path, columns), _split_names(options)
    if options.has_folds:
        return used_whole(table, split, names)
    given = [name for name, paths in (("validation", options.eval_file), ("test", options.test_file)) if paths]
    return splits_of_manifest(table, split, names, given)


def _split_names(options: DataArguments) -> SplitNames:
    return SplitNames(options.train_split_name, options.eval_split_name, options.test_split_name)


def _is_superb_ks(name: str, config: str | None) -> bool:
    return name.split("/")[-1].casefold() == "superb" and config == "ks"


def _superb_ks(archive: str, columns: Columns, options: DataArguments, seed: int) -> Splits:
    if not columns.task.has_one_class:
        raise UsageError(f"--task {columns.task.name}: superb ks has one label a clip; leave --task out")
    from earmark.sources.speech_commands import load_superb_ks

    return load_superb_ks(archive, silence_percentage=options.silence_percentage, seed=seed)


def _hub(
    name: str, columns: Columns, names: SplitNames, options: DataArguments, token: str | None, cache_dir: str | None
) -> Splits:
    from earmark.sources.hub import HubSource, load_hub

    source = HubSource(name, options.dataset_config_name, options.dataset_revision, token, cache_dir)
    return load_hub(source, columns, names)


_HOW_TO_GET_SUPERB_KS = (
    "superb ks is built from the Speech Commands archive: download speech_commands_v0.01.tar.gz (and, for the test "
    "split, speech_commands_test_set_v0.02.tar.gz) into a folder, extracted or as they are, and give --data_dir FOLDER"
)


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
