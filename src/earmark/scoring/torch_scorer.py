"""Call a torch model in the inference loop (:mod:`earmark.scoring.inference`).

Shapes: B batch, C classes.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from typing import TYPE_CHECKING

import numpy as np
import torch

from earmark.device import supports_bf16
from earmark.models.forward import ModelForward, cast_weights, pads_exactly
from earmark.models.frontend import Frontend
from earmark.models.packed import PackedProducts, can_pack
from earmark.scoring.checked_scoring import HalfPrecisionError, compare_first_clip, computing_dtype, is_compared
from earmark.scoring.inference import batches, score
from earmark.tasks import task_of_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # by value of --precision

_SHORTEST_IN_BATCH = 0.8  # shortest clip as a fraction of the longest, which limits padding


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
        activated = model.forward.family.activated_linears(model)
        self._packed = PackedProducts(*roots, activated=activated) if can_pack(device) else None
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
            with nullcontext() if self._packed is None else self._packed.paused():
                compare_first_clip(self.model, self.frontend, waveforms, logits, self.device, dtype)
        return logits


def fast_dtype(scorer: TorchScorer) -> torch.dtype | None:
    """Return bfloat16 if the device multiplies it faster than float32 and computes the model correctly in it.

    The model computes a second of generated noise in both. If they differ too much, a warning is logged.

    Args:
        scorer: scorer of a model with float32 weights, which stay unchanged.

    Raises:
        DeviceError: the device computes the model wrongly in float32.
    """
    if not supports_bf16(scorer.device):
        return None
    half = TorchScorer(scorer.model, scorer.frontend, scorer.device, torch.bfloat16)
    noise = np.random.default_rng(0).standard_normal(min(scorer.sampling_rate_hz, scorer.max_samples)) * 0.1
    try:
        with half.session():
            half.logits([noise.astype(np.float32)])
    except HalfPrecisionError as exc:
        logger.warning("%s; computing in float32, which is slower", exc.difference)
        return None
    return torch.bfloat16


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
    return batches(TorchScorer(model, frontend, device), lengths, batch_size)


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
