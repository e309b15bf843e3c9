"""Check whether a disk has room for a waveform store."""

from __future__ import annotations

import errno
import io
import os
import random
import shutil
import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import soundfile

from earmark.audio.decode import read_clip
from earmark.clips.clip import Clip
from earmark.errors import AudioError, OutputError
from earmark.text import format_bytes

_SAMPLED = 200  # clips whose length is read
_DECODED = 10  # how many of these clips are decoded if their headers give no length
_MOST_HEADER_S = 1e9  # libsndfile returns 2**63 - 1 frames if the header gives no length
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_WAYS_OUT = "Use another disk with --store_dir, or decode in every epoch with --store off"


def estimate_bytes(clips: Sequence[Clip], sampling_rate_hz: int, bytes_per_sample: int) -> int:
    """Return the estimated size of a store in bytes, from the lengths of up to 200 clips drawn with a fixed seed.

    Args:
        clips: clips to store.
        sampling_rate_hz: rate of the stored samples.
        bytes_per_sample: size of the stored type.
    """
    sampled = random.Random(0).sample(range(len(clips)), min(_SAMPLED, len(clips)))
    lengths_s: list[float] = []
    to_decode = _DECODED
    for index in sampled:
        length_s = _length_in_header_s(clips[index])
        if length_s is None and to_decode:
            to_decode -= 1
            length_s = _decoded_length_s(clips[index], sampling_rate_hz)
        if length_s is not None:
            lengths_s.append(length_s)
    mean_s = statistics.fmean(lengths_s) if lengths_s else 0.0
    return round(mean_s * len(clips) * sampling_rate_hz * bytes_per_sample)


def _length_in_header_s(clip: Clip) -> float | None:
    try:
        if clip.read_bytes is not None:
            info = soundfile.info(io.BytesIO(clip.read_bytes()))
        elif clip.path is not None and os.path.isfile(clip.path):
            with open(clip.path, "rb") as file:
                info = soundfile.info(file)
        else:
            return None
    except (OSError, ValueError, soundfile.LibsndfileError):
        return None
    if not 0 < info.duration < _MOST_HEADER_S:
        return None
    left_s = max(0.0, info.duration - clip.offset_s)
    return left_s if clip.duration_s is None else min(left_s, clip.duration_s)


def _decoded_length_s(clip: Clip, sampling_rate_hz: int) -> float:
    try:
        return len(read_clip(clip, sampling_rate_hz)) / sampling_rate_hz
    except AudioError:
        return 0.0


def kept_free_bytes(folder: Path) -> int:
    """Return the space a store leaves free on a disk, in bytes: 5 % of it, at most 1 GB."""
    return min(shutil.disk_usage(folder).total // 20, 10**9)


def check_room(folder: Path, needed_bytes: int) -> None:
    """Check that there is room for ``needed_bytes`` plus the space to leave free.

    Raises:
        OutputError: there is not enough room.
    """
    free, kept = shutil.disk_usage(folder).free, kept_free_bytes(folder)
    if free - kept < needed_bytes:
        raise OutputError(
            f"{folder}: the decoded recordings need about {format_bytes(needed_bytes)} more, but {format_bytes(free)} "
            f"are free, and {format_bytes(kept)} of that must stay free (--max_length_seconds does not help, because "
            f"whole recordings are stored). {_WAYS_OUT}"
        )


def check_kept_free(folder: Path) -> None:
    """Check, while writing, that enough of the disk stays free.

    Raises:
        OSError: too little space is free; the error number is that of a full disk.
    """
    free = shutil.disk_usage(folder).free
    if free < kept_free_bytes(folder):
        raise OSError(errno.ENOSPC, f"only {format_bytes(free)} are left free")


@contextmanager
def translated_write_errors(folder: Path, half_built: Path) -> Iterator[None]:
    """Convert the system's errors to ``OutputError``. If the disk is full, remove what was written."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            shutil.rmtree(half_built, ignore_errors=True)
            raise OutputError(f"{folder}: no room for the decoded recordings ({exc.strerror}). {_WAYS_OUT}") from exc
        said = exc.strerror or str(exc)
        raise OutputError(f"{folder}: the decoded recordings cannot be written ({said}). {_WAYS_OUT}") from exc
