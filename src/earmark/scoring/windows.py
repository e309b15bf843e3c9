"""Cut a stream of samples into windows, in memory that does not grow with the stream.

Shapes: T samples of a recording.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from earmark.errors import UsageError


@dataclass(frozen=True)
class Windowing:
    """The window length and the hop for cutting recordings.

    Windows start at every multiple of the hop. After the last one that fits, one more window ends where the recording
    ends, so that every sample is used and nothing is padded. A recording shorter than a window is one window.

    Attributes:
        window_samples: length of a window.
        hop_samples: distance between the starts of two windows; at most the length.
    """

    window_samples: int
    hop_samples: int

    @classmethod
    def of_seconds(
        cls, window_s: float | None, hop_s: float | None, *, longest_samples: int, sampling_rate_hz: int
    ) -> Windowing:
        """Return the windowing for a window length and a hop in seconds.

        Args:
            window_s: window length in seconds; ``None`` for the longest window of the model.
            hop_s: distance between the starts of two windows in seconds; ``None`` for the window length: no overlap.
            longest_samples: length of the longest window of the model.
            sampling_rate_hz: sampling rate of the model.

        Raises:
            UsageError: the length or the hop is out of range.
        """
        longest_s = longest_samples / sampling_rate_hz
        window = longest_samples if window_s is None else _in_samples(window_s, sampling_rate_hz)
        if window_s is not None and not 1 <= window <= longest_samples:
            raise UsageError(
                f"--window_seconds {window_s:g}: expected above 0 and at most {longest_s:.4g} s, the longest window of "
                "this model. Leave the flag out for the longest window, or train with a larger --max_length_seconds."
            )
        hop = window if hop_s is None else _in_samples(hop_s, sampling_rate_hz)
        if hop_s is not None and not 1 <= hop <= window:
            raise UsageError(
                f"--hop_seconds {hop_s:g}: expected above 0 and at most the window, {window / sampling_rate_hz:g} s, "
                "so that no part of a recording is left out."
            )
        return cls(window, hop)

    def cut(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Cut a recording that comes in blocks.

        Args:
            blocks: float32 arrays of any length; at least 1 sample in all.

        Yields:
            ``(start, samples)``: index of the first sample, and float32 (window_samples,), or the whole recording if it
            is shorter than a window.
        """
        held = np.empty(0, np.float32)  # starts at sample `at` of the recording
        at = start = 0
        for block in blocks:
            held = np.concatenate([held, block]) if len(held) else block
            while start + self.window_samples <= at + len(held):
                yield start, held[start - at : start - at + self.window_samples]
                start += self.hop_samples
            # keep one window, because the last window of the recording may reach back that far
            keep = max(at, min(start, at + len(held) - self.window_samples))
            held, at = held[keep - at :], keep
        end = at + len(held)
        last = max(0, end - self.window_samples)
        if start == 0 or start - self.hop_samples < last:
            yield last, held[last - at :]


def _in_samples(seconds: float, sampling_rate_hz: int) -> int:
    """Return a number of samples; 0, which is always out of range, for NaN and infinity."""
    return round(seconds * sampling_rate_hz) if math.isfinite(seconds) else 0
