"""Windows of a stream of samples: where they start, and what is in them, in memory that does not grow with the stream.

T samples of a recording, W windows of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from earmark.errors import UsageError


@dataclass(frozen=True)
class Windowing:
    """How a recording is cut.

    Windows start at every multiple of the hop. Behind the last that fits, one more ends where the recording ends, so
    that every sample is used and none is padding; a recording shorter than a window is one window.

    Attributes:
        window_samples: length of a window.
        hop_samples: from the start of one to the start of the next; at most the length.
    """

    window_samples: int
    hop_samples: int

    @classmethod
    def of_seconds(
        cls, window_s: float | None, hop_s: float | None, *, longest_samples: int, sampling_rate_hz: int
    ) -> Windowing:
        """Return the windowing that the settings ask for.

        Args:
            window_s: length in seconds; ``None`` for the longest that the model takes.
            hop_s: hop in seconds; ``None`` for the length: no overlap.
            longest_samples: of a window, for the model.
            sampling_rate_hz: of the model.

        Raises:
            UsageError: an impossible length or hop.
        """
        longest_s = longest_samples / sampling_rate_hz
        window = longest_samples if window_s is None else round(window_s * sampling_rate_hz)
        if window < 1 or window > longest_samples:
            raise UsageError(
                f"--window_seconds {window_s:g}: this model takes windows above 0 and of at most {longest_s:.4g} s. "
                "Leave the flag out for the longest window, or train with a larger --max_length_seconds"
            )
        hop = window if hop_s is None else round(hop_s * sampling_rate_hz)
        if not 1 <= hop <= window:
            raise UsageError(
                f"--hop_seconds {hop_s:g}: expected above 0 and at most the window, {window / sampling_rate_hz:g} s. "
                f"Lower it, so that no part of a recording is left out."
            )
        return cls(window, hop)

    def cut(self, blocks: Iterable[np.ndarray]) -> Iterator[tuple[int, np.ndarray]]:
        """Cut a recording that comes in blocks.

        Args:
            blocks: float32 (samples,), together (T,) with T at least 1.

        Yields:
            ``(start, samples)``: where the window starts, and float32 (window_samples,), shorter only where the whole
            recording is.
        """
        held = np.empty(0, np.float32)  # from sample `at` of the recording on
        at = start = 0
        for block in blocks:
            held = np.concatenate([held, block]) if len(held) else block
            while start + self.window_samples <= at + len(held):
                yield start, held[start - at : start - at + self.window_samples]
                start += self.hop_samples
            # what is left may be the end of the recording, which the last window reaches back from
            keep = max(at, min(start, at + len(held) - self.window_samples))
            held, at = held[keep - at :], keep
        end = at + len(held)
        last = max(0, end - self.window_samples)
        if start == 0 or start - self.hop_samples < last:
            yield last, held[last - at :]
