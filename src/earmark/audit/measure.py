"""Measure recordings from their samples: length, level, faults, and a shape to find similar recordings.

Shapes: N clips, F frames, T samples, D values of a shape.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from earmark.audio.content import ContentHash
from earmark.audio.decode import num_channels, stream_at_own_rate
from earmark.audio.incomplete import INCOMPLETE
from earmark.audio.samples import CANCELLED, PowerLeft
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import AudioError
from earmark.store.bad_audio import BadAudioWatch
from earmark.store.scan import BadClip
from earmark.threads.ordered_map import map_in_threads

NUM_BANDS, NUM_PARTS = 20, 12
_LOWEST_HZ, _HIGHEST_HZ = 80.0, 3800.0  # the band of telephone audio, so that a copy at 8 kHz has the same shape
_FRAME_S, _HOP_S = 0.032, 0.016
_POOLED = 64  # frames of a long recording that are averaged into one
_SHORTEST_RUN = 3  # consecutive samples at the limit that count as a clipped peak
_STEP = 1 / 32768
_CHUNK = 32  # clips that a thread takes at once
_SILENCE = 1e-10


@dataclass(eq=False)
class Measures:
    """Measurements of N clips in the order of their table; clips that cannot be read keep the values of :meth:`empty`.

    Attributes:
        duration_s: length, float64 (N,).
        rate_hz: the recording's own sampling rate, int64 (N,).
        channels: number of channels, int64 (N,); 0 if the header does not give it.
        left: fraction of the power that remains after averaging the channels, float64 (N,); see
            :class:`earmark.audio.samples.PowerLeft`.
        peak: largest absolute sample, 1 is full scale, float64 (N,).
        rms: root of the mean square, float64 (N,).
        dc_offset: mean of the samples, float64 (N,).
        clipped: fraction of the samples in clipped peaks, float64 (N,).
        content: hash, equal for equal recordings in any container, uint64 (N,); see :mod:`earmark.audio.content`.
        shape: band levels over parts of the clip, a unit vector, float32 (N, D); zero for silence.
        bad: clips that cannot be read.
        incomplete: clips that can be read although their recording is damaged.
    """

    duration_s: np.ndarray
    rate_hz: np.ndarray
    channels: np.ndarray
    left: np.ndarray
    peak: np.ndarray
    rms: np.ndarray
    dc_offset: np.ndarray
    clipped: np.ndarray
    content: np.ndarray
    shape: np.ndarray
    bad: list[BadClip] = field(default_factory=list)
    incomplete: list[BadClip] = field(default_factory=list)

    @classmethod
    def empty(cls, count: int) -> Measures:
        """Return N clips without measurements: ``left`` is 1, all other values are 0."""
        return cls(
            duration_s=np.zeros(count),
            rate_hz=np.zeros(count, np.int64),
            channels=np.zeros(count, np.int64),
            left=np.ones(count),
            peak=np.zeros(count),
            rms=np.zeros(count),
            dc_offset=np.zeros(count),
            clipped=np.zeros(count),
            content=np.zeros(count, np.uint64),
            shape=np.zeros((count, NUM_BANDS * NUM_PARTS), np.float32),
        )

    @property
    def readable(self) -> np.ndarray:
        """Which clips could be read, bool (N,)."""
        return self.duration_s > 0


def measure(
    table: ClipTable, *, num_workers: int, progress: Callable[[int], None], watch: BadAudioWatch | None = None
) -> Measures:
    """Decode every clip once at its own sampling rate, and measure it.

    Args:
        table: N clips.
        num_workers: number of threads; soundfile and numpy's transforms release the GIL.
        progress: called in this thread with the number of clips done since the last call.
        watch: reports clips that cannot be read.
    """
    count = len(table)
    measures = Measures.empty(count)

    def measure_chunk(start: int) -> tuple[int, list[BadClip]]:
        bad = []
        rows = range(start, min(start + _CHUNK, count))
        for row in rows:
            try:
                _measure_clip(table[row], measures, row)
            except AudioError as exc:
                bad.append(BadClip(row, exc.source, exc.reason))
        return len(rows), bad

    for done, bad in map_in_threads(measure_chunk, range(0, count, _CHUNK), num_workers, "audit"):
        measures.bad += bad
        if watch is not None:
            watch.met(bad)
        progress(done)
    CANCELLED.take()  # a finding reports these clips, so they need no warning
    faults = INCOMPLETE.take()
    measures.incomplete = [
        BadClip(row, clip.source, faults[name])
        for row, clip in enumerate(table)
        if (name := clip.path or clip.source) in faults
    ]
    return measures


def _measure_clip(clip: Clip, measures: Measures, row: int) -> None:
    content, blocks, left, rate_hz = ContentHash(), _Sums(), PowerLeft(), 0
    for samples, rate_hz in stream_at_own_rate(clip, left):
        content.update(samples)
        blocks.add(samples, rate_hz)
    measures.channels[row] = num_channels(clip)
    measures.left[row] = left.ratio
    measures.rate_hz[row] = rate_hz
    measures.peak[row] = max(blocks.highest, -blocks.lowest)
    measures.rms[row] = np.sqrt(blocks.square / blocks.count)
    measures.dc_offset[row] = blocks.total / blocks.count
    measures.clipped[row] = blocks.clipped() / blocks.count
    measures.content[row] = content.value(rate_hz)
    measures.shape[row] = blocks.shape()
    measures.duration_s[row] = blocks.count / rate_hz  # last, because it marks the row as complete


class _Sums:
    """Sums over the blocks of one recording."""

    def __init__(self) -> None:
        self.count = 0
        self.total = self.square = 0.0
        self.highest, self.lowest = -np.inf, np.inf
        self._runs: dict[float, int] = {}  # extreme value of a block -> number of samples in runs at this value
        self._levels: list[np.ndarray] = []

    def add(self, samples: np.ndarray, rate_hz: int) -> None:
        """Add a block, float32 (T,)."""
        self.count += len(samples)
        self.total += float(samples.sum(dtype=np.float64))
        self.square += float(np.dot(samples, samples)) if len(samples) < 1 << 16 else _square(samples)
        for extreme in (float(samples.max()), float(samples.min())):
            self._runs[extreme] = self._runs.get(extreme, 0) + _in_runs(np.abs(samples - extreme) < _STEP)
        self.highest, self.lowest = max(self.highest, float(samples.max())), min(self.lowest, float(samples.min()))
        levels = band_levels(samples, rate_hz)
        if len(levels) > NUM_PARTS * _POOLED:
            whole = len(levels) // _POOLED * _POOLED
            levels = levels[:whole].reshape(-1, _POOLED, NUM_BANDS).mean(axis=1)
        self._levels.append(levels)

    def clipped(self) -> int:
        """Return the number of samples in runs at the extremes, if they look like clipping and not like a pause."""
        if max(self.highest, -self.lowest) < 0.1 or self.highest - self.lowest < 0.1:
            return 0
        near = [value for value in self._runs if min(abs(value - self.highest), abs(value - self.lowest)) < _STEP]
        return sum(self._runs[value] for value in near)

    def shape(self) -> np.ndarray:
        """Return the shape of the recording, float32 (D,); see :class:`Measures`."""
        return clip_shape(np.concatenate(self._levels))


def _square(samples: np.ndarray) -> float:
    return float(np.square(samples, dtype=np.float64).sum())


def _in_runs(hits: np.ndarray) -> int:
    """Count the True values of bool (T,) in runs of three or more."""
    if np.count_nonzero(hits) < _SHORTEST_RUN:
        return 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], hits.view(np.int8), [0]])))
    lengths = edges[1::2] - edges[::2]
    return int(lengths[lengths >= _SHORTEST_RUN].sum())


_FILTERS: dict[tuple[int, int], np.ndarray] = {}


def band_levels(samples: np.ndarray, rate_hz: int) -> np.ndarray:
    """Return the power of samples (T,) in bands of equal width on a logarithmic scale, float32 (F, bands)."""
    size, hop = max(16, round(_FRAME_S * rate_hz)), max(8, round(_HOP_S * rate_hz))
    if len(samples) < size:
        samples = np.pad(samples, (0, size - len(samples)))
    frames = np.lib.stride_tricks.sliding_window_view(samples, size)[::hop]
    spectrum = np.fft.rfft(frames * np.hanning(size).astype(np.float32), axis=1)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32)
    if (size, rate_hz) not in _FILTERS:
        edges_hz = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, NUM_BANDS + 1)
        bins_hz = np.arange(size // 2 + 1) * rate_hz / size
        inside = (bins_hz[:, None] >= edges_hz[:-1]) & (bins_hz[:, None] < edges_hz[1:])
        nearest = np.abs(bins_hz[:, None] - np.sqrt(edges_hz[1:] * edges_hz[:-1])).argmin(axis=0)
        inside[nearest, np.arange(NUM_BANDS)] = True  # bands at the low end are narrower than a bin
        _FILTERS[size, rate_hz] = (inside / inside.sum(axis=0)).astype(np.float32)
    levels: np.ndarray = power @ _FILTERS[size, rate_hz]
    return levels


def clip_shape(levels: np.ndarray) -> np.ndarray:
    """Return the shape, float32 (D,), of a clip of any length from its band powers (F, bands).

    The shape holds mean levels in dB over equal parts of the clip, minus their mean, so that gain has no effect.
    """
    starts = np.minimum(np.arange(NUM_PARTS) * len(levels) // NUM_PARTS, len(levels) - 1)
    ends = np.maximum(np.append(starts[1:], len(levels)), starts + 1)
    sums = np.concatenate([np.zeros((1, NUM_BANDS)), np.cumsum(levels, axis=0, dtype=np.float64)])
    parts = (sums[ends] - sums[starts]) / (ends - starts)[:, None]
    loudest = parts.max()
    if loudest <= _SILENCE:
        return np.zeros(NUM_PARTS * NUM_BANDS, np.float32)
    shape = np.log(np.maximum(parts, loudest * 1e-5)).ravel()  # 50 dB below the loudest part is codec noise
    shape -= shape.mean()
    length = float(np.linalg.norm(shape))
    return (shape / length if length > 0 else shape).astype(np.float32)
