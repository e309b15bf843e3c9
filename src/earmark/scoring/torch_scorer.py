"""Call a torch model in the inference loop (:mod:`earmark.scoring.inference`).

Shapes: B batch, C classes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import numpy as np
import torch

from earmark.device import supports_bf16
from earmark.errors import first_line
from earmark.models.forward import ModelForward, pads_exactly
from earmark.models.frontend import Frontend
from earmark.models.model_sessions import ModelSessions
from earmark.models.packed import can_pack
from earmark.scoring.checked_scoring import HalfPrecisionError, compare_first_clip, computing_dtype, is_compared
from earmark.scoring.inference import batches
from earmark.tasks import task_of_config

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

HALF_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}  # by value of --precision

_SHORTEST_IN_BATCH = 0.8  # shortest clip as a fraction of the longest, which limits padding


class TorchScorer:
    """A torch model for the loop.

    Args:
        model: classifier; in evaluation mode while it scores.
        frontend: its frontend.
        device: device of the model.
        dtype: dtype to compute in; ``None`` for the dtype of the weights.
    """

    def __init__(
        self, model: PreTrainedModel, frontend: Frontend, device: torch.device, dtype: torch.dtype | None = None
    ) -> None:
        self.model = model
        self.frontend = frontend
        self.device = device
        self.dtype = dtype
        self.task = task_of_config(model.config)
        self.sampling_rate_hz = frontend.sampling_rate_hz
        self.max_samples = frontend.max_samples
        self.shortest_in_batch = shortest_in_batch(model, frontend)
        on_cpu = next(model.parameters()).device.type == "cpu"
        self.most_samples = model.forward.family.cpu_batch_s * frontend.sampling_rate_hz if on_cpu else math.inf

    def session(self) -> AbstractContextManager[None]:
        """Return a context that prepares the model; see :class:`earmark.models.model_sessions.ModelSessions`."""
        features = self.frontend.features
        roots = [self.model] if features is None else [self.model, features]
        return self._sessions.session(self.dtype, roots if can_pack(self.device) else [])

    @property
    def _sessions(self) -> ModelSessions:
        sessions: ModelSessions = self.model.forward.sessions
        return sessions

    def logits(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Return the logits of one batch, float32 (B, C).

        Raises:
            DeviceError: see :func:`earmark.scoring.checked_scoring.compare_first_clip`.
        """
        samples, num_samples = self.frontend.pack(waveforms)
        with self._sessions.computing(self.dtype), torch.inference_mode():
            if num_samples is not None:
                num_samples = num_samples.to(self.device, non_blocking=True)
            inputs = self.frontend.inputs(samples.to(self.device, non_blocking=True), num_samples)
            logits: np.ndarray = self.model(**inputs).logits.float().cpu().numpy()
        dtype = computing_dtype(self.model, self.dtype)
        if not is_compared(self.model, dtype):
            with self._sessions.alone():
                if not is_compared(self.model, dtype):  # by another thread
                    compare_first_clip(self.model, self.frontend, waveforms, logits, self.device, dtype)
        return logits


def fast_dtype(scorer: TorchScorer) -> torch.dtype | None:
    """Return bfloat16 if the device multiplies it faster than float32 and computes the model correctly in it.

    Args:
        scorer: scorer of a model with float32 weights, which stay unchanged.

    Raises:
        DeviceError: the device computes the model wrongly in float32.
    """
    if not supports_bf16(scorer.device):
        return None
    half = TorchScorer(scorer.model, scorer.frontend, scorer.device, torch.bfloat16)
    return torch.bfloat16 if is_right_for_noise(half) else None


def is_right_for_noise(scorer: TorchScorer) -> bool:
    """Return whether the device computes a model correctly in bfloat16, and log a warning if it does not.

    The model scores a second of generated noise in bfloat16 and in float32. If the results differ too much, or the
    device lacks an operator in bfloat16, the caller uses float32. The first real clip is compared as well, when it is
    scored.

    Args:
        scorer: scorer in bfloat16.

    Raises:
        DeviceError: the device computes the model wrongly in float32.
    """
    forward = scorer.model.forward
    original = forward.original
    noise = np.random.default_rng(0).standard_normal(min(scorer.sampling_rate_hz, scorer.max_samples)) * 0.1
    try:
        with scorer.session():
            scorer.logits([noise.astype(np.float32)])
    except HalfPrecisionError as exc:
        logger.warning("%s; computing in float32, which is slower", exc.difference)
        return False
    except torch.OutOfMemoryError:  # float32 needs more memory
        raise
    except RuntimeError as exc:
        reason = f"bfloat16 on {scorer.device}: this device cannot compute the model: {first_line(exc)}"
        logger.warning("%s; computing in float32, which is slower", reason)
        return False
    forward.compared.discard((type(scorer.model), torch.bfloat16))
    forward.original = original  # for the comparison of the first clip
    return True


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
    """Set evaluation mode and ``dtype`` of a model for the passes of one thread; restore both at the end.

    The weights are cast once, at the start: do not change them inside.
    """
    assert isinstance(model.forward, ModelForward), "a model without this project's forward would not follow dtype"
    sessions = model.forward.sessions
    with sessions.session(dtype), sessions.computing(dtype):
        yield
