"""Background noise for the synthetic corpus: six kinds, all generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

_RATE_HZ = 16_000
_PEAK = 0.9


def background_recordings(
    rng: np.random.Generator, talkers: Sequence[np.ndarray], shortest_s: int, longest_s: int
) -> dict[str, np.ndarray]:
    """Return one recording of each kind.

    Args:
        rng: random generator.
        talkers: float32 ``(samples,)`` of continuous speech at 16 kHz, one for each voice of the babble.
        shortest_s: minimum duration in seconds.
        longest_s: maximum duration in seconds.

    Returns:
        file stem -> float32 ``(samples,)`` at 16 kHz, RMS between -36 and -22 dB of full scale.
    """
    makers: dict[str, Callable[[int], np.ndarray]] = {
        "babble": lambda count: _babble(rng, count, talkers),
        "clicks": lambda count: _clicks(rng, count),
        "mains_hum": lambda count: _hum(rng, count),
        "pink_noise": lambda count: _coloured(rng, count, -0.5),
        "running_tap": lambda count: _tap(rng, count),
        "white_noise": lambda count: rng.standard_normal(count),
    }
    recordings = {}
    for name, make in makers.items():
        # whole seconds: a length with large prime factors makes the Fourier transforms slow
        wave = make(int(rng.integers(shortest_s, longest_s + 1)) * _RATE_HZ)
        recordings[name] = _at_level(wave, rng.uniform(-36, -22))
    return recordings


def _at_level(wave: np.ndarray, rms_db: float) -> np.ndarray:
    scaled = wave * (10 ** (rms_db / 20) / np.sqrt(np.mean(wave**2)))
    # a few clicks are far above the rest, so scale everything down instead of clipping
    return (scaled * min(1.0, _PEAK / np.abs(scaled).max())).astype(np.float32)


def _coloured(
    rng: np.random.Generator, count: int, slope: float, low_hz: float = 20, high_hz: float = 8_000
) -> np.ndarray:
    """Return noise whose amplitude spectrum is proportional to frequency ** slope within a band."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    frequency_hz = np.fft.rfftfreq(count, 1 / _RATE_HZ)
    within = (frequency_hz >= low_hz) & (frequency_hz <= high_hz)
    spectrum[within] *= frequency_hz[within] ** slope
    spectrum[~within] = 0
    wave = np.fft.irfft(spectrum, count)
    return wave / np.sqrt(np.mean(wave**2))


def _slow(rng: np.random.Generator, count: int, depth: float) -> np.ndarray:
    """Return a gain that varies slowly around 1 within a few seconds."""
    knots = rng.uniform(1 - depth, 1 + depth, count // (2 * _RATE_HZ) + 2)
    return np.interp(np.linspace(0, len(knots) - 1, count), np.arange(len(knots)), knots)


def _hum(rng: np.random.Generator, count: int) -> np.ndarray:
    time_s = np.arange(count) / _RATE_HZ
    mains_hz = rng.choice([50.0, 60.0]) * rng.uniform(0.999, 1.001)
    wave = 0.05 * _coloured(rng, count, -0.5)
    for harmonic in range(1, 13):
        phase = rng.uniform(0, 2 * np.pi)
        wave += rng.uniform(0.2, 1) / harmonic * np.sin(2 * np.pi * harmonic * mains_hz * time_s + phase)
    return wave * _slow(rng, count, 0.3)


def _babble(rng: np.random.Generator, count: int, talkers: Sequence[np.ndarray]) -> np.ndarray:
    wave = np.zeros(count)
    for talker in talkers:
        start = int(rng.integers(len(talker)))
        voice = np.resize(np.roll(talker, -start), count)
        wave += rng.uniform(0.4, 1) * voice / np.sqrt(np.mean(voice**2))
    return wave


def _clicks(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return noise like typing and knocking: short decaying resonances, three per second, over faint noise."""
    wave = 0.02 * _coloured(rng, count, -0.5)
    _add_rings(rng, wave, per_second=3, frequency_hz=(300, 4_000), decay_s=(0.002, 0.02))
    return wave


def _tap(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return noise like water: a broad band of noise that gets louder and softer, and bubbles."""
    wave = _coloured(rng, count, -0.2, 400, 6_000) * _slow(rng, count, 0.25)
    _add_rings(rng, wave, per_second=30, frequency_hz=(500, 2_500), decay_s=(0.005, 0.02))
    return wave


def _add_rings(
    rng: np.random.Generator,
    wave: np.ndarray,
    *,
    per_second: float,
    frequency_hz: tuple[float, float],
    decay_s: tuple[float, float],
) -> None:
    for _ in range(int(per_second * len(wave) / _RATE_HZ)):
        pitch_hz, decay = rng.uniform(*frequency_hz), rng.uniform(*decay_s)
        time_s = np.arange(int(6 * decay * _RATE_HZ)) / _RATE_HZ
        ring = rng.uniform(0.3, 1) * np.exp(-time_s / decay) * np.sin(2 * np.pi * pitch_hz * time_s)
        start = int(rng.integers(len(wave) - len(ring)))
        wave[start : start + len(ring)] += ring
