"""A temperature that is known comes out, also where clips have windows; windows are those of the loop that scores."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.scoring.clip_windows import WindowsOfClips
from earmark.scoring.windows import Windowing
from earmark.stats.uncertainty import calibration_error
from earmark.tasks import SINGLE_LABEL, softmax
from earmark.tasks.calibration import WindowLogits, assumed_error

CLASSES = 5


def drawn(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits whose probabilities are right as often as they say, and targets drawn from them."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(count, CLASSES)) * 2
    chances = softmax(logits)
    targets = (chances.cumsum(axis=1) < rng.random(count)[:, None]).sum(axis=1).clip(max=CLASSES - 1)
    return logits.astype(np.float32), targets


def single(logits: np.ndarray) -> WindowLogits:
    return WindowLogits(logits, np.arange(len(logits)))


@pytest.mark.parametrize("temperature", [0.25, 1.0, 3.0])
def test_a_known_temperature_is_found(temperature: float) -> None:
    logits, targets = drawn(20_000)
    found = SINGLE_LABEL.fit_temperature(single(logits * np.float32(temperature)), targets)
    assert found == pytest.approx(temperature, rel=0.03)
    before = calibration_error(softmax(logits * temperature), targets)
    after = calibration_error(softmax(logits * temperature / found), targets)
    assert after < 0.015
    if temperature != 1.0:
        assert before > 0.05


def test_the_temperature_of_windows_makes_their_mean_likely() -> None:
    """Not that of the clips' merged answers: windows are divided first, then averaged, as the loop does it."""
    rng = np.random.default_rng(1)
    logits, targets = drawn(4000)
    windows = np.repeat(logits, 3, axis=0) + rng.normal(size=(12_000, CLASSES)).astype(np.float32)
    of_clips = WindowLogits(windows * 4, np.arange(0, 12_000, 3))
    found = SINGLE_LABEL.fit_temperature(of_clips, targets)
    rows = np.arange(4000)

    def loss(temperature: float) -> float:
        by_hand = softmax(of_clips.logits.astype(np.float64) / temperature).reshape(4000, 3, CLASSES).mean(axis=1)
        np.testing.assert_allclose(of_clips.probabilities(temperature), by_hand, atol=1e-12)
        return float(-np.log(by_hand[rows, targets]).mean())

    assert loss(found) < min(loss(found * 0.98), loss(found * 1.02))
    np.testing.assert_allclose(softmax(of_clips.clips_logits(found)), of_clips.probabilities(found), atol=1e-6)


def test_clips_that_are_all_right_do_not_become_certain() -> None:
    logits = np.eye(3, dtype=np.float32)[np.arange(30) % 3] * 8
    targets = np.arange(30) % 3
    assert assumed_error(single(logits), targets)
    found = SINGLE_LABEL.fit_temperature(single(logits), targets)
    assert softmax(logits / found).max() == pytest.approx(1 - 1 / 32, abs=1e-3), "one error in 32 clips is assumed"
    targets[0] = 1
    assert not assumed_error(single(logits), targets)


def test_a_model_of_one_class_has_no_temperature() -> None:
    assert SINGLE_LABEL.fit_temperature(single(np.zeros((4, 1), np.float32)), np.zeros(4, np.int64)) == 1.0


def test_some_clips_of_many() -> None:
    logits = np.arange(12, dtype=np.float32).reshape(6, 2)
    windows = WindowLogits(logits, np.array([0, 1, 4]))
    some = windows.of(np.array([2, 0]))
    np.testing.assert_array_equal(some.logits, logits[[4, 5, 0]])
    np.testing.assert_array_equal(some.starts, [0, 2])
    np.testing.assert_allclose(some.probabilities(2.0), windows.probabilities(2.0)[[2, 0]])


class Held:
    """Clips in memory, and which of them were read."""

    def __init__(self, lengths: list[int]) -> None:
        self.clips = [np.arange(n, dtype=np.float32) + 100 * i for i, n in enumerate(lengths)]
        self.num_samples = np.array(lengths)
        self.sampling_rate_hz = 16_000
        self.scales = np.ones(len(lengths), np.float32)
        self.read: list[int] = []

    def iterate(self, indices):
        for i in indices:
            self.read.append(int(i))
            yield self.clips[i]


@pytest.mark.parametrize("lengths", [[3, 8, 1], [8, 9, 16, 17, 24, 5]])
def test_windows_are_those_of_the_loop(lengths: list[int]) -> None:
    held = Held(lengths)
    windows = WindowsOfClips(held, 8)  # type: ignore[arg-type]
    expected = [[window for _, window in Windowing(8, 8).cut([clip])] for clip in held.clips]
    flat = [window for of_clip in expected for window in of_clip]
    assert windows.num_samples.tolist() == [len(window) for window in flat]
    assert windows.starts.tolist() == np.cumsum([0, *(len(of_clip) for of_clip in expected)])[:-1].tolist()
    for given, wanted in zip(windows.iterate(range(len(flat))), flat, strict=True):
        np.testing.assert_array_equal(given, wanted)
    assert held.read == list(range(len(lengths))), "each clip is read once"
    every_second = range(0, len(flat), 2)  # as one of two processes asks for them
    for given, i in zip(windows.iterate(every_second), every_second, strict=True):
        np.testing.assert_array_equal(given, flat[i])
