"""What tests of encoded recordings share: audio to encode, and what decoding a file gives and warns about."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from benchmarks.variant_cases import tone
from earmark.audio.decode import stream_at_own_rate
from earmark.audio.incomplete import INCOMPLETE
from earmark.clips.clip import Clip

RATE_HZ = 16_000


def sound(seed: int, seconds: float = 1.0, channels: int = 1, rate_hz: int = RATE_HZ) -> np.ndarray:
    return tone(np.random.default_rng(seed), rate_hz, seconds, channels)


def own_rate(data: bytes, path: Path, offset_s: float = 0.0, duration_s: float | None = None) -> np.ndarray:
    """Write ``data`` to ``path`` and return its samples (T,) at their own rate."""
    path.write_bytes(data)
    clip = Clip(path.name, path=str(path), offset_s=offset_s, duration_s=duration_s)
    return np.concatenate([block for block, _ in stream_at_own_rate(clip)])


def noted() -> str:
    """Return the warnings that were collected since the last call."""
    return "; ".join(INCOMPLETE.take().values())
