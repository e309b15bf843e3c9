"""A clip (part of a recording and its label) and a table of clips. No samples, no torch."""

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
    """Part of a recording, its label and metadata. Holds no samples; :mod:`earmark.audio.decode` reads them.

    Attributes:
        source: name of the clip in messages and result files: its path as given, or ``"data.parquet row 7"``.
        label: class name; a tuple of names for several labels (``multi_label``); a number (``regression``); ``None`` if
            unknown (prediction).
        path: file to read, absolute or relative to the working directory; ``None`` if ``read_bytes`` is set.
        read_bytes: returns the encoded file (wav, flac, ...) for tables that embed their audio. Called on demand, so
            100,000 embedded clips need not fit into memory. Must be picklable.
        group: clips of one group (speaker, site, recording day) are always in the same split.
        fold: name of the official fold, if the data set has folds.
        offset_s: start in the recording, in seconds.
        duration_s: length from there, in seconds; ``None`` for the rest of the recording.
        metadata: other columns of its row: text, numbers, ``None`` for an empty cell. They are used to break results
            down, not to train.
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
        """End in the recording, in seconds; ``None`` for the end of the recording."""
        return None if self.duration_s is None else self.offset_s + self.duration_s

    @property
    def name(self) -> str:
        """Name of the recording and of the part that the clip covers, for messages."""
        if self.offset_s == 0 and self.duration_s is None:
            return self.source
        end = "the end" if self.end_s is None else f"{self.end_s:.3f}"
        return f"{self.source} from {self.offset_s:.3f} to {end} s"

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names of the clip: none, one or several."""
        if isinstance(self.label, tuple):
            return self.label
        return (self.label,) if isinstance(self.label, str) else ()

    @property
    def label_key(self) -> frozenset[str] | str | float | None:
        """Label for comparisons; the order of several class names does not matter."""
        return frozenset(self.label) if isinstance(self.label, tuple) else self.label

    @property
    def label_text(self) -> str:
        """Label as text, for messages and files; empty without a label."""
        if isinstance(self.label, tuple):
            return join_labels(self.label)
        return "" if self.label is None else f"{self.label:.10g}" if isinstance(self.label, float) else self.label


def sorted_labels(labels: Iterable[str]) -> list[str]:
    """Return class names in the order of a new model's outputs: by number if all are whole numbers, else by name."""
    names = sorted(labels)
    if all(map(_WHOLE_NUMBER.fullmatch, names)):
        names.sort(key=lambda name: int(name.partition(".")[0]))
    return names


@dataclass(frozen=True)
class ClipTable(Sequence[Clip]):
    """Clips of one split, in a fixed order.

    Attributes:
        clips: the rows.
        origin: where they come from, for messages: a folder, a manifest, the name of a data set.
        reasons: rules by which they were read.
        missing: error message if none of its recordings was found, for code that needs the recordings.
        not_drawn: classes of the split of which no clip is here, because fewer clips than classes were drawn.
    """

    clips: list[Clip]
    origin: str
    reasons: tuple[Reason, ...] = ()
    missing: str | None = None
    not_drawn: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:  # type: ignore[override]
        return self.clips[index]

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    def labels(self) -> list[str]:
        """Return the class names in the table, in the order of :func:`sorted_labels`."""
        return sorted_labels({name for clip in self.clips for name in clip.classes})

    def labels_to_learn(self) -> list[str]:
        """Return the classes of a model that is trained on the table: :meth:`labels`, and classes not drawn."""
        return sorted_labels({*self.labels(), *self.not_drawn})

    def label_counts(self) -> dict[str, int]:
        """Return the number of clips of each class, most frequent first."""
        return dict(Counter(name for clip in self.clips for name in clip.classes).most_common())

    def keep(self, indices: Sequence[int]) -> ClipTable:
        """Return a table of the rows at ``indices``, in that order, with the same origin."""
        return ClipTable([self.clips[i] for i in indices], self.origin, self.reasons, self.missing, self.not_drawn)


_PRINTED_CLIPS, _PRINTED_BYTES = 64, 1 << 16


def fingerprint(table: ClipTable) -> str:
    """Return a short text that identifies the recordings and labels of a table on every machine.

    It is a hash of all labels, offsets and durations, and of the first 64 KiB of about 64 evenly spaced recordings. It
    uses their encoded bytes, because decoded samples may differ in the last bit between processors.
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
    """The splits of a data source.

    Attributes:
        train: clips to train on; ``None`` if the source has only evaluation clips.
        validation: clips for choosing the best epoch and settings.
        test: clips for the final evaluation.
        notes: one line for each decision that the user did not ask for explicitly (a split that was made, a folder that
            was ignored). The command line prints them.
        whole: table that the splits are parts of, if other runs use other parts of it (folds). Its recordings are then
            decoded once for all runs.
        is_made: whether validation clips (and folds) were chosen with a seed instead of by the source.
        reasons: rules by which the tables were read.
    """

    train: ClipTable | None = None
    validation: ClipTable | None = None
    test: ClipTable | None = None
    notes: list[str] = field(default_factory=list)
    whole: ClipTable | None = None
    is_made: bool = False
    reasons: list[Reason] = field(default_factory=list)
