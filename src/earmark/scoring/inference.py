"""The one inference loop: waveforms in, logits out, in order.

Validation during training, evaluation and prediction all call :func:`score`, which keeps the prediction for a clip
independent of the other clips in its batch: if a model cannot mask padding exactly, all clips of a batch have the same
length. The loop calls the model through a :class:`Scorer`: a torch model in :mod:`earmark.scoring.torch_scorer`, an
export in :mod:`earmark.export.load_export`. It does not import torch.

Shapes: B batch, T samples, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import numpy as np

from earmark.scoring.windows import Windowing
from earmark.tasks import Task
from earmark.tasks.finite import check_finite
from earmark.threads import watch

# Numbers of batches and samples to collect, to form batches of clips of similar length. Larger numbers would delay the
# first results and need more memory.
_CHUNK_BATCHES = 8
_CHUNK_SAMPLES = 1 << 24  # 64 MB


class Scorer(Protocol):
    """The interface through which the loop calls a model.

    Attributes:
        sampling_rate_hz: sampling rate of its input.
        max_samples: length of the longest window.
        shortest_in_batch: shortest clip of a batch, as a fraction of the longest: 1 if they must have equal lengths.
        most_samples: maximum number of samples in one batch, including padding.
        task: the task of the model, which combines the scores of windows.
    """

    sampling_rate_hz: int
    max_samples: int
    shortest_in_batch: float
    most_samples: float
    task: Task

    def session(self) -> AbstractContextManager[None]:
        """Return a context that prepares the model for many batches; sessions may overlap."""

    def logits(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Return logits, float32 (B, C), of B float32 arrays ``(T_i,)``, each at most ``max_samples`` long."""


def score(scorer: Scorer, waveforms: Iterable[np.ndarray], *, batch_size: int) -> Iterator[np.ndarray]:
    """Score clips of any length, streaming.

    A clip longer than the model's limit is cut into adjoining windows. Its logits give the mean score of its
    windows.

    Args:
        scorer: the model.
        waveforms: float32 arrays of shape ``(T_i,)`` at the scorer's sampling rate, ``T_i >= 1``.
        batch_size: largest number of windows in one forward pass.

    Yields:
        One float32 array of shape ``(C,)`` for each waveform, in order.

    Raises:
        ModelError: logits that are NaN or infinite.
    """
    windowing = Windowing(scorer.max_samples, scorer.max_samples)
    pending: list[list[np.ndarray]] = []
    count = num_samples = 0
    for waveform in waveforms:
        pending.append([window for _, window in windowing.cut([waveform])])
        count += len(pending[-1])
        num_samples += len(waveform)
        if count >= _CHUNK_BATCHES * batch_size or num_samples >= _CHUNK_SAMPLES:
            yield from _score_chunk(scorer, pending, batch_size)
            pending, count, num_samples = [], 0, 0
    if pending:
        yield from _score_chunk(scorer, pending, batch_size)


def _score_chunk(scorer: Scorer, clips: Sequence[Sequence[np.ndarray]], batch_size: int) -> list[np.ndarray]:
    """Return the logits (C,) of each clip, which is a sequence of windows."""
    windows = [window for clip in clips for window in clip]
    logits: list[np.ndarray] = [np.empty(0)] * len(windows)
    with scorer.session():
        for batch in batches(scorer, [len(window) for window in windows], batch_size):
            watch.adjust()
            rows = scorer.logits([windows[i] for i in batch])
            check_finite(rows, "window")
            for i, row in zip(batch, rows, strict=True):
                logits[i] = row
    ends = np.cumsum([len(clip) for clip in clips])
    return [scorer.task.pooled(np.stack(logits[end - len(clip) : end])) for clip, end in zip(clips, ends, strict=True)]


def batches(scorer: Scorer, lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
    """Yield the indices of each batch, longest clips first, with little padding and unchanged predictions.

    Args:
        scorer: the model.
        lengths: number of samples of each clip.
        batch_size: largest number of clips in a batch.
    """
    batch: list[int] = []
    for i in sorted(range(len(lengths)), key=lambda i: -lengths[i]):
        longest = lengths[batch[0]] if batch else 0
        full = len(batch) == batch_size or (len(batch) + 1) * longest > scorer.most_samples
        if batch and (full or lengths[i] < scorer.shortest_in_batch * longest):
            yield batch
            batch = []
        batch.append(i)
    if batch:
        yield batch
