"""What augmentation does to the samples of one clip: plain functions of samples and numbers, nothing random in them.

They are NumPy, SciPy and soxr, which are needed anyway. audiomentations has the same and more, but draws from the
process-wide generators of ``random`` and NumPy, so that what a clip gets depends on the clips before it, and brings
librosa, numba and llvmlite along; docs/augmentation.md has the timings.

All take and give float32 (T,), of the same T unless they say otherwise.
"""

from __future__ import annotations

import numpy as np
import soxr
from scipy.signal import fftconvolve


def change_speed(samples: np.ndarray, factor: float) -> np.ndarray:
    """Play faster (``factor`` above 1) or slower, pitch and all; float32 of T / ``factor`` samples, rounded.

    Resampling, as in Ko et al. 2015, "Audio augmentation for speech recognition".
    """
    played: np.ndarray = soxr.resample(samples, factor, 1.0, quality="MQ")
    return played


def fitted(samples: np.ndarray, count: int) -> np.ndarray:
    """The first ``count`` samples, or all of them and silence; (count,)."""
    return samples[:count] if len(samples) >= count else np.pad(samples, (0, count - len(samples)))


def reverberate(samples: np.ndarray, response: np.ndarray) -> np.ndarray:
    """The clip as heard through a room: convolved with an impulse response, at the loudness it had.

    The response counts from its strongest sample on, the direct sound, so that nothing moves in time.
    """
    response = response[int(np.abs(response).argmax()) :][: len(samples)]
    heard = fftconvolve(samples, response)[: len(samples)].astype(np.float32)
    power, now = mean_power(samples), mean_power(heard)
    return heard * np.float32(np.sqrt(power / now)) if now > 0 else samples


def shift(samples: np.ndarray, by: int) -> np.ndarray:
    """Moved ``by`` samples later (below 0: earlier); silence comes in, what passes the end is lost."""
    moved = np.zeros_like(samples)
    if by >= 0:
        moved[by:] = samples[: len(samples) - by]
    else:
        moved[:by] = samples[-by:]
    return moved


def add_noise(samples: np.ndarray, noise: np.ndarray, snr_db: float) -> np.ndarray | None:
    """The clip with ``noise`` (T,) so loud that the power of the clip is ``snr_db`` decibels above that of the noise.

    Returns:
        ``None`` where either is digital silence, which has no ratio to anything.
    """
    power, of_noise = mean_power(samples), mean_power(noise)
    if power == 0 or of_noise == 0:
        return None
    return samples + noise * np.float32(np.sqrt(power / of_noise) * decibels_to_factor(-snr_db))


def decibels_to_factor(gain_db: float) -> float:
    """Factor of the amplitude."""
    return float(10.0 ** (gain_db / 20))


def mean_power(samples: np.ndarray) -> float:
    """Mean square of (T,)."""
    return float(np.dot(samples, samples)) / len(samples)


def looped(samples: np.ndarray, start: int, count: int) -> np.ndarray:
    """``count`` samples from ``start`` on, from the beginning again wherever they end; (count,)."""
    return np.take(samples, np.arange(start, start + count), mode="wrap")
