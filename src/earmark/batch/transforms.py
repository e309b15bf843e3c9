"""Change the samples of a clip for augmentation. These functions are deterministic.

They use NumPy, SciPy and soxr, which earmark needs anyway. audiomentations has the same functions and more, but it uses
the global generators of ``random`` and NumPy, so a clip's changes would depend on the clips before it, and it installs
librosa, numba and llvmlite. docs/augmentation.md has the timings.

All functions take and return float32 (T,), with the same T unless they say otherwise.
"""

from __future__ import annotations

import numpy as np
import scipy  # imports its submodules when they are used
import soxr


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Play a clip faster (``factor`` above 1) or slower, which changes the pitch, too.

    Resamples to T / ``factor`` samples, rounded, as in Ko et al. 2015, "Audio augmentation for speech recognition".
    """
    played: np.ndarray = soxr.resample(samples, factor, 1.0, quality="MQ")
    return played


def fitted(samples: np.ndarray, count: int) -> np.ndarray:
    """Crop or zero-pad to ``count`` samples."""
    return samples[:count] if len(samples) >= count else np.pad(samples, (0, count - len(samples)))


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """Add the reverberation of a room: convolve with an impulse response and keep the loudness.

    The response starts at its strongest sample, the direct sound, so that nothing moves in time.
    """
    response = response[int(np.abs(response).argmax()) :][: len(samples)]
    heard = scipy.signal.fftconvolve(samples, response)[: len(samples)].astype(np.float32)
    power, now = mean_power(samples), mean_power(heard)
    return heard * np.float32(np.sqrt(power / now)) if now > 0 else samples


def shift(samples: np.ndarray, by: int) -> np.ndarray:
    """Move a clip ``by`` samples later (earlier if negative); fill with silence, and cut what passes the end."""
    moved = np.zeros_like(samples)
    if by >= 0:
        moved[by:] = samples[: len(samples) - by]
    else:
        moved[:by] = samples[-by:]
    return moved


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray | None:
    """Add ``noise`` (T,) at a signal-to-noise ratio of ``snr_db`` decibels.

    Returns:
        ``None`` if the clip or the noise is digital silence, which has no signal-to-noise ratio.
    """
    power, of_noise = mean_power(samples), mean_power(noise)
    if power == 0 or of_noise == 0:
        return None
    return samples + noise * np.float32(np.sqrt(power / of_noise) * decibels_to_factor(-snr_db))


def decibels_to_factor(gain_db: float) -> float:
    """Return the amplitude factor of a gain in decibels."""
    return float(10.0 ** (gain_db / 20))


def mean_power(samples: np.ndarray) -> float:
    """Return the mean square of samples (T,)."""
    return float(np.dot(samples, samples)) / len(samples)


def looped(samples: np.ndarray, start: int, count: int) -> np.ndarray:
    """Return ``count`` samples from ``start``, repeating the recording from its beginning if needed."""
    return np.take(samples, np.arange(start, start + count), mode="wrap")
