"""Check half precision: compare one clip of the first batch with float32, once per process.

The check compares the logits of the clip and the outputs of the layers. It takes about as long as scoring three
clips, which is less than 1 % of the time for 300 or more clips. On an accelerator it also compares float32 with the
CPU. A difference beyond the tolerance is an error. ``--precision auto`` first makes the same check with noise, and uses
float32 if half precision fails it: :func:`earmark.scoring.torch_scorer.is_right_for_noise`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from earmark.errors import DeviceError
from earmark.models.embedding import EmbeddingModel
from earmark.models.frontend import Frontend
from earmark.models.numerics import SILENT, Way, compare, compute, copy_on_cpu, first_different_layer, wrong_float32

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_HALF = (torch.bfloat16, torch.float16)


class HalfPrecisionError(DeviceError):
    """A device computes a model wrongly in half precision.

    Attributes:
        difference: the precision and how the results differ, in words.
    """

    difference = ""


def computing_dtype(model: PreTrainedModel, dtype: torch.dtype | None) -> torch.dtype:
    """Return the dtype that ``model`` scores in: ``dtype``, or the dtype of its weights."""
    if dtype is not None:
        return dtype
    found: torch.dtype = next(parameter.dtype for parameter in model.parameters() if parameter.ndim > 1)
    return found


def is_compared(model: PreTrainedModel, dtype: torch.dtype) -> bool:
    """Return whether no check is needed: in float32, or for a model that was compared before."""
    return dtype not in _HALF or (type(model), dtype) in model.forward.compared


def compare_first_clip(
    model: PreTrainedModel,
    frontend: Frontend,
    waveforms: Sequence[np.ndarray],
    logits: np.ndarray,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Compare the logits of the loudest clip of a batch with float32; wait for the next batch if this one is silent.

    Args:
        model: classifier or embedding model, on ``device``.
        frontend: its frontend.
        waveforms: the batch.
        logits: logits of the batch that the model computed in ``dtype``, (B, C).
        device: device of the model.
        dtype: see :func:`computing_dtype`.

    Raises:
        HalfPrecisionError: the logits differ too much from float32.
        DeviceError: float32 on the device differs from the CPU.
    """
    chosen = max(range(len(waveforms)), key=lambda i: float(waveforms[i].std()))
    if waveforms[chosen].std() < SILENT:
        return

    def make_inputs(place: torch.device) -> dict[str, torch.Tensor]:
        samples, num_samples = frontend.pack([waveforms[chosen]])
        return frontend.inputs(samples.to(place), None if num_samples is None else num_samples.to(place))

    half, plain, on_cpu = Way(device, dtype), Way(device, torch.float32), Way(torch.device("cpu"), torch.float32)
    original = _original(model)
    with original.forward.sessions.unpacked():
        exact = compute(original, make_inputs, plain, layers=True)
    if device.type != "cpu":
        known = compute(copy_on_cpu(original), make_inputs, on_cpu, layers=True)
        different = compare(exact, known)
        if different is not None:
            raise wrong_float32(device, replace(different, layer=first_different_layer(exact, known, model)))
    with model.forward.sessions.unpacked():
        again = compute(model, make_inputs, half, layers=True)
    unit = model.forward.unit
    given = torch.from_numpy(logits[chosen : chosen + 1].copy())
    in_batch = replace(again, logits=given if unit is None else (given - unit[0]) / unit[1])
    different = compare(in_batch, exact)
    if different is not None:
        located = replace(different, layer=first_different_layer(again, exact, model))
        error = HalfPrecisionError(
            f"{half}: this device computes the model wrongly in this precision: compared with float32 {located}. Use "
            "--precision fp32, without --bf16_full_eval and --fp16_full_eval."
        )
        error.difference = f"{half}: compared with float32 {located}"
        raise error
    model.forward.compared.add((type(model), dtype))
    model.forward.original = None


def _original(model: PreTrainedModel) -> PreTrainedModel:
    """Return the model with the weights before the cast, which is ``model`` itself unless it is a cast copy."""
    original = model.forward.original
    if original is None:
        return model
    return EmbeddingModel(original) if isinstance(model, EmbeddingModel) else original
