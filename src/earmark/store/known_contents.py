"""The content of every clip of a table, from waveform stores if possible, otherwise by decoding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from earmark.audio.content import NO_CONTENT
from earmark.audio.decode import clip_content
from earmark.clips.clip import ClipTable
from earmark.errors import AudioError
from earmark.progress import Progress
from earmark.store.bad_audio import BadAudioWatch
from earmark.store.scan import BadClip, clips_per_chunk
from earmark.store.store_key import clip_keys
from earmark.store.waveforms import CONTENTS
from earmark.threads.ordered_map import map_in_threads

_COMPARING = "comparing the recordings with those of the run"


def read_contents(
    table: ClipTable,
    *,
    num_threads: int,
    stores: Path | None = None,
    what: str = _COMPARING,
    watch: BadAudioWatch | None = None,
) -> tuple[np.ndarray, list[BadClip]]:
    """Return the content of each clip.

    Args:
        table: N clips.
        num_threads: decoder threads.
        stores: folder of waveform stores to search; ``None`` decodes every clip.
        what: label of the progress bar.
        watch: reports unusable clips, and may stop the reading.

    Returns:
        Contents, uint64 (N,), ``NO_CONTENT`` for clips that cannot be read; and the clips that cannot be read.

    Raises:
        DataError: the watch stops the reading.
    """
    contents = np.full(len(table), NO_CONTENT, np.uint64)
    if stores is not None and len(table):
        _look_up(contents, clip_keys(table), stores)
    unknown = np.flatnonzero(contents == NO_CONTENT).tolist()
    bad: list[BadClip] = []
    if watch is not None:
        watch.skip(len(table) - len(unknown))
    if unknown:
        with Progress(what, len(unknown)) as progress:
            if watch is not None:
                watch.write = progress.write
                watch.before_decoding(num_threads)
            for chunk, failed in _decode(table, unknown, contents, num_threads):
                bad += failed
                if watch is not None:
                    watch.met(failed, [table[row] for row in chunk])
                progress.update(len(chunk))
    return contents, bad


def _look_up(contents: np.ndarray, keys: np.ndarray, stores: Path) -> None:
    """Fill in the contents from stores for clips whose files have not changed."""
    for path in sorted(stores.glob(f"*/{CONTENTS}")):
        try:
            known_keys, known = np.load(path)
        except (OSError, ValueError, EOFError):  # the store is damaged or being replaced; opening it will rebuild it
            continue
        if not len(known_keys):
            continue
        order = np.argsort(known_keys, kind="stable")
        at = np.minimum(np.searchsorted(known_keys, keys, sorter=order), len(order) - 1)
        found = known_keys[order[at]] == keys
        contents[found] = known[order[at[found]]]


def _decode(
    table: ClipTable, rows: list[int], contents: np.ndarray, num_threads: int
) -> Iterator[tuple[list[int], list[BadClip]]]:
    """Decode rows in threads and fill in their contents. Return the rows of each chunk, and its unreadable clips."""
    size = clips_per_chunk([table[row] for row in rows])

    def decode_chunk(start: int) -> tuple[list[int], list[BadClip]]:
        failed = []
        chunk = rows[start : start + size]
        for row in chunk:
            try:
                contents[row] = clip_content(table[row])
            except AudioError as exc:
                failed.append(BadClip(row, exc.source, exc.reason))
        return chunk, failed

    return map_in_threads(decode_chunk, range(0, len(rows), size), num_threads, "content")
