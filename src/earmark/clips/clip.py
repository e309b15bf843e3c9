"""The one table type: which stretch of which recording carries which label. No samples, no torch."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from earmark.formats.sheet import Reason
from earmark.label_lists import join_labels
from earmark.tasks.task import Label

_WHOLE_NUMBER = re.compile(r"[+-]?[0-9]+(?:\.0+)?")


@dataclass(frozen=True, slots=True)
class Clip:
    """One stretch of sound and what is known about it. Holds no samples; :mod:`earmark.audio.decode` reads them.

    Attributes:
        source: what messages and result files call this clip: its path as given, or ``"data.parquet row 7"``.
        label: class name; a tuple of them where a clip may have several (``multi_label``); a number (``regression``);
            ``None`` when unknown (prediction).
        path: file to read, absolute or relative to the working directory; ``None`` when ``read_bytes`` is set.
        read_bytes: returns the encoded file (wav, flac, ...), for tables that embed their audio. Called on demand,
            so a table of 100,000 embedded clips does not have to sit in memory. Must be picklable.
        group: clips of one group (speaker, tape, site) never go to two splits.
        fold: name of the official fold, where the data set has them.
        offset_s: start within the recording, in seconds.
        duration_s: length from there in seconds; ``None`` for the rest of the recording.
        metadata: what else its row of a table says, by column: text, numbers, ``None`` for an empty cell. Figures are
            broken down by it; nothing is learned from it.
    """

    source: str
    label: Label | None = None
    path: str | None = None
    read_bytes: Callable[[], bytes] | None = None
    group: str | None = None
    fold: str | None = None
    offset_s: float = 0.0
    duration_s: float | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict, compare=False)

    @property
    def end_s(self) -> float | None:
        """Where it ends in its recording, in seconds; ``None`` at the end of the recording."""
        return None if self.duration_s is None else self.offset_s + self.duration_s

    @property
    def name(self) -> str:
        """Its recording, and which part of it, for messages."""
        if self.offset_s == 0 and self.duration_s is None:
            return self.source
        end = "the end" if self.end_s is None else f"{self.end_s:.3f}"
        return f"{self.source} from {self.offset_s:.3f} to {end} s"

    @property
    def classes(self) -> tuple[str, ...]:
        """The class names it carries: one, several or none."""
        if isinstance(self.label, tuple):
            return self.label
        return (self.label,) if isinstance(self.label, str) else ()

    @property
    def label_key(self) -> frozenset[str] | str | float | None:
        """Its label for comparisons: the order of several class names does not count."""
        return frozenset(self.label) if isinstance(self.label, tuple) else self.label

    @property
    def label_text(self) -> str:
        """Its label in words, for people and files; empty without one."""
        if isinstance(self.label, tuple):
            return join_labels(self.label)
        return "" if self.label is None else f"{self.label:.10g}" if isinstance(self.label, float) else self.label


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """Return class names in the order of a new model's outputs: by number if all are whole numbers, else by letter."""
    names = sorted(labels)
    if all(map(_WHOLE_NUMBER.fullmatch, names)):
        names.sort(key=lambda name: int(name.partition(".")[0]))
    return names


@dataclass(frozen=True)
class ClipTable(Sequence[Clip]):
    """Clips of one split, in a fixed order.

    Attributes:
        clips: the rows.
        origin: where they came from, for messages: a folder, a manifest, a data set's name.
        reasons: the rules by which they were read.
        missing: why not a single recording of it can be used, if none was found; for whoever needs them.
    """

    clips: list[Clip]
    origin: str
    reasons: tuple[Reason, ...] = ()
    missing: str | None = None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:  # type: ignore[override]
        return self.clips[index]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def labels(self) -> list[str]:
        """Return the class names that occur, in the order of :func:`sorted_labels`."""
        return sorted_labels({name for clip in self.clips for name in clip.classes})

    def label_counts(self) -> dict[str, int]:
        """Clips per class name, most frequent first."""
        return dict(Counter(name for clip in self.clips for name in clip.classes).most_common())

    def keep(self, indices: Sequence[int]) -> ClipTable:
        """Return the rows at ``indices``, in that order, with the same origin."""
        return ClipTable([self.clips[i] for i in indices], self.origin, self.reasons, self.missing)


_PRINTED_CLIPS, _PRINTED_BYTES = 64, 1 << 16


def fingerprint(table: ClipTable) -> str:
    """Short text that tells tables of other recordings apart, the same on every machine that holds these.

    Made of all labels and cuts, and of the first 64 kB of 64 recordings, evenly spread: their samples as decoded may
    differ in the last bit from one kind of processor to the next, their bytes do not.
    """
    digest = hashlib.sha256()
    for clip in table:
        digest.update(repr((clip.label, clip.offset_s, clip.duration_s)).encode())
    for clip in table.clips[:: max(1, len(table) // _PRINTED_CLIPS)]:
        digest.update(_first_bytes(clip))
    return digest.hexdigest()[:12]


def _first_bytes(clip: Clip) -> bytes:
    if clip.read_bytes is not None:
        return clip.read_bytes()[:_PRINTED_BYTES]
    if clip.path is None:
        return b""
    with open(clip.path, "rb") as file:
        return file.read(_PRINTED_BYTES)


@dataclass
class Splits:
    """What a source gave, split by split.

    Attributes:
        train: clips to learn from; ``None`` when the source has only evaluation clips.
        validation: clips to choose and judge by while training.
        test: clips touched once, at the end.
        notes: one line for each thing done that the user did not ask for (a split that was made, a folder that was
            skipped). The command line prints them.
        whole: the table that the splits are parts of, where other runs take other parts of it (folds): its recordings
            are decoded once for all of them.
        is_made: whether validation clips (and folds) were chosen by a seed, and are not the source's own.
        reasons: the rules by which the tables were read.
    """

    train: ClipTable | None = None
    validation: ClipTable | None = None
    test: ClipTable | None = None
    notes: list[str] = field(default_factory=list)
    whole: ClipTable | None = None
    is_made: bool = False
    reasons: list[Reason] = field(default_factory=list)
