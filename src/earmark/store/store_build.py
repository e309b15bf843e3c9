"""Open a waveform store, or build it.

One process decodes, in threads, while others that need the same store wait. A build that was killed is resumed. A
store is renamed to its final folder when it is complete.
"""

from __future__ import annotations

import logging
import shutil
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import Timeout

from earmark.audio.content import NO_CONTENT
from earmark.audio.decode import read_clip, read_clip_and_content
from earmark.audio.incomplete import INCOMPLETE, log_notes
from earmark.audio.samples import CANCELLED
from earmark.clips.clip import ClipTable
from earmark.errors import AudioError, DataError, OutputError
from earmark.io.locks import acquire, new_lock
from earmark.store.bad_audio import BadAudioWatch
from earmark.store.scan import BadClip
from earmark.store.store_disk import check_kept_free, check_room, estimate_bytes, translated_write_errors
from earmark.store.store_key import store_keys
from earmark.store.store_writer import EncodedClips, StoreWriter
from earmark.store.waveforms import WaveformStore, encode_samples, find_store
from earmark.text import agreeing, counted, format_bytes, format_seconds

logger = logging.getLogger(__name__)

_CHUNK = 64  # most clips that a thread takes at a time
_CHUNK_BYTES = 16_000_000  # a thread takes fewer clips if their samples reach this size
_AHEAD_PER_THREAD = 2  # chunks decoded ahead of writing


@dataclass(frozen=True)
class _Plan:
    """What to store, and where."""

    table: ClipTable
    sampling_rate_hz: int
    dtype: str
    key: str
    clips: np.ndarray  # key of each clip
    root: Path

    @property
    def folder(self) -> Path:
        return self.root / self.key[:24]

    @property
    def building(self) -> Path:
        return self.root / f"{self.key[:24]}.building"


def open_or_build(
    table: ClipTable,
    sampling_rate_hz: int,
    *,
    root: Path,
    dtype: str = "int16",
    num_workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
    watch: BadAudioWatch | None = None,
) -> WaveformStore:
    """Return the samples of every clip of a table, decoded now or by an earlier run.

    A store is identified by the recordings (path, size, modification times), offsets and durations, sampling rate and
    type. Several processes may call this at once: one builds, the others wait.

    Args:
        table: N clips.
        sampling_rate_hz: rate of the stored samples.
        root: folder that holds stores; created if needed.
        dtype: int16, float16 or float32.
        num_workers: decoder threads; soundfile and soxr release the GIL.
        progress: called regularly, in this thread, with the number of clips done and N.
        watch: reports unusable clips, and may stop the build. The next build resumes it.

    Raises:
        DataError: the watch stops the build.
        OutputError: the disk is full, or ``root`` has no such store and is not writable.
    """
    plan = _Plan(table, sampling_rate_hz, dtype, *store_keys(table, sampling_rate_hz, dtype), Path(root))
    report = progress or (lambda done, total: None)
    store = None
    with suppress(DataError):  # a damaged store is checked again, and reported, under the lock
        store = _find(plan)
    if store is None:
        with _locked(plan):
            try:
                store = _find(plan)
            except DataError as exc:
                logger.warning("%s. Building the store again", exc)
                with translated_write_errors(plan.root, plan.building):
                    shutil.rmtree(plan.folder)
            if store is None:
                return _build(plan, num_workers, report, watch)
    logger.info("%s: using samples decoded by an earlier run (%s)", table.origin, plan.folder)
    _warn_of_recordings(store)
    report(len(table), len(table))
    if watch is not None:
        watch.skip(len(table))
    return store


def _find(plan: _Plan) -> WaveformStore | None:
    """Return the store if it is complete; ``None`` if there is none.

    Raises:
        DataError: the store is damaged; or a recording that could not be read when the store was built can be read now
            (a decoder was installed, a disk was mounted).
    """
    store = find_store(plan.folder, plan.key, plan.table)
    for clip in store.bad if store else []:
        with suppress(AudioError):
            read_clip(plan.table[clip.index], plan.sampling_rate_hz)
            raise DataError(f"{plan.folder}: does not contain {clip.source}, which can be read now")
    return store


@contextmanager
def _locked(plan: _Plan) -> Iterator[None]:
    """Keep other processes from building the same store."""
    with translated_write_errors(plan.root, plan.building):
        plan.root.mkdir(parents=True, exist_ok=True)
        lock = new_lock(plan.root / f"{plan.key[:24]}.lock")
        try:
            acquire(lock, "waveform store", timeout_s=0)
        except Timeout:
            logger.info("%s: another process is decoding these recordings; waiting for it", plan.table.origin)
            acquire(lock, "waveform store")
    try:
        yield
    finally:
        lock.release()


