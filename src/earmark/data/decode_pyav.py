"""Decode with PyAV what soundfile cannot read: m4a, aac, webm, the sound of a video. PyAV is an extra."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from earmark.errors import AudioError, MissingExtraError
from earmark.extras import require

_PREROLL_S = 0.5  # decoded and thrown away before a cut: AAC and Opus need the packets before it to settle
_SHORTFALL_S = 0.1  # encoders round lengths to whole packets; what is missing beyond that was cut off


def pyav_blocks(
    file: BinaryIO, source: str, offset_s: float, duration_s: float | None
) -> Iterator[tuple[np.ndarray, int]]:
    """Decode one stretch of the first sound track, packet by packet.

    Args:
        file: the encoded recording, seekable, at its start.
        source: what messages call it.
        offset_s: start of the stretch, in seconds.
        duration_s: its length in seconds; ``None`` for the rest.

    Yields:
        ``(samples, rate_hz)`` with float32 samples ``(samples, channels)`` as they are in the file; at least one block,
        which is empty where there is no sound in the stretch.

    Raises:
        AudioError: not a recording, cut short, or PyAV is not installed.
    """
    try:
        av = require("av")
    except MissingExtraError as exc:
        raise AudioError(source, f"not a format that soundfile reads; {exc}") from exc
    try:
        with av.open(file, metadata_errors="ignore") as container:
            if not container.streams.audio:
                raise AudioError(source, "has no sound track")
            yield from _stretch(av, container, source, offset_s, duration_s)
    except av.error.FFmpegError as exc:
        raise AudioError(source, f"not audio, or damaged or cut short ({exc.strerror})") from exc


def _stretch(
    av: Any, container: Any, source: str, offset_s: float, duration_s: float | None
) -> Iterator[tuple[np.ndarray, int]]:
    stream = container.streams.audio[0]
    rate_hz: int = stream.rate
    origin_s = float((stream.start_time or 0) * stream.time_base)
    start = round(offset_s * rate_hz)
    stop = None if duration_s is None else start + max(1, round(duration_s * rate_hz))
    if offset_s > _PREROLL_S:
        container.seek(round((origin_s + offset_s - _PREROLL_S) * av.time_base))
    to_float = av.AudioResampler(format="fltp")
    is_empty = True
    at: int | None = None  # index of the next decoded sample in the recording
    for frame in container.decode(stream):
        if at is None:
            at = round(((frame.time or 0.0) - origin_s) * rate_hz) if offset_s > _PREROLL_S else 0
        for converted in to_float.resample(frame):
            block = converted.to_ndarray()  # (channels, samples)
            first, last = max(0, start - at), block.shape[1] if stop is None else stop - at
            at += block.shape[1]
            if last > first:
                yield block[:, first:last].T, rate_hz
                is_empty = False
        if stop is not None and at >= stop:
            break
    _check_complete(container, stream, source, (at or 0) / rate_hz, stop is not None)
    if is_empty:
        yield np.zeros((0, 1), np.float32), rate_hz


def _check_complete(container: Any, stream: Any, source: str, end_s: float, is_cut: bool) -> None:
    """A container that says how long it is must hold that much.

    Only MP4 and Matroska keep that figure; for bare AAC it is a guess from the bit rate. Matroska gives
    the length of the longest track, which is the sound's only if there is no picture.
    """
    declared_s = None
    if "mov" in container.format.name and stream.duration is not None:
        declared_s = float(stream.duration * stream.time_base)
    elif "matroska" in container.format.name and len(container.streams) == 1 and container.duration:
        declared_s = container.duration / 1e6  # container times are in microseconds
    if not is_cut and declared_s is not None and end_s < declared_s - _SHORTFALL_S:
        raise AudioError(source, f"cut short: {declared_s:.2f} s announced, {end_s:.2f} s there")
