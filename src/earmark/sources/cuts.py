"""Cut clips out of recordings, at random positions or at positions that depend only on the recording."""

from __future__ import annotations

import hashlib
import heapq
import math
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from earmark.audio.decode import duration_s, own_rate_hz, stream_at_own_rate
from earmark.clips.clip import Clip, Label
from earmark.errors import AudioError, DataError

_MEASURED = 200  # training clips whose lengths are measured
_POINTS = 16  # points of each clip on the hash ring from which lengths are drawn
_WHOLE_FROM = 0.5  # if no part is long enough, use whole parts of at least this fraction of the longest
_TRIES = 4  # attempts per clip, because cuts of short recordings repeat


@dataclass(frozen=True)
class Stretch:
    """Part of a recording that clips may be cut from.

    Attributes:
        clip: the whole recording; clips inherit its group and fold.
        rate_hz: its sampling rate.
        first: first sample.
        end: sample after the last one.
    """

    clip: Clip
    rate_hz: int
    first: int
    end: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return (self.end - self.first) / self.rate_hz

    def cut(self, first: int, length: int, label: Label) -> Clip:
        """Return the clip of ``length`` samples that starts at sample ``first``."""
        offset_s = first / self.rate_hz
        source = f"{self.clip.source} at {offset_s:.3f} s"
        return replace(self.clip, source=source, label=label, offset_s=offset_s, duration_s=length / self.rate_hz)


def cut_at_random(
    stretches: Sequence[Stretch], lengths_s: Sequence[float], label: Label, rng: np.random.Generator
) -> list[Clip]:
    """Cut clips at random positions, from each stretch in turn.

    Args:
        stretches: parts of recordings to cut from. A part shorter than a clip is used whole.
        lengths_s: length of each clip in seconds.
        label: label of the clips.
        rng: random generator for the positions.

    Returns:
        One clip for each length, sorted by position.
    """
    cuts = []
    for index, length_s in enumerate(lengths_s):
        stretch = stretches[index % len(stretches)]
        length = min(round(length_s * stretch.rate_hz), stretch.end - stretch.first)
        cuts.append(stretch.cut(int(rng.integers(stretch.first, stretch.end - length + 1)), length, label))
    return _by_place(cuts)


def hash_fraction(*values: object) -> float:
    """Return a pseudo-random number in [0, 1) that is the same for equal values on every machine."""
    text = repr(values).encode("utf-8", "surrogateescape")
    return (int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "big") >> 11) / (1 << 53)


