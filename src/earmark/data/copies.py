"""Find recordings that are in more than one source, under the same name or another, before any split is made."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from earmark.data.clips import Clip, ClipTable
from earmark.data.content import is_sound
from earmark.data.decode import duration_s
from earmark.data.known_contents import read_contents


def find_copies(
    clips: Sequence[Clip], source_of: Sequence[int], *, num_workers: int, stores: Path | None = None
) -> list[list[int]]:
    """Group the clips that are the same stretch of sound and are in at least two sources.

    Clips with the same path and cut are the same without being read. Of the others only those are decoded that are as
    long as a clip of another source: equal samples (:mod:`earmark.data.content`) make copies of them. Silent and
    unreadable clips are copies of nothing.

    Args:
        clips: N clips.
        source_of: number of the source of each.
        num_workers: threads that decode.
        stores: folder of waveform stores, which know the samples of clips that an earlier run decoded.

    Returns:
        Rows of each group in order, the groups in the order of their first row.
    """
    rows_at = _grouped((_place(clip), row) for row, clip in enumerate(clips))
    of_place = {rows[0]: rows for rows in rows_at.values()}  # the first row stands for the others
    content = _contents(clips, of_place, source_of, num_workers, stores)
    same = _grouped((content.get(row) or ("row", row), row) for row in of_place)
    groups = [sorted(other for row in rows for other in of_place[row]) for rows in same.values()]
    return sorted(rows for rows in groups if _number_of_sources(rows, source_of) > 1)


def _contents(
    clips: Sequence[Clip],
    of_place: dict[int, list[int]],
    source_of: Sequence[int],
    num_workers: int,
    stores: Path | None,
) -> dict[int, int]:
    """Return the content of the clips that may be copies, by row."""
    pool = ThreadPoolExecutor(max(1, num_workers), thread_name_prefix="copies")
    try:
        durations = list(pool.map(_duration_ms, [clips[row] for row in of_place]))
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for all clips
    to_decode = []
    for rows in _grouped(zip(durations, of_place, strict=True)).values():
        if len(rows) > 1 and _number_of_sources([i for row in rows for i in of_place[row]], source_of) > 1:
            to_decode += rows
    table = ClipTable([clips[row] for row in to_decode], "sources")
    contents, _ = read_contents(table, num_threads=num_workers, stores=stores, what="looking for copies")
    sound = is_sound(contents)
    return {row: int(contents[i]) for i, row in enumerate(to_decode) if sound[i]}


def _number_of_sources(rows: Iterable[int], source_of: Sequence[int]) -> int:
    return len({source_of[row] for row in rows})


def _grouped(pairs: Iterable[tuple[Hashable, int]]) -> dict[Hashable, list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for key, row in pairs:
        groups[key].append(row)
    return groups


def _place(clip: Clip) -> Hashable:
    if clip.read_bytes is not None or clip.path is None:
        return id(clip)
    return os.path.abspath(clip.path), clip.offset_s, clip.duration_s


def _duration_ms(clip: Clip) -> int:
    """Length as the header has it; 0 where it has none."""
    return round(1000 * duration_s(clip))
