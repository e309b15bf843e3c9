from __future__ import annotations

import numpy as np
import pytest

from earmark.batch import transforms
from tests.tiny import RATE_HZ, tone


def loudest_hz(samples: np.ndarray) -> float:
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return float(spectrum.argmax() * RATE_HZ / len(samples))


@pytest.mark.parametrize("factor", [0.8, 0.9, 1.1, 1.3])
def test_speed_moves_the_pitch_and_the_length(factor: float) -> None:
    wave = tone(1000, 1.0)
    wave[[100, -101]] = 5.0  # a click near each end
    played = transforms.change_speed(wave, factor)
    assert len(played) == round(16_000 / factor)
    assert played.dtype == np.float32
    assert loudest_hz(played[200:-200]) == pytest.approx(1000 * factor, abs=2)
    half = len(played) // 2
    assert np.abs(played[:half]).argmax() == pytest.approx(100 / factor, abs=1)
    assert np.abs(played[half:]).argmax() + half == pytest.approx((16_000 - 101) / factor, abs=1)


def test_samples_are_cut_or_followed_by_silence_to_fit() -> None:
    wave = np.arange(1, 6, dtype=np.float32)
    assert transforms.fitted(wave, 3).tolist() == [1, 2, 3]
    assert transforms.fitted(wave, 7).tolist() == [1, 2, 3, 4, 5, 0, 0]
    assert transforms.fitted(wave, 5).tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("by", [-3, 0, 4])
def test_a_shift_moves_and_loses_what_passes_the_end(by: int) -> None:
    samples = np.arange(1, 11, dtype=np.float32)
    moved = transforms.shift(samples, by)
    expected = {-3: [4, 5, 6, 7, 8, 9, 10, 0, 0, 0], 0: list(range(1, 11)), 4: [0, 0, 0, 0, 1, 2, 3, 4, 5, 6]}
    assert moved.tolist() == expected[by]


@pytest.mark.parametrize("snr_db", [-5.0, 0.0, 12.5])
def test_noise_is_as_loud_as_asked(snr_db: float) -> None:
    clip, noise = tone(400, 0.5), np.random.default_rng(0).standard_normal(8000).astype(np.float32)
    noisy = transforms.add_noise(clip, noise, snr_db)
    assert noisy is not None
    measured = 10 * np.log10(np.mean(clip.astype(float) ** 2) / np.mean((noisy - clip).astype(float) ** 2))
    assert measured == pytest.approx(snr_db, abs=0.01)


def test_silence_has_no_ratio_to_noise() -> None:
    clip, silence = tone(400, 0.1), np.zeros(1600, dtype=np.float32)
    assert transforms.add_noise(clip, silence, 10) is None
    assert transforms.add_noise(silence, clip, 10) is None


def test_a_room_keeps_loudness_and_place_and_adds_its_echo() -> None:
    clip = np.zeros(4000, dtype=np.float32)
    clip[1000] = 1
    response = np.zeros(1200, dtype=np.float32)
    response[100], response[600] = 0.5, 0.25  # the direct sound late in the file, an echo 500 samples behind it
    heard = transforms.reverberate(clip, response)
    assert heard.shape == clip.shape
    assert np.flatnonzero(np.abs(heard) > 0.01).tolist() == [1000, 1500]
    assert heard[1500] / heard[1000] == pytest.approx(0.5, rel=1e-4)
    assert transforms.mean_power(heard) == pytest.approx(transforms.mean_power(clip), rel=1e-4)


def test_noise_that_is_short_begins_again() -> None:
    assert transforms.looped(np.array([1, 2, 3]), 1, 7).tolist() == [2, 3, 1, 2, 3, 1, 2]