def hash_order(paths: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return the paths in a pseudo-random order, each with the key that decides its position.

    The key is the file name, and a number that counts files with the same name. So the folder and files with other
    names do not change the order of two recordings.
    """
    seen: Counter[str] = Counter()
    keys: dict[str, tuple[str, int]] = {}
    for path in sorted(set(paths)):
        name = Path(path).name
        keys[path] = (name, seen[name])
        seen[name] += 1
    return dict(sorted(keys.items(), key=lambda item: (hash_fraction("order", item[1]), item[1])))


def measured(clip: Clip) -> tuple[float, int]:
    """Return the length of a clip in seconds and its sampling rate, from the header or by decoding; 0 if unreadable."""
    seconds, rate_hz = duration_s(clip), own_rate_hz(clip)
    if seconds > 0 and rate_hz > 0:
        return seconds, rate_hz
    frames = 0
    try:
        for samples, block_rate_hz in stream_at_own_rate(clip):
            frames, rate_hz = frames + len(samples), block_rate_hz
    except AudioError:
        return 0.0, 0
    return frames / rate_hz, rate_hz


class ClipLengths:
    """Distribution of the lengths of training clips. Adding a few clips changes only a few of the draws.

    Args:
        clips: training clips, at least one.
        longest_s: maximum length, in seconds.

    Raises:
        DataError: no clip's length can be measured.
    """

    def __init__(self, clips: Iterable[Clip], longest_s: float = math.inf) -> None:
        named = [(_name(clip), clip) for clip in clips]
        some = heapq.nsmallest(_MEASURED, named, key=lambda one: (hash_fraction("measured", one[0]), one[0]))
        lengths_s = [(name, duration_s(clip) or measured(clip)[0]) for name, clip in some]
        points = [
            (hash_fraction("point", name, number), min(seconds, longest_s))
            for name, seconds in lengths_s
            if seconds > 0
            for number in range(_POINTS)
        ]
        if not points:
            raise DataError(
                f"{some[0][1].source}: the length of this clip, and of all other training clips, cannot be measured, "
                "so no background clips of similar length can be cut. Convert the clips to WAV or FLAC"
            )
        self._points = sorted(points)

    def draw(self, *key: object) -> float:
        """Return a length in seconds that depends on ``key``."""
        at = bisect_left(self._points, (hash_fraction("length", *key), 0.0))
        return self._points[at % len(self._points)][1]


class _Recording:
    """The parts of one recording that clips are cut from."""

    def __init__(self, key: tuple[str, int], stretches: Sequence[Stretch]) -> None:
        self.key = key
        self.stretches = stretches
        self.rate_hz = stretches[0].rate_hz
        self._frames = np.array([stretch.end - stretch.first for stretch in stretches])

    def room_s(self, length_s: float) -> np.ndarray:
        """Return how far a clip's start can move in each part, in seconds, float64 (N,); 0 if the part is too short."""
        return np.maximum(0, self._frames - self._num_frames(length_s) + 1) / self.rate_hz

    def cut(self, length_s: float, label: Label, *key: object) -> Clip:
        """Return a clip that depends only on ``key``, from a part that is long enough; positions are equally likely."""
        room_s = self.room_s(length_s)
        sums = np.cumsum(room_s)
        at = int(np.searchsorted(sums, hash_fraction("stretch", *key) * sums[-1], side="right"))
        at = min(at, int(np.flatnonzero(room_s)[-1]))  # in case the product was rounded up
        stretch, starts = self.stretches[at], round(room_s[at] * self.rate_hz)
        first = stretch.first + int(hash_fraction("start", *key) * starts)
        return stretch.cut(first, self._num_frames(length_s), label)

    def _num_frames(self, length_s: float) -> int:
        return max(1, round(length_s * self.rate_hz))


def draw_cuts(stretches: Sequence[Stretch], count: int, lengths: ClipLengths, label: Label) -> tuple[list[Clip], int]:
    """Cut clips from all recordings in turn, each with the length of a training clip.

    The clips of a recording depend on its name and its parts, not on a seed. Adding recordings or asking for more clips
    does not change the first clips. Clips are only cut from parts that are long enough; if a recording has none,
    another recording is used. If no recording has a part that is long enough, the longest parts are used whole.

    Args:
        stretches: parts of recordings to cut from.
        count: number of clips.
        lengths: lengths of training clips.
        label: label of the clips.

    Returns:
        At most ``count`` different clips, sorted by position; and how many of them are whole parts that are shorter
        than the length drawn.
    """
    by_path: dict[str, list[Stretch]] = defaultdict(list)
    for stretch in stretches:
        by_path[stretch.clip.path or ""].append(stretch)
    recordings = [_Recording(key, by_path[path]) for path, key in hash_order(by_path).items()]
    longest_first = sorted(stretches, key=lambda stretch: -stretch.seconds)
    whole = [one for one in longest_first if one.seconds >= _WHOLE_FROM * longest_first[0].seconds]
    cuts: dict[tuple[str | None, float, float | None], Clip] = {}
    num_short = 0
    for number in range(_TRIES * count):
        turn, at = divmod(number, len(recordings))
        key = (*recordings[at].key, turn)
        length_s = lengths.draw(*key)
        source = _long_enough(recordings, at, length_s, key)
        if source is not None:
            cut = source.cut(length_s, label, *key)
        elif whole:
            stretch = whole.pop(0)
            cut = stretch.cut(stretch.first, stretch.end - stretch.first, label)
            num_short += 1
        else:
            continue
        cuts[cut.path, cut.offset_s, cut.duration_s] = cut
        if len(cuts) == count:
            break
    return _by_place(cuts.values()), num_short


def _long_enough(
    recordings: Sequence[_Recording], at: int, length_s: float, key: tuple[object, ...]
) -> _Recording | None:
    """Return the next recording in turn if it is long enough for a clip, else another one, or ``None``."""
    if recordings[at].room_s(length_s).any():
        return recordings[at]
    rooms = [(recording, float(recording.room_s(length_s).sum())) for recording in recordings]
    there = [(recording, room_s) for recording, room_s in rooms if room_s > 0]
    if not there:
        return None
    # Rendezvous hashing, weighted by the room in each recording: adding recordings changes only a few choices.
    chosen, _ = max(there, key=lambda one: one[1] / -math.log(hash_fraction("instead", one[0].key, *key) or 1e-17))
    return chosen


def _by_place(cuts: Iterable[Clip]) -> list[Clip]:
    return sorted(cuts, key=lambda clip: (clip.path or "", clip.offset_s))


def _name(clip: Clip) -> tuple[str, float]:
    """Return a name that does not depend on where the data is: the last folder, the file and the offset."""
    return "/".join(Path(clip.path or clip.source).parts[-2:]), clip.offset_s
