"""Check the data before training: recordings that cannot be decoded, and labels that a model cannot learn."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from earmark.audio.content import NO_CONTENT
from earmark.audio.decode import read_clip_and_content
from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.errors import AudioError, DataError, OutputError
from earmark.io.atomic import writing
from earmark.text import and_more, counted
from earmark.threads.ordered_map import map_in_threads

if TYPE_CHECKING:
    from earmark.store.bad_audio import BadAudioWatch

_CHUNK = 64  # most clips that a thread takes at a time
_CHUNK_BYTES = 16_000_000  # a thread takes fewer clips if their files are larger, so that a scan can stop quickly
_MOST_ROUNDING = 0.01  # largest rounding error of the numbers of a regression, as a fraction of their deviation
_NAMED = 10  # labels listed in a message


@dataclass(frozen=True)
class BadClip:
    """A clip that cannot be used.

    Attributes:
        index: row in the scanned table.
        source: its path, or the row it comes from.
        reason: what is wrong with it.
    """

    index: int
    source: str
    reason: str


@dataclass(frozen=True)
class ScanResult:
    """Result of decoding every clip of a table of N clips.

    Attributes:
        durations_s: duration of each clip in seconds, float64 (N,); NaN if it cannot be used.
        contents: content of each clip, uint64 (N,); see :mod:`earmark.audio.content`.
        bad: clips that cannot be used, by row.
    """

    durations_s: np.ndarray
    contents: np.ndarray
    bad: list[BadClip]


def scan_clips(
    table: ClipTable,
    sampling_rate_hz: int,
    *,
    num_workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    watch: BadAudioWatch | None = None,
) -> ScanResult:
    """Decode every clip completely, and keep only its duration and content, or its error.

    Args:
        table: N clips.
        sampling_rate_hz: rate at which the clips will be used.
        num_workers: decoder threads; soundfile and soxr release the GIL.
        progress: called regularly, in this thread, with the number of clips done and N.
        watch: reports unusable clips, and may stop the scan.

    Raises:
        DataError: the watch stops the scan.
    """
    if watch is not None:
        watch.before_decoding(num_workers)
    durations_s = np.full(len(table), np.nan)
    contents = np.full(len(table), NO_CONTENT, np.uint64)
    bad: list[BadClip] = []

    size = clips_per_chunk(table.clips)

    def scan_chunk(start: int) -> list[tuple[int, tuple[float, int] | AudioError]]:
        chunk = range(start, min(start + size, len(table)))
        return [(index, _scan_clip(table[index], sampling_rate_hz)) for index in chunk]

    done = 0
    for chunk in map_in_threads(scan_chunk, range(0, len(table), size), num_workers, "scan"):
        before = len(bad)
        for index, result in chunk:
            if isinstance(result, AudioError):
                bad.append(BadClip(index, result.source, result.reason))
            else:
                durations_s[index], contents[index] = result
        if watch is not None:
            watch.met(bad[before:], table.clips[done : done + len(chunk)])
        done += len(chunk)
        if progress is not None:
            progress(done, len(table))
    return ScanResult(durations_s, contents, bad)


def clips_per_chunk(clips: Sequence[Clip]) -> int:
    """Return how many clips a thread takes at a time; fewer if their files are large."""
    sizes = []
    for clip in clips[:: max(1, len(clips) // _CHUNK)]:
        with suppress(OSError, ValueError):
            sizes.append(os.path.getsize(clip.path or ""))
    mean = sum(sizes) / len(sizes) if sizes else 0
    return max(1, min(_CHUNK, int(_CHUNK_BYTES / mean))) if mean else _CHUNK


def _scan_clip(clip: Clip, sampling_rate_hz: int) -> tuple[float, int] | AudioError:
    """Return duration in seconds and content, or the error of an unusable clip."""
    try:
        samples, content = read_clip_and_content(clip, sampling_rate_hz)
    except AudioError as exc:
        return exc
    return len(samples) / sampling_rate_hz, content


def drop_bad(table: ClipTable, unusable: Sequence[BadClip]) -> ClipTable:
    """Return the usable clips, in their order."""
    bad = {clip.index for clip in unusable}
    return table.keep([index for index in range(len(table)) if index not in bad])


def write_bad_audio(path: str | os.PathLike[str], rows: Iterable[tuple[str, BadClip]], *, keep: bool = False) -> None:
    """Write ``bad_audio.csv``: ``path,split,reason``.

    Args:
        path: file to write.
        rows: ``(split, clip)`` pairs.
        keep: whether to keep the rows of an existing file and append new ones.

    Raises:
        OutputError: the file cannot be read or written.
    """
    lines = [["path", "split", "reason"], *([clip.source, split, clip.reason] for split, clip in rows)]
    try:
        if keep and Path(path).exists():
            with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
                there = list(csv.reader(file))
            lines = there + [line for line in lines if line not in there]
    except OSError as exc:
        raise OutputError(f"{path}: cannot be read ({exc.strerror}). Fix its permissions or remove it") from exc
    with writing(Path(path)) as file:
        csv.writer(file).writerows(lines)


def check_tables(splits: Splits) -> None:
    """Check that a model can be trained on the training clips and evaluated on the other splits.

    Raises:
        DataError: a split without clips; fewer than two classes (for multi-label: none); one label in two spellings; a
            class in validation or test that training lacks; or numbers that are all equal or that float32 cannot
            distinguish.
    """
    named = {"training": splits.train, "validation": splits.validation, "test": splits.test}
    tables = {name: table for name, table in named.items() if table is not None}
    for name, table in tables.items():
        if not len(table):
            raise DataError(f"{table.origin}: no {name} clips. Add some")
    _check_spelling(tables)
    if splits.train is None:
        return
    _check_differ(splits.train)
    for name, table in tables.items():
        _check_known(name, table, splits.train)


def _check_differ(train: ClipTable) -> None:
    """Check that the training clips differ in their labels."""
    kinds = {clip.label for clip in train}
    if numbers := [label for label in kinds if isinstance(label, float)]:
        _check_precision(train.origin, np.array(numbers))
    if len(kinds) > 1 or train.not_drawn:
        return
    label = train[0].label
    have = "the only training clip has" if len(train) == 1 else f"all {len(train):,} training clips have"
    if isinstance(label, float):
        raise DataError(
            f"{train.origin}: {have} the number {label:g}, so there is nothing to learn. Add clips with other numbers"
        )
    if isinstance(label, tuple):
        raise DataError(f"{train.origin}: {have} the same labels ({train[0].label_text}). Add clips with other labels")
    raise DataError(f"{train.origin}: {have} the label {label!r}. Use at least two classes")


def _check_precision(origin: str, numbers: np.ndarray) -> None:
    """Check that float32, in which models compute, distinguishes the numbers of a regression."""
    rounding = float(np.abs(numbers.astype(np.float32) - numbers).max())
    if len(numbers) > 1 and rounding > _MOST_ROUNDING * numbers.std():
        raise DataError(
            f"{origin}: the numbers, {numbers.min():.10g} to {numbers.max():.10g}, are too close to each other: "
            f"float32, in which the model computes, rounds them by up to {rounding:.2g}. Use smaller numbers: subtract "
            f"a constant, or change the unit."
        )


def _check_known(name: str, table: ClipTable, train: ClipTable) -> None:
    known = set(train.labels_to_learn())
    unknown = {label: count for label, count in table.label_counts().items() if label not in known}
    if not unknown:
        return
    named = [f"{label!r} ({counted(count, 'clip')})" for label, count in unknown.items()]
    learned = and_more([repr(label) for label in train.labels_to_learn()], _NAMED)
    raise DataError(
        f"{table.origin}: the {name} split has labels that no training clip has: {and_more(named, _NAMED)}. The "
        f"training labels are {learned}. Add training clips of these classes, or remove them from the {name} split"
    )


def spellings_of_one_label(tables: Iterable[ClipTable]) -> list[dict[str, int]]:
    """Return labels that differ only in letter case, blanks or Unicode form, with the clip count of each spelling."""
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for table in tables:
        for label, count in table.label_counts().items():
            counts[_folded(label)][label] += count
    return [dict(sorted(spellings.items())) for spellings in counts.values() if len(spellings) > 1]


def _check_spelling(tables: dict[str, ClipTable]) -> None:
    twice = spellings_of_one_label(tables.values())
    if twice:
        named = "; ".join(
            " and ".join(f"{label!r} ({counted(count, 'clip')})" for label, count in spellings.items())
            for spellings in twice[:_NAMED]
        )
        origins = ", ".join(dict.fromkeys(table.origin for table in tables.values()))
        raise DataError(
            f"{origins}: labels that differ only in letter case, blanks or Unicode form are different classes: "
            f"{named}. Use one spelling for each class"
        )


def _folded(label: str) -> str:
    return unicodedata.normalize("NFC", label).strip().casefold()
