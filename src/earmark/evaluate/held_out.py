"""Find the clips that a run held out, by content in the run's ``splits.csv``.

Splits in the data (a validation folder, ``--eval_file``, a named fold) are used unchanged, and the evaluation reports
how many of their clips the model was trained on. A split that earmark made for training is not drawn again: its clips
are found by their content, even if their files were renamed.
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from earmark.audio.content import NO_CONTENT, is_sound
from earmark.audio.reading import decoder_threads
from earmark.clips.clip import ClipTable, Splits
from earmark.clips.subsets import draw_subsets
from earmark.errors import DataError, UsageError
from earmark.evaluate.used_background import cut_from_used, warn_of_lost_classes, without_trained_recordings
from earmark.runs.split_record import SplitRecord, find_record
from earmark.runs.split_settings import CUT_SETTINGS, read_split_settings
from earmark.settings.data_flags import paths_in
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.sources.load_clips import load_own_splits, load_splits
from earmark.sources.source import HubAccess
from earmark.store.bad_audio import BadAudioWatch
from earmark.store.known_contents import read_contents
from earmark.store.scan import BadClip
from earmark.store.usable import UsableClips, report_bad_clips
from earmark.store.waveforms import default_store_root
from earmark.text import agreeing, counted

logger = logging.getLogger(__name__)

DEFAULT_SEED = 42
_OF_FOLDS = ("fold_column", "folds", "fold")
_HELD_OUT = ("validation", "test")


@dataclass(frozen=True)
class HeldOut:
    """The clips to score.

    Attributes:
        table: the clips.
        record: record of the run's splits; ``None`` if the run has none.
        bad: clips that cannot be read, so that their split is unknown.
    """

    table: ClipTable
    record: SplitRecord | None
    bad: list[BadClip] = field(default_factory=list)

    def trained_on(self, clips: UsableClips) -> np.ndarray | None:
        """Return which clips the model was trained on, bool (N,); ``None`` without a record."""
        return None if self.record is None else self.record.trained_on(clips.contents)


_Options = TypeVar("_Options", bound=EvaluateOptions)


def find_held_out(options: EvaluateOptions, loaded: Splits | None = None) -> HeldOut:
    """Find the clips of ``options.split``, and log the choice with its reason.

    Args:
        options: model, data and split.
        loaded: the data, if it is already loaded; see :func:`earmark.sources.load_clips.load_splits`.

    Raises:
        DataError: there are no such clips, or clips cannot be read under ``on_bad_audio=fail``.
        UsageError: ``options.split`` is ``unseen``, but the model's run has no record of its splits.
        EarmarkError: the data cannot be loaded.
    """
    record = find_record(options.model_name_or_path)
    if record is None:
        return HeldOut(_without_record(options, loaded), None)
    # If training skipped unreadable clips, the evaluation must skip them, too.
    options = _with_store_of_run(_as_trained(options, (*CUT_SETTINGS, "on_bad_audio")))
    if options.has_folds and options.fold is not None and options.split == "test":
        return HeldOut(_given(_loaded(options, loaded), "test"), record)
    own = load_own_splits(options, seed=_seed(options), hub=HubAccess.from_flags(options), loaded=loaded)
    _log(own)
    if options.split != "unseen" and getattr(own, options.split) is not None:
        table = without_trained_recordings(_given(own, options.split), record, options)
        return HeldOut(_drawn(table, options), record)
    if options.split == "test" and not len(record.of_split("test")):
        return HeldOut(_given(own, "test", record), record)  # if it raises, the error lists the splits
    return _by_content(_candidates(own, options.split, record), record, options)


def check_given_files(options: EvaluateOptions) -> None:
    """Check that manifests hold the split to score, before loading a model, which takes longer.

    Raises:
        UsageError: all manifests belong to another split.
    """
    files = {"validation": options.eval_file, "test": options.test_file}
    if options.split == "unseen" or files[options.split] or options.data_dir or options.dataset_name:
        return
    other = next((name for name, given in files.items() if given), None)
    if other is not None and not options.train_file:
        flag = "eval_file" if other == "validation" else "test_file"
        raise UsageError(
            f"--{flag} {paths_in(files[other])[0]}: these are {other} clips, and --split is {options.split}. Add "
            f"--split {other} to score them."
        )


def _candidates(own: Splits, split: str, record: SplitRecord) -> ClipTable:
    """Return the clips in which to look for the clips of a split."""
    tables = [own.train] if split != "unseen" else [own.train, own.validation, own.test]
    there = [table for table in tables if table is not None]
    if not there:
        return _given(own, split, record)  # if it raises, the error lists the splits
    return ClipTable([clip for table in there for clip in table], there[0].origin)


def _by_content(table: ClipTable, record: SplitRecord, options: EvaluateOptions) -> HeldOut:
    """Return the clips of a table that the run held out."""
    stores = None if options.store == "off" else Path(options.store_dir or default_store_root())
    threads = decoder_threads(options.preprocessing_num_workers)
    watch = BadAudioWatch(options.on_bad_audio, [table])
    contents, bad = read_contents(table, num_threads=threads, stores=stores, watch=watch)
    report_bad_clips([("", clip) for clip in bad], options.on_bad_audio)
    trained, unseen = record.trained_on(contents), (contents != NO_CONTENT) & ~np.isin(contents, record.used)
    if options.background_dir:
        unseen &= ~cut_from_used(table, record, options, "train", "validation", "test")
    if options.split == "unseen":
        rows, what = np.flatnonzero(unseen), "the run has not used"
    else:
        rows, what = _rows_of_split(contents, trained, record.of_split(options.split)), "the run held out"
        if not len(rows) and unseen.sum() == len(table) - len(bad) and options.split == "validation":
            rows, what = np.flatnonzero(unseen), "the run has not used"
    if not len(rows):
        raise DataError(_nothing_left(table, contents, record, options.split, unseen))
    copies = np.isin(contents, record.of_split(options.split)) & trained
    count = int(trained.sum())
    notes = [f"{count:,} {agreeing(count, 'were')} trained on"] if count else []
    if copies.any():
        count = int(copies.sum())
        notes.append(
            f"{count:,} of these {agreeing(count, 'were')} also held out and {agreeing(count, 'are')} skipped as "
            "copies of training clips"
        )
    if options.split != "unseen" and unseen.any() and not unseen[rows].any():
        count = int(unseen.sum())
        notes.append(f"{count:,} {agreeing(count, 'are')} new to the run and not scored (--split unseen scores them)")
    missing = len(record.of_split(options.split)) - int(np.isin(record.of_split(options.split), contents).sum())
    if missing:
        warn_of_lost_classes(table, rows, record, options)
        notes.append(f"not in this data: {counted(missing, 'clip')} of the run's {options.split} split")
    logger.info(
        "%s: using the %s of %s that %s (by content, %s)%s",
        table.origin,
        f"{len(rows):,}",
        counted(len(table), "clip"),
        what,
        record.path,
        "".join(f"; {note}" for note in notes),
    )
    return HeldOut(_drawn(table.keep(rows.tolist()), options), record, bad)


def _rows_of_split(contents: np.ndarray, trained: np.ndarray, held: np.ndarray) -> np.ndarray:
    """Return the rows of clips that were held out and not trained on; of silent clips, as many as were held out."""
    chosen = np.isin(contents, held) & ~trained & is_sound(contents)
    for silence, count in Counter(held[~is_sound(held)].tolist()).items():
        chosen[np.flatnonzero(contents == silence)[:count]] = True
    return np.flatnonzero(chosen)


def _nothing_left(table: ClipTable, contents: np.ndarray, record: SplitRecord, split: str, unseen: np.ndarray) -> str:
    """Return an error message that names the run's splits of these clips, and a flag that scores some of the clips."""
    trained = record.trained_on(contents)
    held = {
        name: int((np.isin(contents, record.of_split(name)) & ~trained).sum()) for name in _HELD_OUT if name != split
    }
    counts = {"training": int(trained.sum()), **held}
    there = [f"{count:,} in its {name} split" for name, count in counts.items() if count]
    there += [f"{int(unseen.sum()):,} new to the run"] if unseen.any() else []
    what = f"in the {split} split of the run" if split != "unseen" else "new to the run"
    text = f"{table.origin}: none of {counted(len(table), 'clip')} is {what} ({record.path})"
    text += f": {', '.join(there)}. " if there else ". "
    scored = {**{name: count for name, count in held.items() if count}, **({"unseen": 1} if unseen.any() else {})}
    if scored:
        return f"{text}Add --split {' or --split '.join(scored)} to score these clips."
    return f"{text}Name clips that the run has not used with --eval_file FILE or another --data_dir."


