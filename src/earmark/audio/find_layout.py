"""Find container, streams and faults of an open recording. Thorough layouts are cached in memory."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from earmark.audio.containers import audio_start, sniff
from earmark.audio.layout import Layout, Stream, file_size, read_at
from earmark.audio.layout_aiff import aiff_layout, au_layout
from earmark.audio.layout_announced import ANNOUNCING, announced_layout
from earmark.audio.layout_flac import flac_layout, is_one_file, thorough_flac_layout
from earmark.audio.layout_mpeg import is_unbroken, mpeg_layout, thorough_mpeg_layout
from earmark.audio.layout_ogg import ogg_layout, thorough_ogg_layout
from earmark.audio.layout_wav import wav_layout
from earmark.audio.mpeg_header import has_frames
from earmark.audio.pieces import Extent

_HEAD = 4096
_SEARCHED = 1 << 16  # bytes after a tag that are searched for MPEG frames
_KEPT = 4096  # maximum number of cached layouts

_Search = Callable[[BinaryIO, Layout, int, bytes], bool]
_Key = tuple[int, int, int, int]  # device, inode, size and modification time of a file
_thorough: OrderedDict[_Key, Layout] = OrderedDict()
_honest: set[_Key] = set()  # FLAC and MP3 files whose frames agree with their headers
_lock = threading.Lock()


class Found(NamedTuple):
    """A recording's container and layout.

    Attributes:
        container: its name in :mod:`earmark.audio.containers`; ``None`` if unknown.
        layout: its streams.
        base: byte where the recording starts, after tags.
        is_thorough: whether the whole file was searched.
    """

    container: str | None
    layout: Layout
    base: int = 0
    is_thorough: bool = False


# the most common recording: a short header and the samples that it announces
_PLAIN_WAV = Found("wav", Layout(), is_thorough=True)


def find_layout(file: BinaryIO, *, thorough: bool = False, seeking: bool = False, decoding: bool = False) -> Found:
    """Find container and layout of a recording.

    Args:
        file: the recording.
        thorough: search the whole file, because the quick layout was wrong.
        seeking: the decoder will seek, which fails in files that were joined.
        decoding: the recording will be decoded, which gives wrong times in damaged MP3 files.
    """
    head = read_at(file, 0, _HEAD)
    is_short = head[:4] == b"RIFF" and head[8:20] == b"WAVEfmt \x10\0\0\0" and head[36:40] == b"data"
    if is_short and int.from_bytes(head[40:44], "little") == file_size(file) - 44:
        return _PLAIN_WAV
    base = audio_start(file) if head.startswith(b"ID3") else 0
    if base:
        head = read_at(file, base, _HEAD)
    container = sniff(head) or ("mp3" if base and has_frames(read_at(file, base, _SEARCHED)) else None)
    size = file_size(file)
    if container in ("flac", "ogg", "mp3"):
        if not thorough:
            layout = _quick(file, container, size, base, head)
            search = {"flac": is_one_file if seeking else None, "mp3": is_unbroken if decoding else None}.get(container)
            if not layout.suspicious and (search is None or _agrees(search, file, layout, base, head)):
                return Found(container, layout, base)
        return Found(container, _searched(file, container, size, base), base, is_thorough=True)
    if container == "wav" or container == "w64":
        layout = _searched(file, "wav", size, base)
    elif container == "aiff" and not base:
        layout = aiff_layout(file, size)
    elif container == "au" and not base:
        layout = au_layout(file, size)
    elif container in ANNOUNCING and not base:
        layout = announced_layout(file, container, size)
    else:
        layout = Layout((Stream((Extent(base, size - base),)),)) if base else Layout()
    return Found(container, layout, base, is_thorough=True)


def _quick(file: BinaryIO, container: str, size: int, base: int, head: bytes) -> Layout:
    if container == "flac":
        return flac_layout(file, size, base, head)
    return ogg_layout(file, size, base, head) if container == "ogg" else mpeg_layout(file, size, base, head)


def _agrees(search: _Search, file: BinaryIO, layout: Layout, base: int, head: bytes) -> bool:
    """Return whether the file's frames agree with the quick layout. Unchanged files are checked only once."""
    key = _key(file)
    if key in _honest:
        return True
    if not search(file, layout, base, head):
        return False
    if key is not None:
        with _lock:
            if len(_honest) >= _KEPT:
                _honest.clear()
            _honest.add(key)
    return True


def _searched(file: BinaryIO, container: str, size: int, base: int) -> Layout:
    key = _key(file)
    with _lock:
        if key is not None and key in _thorough:
            _thorough.move_to_end(key)
            return _thorough[key]
    if container == "wav":
        layout = wav_layout(file, size, base)
    else:
        search = {"flac": thorough_flac_layout, "ogg": thorough_ogg_layout, "mp3": thorough_mpeg_layout}[container]
        layout = search(file, size, base)
    if key is not None:
        with _lock:
            _thorough[key] = layout
            while len(_thorough) > _KEPT:
                _thorough.popitem(last=False)
    return layout


def _key(file: BinaryIO) -> _Key | None:
    """Return a cache key that changes when the file changes; ``None`` for bytes in memory."""
    try:
        found = os.fstat(file.fileno())
    except OSError:  # BytesIO raises io.UnsupportedOperation, a subclass
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns
