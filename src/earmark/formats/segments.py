"""Windows and segments of a recording, as found by a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Window:
    """The probabilities of one window.

    Attributes:
        start_s: start in the recording, in seconds.
        end_s: end in the recording, in seconds.
        probabilities: float32 (C,).
    """

    start_s: float
    end_s: float
    probabilities: np.ndarray


@dataclass(frozen=True)
class Segment:
    """Part of a recording in which one class is detected.

    Attributes:
        start_s: start of its first window, in seconds.
        end_s: end of its last window, in seconds.
        label: detected class.
        score: highest probability of its windows, after smoothing.
    """

    start_s: float
    end_s: float
    label: str
    score: float
