"""The one inference loop: waveforms in, logits out, in order.

Validation while training, evaluation, prediction and every later path call :func:`score_waveforms`, so a clip has one
answer. Clips of one batch always have exactly the same length: nothing is padded to a neighbour's length, and so a
clip's logits do not depend on its company.

Shapes: B batch, T samples, C classes.
"""

from __future__ import annotations

import contextlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch

from earmark.models.frontend import Frontend

_CHUNK_BATCHES = 4  # how many batches of clips are held back to find equal lengths: more delays the first answers


def score_waveforms(
    model: Any,
    frontend: Frontend,
    waveforms: Iterable[np.ndarray],
    *,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> Iterator[np.ndarray]:
    """Score clips of any length, streaming.

    A clip longer than the model takes at once is cut into windows that cover it evenly; its answer is the logarithm of
    the windows' mean probabilities.

    Args:
        model: classifier; put into evaluation mode while scoring and left in the mode it was in.
        frontend: its frontend.
        waveforms: float32 arrays of shape ``(T_i,)`` at the frontend's sampling rate, ``T_i >= 1``.
        batch_size: most windows in one forward pass.
        device: where the model is.
        dtype: autocast to this type; ``None`` computes in the weights' own type.

    Yields:
        One float32 array of shape ``(C,)`` for each waveform, in order.
    """
    was_training = model.training
    model.eval()
    try:
        pending: list[list[np.ndarray]] = []
        count = 0
        for waveform in waveforms:
            pending.append(split_into_windows(waveform, frontend.max_samples))
            count += len(pending[-1])
            if count >= _CHUNK_BATCHES * batch_size:
                yield from _score_chunk(model, frontend, pending, batch_size, device, dtype)
                pending, count = [], 0
        if pending:
            yield from _score_chunk(model, frontend, pending, batch_size, device, dtype)
    finally:
        model.train(was_training)


def split_into_windows(waveform: np.ndarray, max_samples: int) -> list[np.ndarray]:
    """Cut ``(T,)`` into the fewest equal windows of ``max_samples`` that cover it, evenly spread; one if it fits."""
    total = len(waveform)
    if total <= max_samples:
        return [waveform]
    count = -(-total // max_samples)
    starts = np.linspace(0, total - max_samples, count).round().astype(int)
    return [waveform[start : start + max_samples] for start in starts]


def _score_chunk(
    model: Any,
    frontend: Frontend,
    clips: Sequence[Sequence[np.ndarray]],
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None,
) -> Iterator[np.ndarray]:
    windows = [window for clip in clips for window in clip]
    by_length: dict[int, list[int]] = defaultdict(list)
    for i, window in enumerate(windows):
        by_length[len(window)].append(i)
    logits: list[np.ndarray] = [np.empty(0)] * len(windows)
    for indices in by_length.values():
        for start in range(0, len(indices), batch_size):
            batch = indices[start : start + batch_size]
            rows = _forward(model, frontend([windows[i] for i in batch]), device, dtype)  # (B, C)
            for i, row in zip(batch, rows, strict=True):
                logits[i] = row
    first = 0
    for clip in clips:
        yield _merge(np.stack(logits[first : first + len(clip)]))
        first += len(clip)


def _forward(
    model: Any, inputs: dict[str, torch.Tensor], device: torch.device, dtype: torch.dtype | None
) -> np.ndarray:
    """Logits (B, C) float32 of one batch."""
    cast = torch.autocast(device.type, dtype=dtype) if dtype is not None else contextlib.nullcontext()
    with torch.inference_mode(), cast:
        moved = {name: tensor.to(device, non_blocking=True) for name, tensor in inputs.items()}
        return model(**moved).logits.float().cpu().numpy()


def _merge(logits: np.ndarray) -> np.ndarray:
    """Logits (windows, C) of one clip to ``(C,)``."""
    if len(logits) == 1:
        return logits[0]
    return np.log(softmax(logits).mean(axis=0) + np.finfo(np.float32).tiny).astype(np.float32)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities of logits along the last axis."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return shifted / shifted.sum(axis=-1, keepdims=True)
