"""Timelines: probabilities of windows, and segments made from them.

Shapes: W windows, C classes.
"""

from __future__ import annotations

import numbers
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from earmark.errors import InputTypeError, UsageError
from earmark.formats.segments import Segment, Window
from earmark.settings.flags import PROBABILITY
from earmark.settings.kinds import shown
from earmark.settings.prediction_flags import DEFAULT_THRESHOLD, ODD, SECONDS
from earmark.tasks.decision import PLAIN, Decision
from earmark.text import suggestion


@dataclass(frozen=True)
class SegmentRules:
    """Rules for making segments from windows.

    Attributes:
        threshold: a segment starts at the window whose probability reaches this value.
        release: a segment ends before the window that falls below this value; ``None`` for ``threshold``. A lower value
            keeps one event in one segment (hysteresis).
        smooth_windows: number of neighbouring windows to average first, an odd number.
        merge_gap_s: segments of one class that overlap or are at most this far apart are merged, in seconds.
        min_duration_s: shorter segments are removed after merging, in seconds.
        labels: classes to look for; ``None`` for all except ``background``.
        include_background: whether to also look for the classes in ``background``.
        background: the model's classes for "none of the other classes".
        decision: the model's thresholds. For each class, the higher threshold is used.
    """

    threshold: float = DEFAULT_THRESHOLD
    release: float | None = None
    smooth_windows: int = 1
    merge_gap_s: float = 0.0
    min_duration_s: float = 0.0
    labels: Sequence[str] | None = None
    include_background: bool = False
    background: Collection[str] = ()
    decision: Decision = PLAIN

    def __post_init__(self) -> None:
        checks = {
            "threshold": PROBABILITY,
            "release": PROBABILITY,
            "smooth_windows": ODD,
            "merge_gap_s": SECONDS,
            "min_duration_s": SECONDS,
        }
        for name, check in checks.items():
            value = getattr(self, name)
            if value is None and name == "release":
                continue
            if not isinstance(value, numbers.Real) or not check.holds(value):
                raise UsageError(f"{name} {shown(value)}: expected {check.expected}")
        if isinstance(self.labels, str):
            raise InputTypeError(f"labels: found str. Pass a list of classes, [{self.labels!r}].")
        if self.release is not None and self.release > self.threshold:
            raise UsageError(f"release {self.release:g}: expected at most the threshold, {self.threshold:g}")

    def wanted(self, labels: Sequence[str]) -> list[str]:
        """Return the classes to look for.

        Args:
            labels: classes of the model.

        Raises:
            UsageError: the model does not have one of the classes.
        """
        if self.labels is not None:
            check_labels("labels", self.labels, labels)
            return list(self.labels)
        left_out = () if self.include_background else self.background
        return [label for label in labels if label not in left_out]

    def segments(self, windows: Iterable[Window], labels: Sequence[str]) -> list[Segment]:
        """Return the segments of a recording, in order of time.

        Args:
            windows: in order of time; consumed one by one, so they need not all be in memory.
            labels: class names, by column.

        Raises:
            UsageError: the model does not have one of the classes to look for.
        """
        wanted = self.wanted(labels)
        release = self.threshold if self.release is None else self.release
        thresholds = np.maximum(self.threshold, self.decision.thresholds(labels))
        tracks = {i: _Track(label, self, float(thresholds[i])) for i, label in enumerate(labels) if label in wanted}
        found: list[Segment] = []
        open_tracks: set[int] = set()
        for window in smoothed(windows, self.smooth_windows):
            near = open_tracks.union(np.flatnonzero(window.probabilities >= release).tolist())  # usually few classes
            for i in near & tracks.keys():
                found += tracks[i].add(window, float(window.probabilities[i]))
                (open_tracks.add if tracks[i].is_open else open_tracks.discard)(i)
        found += [segment for track in tracks.values() for segment in track.finish()]
        return sorted(found, key=lambda segment: (segment.start_s, segment.end_s, segment.label))


def check_labels(where: str, wanted: Sequence[str], labels: Sequence[str]) -> None:
    """Reject classes that the model does not have.

    Args:
        where: flag or argument with the classes.
        wanted: the classes.
        labels: classes of the model.

    Raises:
        UsageError: the first unknown class, with a similar class.
    """
    for label in wanted:
        if label not in labels:
            near = suggestion(label, labels) or f"; it has {', '.join(labels)}"
            raise UsageError(f"{where} {label}: the model has no such class{near}")


