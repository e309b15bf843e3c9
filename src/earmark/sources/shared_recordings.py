"""Find recordings that are in more than one source, under any name, before splits are made."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from earmark.audio.content import is_sound
from earmark.audio.decode import duration_s
from earmark.clips.clip import Clip, ClipTable
from earmark.progress import Progress
from earmark.store.known_contents import read_contents
from earmark.threads.ordered_map import map_in_threads

_ROUNDING_S = 0.1  # manifests round durations
_CHUNK = 64  # clips between progress updates


def find_copies(
    clips: Sequence[Clip], source_indices: Sequence[int], *, num_workers: int, stores: Path | None = None
) -> list[list[int]]:
    """Group clips that have the same audio and are in at least two sources.

    Clips with equal path, offset and duration are copies without being read. Other clips are decoded only if a clip of
    another source has the same length; they are copies if their samples are equal (:mod:`earmark.audio.content`).
    Silent and unreadable clips are never copies. A clip that starts at 0 and is as long as its recording, up to
    rounding as in NeMo manifests, counts as the whole recording.

    Args:
        clips: N clips.
        source_indices: index of the source of each clip, (N,).
        num_workers: decoder threads.
        stores: folder of waveform stores with the samples of clips decoded earlier.

    Returns:
        Rows of each group in order, groups in order of their first row.
    """
    clips, durations_ms = _measured(clips, num_workers)
    rows_at = _grouped((_place(clip), row) for row, clip in enumerate(clips))
    of_place = {rows[0]: rows for rows in rows_at.values()}  # the first row represents the others
    content = _contents(clips, durations_ms, of_place, source_indices, num_workers, stores)
    same = _grouped((content.get(row) or ("row", row), row) for row in of_place)
    groups = [sorted(other for row in rows for other in of_place[row]) for rows in same.values()]
    return sorted(rows for rows in groups if _number_of_sources(rows, source_indices) > 1)


def _measured(clips: Sequence[Clip], num_workers: int) -> tuple[list[Clip], list[int]]:
    """Return the clips, without a duration if they are a whole recording, and their lengths in ms."""
    found: list[tuple[Clip, int]] = []
    with Progress("measuring the recordings", len(clips)) as progress:
        for one in map_in_threads(_as_whole, clips, num_workers, "copies"):
            found.append(one)
            if len(found) % _CHUNK == 0 or len(found) == len(clips):
                progress.to(len(found), len(clips))
    return [clip for clip, _ in found], [milliseconds for _, milliseconds in found]


def _as_whole(clip: Clip) -> tuple[Clip, int]:
    """Return a clip, without a duration if it is the whole recording, and its length in ms; 0 if unknown."""
    if clip.duration_s is None or clip.offset_s > 0:
        return clip, round(1000 * duration_s(clip))
    whole = replace(clip, duration_s=None)
    whole_s = duration_s(whole)
    if whole_s > 0 and abs(whole_s - clip.duration_s) <= _ROUNDING_S:
        return whole, round(1000 * whole_s)
    return clip, round(1000 * clip.duration_s)


def _contents(
    clips: Sequence[Clip],
    durations_ms: Sequence[int],
    of_place: dict[int, list[int]],
    source_indices: Sequence[int],
    num_workers: int,
    stores: Path | None,
) -> dict[int, int]:
    """Return the content of clips that may be copies, by row."""
    to_decode = []
    for rows in _grouped((durations_ms[row], row) for row in of_place).values():
        if len(rows) > 1 and _number_of_sources([i for row in rows for i in of_place[row]], source_indices) > 1:
            to_decode += rows
    table = ClipTable([clips[row] for row in to_decode], "sources")
    contents, _ = read_contents(table, num_threads=num_workers, stores=stores, what="looking for copies")
    sound = is_sound(contents)
    return {row: int(contents[i]) for i, row in enumerate(to_decode) if sound[i]}


def _number_of_sources(rows: Iterable[int], source_indices: Sequence[int]) -> int:
    return len({source_indices[row] for row in rows})


def _grouped(pairs: Iterable[tuple[Hashable, int]]) -> dict[Hashable, list[int]]:
    groups: dict[Hashable, list[int]] = defaultdict(list)
    for key, row in pairs:
        groups[key].append(row)
    return groups


def _place(clip: Clip) -> Hashable:
    if clip.read_bytes is not None or clip.path is None:
        return id(clip)
    return os.path.abspath(clip.path), clip.offset_s, clip.duration_s
