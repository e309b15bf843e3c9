"""The one entry to data: from the settings to tables of clips, whatever form the recordings come in."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

from earmark.config import DataArguments
from earmark.data.clips import Clip, ClipTable, Splits
from earmark.data.columns import Columns
from earmark.data.decode import AUDIO_SUFFIXES
from earmark.data.folders import (
    SPLIT_NAMES,
    SplitNames,
    has_split_metadata,
    is_class_folder_tree,
    load_folder,
    metadata_file,
)
from earmark.data.folds import Folds, check_every_clip_has, share_out
from earmark.data.listing import list_audio
from earmark.data.manifests import MANIFEST_SUFFIXES, load_manifest
from earmark.data.splits import make_validation_split
from earmark.errors import DataError, UsageError
from earmark.tasks import Task

_SAVED = ("dataset_dict.json", "state.json")  # what save_to_disk leaves beside its tables


def load_splits(
    options: DataArguments,
    *,
    seed: int,
    token: str | None = None,
    cache_dir: str | None = None,
    check: bool = True,
) -> Splits:
    """Load the clips that the settings name.

    Without a validation split, one is made from the training clips; with folds, the test split is ``fold``;
    ``max_train_samples`` and ``max_eval_samples`` are drawn. All use ``seed`` alone, and a line in the notes says so.

    Args:
        options: where the recordings are, and what columns and splits are called.
        seed: for the splits and subsets that are made.
        token: for private data sets of the hub.
        cache_dir: where the hub's files go; ``None`` for the usual place.
        check: whether clips without label, fold or group are an error, and that no validation clips can be set aside;
            else what can be had is given, and a note says what could not.

    Raises:
        UsageError: no source, or two; folds, and none that is held out.
        DataError: the source is not there or cannot serve.
        NetworkError: the hub is needed and cannot be reached.
        MissingExtraError: the source needs the package ``datasets``.
    """
    if options.has_folds:
        if options.fold is None:
            raise UsageError("which fold is held out? add --fold NAME (`earmark train` without it takes each in turn)")
        folds = load_folds(options, seed=seed, token=token, cache_dir=cache_dir, check=check)
        splits = folds.splits(options.fold, seed)
        _draw_all(splits, options, seed)
        return splits
    splits = _load(options, seed, token, cache_dir, needs_labels=check)
    if check and options.group_column:
        _check_groups(splits, options.group_column)
    if splits.train is not None and splits.validation is None:
        _set_validation_aside(splits, options, seed, check)
    _draw_all(splits, options, seed)
    return splits


def load_unlabelled(options: DataArguments, *, seed: int, anyway: bool = False) -> Splits | None:
    """The recordings of a folder without labels as training clips, for those who can do without.

    Args:
        options: where the recordings are.
        seed: for ``max_train_samples``.
        anyway: take all recordings below the folder as not labelled, whatever the folders between are.

    Returns:
        ``None`` where :func:`load_splits` would find labels or has to say why not.

    Raises:
        UsageError: settings that need labels or columns; ``anyway`` without a folder.
        DataError: no recordings there.
    """
    root = Path(options.data_dir or "")
    if not options.data_dir or not root.is_dir() or not (anyway or _is_flat(root, options)):
        if anyway:
            raise UsageError("--unlabelled: of which folder? give one that holds recordings")
        return None
    for name in ("group_column", "fold_column", "folds", "shots"):
        if getattr(options, name) is not None:
            raise UsageError(f"--{name}: {root} has recordings without labels and columns; leave it out")
    table = ClipTable([Clip(source=str(path), path=str(path)) for path in list_audio(root)], str(root))
    if not table:
        raise DataError(f"{root}: no recordings in this folder")
    splits = Splits(train=table)
    _draw(splits, "train", options.max_train_samples, seed, "--max_train_samples")
    return splits


def _is_flat(root: Path, options: DataArguments) -> bool:
    """Whether recordings lie in ``root`` with nothing that could say what they are."""
    names = SplitNames(options.train_split_name, options.eval_split_name, options.test_split_name)
    tables = (
        any((root / name).is_file() for name in _SAVED)
        or metadata_file(root) is not None
        or has_split_metadata(root, names)
        or bool(_split_manifests(root, names))
        or _is_table_folder(root)
    )
    return not tables and _has_loose_recordings(root) and not is_class_folder_tree(root, names)


def _has_loose_recordings(root: Path) -> bool:
    return any(path.suffix.casefold() in AUDIO_SUFFIXES for path in root.iterdir())


def load_folds(
    options: DataArguments, *, seed: int, token: str | None = None, cache_dir: str | None = None, check: bool = True
) -> Folds:
    """Load the clips that the settings name, shared out over folds.

    Args:
        options: where the recordings are, and ``fold_column`` or ``folds``.
        seed: for folds that are made.
        token: for private data sets of the hub.
        cache_dir: where the hub's files go; ``None`` for the usual place.
        check: whether folds that cannot be used and clips without label are an error.

    Raises:
        EarmarkError: as :func:`load_splits`; or the folds cannot be used.
    """
    return share_out(_load(options, seed, token, cache_dir, needs_labels=check), options, seed, check=check)


def _draw_all(splits: Splits, options: DataArguments, seed: int) -> None:
    _draw_shots(splits, options.shots, seed)
    _draw(splits, "train", options.max_train_samples, seed, "--max_train_samples")
    _draw(splits, "validation", options.max_eval_samples, seed, "--max_eval_samples")


def _load(options: DataArguments, seed: int, token: str | None, cache_dir: str | None, *, needs_labels: bool) -> Splits:
    columns = Columns(
        options.audio_column_name,
        options.label_column_name,
        options.group_column,
        options.fold_column,
        Task(options.task or Task.SINGLE_LABEL),
        options.label_separator,
        needs_labels,
    )
    names = SplitNames(options.train_split_name, options.eval_split_name, options.test_split_name)
    files = {"train": options.train_file, "validation": options.eval_file, "test": options.test_file}
    name, config = options.dataset_name, options.dataset_config_name
    folder = options.data_dir or (name if name and Path(name).is_dir() else None)
    if any(files.values()):
        if name or options.data_dir:
            raise UsageError("recordings from two sources: give manifests (--train_file, --eval_file, --test_file) "
                             "or --data_dir or --dataset_name, not both")  # fmt: skip
        return _load_manifests({split: Path(path) for split, path in files.items() if path}, columns)
    if name and name.split("/")[-1].casefold() == "superb" and config == "ks":
        if folder is None:
            raise DataError(_HOW_TO_GET_SUPERB_KS)
        if not _is_table_folder(Path(folder)):
            if columns.task is not Task.SINGLE_LABEL:
                raise UsageError(f"--task {columns.task.value}: superb ks has one label a clip; leave --task out")
            from earmark.data.speech_commands import load_superb_ks

            return load_superb_ks(folder, silence_percentage=options.silence_percentage, seed=seed)
    elif name and options.data_dir:
        raise UsageError(
            f"recordings from two sources: --dataset_name {name} and --data_dir {options.data_dir}; give one of them "
            "(both only for --dataset_name superb --dataset_config_name ks)"
        )
    if folder is not None:
        return load_data_dir(folder, columns, names, config=config, cache_dir=cache_dir)
    if name:
        from earmark.data.hub import HubSource, load_hub

        return load_hub(HubSource(name, config, options.dataset_revision, token, cache_dir), columns, names)
    raise UsageError(
        "which recordings? give --data_dir FOLDER, --train_file MANIFEST (and --eval_file), or --dataset_name NAME"
    )


_HOW_TO_GET_SUPERB_KS = (
    "superb ks is built from the Speech Commands archive: download speech_commands_v0.01.tar.gz (and, for the test "
    "split, speech_commands_test_set_v0.02.tar.gz) into a folder, extracted or as they are, and give --data_dir FOLDER"
)


def load_data_dir(
    folder: str, columns: Columns, names: SplitNames, *, config: str | None = None, cache_dir: str | None = None
) -> Splits:
    """Load a folder by what is in it.

    Looked for, in this order: a table written by ``save_to_disk``; ``metadata.csv|jsonl|parquet``, in the folder or
    in those of the splits; a manifest a split (``train.csv``, ``validation.jsonl``...); a snapshot of a hub data set
    with Parquet files; class folders.

    Raises:
        DataError: none of these, or what is there cannot serve.
        MissingExtraError: the folder needs the package ``datasets``.
    """
    root = Path(folder)
    if root.is_dir():
        if any((root / name).is_file() for name in _SAVED):
            from earmark.data.hub import load_saved

            return load_saved(root, columns, names)
        if metadata_file(root) is not None or has_split_metadata(root, names):
            return load_folder(root, names, columns)
        manifests = _split_manifests(root, names)
        if manifests:
            return _load_manifests(manifests, columns)
        if _is_table_folder(root):
            return _load_snapshot(root, columns, names, config, cache_dir)
        if not _has_loose_recordings(root) and not is_class_folder_tree(root, names):
            raise DataError(
                f"{root}: nothing to learn from. Looked for class folders with recordings (also under train/, "
                "validation/, test/), metadata.csv or .jsonl, a manifest a split (train.csv), Parquet files, and a "
                "save_to_disk folder"
            )
    return load_folder(root, names, columns)


def _load_manifests(paths: dict[str, Path], columns: Columns) -> Splits:
    tables = {split: load_manifest(path, columns) for split, path in paths.items()}
    return Splits(tables.get("train"), tables.get("validation"), tables.get("test"))


def _load_snapshot(
    root: Path, columns: Columns, names: SplitNames, config: str | None, cache_dir: str | None
) -> Splits:
    from earmark.data.hub import HubSource, load_snapshot

    if config and (root / config).is_dir() and not (root / "README.md").is_file():
        root, config = root / config, None  # a folder a configuration, without the card that would say so
    return load_snapshot(HubSource(str(root), config, cache_dir=cache_dir), columns, names)


def _is_table_folder(root: Path) -> bool:
    """Whether Parquet files or a ``save_to_disk`` table lie in ``root``, Parquet up to two folders down."""
    if any((root / name).is_file() for name in _SAVED):
        return True
    return any(next(root.glob(pattern), None) is not None for pattern in ("*.parquet", "*/*.parquet", "*/*/*.parquet"))


def _split_manifests(root: Path, names: SplitNames) -> dict[str, Path]:
    """Manifests in ``root`` called like a split. A lone Parquet file called ``train`` is one too."""
    found: dict[str, Path] = {}
    there = sorted(path for path in root.iterdir() if path.suffix.casefold() in MANIFEST_SUFFIXES and path.is_file())
    for split in SPLIT_NAMES:
        stems = [name.casefold() for name in names.of(split)]
        paths = [path for path in there if path.stem.casefold() in stems]
        if len(paths) > 1:
            raise DataError(f"{root}: {paths[0].name} and {paths[1].name} are both the {split} split; keep one")
        if paths:
            found[split] = paths[0]
    return found


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
    how = "over the range of numbers" if options.task == Task.REGRESSION.value else "stratified by label"
    if options.group_column:
        alone = sum(clip.group is None for clip in everything)
        how = f"whole groups of {options.group_column}" + (f", {alone:,} without one alone" if alone else "")
    splits.notes.append(
        f"{everything.origin}: no validation split, so {len(splits.validation):,} of {len(everything):,} training "
        f"clips were set aside for validation ({how}, seed {seed})"
    )


def _draw_shots(splits: Splits, shots: int | None, seed: int) -> None:
    table = splits.train
    if table is None or shots is None:
        return
    order = list(range(len(table)))
    random.Random(seed).shuffle(order)
    taken: Counter[str] = Counter()
    picked = []
    for i in order:
        if any(taken[name] < shots for name in table[i].classes):
            picked.append(i)
        taken.update(table[i].classes)
    splits.train = table.keep(sorted(picked))
    fewer = sum(count < shots for count in taken.values())
    note = f"{table.origin}: {len(picked):,} of {len(table):,} train clips drawn (--shots {shots}, seed {seed})"
    splits.notes.append(note + (f"; {fewer} of {len(taken)} classes have fewer than {shots}" if fewer else ""))


def _draw(splits: Splits, split: str, most: int | None, seed: int, flag: str) -> None:
    table: ClipTable | None = getattr(splits, split)
    if table is None or most is None or len(table) <= most:
        return
    order = list(range(len(table)))
    random.Random(seed).shuffle(order)
    first_of_class = {name: i for i in reversed(order) for name in table[i].classes}
    # one clip of each class first, so that a small draw still has all the classes there is room for
    picked = list(dict.fromkeys([*first_of_class.values(), *order]))[:most]
    setattr(splits, split, table.keep(sorted(picked)))
    splits.notes.append(f"{table.origin}: {most:,} of {len(table):,} {split} clips drawn ({flag}, seed {seed})")