def smoothed(windows: Iterable[Window], count: int) -> Iterator[Window]:
    """Average probabilities over ``count`` neighbouring windows (an odd number), fewer at the ends."""
    if count == 1:
        yield from windows
        return
    half = count // 2
    near: deque[Window] = deque(maxlen=count)
    for number, window in enumerate(windows):
        near.append(window)
        if number >= half:
            at = len(near) - 1 - half
            middle = near[at]
            yield _averaged(middle, list(near)[max(0, at - half) :])
    for i in range(max(0, len(near) - half), len(near)):
        yield _averaged(near[i], list(near)[max(0, i - half) :])


def _averaged(middle: Window, near: Sequence[Window]) -> Window:
    return Window(middle.start_s, middle.end_s, np.mean([window.probabilities for window in near], axis=0))


@dataclass
class _Track:
    """State of one class in a recording."""

    label: str
    rules: SegmentRules
    threshold: float  # threshold of this class
    _heard: Segment | None = field(default=None, init=False)  # the next window may extend it
    _waiting: Segment | None = field(default=None, init=False)  # ended, but a later segment may be merged with it

    @property
    def is_open(self) -> bool:
        """Whether the next window matters even if the class is not detected in it."""
        return self._heard is not None or self._waiting is not None

    def add(self, window: Window, probability: float) -> list[Segment]:
        """Add the next window. Return the segments that are now complete."""
        rules = self.rules
        release = self.threshold if rules.release is None else rules.release
        if probability >= (self.threshold if self._heard is None else release):
            score = probability if self._heard is None else max(self._heard.score, probability)
            start_s = window.start_s if self._heard is None else self._heard.start_s
            self._heard = Segment(start_s, window.end_s, self.label, score)
            return []
        done: list[Segment] = []
        if self._heard is not None:
            done += self._end(self._heard)
            self._heard = None
        if self._waiting is not None and window.start_s - self._waiting.end_s > rules.merge_gap_s:
            done += self._long_enough(self._waiting)
            self._waiting = None
        return done

    def finish(self) -> list[Segment]:
        """Return the segments that the end of the recording completes."""
        done = self._end(self._heard) if self._heard is not None else []
        if self._waiting is not None:
            done += self._long_enough(self._waiting)
        return done

    def _end(self, segment: Segment) -> list[Segment]:
        before, self._waiting = self._waiting, segment
        if before is None:
            return []
        if segment.start_s - before.end_s <= self.rules.merge_gap_s:
            self._waiting = Segment(before.start_s, segment.end_s, self.label, max(before.score, segment.score))
            return []
        return self._long_enough(before)

    def _long_enough(self, segment: Segment) -> list[Segment]:
        # seconds are rounded, so tolerate a tiny shortfall
        return [segment] if segment.end_s - segment.start_s >= self.rules.min_duration_s - 1e-9 else []


@dataclass
class Aggregate:
    """The probabilities of a whole recording, computed from its windows.

    Attributes:
        how: ``mean``, the mean of the probabilities, which still sums to 1; or ``max``, the highest probability of each
            class in any window, for short events in long recordings.
    """

    how: str = "mean"
    _value: np.ndarray | None = field(default=None, init=False)
    _count: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        if self.how not in ("mean", "max"):
            raise UsageError(f"aggregate {self.how}: unknown value. Use mean or max")

    def add(self, probabilities: np.ndarray) -> None:
        """Add one window's probabilities (C,)."""
        row = probabilities.astype(np.float64)
        if self._value is None:
            self._value = row
        else:
            self._value = self._value + row if self.how == "mean" else np.maximum(self._value, row)
        self._count += 1

    def probabilities(self) -> np.ndarray:
        """Return float32 (C,) of all windows so far, at least one."""
        assert self._value is not None, "no window was added"
        return (self._value / (self._count if self.how == "mean" else 1)).astype(np.float32)


@dataclass(frozen=True)
class Timeline:
    """All windows of one recording.

    Attributes:
        source: the recording.
        labels: class names, by column.
        windows: windows in order of time.
        decision: decision of the model.
        background: the model's classes for "none of the other classes", which get no segments unless the rules include
            them.
    """

    source: str
    labels: list[str]
    windows: list[Window]
    decision: Decision = PLAIN
    background: Collection[str] = ()

    @property
    def probabilities(self) -> np.ndarray:
        """Probabilities, float32 (W, C)."""
        return np.stack([window.probabilities for window in self.windows])

    def segments(self, rules: SegmentRules | None = None) -> list[Segment]:
        """Return the segments in order of time; see :class:`SegmentRules`. The model's thresholds also apply."""
        own = replace(rules or SegmentRules(), decision=self.decision, background=self.background)
        return own.segments(self.windows, self.labels)

    def aggregate(self, how: str = "mean") -> np.ndarray:
        """Return float32 (C,) for the whole recording; see :class:`Aggregate`."""
        whole = Aggregate(how)
        for window in self.windows:
            whole.add(window.probabilities)
        return whole.probabilities()
