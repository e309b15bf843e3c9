"""Recordings held in memory."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from tests.tiny import RATE_HZ


def wav_bytes(samples: np.ndarray, rate_hz: int = RATE_HZ, container: str = "WAV") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format=container)
    return buffer.getvalue()


class Held:
    """A recording held in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __call__(self) -> bytes:
        return self.data
