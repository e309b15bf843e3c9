"""The one inference loop: waveforms in, logits out, in order.

Validation during training, evaluation and prediction all call :func:`score`, which keeps the prediction for a clip
independent of the other clips in its batch: if a model cannot mask padding exactly, all clips of a batch have the same
length. The loop calls the model through a :class:`Scorer`: :class:`TorchScorer` here, an exported model in
:mod:`earmark.export.load_export`.

Shapes: B batch, T samples, C classes.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch

from earmark.models.forward import ModelForward, cast_weights, pads_exactly
from earmark.models.frontend import Frontend
from earmark.models.packed import PackedProducts, can_pack
from earmark.scoring.checked_scoring import compare_first_clip, computing_dtype, is_compared
from earmark.scoring.windows import Windowing
from earmark.tasks import Task, task_of_config
from earmark.threads import watch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Clips are collected to form batches of similar length. More would delay the first results and take memory.
_CHUNK_BATCHES = 8
_CHUNK_SAMPLES = 1 << 24  # 64 MB
_SHORTEST_IN_BATCH = 0.8  # shortest clip as a fraction of the longest, which limits padding


class Scorer(Protocol):
    """The interface through which the loop calls a model.

    Attributes:
        sampling_rate_hz: sampling rate of its input.
        max_samples: length of the longest window.
        shortest_in_batch: shortest clip of a batch, as a fraction of the longest: 1 if they must have equal lengths.
        most_samples: most samples in one batch, including padding.
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


def score_waveforms(
    model: PreTrainedModel,
    frontend: Frontend,
    waveforms: Iterable[np.ndarray],
    *,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
) -> Iterator[np.ndarray]:
    """Score clips with a torch model; see :func:`score`.

    Args:
        model: classifier; in evaluation mode while it scores.
        frontend: its frontend.
        waveforms: see :func:`score`.
        batch_size: largest number of windows in one forward pass.
        device: device of the model.
        dtype: dtype to compute in; ``None`` for the dtype of the weights.

    Yields:
        One float32 array of shape ``(C,)`` for each waveform, in order.
    """
    return score(TorchScorer(model, frontend, device, dtype), waveforms, batch_size=batch_size)


def score(scorer: Scorer, waveforms: Iterable[np.ndarray], *, batch_size: int) -> Iterator[np.ndarray]:
    """Score clips of any length, streaming.

    A clip longer than the model's limit is cut into adjoining windows. Its logits are those of the mean score of its
    windows.

    Args:
        scorer: the model.
        waveforms: float32 arrays of shape ``(T_i,)`` at the scorer's sampling rate, ``T_i >= 1``.
        batch_size: largest number of windows in one forward pass.

    Yields:
        One float32 array of shape ``(C,)`` for each waveform, in order.
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
    """Return the logits (C,) of each clip, given as its windows."""
    windows = [window for clip in clips for window in clip]
    logits: list[np.ndarray] = [np.empty(0)] * len(windows)
    with scorer.session():
        for batch in _batches(scorer, [len(window) for window in windows], batch_size):
            watch.adjust()
            for i, row in zip(batch, scorer.logits([windows[i] for i in batch]), strict=True):
                logits[i] = row
    ends = np.cumsum([len(clip) for clip in clips])
    return [scorer.task.pooled(np.stack(logits[end - len(clip) : end])) for clip, end in zip(clips, ends, strict=True)]


class TorchScorer:
    """A torch model for the loop; :func:`score_waveforms` explains the arguments."""

    def __init__(
        self, model: PreTrainedModel, frontend: Frontend, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        self.model = model
        self.frontend = frontend
        self.device = device
        self.dtype = dtype
        self._lock = threading.Lock()
        self._num_sessions = 0
        self._held = ExitStack()
        roots = [model] if frontend.features is None else [model, frontend.features]
        self._packed = PackedProducts(*roots) if can_pack(device) else None
        self.task = task_of_config(model.config)
        self.sampling_rate_hz = frontend.sampling_rate_hz
        self.max_samples = frontend.max_samples
        self.shortest_in_batch = shortest_in_batch(model, frontend)
        on_cpu = next(model.parameters()).device.type == "cpu"
        self.most_samples = model.forward.family.cpu_batch_s * frontend.sampling_rate_hz if on_cpu else math.inf

    @contextmanager
    def session(self) -> Iterator[None]:
        """Set evaluation mode, and cast and pack the weights, until the last of overlapping sessions ends."""
        with self._lock:
            if self._num_sessions == 0:
                self._held = ExitStack()
                self._held.enter_context(scoring(self.model, self.dtype))
                if self._packed is not None:
                    self._held.enter_context(self._packed.used())
            self._num_sessions += 1
        try:
            yield
        finally:
            with self._lock:
                self._num_sessions -= 1
                if self._num_sessions == 0:
                    self._held.close()

    def logits(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Return the logits of one batch, float32 (B, C).

        Raises:
            DeviceError: see :func:`earmark.scoring.checked_scoring.compare_first_clip`.
        """
        samples, num_samples = self.frontend.pack(waveforms)
        with torch.inference_mode():
            if num_samples is not None:
                num_samples = num_samples.to(self.device, non_blocking=True)
            inputs = self.frontend.inputs(samples.to(self.device, non_blocking=True), num_samples)
            logits: np.ndarray = self.model(**inputs).logits.float().cpu().numpy()
        dtype = computing_dtype(self.model, self.dtype)
        if not is_compared(self.model, dtype):
            compare_first_clip(self.model, self.frontend, waveforms, logits, self.device, dtype)
            if self._packed is not None:
                self._packed.forget()  # frees float32 weights that only the comparison needs
        return logits


def shortest_in_batch(model: PreTrainedModel, frontend: Frontend) -> float:
    """Return how short a clip of a batch may be, as a fraction of the longest, without changing predictions."""
    if frontend.pads_itself:  # fixed-length encoders pad every clip to the same length anyway
        return 0.0
    return _SHORTEST_IN_BATCH if pads_exactly(model) else 1.0


def batches_of_like_length(
    model: PreTrainedModel, frontend: Frontend, lengths: Sequence[int], batch_size: int
) -> Iterator[list[int]]:
    """Yield the indices of each batch, longest clips first, with little padding and unchanged predictions.

    Args:
        model: the classifier, on the device that will compute.
        frontend: its frontend.
        lengths: number of samples of each clip.
        batch_size: largest number of clips in a batch.
    """
    device = next(model.parameters()).device
    return _batches(TorchScorer(model, frontend, device), lengths, batch_size)


def _batches(scorer: Scorer, lengths: Sequence[int], batch_size: int) -> Iterator[list[int]]:
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


@contextmanager
def scoring(model: PreTrainedModel, dtype: torch.dtype | None) -> Iterator[None]:
    """Set evaluation mode and ``dtype`` of a model; restore both at the end.

    The weights are cast once, at the start: do not change them inside.
    """
    was_training, forward = model.training, model.forward
    assert isinstance(forward, ModelForward), "a model without this project's forward would not follow dtype"
    forward.convolutions.check(dtype, backward=False)
    before = forward.scoring_weights
    forward.scoring_weights = None if dtype is None else cast_weights(model, dtype)
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)
        forward.scoring_weights = before
