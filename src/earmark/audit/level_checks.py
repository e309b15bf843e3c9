"""Check the levels of recordings: silence, clipping, DC offset, and channels that cancel each other."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from earmark.audio.samples import FULL_SCALE_LIMIT, LEAST_LEFT
from earmark.audit.measure import Measures
from earmark.text import agreeing

_SILENT_PEAK = 1e-3  # -60 dB of full scale
_QUIET_RMS = 10 ** (-55 / 20)
_CLIPPED_FRACTION = 1e-3
_DC_OFFSET = 0.02


class LevelCheck(NamedTuple):
    """The clips that have a certain fault, such as clipping.

    Attributes:
        kind: kind of the finding.
        hit: which clips have the fault, bool (N,).
        verb: verb before the text, in the plural.
        text: description of the fault, after the number of clips and the verb.
        values: the value to show for each clip, float (N,).
        form: format of a value.
    """

    kind: str
    hit: np.ndarray
    verb: str
    text: str
    values: np.ndarray
    form: str


def level_checks(measures: Measures) -> list[LevelCheck]:
    """Return the checks of silence, level, channels, clipping and offset for N measured clips."""
    silent = measures.readable & (measures.peak < _SILENT_PEAK)
    quiet = measures.readable & ~silent & (measures.rms < _QUIET_RMS)
    above = measures.peak > FULL_SCALE_LIMIT
    return [
        LevelCheck(
            "silent",
            silent,
            "are",
            "silent (peak below -60 dB)",
            _rounded_down(decibels(measures.peak)),
            "peak {:.1f} dB",
        ),
        LevelCheck(
            "quiet",
            quiet,
            "are",
            "very quiet (below -55 dB on average)",
            _rounded_down(decibels(measures.rms)),
            "{:.1f} dB",
        ),
        LevelCheck(
            "cancelled",
            measures.left < LEAST_LEFT,
            "have",
            "channels of opposite phase, which would cancel each other in a mix: only one channel is used",
            100 * (1 - measures.left),
            "{:.3g} % of the power lost in the mix",
        ),
        LevelCheck(
            "above full scale",
            above,
            "are",
            f"far above full scale (1), so training rejects {agreeing(int(above.sum()), 'them')}: scale the samples to "
            "the range -1 to 1",
            measures.peak,
            "peak {:,.0f}",
        ),
        LevelCheck(
            "clipped",
            measures.clipped >= _CLIPPED_FRACTION,
            "are",
            "clipped: peaks are cut off",
            100 * measures.clipped,
            "{:.1f} % of the samples",
        ),
        LevelCheck(
            "DC offset",
            (np.abs(measures.dc_offset) >= _DC_OFFSET) & ~above,
            "have",
            f"a DC offset of {100 * _DC_OFFSET:g} % of full scale or more",
            100 * measures.dc_offset,
            "{:+.1f} %",
        ),
    ]


def decibels(values: np.ndarray) -> np.ndarray:
    """Return amplitudes in dB of full scale, at least -200."""
    levels: np.ndarray = 20 * np.log10(np.maximum(values, 1e-10))
    return levels


def _rounded_down(values: np.ndarray) -> np.ndarray:
    """Round down to one decimal, so that a value below a limit is not shown as the limit."""
    rounded: np.ndarray = np.floor(10 * values) / 10
    return rounded