def _without_record(options: EvaluateOptions, loaded: Splits | None) -> ClipTable:
    """Return the clips for a model whose run has no record: make the split again with the settings of the run."""
    model = options.model_name_or_path
    if options.split == "unseen":
        raise UsageError(
            f"--split unseen: {model} has no record of its training clips (splits.csv). Name new clips with "
            "--eval_file FILE instead."
        )
    names = ("validation_fraction", "group_column", *CUT_SETTINGS, *_OF_FOLDS)
    settings = read_split_settings(model)
    options = _as_trained(options, names)
    splits = _loaded(options, loaded)
    unknown = "has no record of its training clips (splits.csv), so these clips may be among them"
    if not splits.is_made:
        logger.info("%s: %s", model, unknown)
        return _given(splits, options.split)
    logger.warning(
        "%s: %s. The %s split is made again with %s: seed %d, --validation_fraction %g%s",
        model,
        unknown,
        options.split,
        "the settings of the run" if settings else "the settings of this command",
        _seed(options),
        options.validation_fraction,
        f", --group_column {options.group_column}" if options.group_column else "",
    )
    return _given(splits, options.split)


def _as_trained(options: _Options, names: tuple[str, ...]) -> _Options:
    """Return the settings with the seed and ``names`` of the run, unless the user gives other values."""
    settings = read_split_settings(options.model_name_or_path)
    defaults = {one.name: one.default for one in dataclasses.fields(options)}
    not_given = {name for name in ("seed", *names) if getattr(options, name) == defaults[name]}
    if any(getattr(options, name) is not None for name in _OF_FOLDS):
        not_given -= {*_OF_FOLDS}
    changes: dict[str, Any] = {name: settings[name] for name in not_given & settings.keys()}
    return dataclasses.replace(options, **changes) if changes else options


