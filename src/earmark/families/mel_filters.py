"""Make mel filter banks: triangles over the bins of a spectrum, equally spaced on a mel scale.

There are three mel scales and two ways to define the triangles:

- HTK (Young et al., "The HTK Book", section 5.4): ``2595 log10(1 + f / 700)``.
- Kaldi (``feat/mel-computations.h``): ``1127 ln(1 + f / 700)``, the HTK scale except for rounding.
- Slaney ("Auditory Toolbox", Interval Research technical report 1998-010): linear below 1 kHz, ``3 f / 200``, and
  logarithmic above, 27 mel for each factor of 6.4.

Triangles are linear in hertz for HTK and Slaney, and in mel for Kaldi. They have equal heights for HTK and Kaldi, and
equal areas for Slaney.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

_SLANEY_KNEE_HZ, _SLANEY_KNEE_MEL = 1000.0, 15.0
_SLANEY_STEP = 27.0 / np.log(6.4)  # mel for each factor of e


class MelScale(Enum):
    """Mel scale of a filter bank, with the shape of its triangles."""

    HTK = "htk"
    KALDI = "kaldi"
    SLANEY = "slaney"

    def mel(self, hertz: np.ndarray) -> np.ndarray:
        """Return frequencies in mel."""
        if self is MelScale.HTK:
            return 2595.0 * np.log10(1.0 + hertz / 700.0)
        if self is MelScale.KALDI:
            return 1127.0 * np.log(1.0 + hertz / 700.0)
        above = _SLANEY_KNEE_MEL + _SLANEY_STEP * np.log(np.maximum(hertz, _SLANEY_KNEE_HZ) / _SLANEY_KNEE_HZ)
        return np.where(hertz < _SLANEY_KNEE_HZ, 3.0 * hertz / 200.0, above)

    def hertz(self, mel: np.ndarray) -> np.ndarray:
        """Return mel in hertz, the inverse of :meth:`mel`."""
        if self is MelScale.HTK:
            return 700.0 * (10.0 ** (mel / 2595.0) - 1.0)
        if self is MelScale.KALDI:
            return 700.0 * (np.exp(mel / 1127.0) - 1.0)
        above = _SLANEY_KNEE_HZ * np.exp((np.maximum(mel, _SLANEY_KNEE_MEL) - _SLANEY_KNEE_MEL) / _SLANEY_STEP)
        return np.where(mel < _SLANEY_KNEE_MEL, 200.0 * mel / 3.0, above)


def mel_filters(
    scale: MelScale, *, num_bins: int, num_mels: int, lowest_hz: float, highest_hz: float, rate_hz: float
) -> np.ndarray:
    """Return the filters of a mel filter bank, float64 (bins, M).

    Args:
        scale: mel scale.
        num_bins: bins of the spectrum, from 0 Hz to half the sampling rate.
        num_mels: M.
        lowest_hz: lower edge of the first filter.
        highest_hz: upper edge of the last filter.
        rate_hz: sampling rate.
    """
    bins_hz = np.linspace(0.0, rate_hz / 2, num_bins)
    lowest_mel, highest_mel = scale.mel(np.array([lowest_hz, highest_hz]))
    edges_mel = np.linspace(lowest_mel, highest_mel, num_mels + 2)
    edges_hz = scale.hertz(edges_mel)
    if scale is MelScale.KALDI:
        return _triangles(scale.mel(bins_hz), edges_mel)
    filters = _triangles(bins_hz, edges_hz)
    return filters * 2.0 / (edges_hz[2:] - edges_hz[:-2]) if scale is MelScale.SLANEY else filters


def _triangles(places: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Return triangles of height 1 over three consecutive edges, evaluated at ``places``: (places, edges - 2)."""
    places, left, middle, right = places[:, None], edges[:-2], edges[1:-1], edges[2:]
    rising, falling = (places - left) / (middle - left), (right - places) / (right - middle)
    return np.clip(np.minimum(rising, falling), 0.0, None)
