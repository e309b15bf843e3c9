"""What a waveform store belongs to: these recordings, unchanged, at this rate, stored as this type."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator

import numpy as np

from earmark.clips.clip import Clip, ClipTable
from earmark.formats.arrow_audio import EmbeddedAudio
from earmark.store.waveforms import FORMAT_VERSION


def store_key(table: ClipTable, sampling_rate_hz: int, dtype: str) -> str:
    """Return a sha256, in hex, over all that the stored samples depend on.

    A file counts as changed when its path, size, time of change or time of last status change does (the last cannot be
    set back by hand). Labels, groups and folds are not looked at: relabelling decodes nothing again.

    Args:
        table: clips, whose order counts.
        sampling_rate_hz: rate of the stored samples.
        dtype: type of the stored samples.
    """
    return store_keys(table, sampling_rate_hz, dtype)[0]


def store_keys(table: ClipTable, sampling_rate_hz: int, dtype: str) -> tuple[str, np.ndarray]:
    """:func:`store_key` with :func:`clip_keys`, of one look at the files."""
    digest, keys = hashlib.sha256(f"{FORMAT_VERSION} {sampling_rate_hz} {dtype}\n".encode()), bytearray()
    for line in _lines(table):
        digest.update(line)
        keys += hashlib.blake2b(line, digest_size=8).digest()
    return digest.hexdigest(), np.frombuffer(keys, "<u8").copy()


def clip_keys(table: ClipTable) -> np.ndarray:
    """Return what each of N clips is known by while its file stays as it is, uint64 (N,): file, state and cut."""
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
        except (OSError, ValueError) as exc:  # what read_clip takes for a recording that cannot be used
            return repr(exc)
    path = clip.path or ""
    if path not in files:  # many clips may be cuts of one recording
        files[path] = _file(path)
    return files[path]


def _file(path: str) -> str:
    """Return text that identifies a file and its state. ``repr`` escapes characters that are not UTF-8."""
    try:
        found = os.stat(path)
    except (OSError, ValueError) as exc:
        return repr((os.path.abspath(path), type(exc).__name__))
    return repr((os.path.abspath(path), found.st_size, found.st_mtime_ns, found.st_ctime_ns))
