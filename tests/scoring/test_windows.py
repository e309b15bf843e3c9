from __future__ import annotations

import math

import numpy as np
import pytest

from earmark.errors import UsageError
from earmark.scoring.windows import Windowing


def starts_of(total: int, window: int, hop: int, block: int = 1000) -> list[int]:
    """Starts of windows, after checking that each holds the samples of its place."""
    samples = np.arange(total, dtype=np.float32)
    starts = []
    for start, cut in Windowing(window, hop).cut(samples[i : i + block] for i in range(0, total, block)):
        np.testing.assert_array_equal(cut, samples[start : start + window])
        starts.append(start)
    return starts


@pytest.mark.parametrize(
    ("total", "hop", "starts"),
    [
        (1, 100, [0]),
        (99, 100, [0]),
        (100, 100, [0]),
        (101, 100, [0, 1]),
        (250, 100, [0, 100, 150]),
        (300, 100, [0, 100, 200]),
        (300, 50, [0, 50, 100, 150, 200]),
        (301, 50, [0, 50, 100, 150, 200, 201]),
        (160, 30, [0, 30, 60]),
    ],
)
@pytest.mark.parametrize("block", [1, 7, 100, 1000])
def test_every_sample_is_heard(total: int, hop: int, starts: list[int], block: int) -> None:
    assert starts_of(total, 100, hop, block) == starts


def test_memory_does_not_grow_with_the_recording() -> None:
    given = 0

    def blocks():
        nonlocal given
        for _ in range(1000):
            given += 100
            yield np.zeros(100, np.float32)

    for start, window in Windowing(50, 10).cut(blocks()):
        assert given - start <= 250  # what is read ahead of a window
        assert window.base is None or window.base.size <= 250


def test_windows_are_asked_for_in_seconds() -> None:
    asked = {"longest_samples": 32_000, "sampling_rate_hz": 16_000}
    assert Windowing.of_seconds(None, None, **asked) == Windowing(32_000, 32_000)
    assert Windowing.of_seconds(1.0, 0.25, **asked) == Windowing(16_000, 4_000)
    with pytest.raises(UsageError, match="--window_seconds 3: expected above 0 and at most 2 s"):
        Windowing.of_seconds(3.0, None, **asked)
    for hop_s in (0.0, 1.5, -1.0, math.nan, math.inf):
        with pytest.raises(UsageError, match=f"--hop_seconds {hop_s:g}: expected above 0 and at most the window, 1 s"):
            Windowing.of_seconds(1.0, hop_s, **asked)
    for window_s in (math.nan, math.inf):
        with pytest.raises(UsageError, match=f"--window_seconds {window_s:g}: expected above 0"):
            Windowing.of_seconds(window_s, None, **asked)
    with pytest.raises(UsageError, match="--window_seconds 0:"):
        Windowing.of_seconds(0.0, None, **asked)
