"""A background class: clips of recordings in which none of the sounds to recognise occurs."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from earmark.config import DataArguments, paths_in
from earmark.data.clips import Clip, ClipTable, Label, Splits
from earmark.data.decode import duration_s, own_rate_hz
from earmark.data.folders import SPLIT_NAMES
from earmark.data.listing import list_audio
from earmark.errors import DataError, UsageError
from earmark.tasks import Task
from earmark.words import counted

# Class names that mean "none of the sounds to recognise", in lower case and without "_" around them.
BACKGROUND_NAMES = frozenset(
    {
        *("background", "background_noise", "noise", "silence", "silent", "ambient", "environment", "empty"),
        *("other", "others", "rest", "none", "nothing", "negative", "no_call", "nocall", "unknown"),
    }
)
_MEASURED = 200  # training clips whose lengths the lengths of background clips are drawn from
_SHORTEST_S = 0.1  # of a stretch that is cut from
_FALLBACK_S = 1.0  # length of a background clip where no training clip says how long it is


def is_background(label: str) -> bool:
    """Whether the name of a class says that it is a background class."""
    return label.strip().casefold().replace(" ", "_").replace("-", "_").strip("_") in BACKGROUND_NAMES


def find_background(labels: Sequence[str], named: str | None = None) -> str | None:
    """Return the background class of a model.

    Args:
        labels: its classes.
        named: the class that was its background class in training, if that is known.

    Returns:
        ``named`` where it is one of the classes, else the first class whose name says so, else ``None``.
    """
    if named is not None and named in labels:
        return named
    return next(filter(is_background, labels), None)


@dataclass(frozen=True)
class Stretch:
    """Part of a recording that clips may be cut from.

    Attributes:
        clip: the whole recording; cuts inherit its group and fold.
        rate_hz: its sampling rate.
        first: the first sample.
        end: the sample after the last one.
    """

    clip: Clip
    rate_hz: int
    first: int
    end: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end - self.first) / self.rate_hz


def cut_at_random(
    stretches: Sequence[Stretch], lengths_s: Sequence[float], label: Label, rng: np.random.Generator
) -> list[Clip]:
    """Cut clips at random places, from one stretch after the other.

    Args:
        stretches: where to cut; a stretch shorter than a length is taken whole.
        lengths_s: length of each clip in seconds.
        label: of the clips.
        rng: draws the places.

    Returns:
        One clip for each length, sorted by place.
    """
    cuts = []
    for index, length_s in enumerate(lengths_s):
        stretch = stretches[index % len(stretches)]
        length = min(round(length_s * stretch.rate_hz), stretch.end - stretch.first)
        offset_s = int(rng.integers(stretch.first, stretch.end - length + 1)) / stretch.rate_hz
        source = f"{stretch.clip.source} at {offset_s:.3f} s"
        seconds = length / stretch.rate_hz
        cuts.append(replace(stretch.clip, source=source, label=label, offset_s=offset_s, duration_s=seconds))
    return sorted(cuts, key=lambda clip: (clip.path or "", clip.offset_s))


def add_background(splits: Splits, options: DataArguments, seed: int) -> None:
    """Add clips of the background class that the settings ask for, and notes about them.

    Each split gets as many as its average class has, times ``background_ratio``; those that are there count. Clips of
    one recording go to one split: recordings of ``background_dir`` are shared out over the splits that the data has,
    and gaps stay in the split of their recording. Where no validation split is there yet, all go to training, from
    which whole recordings are set aside later. Lengths are drawn from those of the training clips, so that the length
    of a clip does not give its class away.

    Raises:
        UsageError: a background class of numbers.
        DataError: no recordings to cut from, or recordings that cannot be read under ``on_bad_audio=fail``.
    """
    if not options.has_background:
        return
    if options.task == Task.REGRESSION.value:
        raise UsageError("--task regression has no classes. Leave --background_dir and --background_gaps out")
    tables = {name: table for name in SPLIT_NAMES if (table := getattr(splits, name)) is not None}
    targets = {name: _missing(table, options) for name, table in tables.items()}
    stretches = _from_folders(options, targets, seed, splits.notes)
    if options.background_gaps:
        gaps = _gaps(tables, options.background_margin_seconds)
        if not gaps and not options.background_dir:
            raise DataError(
                f"{', '.join(table.origin for table in tables.values())}: no gaps to cut background clips from: every "
                "recording is annotated to its end (or has no offset and duration). Give --background_dir FOLDER, or "
                "lower --background_margin_seconds"
            )
        for name, of_split in gaps.items():
            stretches.setdefault(name, []).extend(of_split)
    rng = np.random.default_rng(seed)
    lengths_s = _lengths_s(tables, options)
    label: Label = () if options.task == Task.MULTI_LABEL.value else options.background_class
    for name, table in tables.items():
        there = stretches.get(name, [])
        if targets[name] and there:
            drawn = rng.choice(lengths_s, size=targets[name]).tolist()
            cuts = _each_once(cut_at_random(there, drawn, label, rng))
            cuts = _with_fold(cuts, table) if options.fold_column else cuts
            setattr(splits, name, ClipTable([*table.clips, *cuts], table.origin))
            splits.notes.append(_describe(name, cuts, there, targets[name], options, seed))
        elif targets[name]:
            splits.notes.append(f"{name}: no background clips, because there are too few background recordings")


def _missing(table: ClipTable, options: DataArguments) -> int:
    """Return how many background clips a split lacks."""
    counts = Counter(name for clip in table for name in clip.classes)
    there = counts.pop(options.background_class, 0)
    if options.task == Task.MULTI_LABEL.value:
        there = sum(clip.label == () for clip in table)
    if not counts:
        return 0
    return max(0, round(options.background_ratio * counts.total() / len(counts)) - there)


def _from_folders(
    options: DataArguments, targets: Mapping[str, int], seed: int, notes: list[str]
) -> dict[str, list[Stretch]]:
    """Share the recordings of ``background_dir`` out over the splits, as their clips are."""
    stretches, bad = [], []
    for folder in paths_in(options.background_dir):
        if not Path(folder).is_dir():
            raise DataError(f"{folder}: no such folder. Fix --background_dir")
        found = [_whole(Clip(source=str(path), path=str(path))) for path in list_audio(folder)]
        if not found:
            raise DataError(f"{folder}: no recordings in this folder. Fix --background_dir")
        stretches += [stretch for stretch in found if stretch.seconds >= _SHORTEST_S]
        bad += [stretch.clip.source for stretch in found if stretch.seconds < _SHORTEST_S]
    if bad:
        text = f"{counted(len(bad), 'background recording')} of unknown length or shorter than {_SHORTEST_S:g} s: "
        text += ", ".join(bad[:3])
        if options.on_bad_audio == "fail":
            raise DataError(f"{text}. Remove or convert them, or leave them out with --on_bad_audio skip")
        notes.append(f"left out {text}")
    if options.group_column:
        stretches = [replace(one, clip=replace(one.clip, group=f"background {one.clip.path}")) for one in stretches]
    random.Random(seed).shuffle(stretches)
    return _shared_out(stretches, {name: count for name, count in targets.items() if count})


def _shared_out(stretches: list[Stretch], targets: Mapping[str, int]) -> dict[str, list[Stretch]]:
    """Give each split its part of the recordings, at least one; training all where there are fewer than splits."""
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
    rate_hz = own_rate_hz(clip)
    return Stretch(clip, rate_hz or 1, 0, round(duration_s(clip) * rate_hz))


def _gaps(tables: Mapping[str, ClipTable], margin_s: float) -> dict[str, list[Stretch]]:
    """Find the stretches of annotated recordings that are at least ``margin_s`` away from every clip, by split."""
    clips_of: dict[str, list[Clip]] = defaultdict(list)
    split_of: dict[str, str] = {}
    for name, table in tables.items():
        for clip in table:
            if clip.path is not None:
                clips_of[clip.path].append(clip)
                split_of.setdefault(clip.path, name)
    gaps: dict[str, list[Stretch]] = defaultdict(list)
    for path, clips in clips_of.items():
        if all(clip.duration_s is not None for clip in clips):
            gaps[split_of[path]] += _gaps_between(path, clips, margin_s)
    return {name: found for name, found in gaps.items() if found}


def _gaps_between(path: str, clips: Iterable[Clip], margin_s: float) -> list[Stretch]:
    ordered = sorted(clips, key=lambda clip: clip.offset_s)
    first = ordered[0]
    whole = _whole(Clip(path, path=path, group=first.group, fold=first.fold))
    gaps, start_s = [], 0.0
    for clip in [*ordered, Clip(path, offset_s=whole.seconds + margin_s, duration_s=0.0)]:
        end_s = min(clip.offset_s - margin_s, whole.seconds)
        if end_s - start_s >= _SHORTEST_S:
            at, end = (round(second * whole.rate_hz) for second in (start_s, end_s))
            gaps.append(replace(whole, first=at, end=end))
        start_s = max(start_s, clip.offset_s + (clip.duration_s or 0.0) + margin_s)
    return gaps


def _lengths_s(tables: Mapping[str, ClipTable], options: DataArguments) -> list[float]:
    """Return the lengths of some training clips, at most ``max_length_seconds``."""
    table = tables.get("train") or next(iter(tables.values()))
    some = table.clips[:: max(1, len(table) // _MEASURED)]
    longest_s = options.max_length_seconds or np.inf
    lengths_s = [min(seconds, longest_s) for clip in some if (seconds := duration_s(clip)) > 0]
    return lengths_s or [min(_FALLBACK_S, longest_s)]


def _each_once(cuts: Iterable[Clip]) -> list[Clip]:
    """Leave out repeated cuts, which short recordings that are taken whole give."""
    return list({(cut.path, cut.offset_s, cut.duration_s): cut for cut in cuts}.values())


def _with_fold(cuts: list[Clip], table: ClipTable) -> list[Clip]:
    """Give the cuts of a recording without a fold one of the folds, in turn."""
    folds = sorted({clip.fold for clip in table if clip.fold is not None})
    paths = list(dict.fromkeys(cut.path for cut in cuts if cut.fold is None))
    fold_of = {path: folds[index % len(folds)] for index, path in enumerate(paths)} if folds else {}
    return [cut if cut.fold is not None else replace(cut, fold=fold_of.get(cut.path)) for cut in cuts]


def _describe(
    name: str, cuts: Sequence[Clip], stretches: Sequence[Stretch], target: int, options: DataArguments, seed: int
) -> str:
    what = "without labels" if options.task == Task.MULTI_LABEL.value else f"of the class {options.background_class!r}"
    recordings = len({stretch.clip.path for stretch in stretches})
    seconds = sum(stretch.seconds for stretch in stretches)
    text = f"{name}: {counted(len(cuts), 'clip')} {what} cut from {counted(recordings, 'background recording')}"
    text += f" ({seconds:,.1f} s; seed {seed})"
    if len(cuts) < target:
        text += f"; {target:,} were wanted (as many as the average class), but there are no more different ones"
    elif sum(cut.duration_s or 0.0 for cut in cuts) > seconds:
        text += "; they overlap, because there is less background than they are long together"
    return text