def _with_store_of_run(options: _Options) -> _Options:
    """Return the settings with the run's folder of waveform stores, which has the decoded clips, if it still exists."""
    store_dir = read_split_settings(options.model_name_or_path).get("store_dir")
    if options.store_dir is None and store_dir and Path(store_dir).is_dir():
        return dataclasses.replace(options, store_dir=store_dir)
    return options


def _seed(options: EvaluateOptions) -> int:
    return DEFAULT_SEED if options.seed is None else options.seed


def _loaded(options: EvaluateOptions, loaded: Splits | None) -> Splits:
    splits = load_splits(options, seed=_seed(options), hub=HubAccess.from_flags(options), loaded=loaded)
    _log(splits)
    return splits


def _drawn(table: ClipTable, options: EvaluateOptions) -> ClipTable:
    """Return at most ``max_eval_samples`` clips of a validation split."""
    if options.split != "validation":
        return table
    splits = Splits(validation=table)
    draw_subsets(splits, options, _seed(options))
    _log(splits)
    assert splits.validation is not None
    return splits.validation


def _log(splits: Splits) -> None:
    for note in splits.notes:
        logger.info("%s", note)


def _given(splits: Splits, split: str, record: SplitRecord | None = None) -> ClipTable:
    """Return the clips of a split.

    Raises:
        DataError: the split is missing.
    """
    table = splits.test if split == "test" else splits.validation
    if table is None or not len(table):
        raise DataError(_no_such_split(splits, split, record))
    return table


def _no_such_split(splits: Splits, split: str, record: SplitRecord | None) -> str:
    """Return an error message that names the splits of the data, and a flag that scores one of them."""
    tables = {name: getattr(splits, name) for name in ("train", *_HELD_OUT)}
    there = {name: table for name, table in tables.items() if table is not None and len(table)}
    origin = next((f"{table.origin}: " for table in there.values()), "")
    text = f"{origin}no {split} clips in this data, which has: {', '.join(there) or 'nothing'}"
    if record is not None and not len(record.of_split(split)):
        text += f". The run has no {split} split either ({record.path})"
    other = next((name for name in _HELD_OUT if name in there), None)
    if other is not None:
        return f"{text}. Add --split {other} to score these clips."
    scored = ", or add --split validation to score clips that the run held out" if split == "test" else ""
    scored = scored if record is not None and len(record.of_split("validation")) else ""
    return f"{text}. Name {split} clips with --{'test' if split == 'test' else 'eval'}_file FILE{scored}."
