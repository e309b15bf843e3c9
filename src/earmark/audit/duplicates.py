"""Find recordings that are in the data twice: identical, or recoded, amplified or resampled copies."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from earmark.audio.content import equal_content
from earmark.audio.decode import read_clip
from earmark.audit.measure import Measures
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import AudioError
from earmark.text import counted
from earmark.threads.ordered_map import map_in_threads

MOST_COMPARED = 100_000  # clips; each is compared with every other of similar length
MOST_HEARD = 20_000  # pairs of similar shape whose samples are compared
# In Speech Commands, 2 of 100,000 pairs of clips reach this cosine. 19 of 20 copies reach it: as MP3 or Vorbis, at 8
# kHz, at a third of the gain, or with noise at 20 dB.
_LIKE_SHAPE = 0.97
_LIKE_LENGTH = 1.1
_LIKE_SAMPLES = 0.9  # correlation at the best shift
_COMPARED_HZ = 8000
_COMPARED_S = 10.0
_BLOCK = 2048


@dataclass(frozen=True)
class CopySet:
    """Clips that are copies of each other, directly or through other clips of the set.

    Attributes:
        rows: the clips, in order.
        details: a short reason why each clip is in the set.
        is_certain: whether all have equal samples; otherwise some are only very similar.
    """

    rows: list[int]
    details: list[str]
    is_certain: bool


@dataclass(frozen=True)
class Duplicates:
    """Clips that are copies of one recording.

    Attributes:
        exact: rows of clips with equal samples, one list per recording.
        near: pairs of rows ``(i, j)`` with i < j, and their correlation.
        left_out: why the search is incomplete; empty if it is complete.
    """

    exact: list[list[int]]
    near: list[tuple[int, int, float]]
    left_out: str = ""

    def sets(self) -> list[CopySet]:
        """Group all copies so that each clip is in one set; sets are in the order of their first clips."""
        parent: dict[int, int] = {}

        def find_root(row: int) -> int:
            while parent.setdefault(row, row) != row:
                row = parent[row] = parent[parent[row]]
            return row

        nearest: dict[int, float] = defaultdict(float)  # the highest correlation of each clip
        for i, j, value in self.near:
            nearest[i], nearest[j] = max(nearest[i], value), max(nearest[j], value)
        links = [(rows[0], row) for rows in self.exact for row in rows[1:]] + [(i, j) for i, j, _ in self.near]
        for one, other in links:
            low, high = sorted((find_root(one), find_root(other)))
            parent[high] = low
        members: dict[int, list[int]] = defaultdict(list)
        for row in sorted(parent):
            members[find_root(row)].append(row)
        equal = {row for rows in self.exact for row in rows}
        near = nearest.keys()
        return [
            CopySet(
                rows,
                ["the same samples" if row in equal else f"correlation {nearest[row]:.2f}" for row in rows],
                near.isdisjoint(rows),
            )
            for rows in members.values()
        ]


def sets_in_words(sets: Sequence[CopySet]) -> str:
    """Return the number of sets, counting those of probable copies separately."""
    certain = sum(copies.is_certain for copies in sets)
    likely = len(sets) - certain
    if not likely:
        return f"{counted(certain, 'set')} of copies"
    what = f"{counted(likely, 'set')} of clips that may be copies"
    return f"{counted(certain, 'set')} of copies and {what}" if certain else what


def find_duplicates(
    table: ClipTable, measures: Measures, *, num_workers: int, progress: Callable[[int, int], None]
) -> Duplicates:
    """Find clips that are in a table twice.

    The search does not find copies that were shifted by at least a tenth of a second, cut, or mixed with other audio.

    Args:
        table: N clips.
        measures: measurements of the clips.
        num_workers: number of decoder threads.
        progress: called regularly with the number of compared pairs and of all pairs.
    """
    exact = equal_content(measures.content)
    one_each = np.ones(len(table), bool)
    for rows in exact:
        one_each[rows[1:]] = False
    heard = np.flatnonzero(one_each & measures.readable & (measures.shape != 0).any(axis=1))
    if len(heard) > MOST_COMPARED:
        return Duplicates(exact, [], f"near duplicates were not searched: there are more than {MOST_COMPARED:,} clips")
    pairs, count = _pairs_of_like_shape(measures, heard)
    left_out = ""
    if count > len(pairs):
        left_out = f"only the {len(pairs):,} most similar of {count:,} pairs of clips were compared"
    near = _of_like_samples(table, measures.duration_s, [(int(i), int(j)) for i, j in pairs], num_workers, progress)
    return Duplicates(exact, near, left_out)


def _pairs_of_like_shape(measures: Measures, rows: np.ndarray) -> tuple[np.ndarray, int]:
    """Return pairs among ``rows`` (n,) with similar shapes and lengths.

    Returns:
        The pairs, int64 (P, 2), the most similar first, at most ``MOST_HEARD``; and the number of all pairs.
    """
    rows = rows[np.argsort(measures.duration_s[rows], kind="stable")]
    duration_s, shape = measures.duration_s[rows], measures.shape[rows]
    pairs, cosines, count = np.empty((0, 2), np.int64), np.empty(0, np.float32), 0
    for start in range(0, len(rows), _BLOCK):
        end = min(start + _BLOCK, len(rows))
        last = int(np.searchsorted(duration_s, duration_s[end - 1] * _LIKE_LENGTH, side="right"))
        for other in range(start, last, _BLOCK):
            cosine = shape[start:end] @ shape[other : min(other + _BLOCK, last)].T
            i, j = np.nonzero(cosine >= _LIKE_SHAPE)
            like = (start + i < other + j) & (duration_s[other + j] <= duration_s[start + i] * _LIKE_LENGTH)
            i, j = i[like], j[like]
            count += len(i)
            pairs = np.concatenate([pairs, np.stack([rows[start + i], rows[other + j]], axis=1)])
            cosines = np.concatenate([cosines, cosine[i, j]])
            if len(pairs) > MOST_HEARD:
                nearest = np.argsort(-cosines, kind="stable")[:MOST_HEARD]
                pairs, cosines = pairs[nearest], cosines[nearest]
    return np.sort(pairs[np.argsort(-cosines, kind="stable")], axis=1), count


def _of_like_samples(
    table: ClipTable,
    duration_s: np.ndarray,
    pairs: list[tuple[int, int]],
    num_workers: int,
    progress: Callable[[int, int], None],
) -> list[tuple[int, int, float]]:
    found = []

    def compare(pair: tuple[int, int]) -> float:
        try:
            first, second = (read_clip(_beginning(table[row], duration_s[row]), _COMPARED_HZ) for row in pair)
        except AudioError:  # the file changed since it was measured
            return 0.0
        return correlation(first, second)

    for done, value in enumerate(map_in_threads(compare, pairs, num_workers, "compare"), start=1):
        if value >= _LIKE_SAMPLES:
            found.append((*pairs[done - 1], value))
        if done % 100 == 0 or done == len(pairs):
            progress(done, len(pairs))
    return sorted(found)


def _beginning(clip: Clip, duration_s: float) -> Clip:
    """Return the part of a clip to compare, so that an hour-long recording is not decoded completely."""
    return replace(clip, duration_s=_COMPARED_S) if duration_s > _COMPARED_S else clip


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Return the largest normalized cross-correlation, -1 to 1, of the first 10 s of two clips (T,) over all shifts."""
    most = round(_COMPARED_S * _COMPARED_HZ)
    first, second = first[:most] - first[:most].mean(), second[:most] - second[:most].mean()
    size = 1 << (len(first) + len(second) - 1).bit_length()
    product = np.fft.irfft(np.fft.rfft(first, size) * np.fft.rfft(second, size).conj(), size)
    energy = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float(product.max()) / energy if energy > 0 else 0.0
