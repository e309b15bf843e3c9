"""Whether a disk has room for a waveform store, and what to say when it has not."""

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

_SAMPLED = 200  # clips whose length is looked up
_DECODED = 10  # of these, clips decoded where the header gives no length
_MOST_HEADER_S = 1e9  # libsndfile says 2**63 - 1 frames for a stream whose header gives no length
_FULL = {errno.ENOSPC, errno.EFBIG, errno.EDQUOT}
_WAYS_OUT = "give a folder elsewhere with --store_dir, or decode in every epoch with --store off"


def estimate_bytes(clips: Sequence[Clip], sampling_rate_hz: int, bytes_per_sample: int) -> int:
    """Return how much a store of these clips will take, from the lengths of up to 200 of them, drawn with a fixed seed.

    Args:
        clips: what will be stored.
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
    """What a store leaves free of a disk: 5 % of it, at most 1 GB."""
    return min(shutil.disk_usage(folder).total // 20, 10**9)


def check_room(folder: Path, needed_bytes: int) -> None:
    """See that so much can be written and enough stays free.

    Raises:
        OutputError: it cannot.
    """
    free, kept = shutil.disk_usage(folder).free, kept_free_bytes(folder)
    if free - kept < needed_bytes:
        raise OutputError(
            f"{folder}: the decoded recordings take about {format_bytes(needed_bytes)} more, {format_bytes(free)} "
            f"are free there, of which {format_bytes(kept)} stay free; {_WAYS_OUT} (--max_length_seconds does not "
            "help: whole recordings are stored)"
        )


def check_kept_free(folder: Path) -> None:
    """See, while writing, that enough of the disk stays free.

    Raises:
        OSError: as the system would where the disk ends.
    """
    free = shutil.disk_usage(folder).free
    if free < kept_free_bytes(folder):
        raise OSError(errno.ENOSPC, f"only {format_bytes(free)} are left free")


@contextmanager
def translated_write_errors(folder: Path, half_built: Path) -> Iterator[None]:
    """Turn the system's errors into ``OutputError``; when there is no room, remove what was written."""
    try:
        yield
    except OSError as exc:
        if exc.errno in _FULL:
            shutil.rmtree(half_built, ignore_errors=True)
            raise OutputError(f"{folder}: no room for the decoded recordings ({exc.strerror}); {_WAYS_OUT}") from exc
        said = exc.strerror or str(exc)
        raise OutputError(f"{folder}: the decoded recordings cannot be written ({said}); {_WAYS_OUT}") from exc
