"""Decode a request's recording to windows, with limits that apply during decoding.

A few kilobytes can decode to hours of silence, and headers can lie. So the samples are counted and the time is checked
block by block.
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
    """Limits for one recording.

    Attributes:
        max_s: maximum length, in seconds.
        timeout_s: maximum decoding time, in seconds.
    """

    max_s: float
    timeout_s: float


def iter_windows(
    data: bytes, windowing: Windowing, sampling_rate_hz: int, limits: DecodeLimits, hint: str = ""
) -> Iterator[tuple[int, np.ndarray]]:
    """Decode a recording and cut it into windows, as the classifier does.

    Args:
        data: the encoded recording.
        windowing: how to cut it.
        sampling_rate_hz: sampling rate of the model.
        limits: limits for the recording.
        hint: text to append to the message if the recording cannot be read.

    Yields:
        ``(start, samples)``: index of the first sample in the recording, and float32 (samples,).

    Raises:
        HTTPException: 415 for an unknown format, 413 for a recording that is too long, 422 for one that is damaged or
            takes too long.
    """
    kind = sniff(data)
    if kind is None:
        raise HTTPException(415, f"unknown format. Send one of {KNOWN}{hint}")
    try:
        clip = Clip("recording", read_bytes=lambda: data)
        if kind not in ONLY_PYAV:
            _check_header(clip, limits)
        yield from windowing.cut(_limited(stream_clip(clip, sampling_rate_hz), sampling_rate_hz, limits))
        log_notes(again=True)
    except AudioError as exc:
        raise HTTPException(422, f"{exc.reason}{hint}") from exc


def _check_header(clip: Clip, limits: DecodeLimits) -> None:
    """Refuse a recording whose header says that it is too long or has too many channels."""
    found = describe_clip(clip)
    if found is None:
        return
    if found.channels > _MOST_CHANNELS or found.rate_hz > _MOST_RATE_HZ:
        what = f"{found.channels} channels at {found.rate_hz} Hz"
        raise HTTPException(422, f"{what}. Send at most {_MOST_CHANNELS} channels and {_MOST_RATE_HZ} Hz")
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
            raise HTTPException(422, f"decoding took longer than {limits.timeout_s:g} s. Send a shorter recording")
        yield block


def _too_long(limits: DecodeLimits) -> HTTPException:
    return HTTPException(413, f"longer than {limits.max_s:g} s. Send a shorter recording")