def _build(
    plan: _Plan, num_workers: int, report: Callable[[int, int], None], watch: BadAudioWatch | None
) -> WaveformStore:
    if watch is not None:
        watch.before_decoding(num_workers)
    total = len(plan.table)
    with translated_write_errors(plan.root, plan.building):
        writer = StoreWriter(plan.building, plan.key, plan.sampling_rate_hz, plan.dtype)
    with closing(writer):
        done = len(writer.num_samples)
        sources = {clip.source for clip in plan.table}
        files = {clip.path or clip.source for clip in plan.table}
        _check_room_for_rest(plan, done)
        if done:
            were = agreeing(done, "were")
            logger.info(
                "%s: %s of %s clips %s already stored by a build that was stopped", plan.table.origin, done, total, were
            )
            report(done, total)
        try:
            if watch is not None:
                watch.skip(done)
                _tell(watch, plan, writer.bad, 0, 0)
            with closing(_decode_in_order(plan, done, max(1, num_workers))) as chunks:
                for chunk in chunks:
                    # An earlier comparison of contents may have left notes about recordings that are not in this store.
                    writer.cancelled.update(dict.fromkeys(name for name in CANCELLED.take() if name in sources))
                    writer.incomplete.update({name: said for name, said in INCOMPLETE.take().items() if name in files})
                    _write(plan, writer, chunk)
                    _tell(watch, plan, chunk.bad, (now := len(writer.num_samples)) - len(chunk.num_samples), now)
                    report(len(writer.num_samples), total)
        except (KeyboardInterrupt, DataError):
            with suppress(OSError):  # samples that do not reach the disk are decoded again
                writer.flush()
            raise
        with translated_write_errors(plan.root, plan.building):
            writer.finish(plan.folder, plan.table.origin, plan.clips)
    store = find_store(plan.folder, plan.key, plan.table)
    assert store is not None
    _say(plan, store)
    _warn_of_recordings(store)
    return store


def _warn_of_recordings(store: WaveformStore) -> None:
    CANCELLED.add(*store.cancelled)
    INCOMPLETE.add(store.incomplete)
    log_notes(again=True)


def _tell(watch: BadAudioWatch | None, plan: _Plan, bad: list[tuple[int, str]], start: int, stop: int) -> None:
    if watch is not None:
        clips = [BadClip(row, plan.table[row].source, reason) for row, reason in bad]
        watch.met(clips, plan.table.clips[start:stop])


def _check_room_for_rest(plan: _Plan, done: int) -> None:
    needed = estimate_bytes(plan.table.clips[done:], plan.sampling_rate_hz, np.dtype(plan.dtype).itemsize)
    try:
        check_room(plan.root, needed)
    except OutputError:
        if not done:
            shutil.rmtree(plan.building, ignore_errors=True)
        raise


def _write(plan: _Plan, writer: StoreWriter, chunk: EncodedClips) -> None:
    with translated_write_errors(plan.root, plan.building):
        if writer.append(chunk):
            check_kept_free(plan.root)


def _decode_in_order(plan: _Plan, start: int, num_threads: int) -> Generator[EncodedClips, None, None]:
    """Decode the clips from row ``start`` on in threads, a few chunks ahead."""
    total = len(plan.table)
    chunks = deque((first, min(first + _CHUNK, total)) for first in range(start, total, _CHUNK))
    ahead: deque[tuple[int, Future[EncodedClips]]] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="decode")

    def submit(first: int, stop: int) -> tuple[int, Future[EncodedClips]]:
        return stop, pool.submit(_decode_chunk, plan, first, stop)

    done = start
    try:
        while ahead or chunks:
            while chunks and len(ahead) < num_threads * _AHEAD_PER_THREAD:
                ahead.append(submit(*chunks.popleft()))
            stop, future = ahead.popleft()
            encoded = future.result()
            done += len(encoded.num_samples)
            if done < stop:
                ahead.appendleft(submit(done, stop))
            yield encoded
    finally:
        pool.shutdown(cancel_futures=True)  # Ctrl-C must not wait for a million recordings


def _decode_chunk(plan: _Plan, first: int, stop: int) -> EncodedClips:
    """Decode clips from row ``first`` on: up to ``stop``, or until their samples fill a chunk."""
    samples: list[np.ndarray] = []
    scales: list[float] = []
    contents: list[int] = []
    bad: list[tuple[int, str]] = []
    num_bytes = 0
    for index in range(first, stop):
        try:
            decoded, content = read_clip_and_content(plan.table[index], plan.sampling_rate_hz)
            stored, scale = encode_samples(decoded, plan.dtype)
        except AudioError as exc:
            bad.append((index, exc.reason))
            stored, scale, content = np.empty(0, plan.dtype), 1.0, NO_CONTENT
        samples.append(stored)
        scales.append(float(np.float32(scale)))
        contents.append(content)
        num_bytes += stored.nbytes
        if num_bytes >= _CHUNK_BYTES:
            break
    joined = samples[0] if len(samples) == 1 else np.concatenate(samples)
    return EncodedClips(joined, [len(clip) for clip in samples], scales, contents, bad)


def _say(plan: _Plan, store: WaveformStore) -> None:
    unusable = f" ({len(store.bad):,} cannot be used)" if store.bad else ""
    logger.info(
        "%s: decoded %s%s, %s of audio, %s, into %s",
        plan.table.origin,
        counted(len(store), "clip"),
        unusable,
        format_seconds(float(store.durations_s.sum())),
        format_bytes(store.num_bytes),
        plan.folder,
    )
