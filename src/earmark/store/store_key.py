"""Keys of waveform stores: from the recordings and their state, the sampling rate and the type of the samples."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import numpy as np

from earmark.clips.clip import Clip, ClipTable
from earmark.formats.arrow_audio import EmbeddedAudio
from earmark.store.waveforms import FORMAT_VERSION


def store_keys(table: ClipTable, sampling_rate_hz: int, dtype: str) -> tuple[str, np.ndarray]:
    """Return a SHA-256, in hex, of everything that the stored samples depend on, and the result of :func:`clip_keys`.

    A file counts as changed if its path, size, modification time or status change time changes (users cannot set the
    last one). Labels, groups and folds are not included, so relabelling does not decode anything again.

    Args:
        table: clips; their order matters.
        sampling_rate_hz: rate of the stored samples.
        dtype: type of the stored samples.
    """
    digest, keys = hashlib.sha256(f"{FORMAT_VERSION} {sampling_rate_hz} {dtype}\n".encode()), bytearray()
    for line in _lines(table):
        digest.update(line)
        keys += hashlib.blake2b(line, digest_size=8).digest()
    return digest.hexdigest(), np.frombuffer(keys, "<u8").copy()


def clip_keys(table: ClipTable) -> np.ndarray:
    """Return a key for each of N clips, uint64 (N,): a hash of its file, the file's state, offset and duration."""
    return store_keys(table, 0, "")[1]


def _lines(table: ClipTable) -> Iterator[bytes]:
    files: dict[str, str] = {}
    for clip in table:
        cut = f"{float(clip.offset_s)} {None if clip.duration_s is None else float(clip.duration_s)}"
        yield f"{_recording(clip, files)} {cut}\n".encode()


def _recording(clip: Clip, files: dict[str, str]) -> str:
    if isinstance(clip.read_bytes, EmbeddedAudio):
        return clip.read_bytes.identity()
    if clip.read_bytes is not None:
        try:
            return hashlib.sha256(clip.read_bytes()).hexdigest()
        except (OSError, ValueError) as exc:  # read_clip reports such recordings as unusable
            return repr(exc)
    path = clip.path or ""
    if path not in files:  # many clips may be parts of one recording
        files[path] = _file(path)
    return files[path]


def _file(path: str) -> str:
    """Return text that identifies a file and its state. ``repr`` escapes characters that are not UTF-8."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as exc:
        return repr((os.path.abspath(path), type(exc).__name__))
    return repr((os.path.abspath(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns))
