"""The loop for predictions, timelines and embeddings: from blocks of recordings to one row per window."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from earmark.errors import AudioError
from earmark.scoring.inference import Scorer, score
from earmark.scoring.windows import Windowing

Key = TypeVar("Key")


@dataclass(frozen=True)
class Scored:
    """The model's output for one window.

    Attributes:
        start_s: start in the recording, in seconds.
        end_s: end in the recording, in seconds.
        row: float32 (C,) logits, or an embedding (D,).
    """

    start_s: float
    end_s: float
    row: np.ndarray


@dataclass(frozen=True)
class Ended:
    """The end of a recording.

    Attributes:
        duration_s: length that was scored, in seconds.
        error: error that prevented reading to the end; ``None`` without one.
    """

    duration_s: float
    error: AudioError | None


def score_recordings(
    scorer: Scorer, recordings: Iterable[tuple[Key, Iterable[np.ndarray]]], windowing: Windowing, batch_size: int
) -> Iterator[tuple[Key, Scored | Ended]]:
    """Score all windows of recordings. Windows of several recordings share a batch.

    Args:
        scorer: the model.
        recordings: name and samples of each; float32 blocks at the scorer's sampling rate.
        windowing: how to cut them; windows must not be longer than the scorer accepts.
        batch_size: maximum number of windows in one forward pass.

    Yields:
        ``(name, scored)`` for each window and ``(name, ended)`` after the last window of each recording, in order.
    """
    rate_hz = scorer.sampling_rate_hz
    # in output order: windows (start, samples) that are not scored yet, and ends of recordings
    waiting: deque[tuple[Key, tuple[int, int] | Ended]] = deque()

    def cut() -> Iterator[np.ndarray]:
        for key, blocks in recordings:
            end, error = 0, None
            try:
                for start, samples in windowing.cut(blocks):
                    end = start + len(samples)
                    waiting.append((key, (start, len(samples))))
                    yield samples
            except AudioError as exc:
                error = exc
            waiting.append((key, Ended(end / rate_hz, error)))

    for row in score(scorer, cut(), batch_size=batch_size):
        yield from _ended(waiting)
        key, place = waiting.popleft()
        assert not isinstance(place, Ended)
        start, count = place
        yield key, Scored(start / rate_hz, (start + count) / rate_hz, row)
    yield from _ended(waiting)


def _ended(waiting: deque[tuple[Key, tuple[int, int] | Ended]]) -> Iterator[tuple[Key, Ended]]:
    """Yield the ends of recordings at the front of the queue."""
    while waiting and isinstance(waiting[0][1], Ended):
        yield waiting.popleft()  # type: ignore[misc]  # the line above checks the type
