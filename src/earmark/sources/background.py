"""The background class: clips of recordings that contain none of the classes to recognise."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from earmark.audio.reading import decoder_threads
from earmark.clips.clip import Clip, ClipTable, Label, Splits
from earmark.clips.split_names import SPLIT_NAMES
from earmark.errors import DataError, UsageError
from earmark.io.nearby_names import path_suggestion
from earmark.settings.data_flags import DataArguments, paths_in
from earmark.sources.cuts import ClipLengths, Stretch, draw_cuts, hash_order, measured
from earmark.sources.listing import list_recordings
from earmark.store.known_contents import read_contents
from earmark.tasks import Task, find_task
from earmark.tasks.decision import Decision
from earmark.text import agreeing, counted

# Class names that mean "none of the classes to recognise", in lower case and without surrounding "_".
BACKGROUND_NAMES = frozenset(
    {
        *("background", "background_noise", "noise", "silence", "silent", "ambient", "empty"),
        *("other", "others", "none", "nothing", "no_call", "nocall", "unknown"),
    }
)
_SHORTEST_S = 0.1  # shortest part of a recording to cut from
_BEGINNING_S = 10.0  # seconds at the start of a background recording that identify it in other runs


def is_background(label: str) -> bool:
    """Return whether a class name is one of the usual names of a background class."""
    return label.strip().casefold().replace(" ", "_").replace("-", "_").strip("_") in BACKGROUND_NAMES


def find_background(labels: Sequence[str], named: str | None = None) -> str | None:
    """Return the background class of a model.

    Args:
        labels: its classes.
        named: the background class in training, if known.

    Returns:
        ``named`` if it is one of the classes, else the first class with a usual background name, else ``None``.
    """
    if named is not None and named in labels:
        return named
    return next(filter(is_background, labels), None)


def background_classes(
    task: Task, labels: Sequence[str], decision: Decision, background_class: str | None
) -> list[str]:
    """Return the classes that mean "none of the other classes".

    These are the background class from training, the class that calibration rejects, and classes with a background
    name. For multi-label models, where labels occur together, a label such as ``noise`` is a class like the others.

    Args:
        task: task of the model.
        labels: its classes.
        decision: its thresholds.
        background_class: its background class, if known.
    """
    if not task.has_one_class:
        return []
    named = {background_class, decision.reject_label}
    found = [label for label in labels if label in named or is_background(label)]
    return found if len(found) < len(labels) else []


def add_background(splits: Splits, options: DataArguments) -> None:
    """Add clips of the background class if the settings ask for them, and notes about them.

    Each split gets ``background_ratio`` times the mean number of clips of its classes, less the background clips that
    it already has.
    Clips of one recording are in one split: recordings of ``background_dir`` are divided among the splits in the data,
    and gaps stay in the split of their recording. Without a validation split, all background clips go to training, and
    whole recordings are set aside later. Lengths are drawn from the lengths of training clips, so that the length does
    not reveal the class. Nothing depends on a seed: the same recordings give the same clips in every run, so runs can
    be compared, and ``evaluate`` recognises the clips by their samples.

    Raises:
        UsageError: the task has no classes.
        DataError: there are no recordings to cut from; recordings cannot be read under ``on_bad_audio=fail``; or
            recordings are also labelled clips.
    """
    if not options.has_background:
        return
    if not find_task(options.task).has_classes:
        raise UsageError(f"--task {options.task} has no classes. Remove --background_dir and --background_gaps")
    tables = {name: table for name in SPLIT_NAMES if (table := getattr(splits, name)) is not None}
    targets = {name: _missing(table, options) for name, table in tables.items()}
    stretches = _from_folders(options, tables, targets, splits.notes)
    if options.background_gaps:
        for name, gaps in _gaps(tables, options).items():
            stretches.setdefault(name, []).extend(gaps)
    label = _label(options)
    lengths: ClipLengths | None = None
    for name, table in tables.items():
        there = stretches.get(name, [])
        if targets[name] and there:
            lengths = lengths or _lengths(tables, options)
            cuts, num_short = draw_cuts(there, targets[name], lengths, label)
            splits.notes.append(_describe(name, cuts, num_short, there, targets[name], options))
            cuts = _with_fold(cuts, table) if options.fold_column else cuts
            setattr(splits, name, ClipTable([*table.clips, *cuts], table.origin))
        elif targets[name]:
            splits.notes.append(f"{name}: no background clips, because there are too few background recordings")


def _label(options: DataArguments) -> Label:
    """Return the label of a background clip: the class, or no labels for a multi-label task."""
    return () if find_task(options.task).has_several else options.background_class


def _missing(table: ClipTable, options: DataArguments) -> int:
    """Return how many background clips a split lacks."""
    counts = Counter(name for clip in table for name in clip.classes)
    counts.pop(options.background_class, 0)
    label = _label(options)
    there = sum(clip.label == label for clip in table)
    if not counts:
        return 0
    return max(0, round(options.background_ratio * counts.total() / len(counts)) - there)


def background_recordings(options: DataArguments, notes: list[str] | None = None) -> list[str]:
    """Return the paths of the recordings of ``background_dir``, sorted, each once.

    Args:
        options: settings with the folders.
        notes: gets a line for everything that was skipped.

    Raises:
        DataError: a folder does not exist or has no recordings.
    """
    found: dict[str, str] = {}
    for folder in paths_in(options.background_dir):
        if not Path(folder).is_dir():
            suggestion = path_suggestion(Path(folder), folders=True)
            raise DataError(f"--background_dir {folder}: no such folder{suggestion}")
        listing = list_recordings(Path(folder))
        if not listing.paths:
            raise DataError(f"{folder}: no recordings in this folder. Fix --background_dir")
        if notes is not None:
            notes += listing.skipped.notes(folder)
        for path in listing.paths:
            found.setdefault(os.path.abspath(path), path)
    return sorted(found.values())


def recordings_of_splits(tables: Mapping[str, ClipTable], options: DataArguments) -> Iterator[tuple[str, int, str]]:
    """Yield split, content and path of each recording of ``background_dir`` that clips were cut from.

    The content (:mod:`earmark.audio.content`) identifies the recording, because two runs may cut different parts of it.
    It is the content of the first ten seconds, because recordings may be hours long.
    """
    paths = {os.path.abspath(path) for path in background_recordings(options)}
    for split, table in tables.items():
        used = sorted({clip.path for clip in table if clip.path and os.path.abspath(clip.path) in paths})
        for path, content in zip(used, contents_of_beginnings(used, options), strict=True):
            yield split, content, path


def contents_of_beginnings(paths: Sequence[str], options: DataArguments) -> list[int]:
    """Return the contents of the first ten seconds of recordings; ``NO_CONTENT`` for unreadable ones."""
    whole = [Clip(source=path, path=path) for path in paths]
    lengths_s = [measured(clip)[0] for clip in whole]
    first = [
        replace(clip, duration_s=_BEGINNING_S) if seconds > _BEGINNING_S else clip
        for clip, seconds in zip(whole, lengths_s, strict=True)
    ]
    threads = decoder_threads(options.preprocessing_num_workers)
    contents, _ = read_contents(ClipTable(first, "background"), num_threads=threads)
    return [int(content) for content in contents]


def _from_folders(
    options: DataArguments, tables: Mapping[str, ClipTable], targets: Mapping[str, int], notes: list[str]
) -> dict[str, list[Stretch]]:
    """Divide the recordings of ``background_dir`` among the splits in proportion to the clips that each split needs."""
    paths = background_recordings(options, notes)
    _check_not_labelled(paths, tables)
    found = [_whole(Clip(source=path, path=path)) for path in paths]
    bad = [stretch.clip.source for stretch in found if stretch.seconds < _SHORTEST_S]
    if bad:
        text = f"{counted(len(bad), 'background recording')} of unknown length or shorter than {_SHORTEST_S:g} s: "
        text += ", ".join(bad[:3])
        if options.on_bad_audio == "fail":
            raise DataError(f"{text}. Remove or convert them, or ignore them with --on_bad_audio skip")
        notes.append(f"ignored {text}")
    of_path = {stretch.clip.path or "": stretch for stretch in found if stretch.seconds >= _SHORTEST_S}
    if options.group_column:
        for path, one in of_path.items():
            of_path[path] = replace(one, clip=replace(one.clip, group=f"background {path}"))
    return _shared_out([of_path[path] for path in hash_order(of_path)], {k: v for k, v in targets.items() if v})


def _check_not_labelled(paths: Iterable[str], tables: Mapping[str, ClipTable]) -> None:
    labelled = {os.path.abspath(clip.path): clip for table in tables.values() for clip in table if clip.path}
    for path in paths:
        clip = labelled.get(os.path.abspath(path))
        if clip is not None:
            raise DataError(
                f"{path}: this recording of --background_dir is also a clip of the data (label {clip.label_text!r}). "
                "Move the background recordings out of the data, or remove --background_dir"
            )


def _shared_out(stretches: list[Stretch], targets: Mapping[str, int]) -> dict[str, list[Stretch]]:
    """Give each split at least one of the recordings; training gets all if there are fewer recordings than splits."""
    names = [name for name in SPLIT_NAMES if name in targets]
    if not names or len(stretches) < len(names):
        return dict.fromkeys(names[:1], stretches)
    counts = {name: max(1, round(len(stretches) * targets[name] / sum(targets.values()))) for name in names[1:]}
    parts, rest = {}, stretches
    for left, (name, count) in enumerate(counts.items(), 1):
        count = min(count, len(rest) - (len(names) - left))
        parts[name], rest = rest[:count], rest[count:]
    return {names[0]: rest, **parts}


def _whole(clip: Clip) -> Stretch:
    seconds, rate_hz = measured(clip)
    return Stretch(clip, rate_hz or 1, 0, round(seconds * rate_hz))


def _gaps(tables: Mapping[str, ClipTable], options: DataArguments) -> dict[str, list[Stretch]]:
    """Find the parts of annotated recordings that are far enough from every clip, by split.

    Raises:
        DataError: there are no such parts, and no other recordings to cut from.
    """
    clips_by_path: dict[str, list[Clip]] = defaultdict(list)
    split_by_path: dict[str, str] = {}
    for name, table in tables.items():
        for clip in table:
            if clip.path is not None:
                path = os.path.abspath(clip.path)  # two manifests may write the path of a recording differently
                clips_by_path[path].append(clip)
                split_by_path.setdefault(path, name)
    gaps: dict[str, list[Stretch]] = defaultdict(list)
    for path, clips in clips_by_path.items():
        if all(clip.duration_s is not None for clip in clips):
            gaps[split_by_path[path]] += _gaps_between(clips, options.background_margin_seconds)
    if not any(gaps.values()) and not options.background_dir:
        raise DataError(
            f"{', '.join(table.origin for table in tables.values())}: no gaps to cut background clips from, because "
            "every recording is fully annotated (or its clips lack a duration). Add --background_dir FOLDER, or "
            "lower --background_margin_seconds"
        )
    return {name: found for name, found in gaps.items() if found}


def _gaps_between(clips: Sequence[Clip], margin_s: float) -> list[Stretch]:
    """Return the parts of a recording that are at least ``margin_s`` seconds away from all its clips."""
    path = clips[0].path or ""  # the spelling in the first table, so that clips and background clips have equal paths
    ordered = sorted(clips, key=lambda clip: clip.offset_s)
    whole = _whole(Clip(path, path=path, group=ordered[0].group, fold=ordered[0].fold))
    gaps, start_s = [], 0.0
    for clip in [*ordered, Clip(path, offset_s=whole.seconds + margin_s, duration_s=0.0)]:
        end_s = min(clip.offset_s - margin_s, whole.seconds)
        if end_s - start_s >= _SHORTEST_S:
            at, end = (round(second * whole.rate_hz) for second in (start_s, end_s))
            gaps.append(replace(whole, first=at, end=end))
        start_s = max(start_s, clip.offset_s + (clip.duration_s or 0.0) + margin_s)
    return gaps


def _lengths(tables: Mapping[str, ClipTable], options: DataArguments) -> ClipLengths:
    table = tables.get("train") or next(table for table in tables.values() if table)
    return ClipLengths(table, options.max_length_seconds or np.inf)


def _with_fold(cuts: list[Clip], table: ClipTable) -> list[Clip]:
    """Assign the folds in turn to recordings without a fold."""
    folds = sorted({clip.fold for clip in table if clip.fold is not None})
    paths = list(dict.fromkeys(cut.path for cut in cuts if cut.fold is None))
    fold_names = {path: folds[index % len(folds)] for index, path in enumerate(paths)} if folds else {}
    return [cut if cut.fold is not None else replace(cut, fold=fold_names.get(cut.path)) for cut in cuts]


def _describe(
    name: str, cuts: Sequence[Clip], num_short: int, stretches: Sequence[Stretch], target: int, options: DataArguments
) -> str:
    what = f"of the class {options.background_class!r}" if _label(options) else "without labels"
    recordings, used = {stretch.clip.path for stretch in stretches}, {cut.path for cut in cuts}
    seconds = sum(stretch.seconds for stretch in stretches if stretch.clip.path in used)
    among = f"{len(used):,} of " if len(used) < len(recordings) else ""
    text = f"{name}: {counted(len(cuts), 'clip')} {what} {agreeing(len(cuts), 'were')} cut from {among}"
    text += f"{counted(len(recordings), 'background recording')} ({seconds:,.1f} s)"
    if len(cuts) < target:
        text += f"; {target:,} clips were wanted, but no more different background clips can be cut"
    elif sum(cut.duration_s or 0.0 for cut in cuts) > seconds:
        text += "; they overlap, because the background recordings are too short"
    if num_short:
        text += (
            f"; {num_short:,} of them {agreeing(num_short, 'are')} shorter than training clips, because no stretch of "
        )
        text += "background is as long"
    return text
