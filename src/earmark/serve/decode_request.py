"""From a request's bytes to windows, under limits that hold while the samples come out of the decoder.

A few kilobytes can be hours of silence, and a header can promise anything, so neither is believed: samples are counted
and the clock is read block by block.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from fastapi import HTTPException

from earmark.audio.containers import KNOWN, ONLY_PYAV, sniff
from earmark.audio.decode import describe_clip, stream_clip
from earmark.audio.incomplete import log_notes
from earmark.clips.clip import Clip
from earmark.errors import AudioError
from earmark.scoring.windows import Windowing

_MOST_CHANNELS = 32
_MOST_RATE_HZ = 768_000


@dataclass(frozen=True)
class DecodeLimits:
    """What one recording may cost.

    Attributes:
        max_s: longest recording, in seconds.
        timeout_s: longest time in the decoder, in seconds.
    """

    max_s: float
    timeout_s: float


def iter_windows(
    data: bytes, windowing: Windowing, sampling_rate_hz: int, limits: DecodeLimits, hint: str = ""
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a recording and cut it as the classifier does, window by window.

    Args:
        data: the encoded recording.
        windowing: how it is cut.
        sampling_rate_hz: rate of the model.
        limits: where to stop.
        hint: end of the message if the recording cannot be read.

    Yields:
        ``(start, samples)``: first sample in the recording, and float32 (samples,).

    Raises:
        HTTPException: 415 for what is no recording of a known format, 413 for one that is too long, 422 for one that is
            broken or takes too long.
    """
    kind = sniff(data)
    if kind is None:
        raise HTTPException(415, f"not a recording in a known format; known are {KNOWN}{hint}")
    try:
        clip = Clip("recording", read_bytes=lambda: data)
        if kind not in ONLY_PYAV:
            _check_header(clip, limits)
        yield from windowing.cut(_limited(stream_clip(clip, sampling_rate_hz), sampling_rate_hz, limits))
        log_notes(again=True)
    except AudioError as exc:
        raise HTTPException(422, f"{exc.reason}{hint}") from exc


def _check_header(clip: Clip, limits: DecodeLimits) -> None:
    """Refuse by its header a recording that is too long or too wide; decoding counts what no header says."""
    found = describe_clip(clip)
    if found is None:
        return
    if found.channels > _MOST_CHANNELS or found.rate_hz > _MOST_RATE_HZ:
        what = f"{found.channels} channels at {found.rate_hz} Hz"
        raise HTTPException(422, f"{what}: at most {_MOST_CHANNELS} channels and {_MOST_RATE_HZ} Hz can be taken")
    if found.num_frames > limits.max_s * found.rate_hz:
        raise _too_long(limits)


def _limited(blocks: Iterator[np.ndarray], rate_hz: int, limits: DecodeLimits) -> Iterator[np.ndarray]:
    count, spent_s = 0, 0.0
    while True:
        started_s = time.monotonic()
        block = next(blocks, None)
        spent_s += time.monotonic() - started_s
        if block is None:
            return
        count += len(block)
        if count > limits.max_s * rate_hz:
            raise _too_long(limits)
        if spent_s > limits.timeout_s:
            raise HTTPException(422, f"decoding took longer than {limits.timeout_s:g} s")
        yield block


def _too_long(limits: DecodeLimits) -> HTTPException:
    return HTTPException(413, f"longer than {limits.max_s:g} s, the most that is taken")
