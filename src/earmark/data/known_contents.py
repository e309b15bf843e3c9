"""The content of every clip of a table: from waveform stores that have it, else by decoding the clip."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from earmark.data.clips import ClipTable
from earmark.data.content import NO_CONTENT
from earmark.data.decode import clip_content
from earmark.data.scan import BadClip
from earmark.data.store_key import clip_keys
from earmark.data.waveforms import CONTENTS
from earmark.errors import AudioError
from earmark.progress import Progress

_COMPARING = "comparing the recordings with the run's"
_CHUNK = 64  # clips a thread takes at a time


def read_contents(
    table: ClipTable, *, num_threads: int, stores: Path | None = None, what: str = _COMPARING
) -> tuple[np.ndarray, list[BadClip]]:
    """Return the content of each clip.

    Args:
        table: N clips.
        num_threads: decoder threads.
        stores: folder of waveform stores to look into; ``None`` decodes every clip.
        what: said of the progress.

    Returns:
        Contents, uint64 (N,), ``NO_CONTENT`` where a clip cannot be read; and the clips that cannot.
    """
    contents = np.full(len(table), NO_CONTENT, np.uint64)
    if stores is not None and len(table):
        _look_up(contents, clip_keys(table), stores)
    unknown = np.flatnonzero(contents == NO_CONTENT).tolist()
    bad: list[BadClip] = []
    if unknown:
        with Progress(what, len(unknown)) as progress:
            _decode(table, unknown, contents, bad, num_threads, progress.update)
    return contents, bad


def _look_up(contents: np.ndarray, keys: np.ndarray, stores: Path) -> None:
    """Fill in what stores know of clips whose files are as they were."""
    for path in sorted(stores.glob(f"*/{CONTENTS}")):
        try:
            known_keys, known = np.load(path)
        except (OSError, ValueError, EOFError):  # damaged, or just replaced: whoever opens the store builds it again
            continue
        if not len(known_keys):
            continue
        order = np.argsort(known_keys, kind="stable")
        at = np.minimum(np.searchsorted(known_keys, keys, sorter=order), len(order) - 1)
        found = known_keys[order[at]] == keys
        contents[found] = known[order[at[found]]]


def _decode(
    table: ClipTable,
    rows: list[int],
    contents: np.ndarray,
    bad: list[BadClip],
    num_threads: int,
    progress: Callable[[int], None],
) -> None:
    def decode_chunk(start: int) -> tuple[int, list[BadClip]]:
        failed = []
        chunk = rows[start : start + _CHUNK]
        for row in chunk:
            try:
                contents[row] = clip_content(table[row])
            except AudioError as exc:
                failed.append(BadClip(row, exc.source, exc.reason))
        return len(chunk), failed

    with ThreadPoolExecutor(max(1, num_threads), thread_name_prefix="content") as pool:
        try:
            for done, failed in pool.map(decode_chunk, range(0, len(rows), _CHUNK)):
                bad += failed
                progress(done)
        except BaseException:
            pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for a million recordings
            raise
