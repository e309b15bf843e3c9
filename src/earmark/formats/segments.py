"""What a model finds in a recording: windows and segments."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Window:
    """The probabilities of one window.

    Attributes:
        start_s: where it starts in the recording, in seconds.
        end_s: where it ends.
        probabilities: float32 (C,).
    """

    start_s: float
    end_s: float
    probabilities: np.ndarray


@dataclass(frozen=True)
class Segment:
    """A stretch in which one class is detected.

    Attributes:
        start_s: start of its first window, in seconds.
        end_s: end of its last window.
        label: the class.
        score: highest probability of its windows, after smoothing.
    """

    start_s: float
    end_s: float
    label: str
    score: float
