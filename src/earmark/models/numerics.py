"""Compare the results of a model in two precisions, or on two devices.

A kernel that returns garbage raises no error: the loss looks plausible, and the model learns little. So earmark
computes real clips both ways before training (:mod:`earmark.train.checked_precision`) and before scoring
(:mod:`earmark.scoring.checked_scoring`). If the results differ, it names the first layer, in order of execution, whose
output differs.

The model computes in evaluation mode, without dropout, masks and LayerDrop, which are random. Afterwards its mode,
buffers, gradients and all random generators are restored, so the comparison does not change the result of a run.

Shapes: B batch, C classes, D inputs of the head.
"""

from __future__ import annotations

import copy
import math
import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from earmark.errors import DeviceError
from earmark.models.casting import cast_weights
from earmark.models.convolutions import relative_error
from earmark.models.embedding import EmbeddingModel

if TYPE_CHECKING:
    from transformers import PreTrainedModel

# Largest accepted relative errors. docs/training.md lists the errors of correct and of wrong kernels.
LOGITS_TOLERANCE = 0.15
LOSS_TOLERANCE = 0.15
GRADIENT_TOLERANCE = 0.7
LAYER_TOLERANCE = 0.3
_VALUES_OF_A_LAYER = 16_384
_NAMED_FROM = 0.1  # smallest error of a layer that is named as the first different one
# Clips with a smaller standard deviation are not compared, because norms amplify rounding errors of constant input.
SILENT = 1e-4
_LOSS_SCALE = 1024.0  # keeps small gradients in the range of float16; Trainer's scaler starts at 65,536 and adapts

Inputs = Callable[[torch.device], dict[str, torch.Tensor]]


@dataclass(frozen=True)
class Way:
    """One way to compute a model.

    Attributes:
        device: device to compute on.
        dtype: type to compute in.
        autocast: whether to use autocast instead of casting the weights.
    """

    device: torch.device
    dtype: torch.dtype
    autocast: bool = False

    def __str__(self) -> str:
        return f"{str(self.dtype).removeprefix('torch.')} on {self.device}"


@dataclass
class Computed:
    """Results of a model for one batch.

    Attributes:
        logits: float32 (B, C), on the CPU.
        scale: size of a meaningful difference between logits; see :func:`_scale`.
        loss: the loss; ``None`` without one.
        gradients: gradients of every trainable weight by name, float32; empty if not requested.
        layers: evenly spaced values of the first output tensor of each layer, float32 on the CPU, by name and number of
            the call, in order of execution; empty if not requested.
    """

    logits: torch.Tensor
    scale: float
    loss: float | None = None
    gradients: dict[str, torch.Tensor] = field(default_factory=dict)
    layers: dict[tuple[str, int], torch.Tensor] = field(default_factory=dict)


@dataclass(frozen=True)
class Difference:
    """A difference beyond tolerance.

    Attributes:
        what: ``logits``, ``losses``, ``outputs of a layer`` or ``gradients``.
        layer: first layer with a difference, and its class; empty if unknown.
    """

    what: str
    size: float
    tolerance: float
    layer: str = ""

    def __str__(self) -> str:
        size = f"differ by {self.size:.2g}" if math.isfinite(self.size) else "are not finite"
        where = f"; the first layer that differs is {self.layer}" if self.layer else ""
        return f"the {self.what} {size} (relative error; tolerance {self.tolerance:g}){where}"


def compute(
    model: PreTrainedModel,
    make_inputs: Inputs,
    way: Way,
    loss: Callable[[object], torch.Tensor] | None = None,
    *,
    gradients: bool = False,
    layers: bool = False,
) -> Computed:
    """Return logits, loss, gradients and outputs of layers for one batch.

    Args:
        model: classifier with earmark's forward, on the device of ``way``.
        make_inputs: returns the model inputs of the batch on a device.
        way: how to compute.
        loss: computes the loss from the model's outputs.
        gradients: whether to return the gradients of the loss.
        layers: whether to return outputs of the layers.
    """
    with ExitStack() as stack:
        stack.enter_context(unchanged(model))
        stack.enter_context(computing(model, way, gradients=gradients))
        head = stack.enter_context(_noting_head(model))
        kept = stack.enter_context(_noting_layers(model)) if layers else {}
        outputs = model(**make_inputs(way.device))
        value = None if loss is None else loss(outputs)
        logits = outputs.logits.detach().float().cpu()
        found = {} if value is None or not gradients else _gradients(model, value, way.dtype)
    unit = model.forward.unit
    raw = logits if unit is None else (logits - unit[0]) / unit[1]
    return Computed(raw, _scale(raw, head), None if value is None else float(value.detach()), found, kept)


def compare(half: Computed, exact: Computed, head: str = "classifier") -> Difference | None:
    """Return the first of logits, loss and outputs of layers beyond tolerance; ``None`` if all are within.

    Outputs of layers, if they were requested, show garbage that does not reach the logits, for example in the residual
    branches of a model with random weights, which are nearly zero at first. The head is excluded: its outputs are the
    logits.
    """
    logits = logits_error(half.logits, exact)
    if not logits <= LOGITS_TOLERANCE:  # true for NaN
        return Difference("logits", logits, LOGITS_TOLERANCE)
    if half.loss is not None and exact.loss is not None:
        # A loss changes by at most about twice as much as the logits.
        loss = abs(half.loss - exact.loss) / max(1.0, abs(exact.loss), exact.scale)
        if not loss <= LOSS_TOLERANCE:
            return Difference("losses", loss, LOSS_TOLERANCE)
    errors = layer_errors(half, exact)
    worst = max((error for name, error in errors.items() if name.partition(".")[0] != head), default=0.0)
    return Difference("outputs of a layer", worst, LAYER_TOLERANCE) if worst > LAYER_TOLERANCE else None


def compare_gradients(half: Computed, exact: Computed) -> Difference | None:
    """Return the first gradient beyond tolerance in the order of the backward pass; ``None`` if all are within."""
    errors = gradient_errors(half.gradients, exact.gradients)
    # The backward pass begins at the head.
    for name in reversed(errors):
        if not errors[name] <= GRADIENT_TOLERANCE:
            return Difference("gradients", errors[name], GRADIENT_TOLERANCE, name)
    return None


def logits_error(logits: torch.Tensor, exact: Computed) -> float:
    """Return the root mean square deviation of the worst clip's logits, divided by the scale of ``exact``."""
    off = _centred(logits) - _centred(exact.logits)
    if not (torch.isfinite(off).all() and math.isfinite(exact.scale)):
        return math.inf
    return float(off.square().mean(dim=-1).sqrt().max()) / max(exact.scale, 1e-12)


def gradient_errors(half: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> dict[str, float]:
    """Return the relative error of the gradient of each weight, by name, in the order of the model.

    A gradient that is zero in exact arithmetic, such as that of a key's bias or of a weight before a norm, consists of
    rounding errors in any precision. So each error is divided by the norm of the gradient or by a tenth of the root
    mean square over all weights, whichever is larger.
    """
    total = sum(float(gradient.square().sum()) for gradient in exact.values())
    count = sum(gradient.numel() for gradient in exact.values())
    usual = math.sqrt(total / max(1, count))
    errors = {}
    for name, gradient in exact.items():
        off = float((half[name] - gradient).norm())
        size = max(float(gradient.norm()), 0.1 * usual * math.sqrt(gradient.numel()))
        errors[name] = (off / size if size else math.inf) if off else 0.0
    return errors


def layer_errors(half: Computed, exact: Computed) -> dict[str, float]:
    """Return the largest relative error of the output of each layer over its calls, in order of execution."""
    errors: dict[str, float] = {}
    for (name, call), values in exact.layers.items():
        given = half.layers.get((name, call))
        error = math.inf if given is None or given.shape != values.shape else relative_error(given, values)
        errors[name] = max(error, errors.get(name, 0.0))
    return errors


def first_different_layer(half: Computed, exact: Computed, model: PreTrainedModel) -> str:
    """Return name and class of the first layer, in order of execution, whose output differs.

    If no error reaches 10 %, return the layer with the largest error.
    """
    errors = layer_errors(half, exact)
    if not errors:
        return ""
    worst = max(errors, key=lambda name: errors[name])
    name = next((name for name, error in errors.items() if error > _NAMED_FROM), worst)
    return f"{name} ({type(model.get_submodule(name)).__name__})"


def wrong_float32(device: torch.device, different: Difference) -> DeviceError:
    """Return the error for a device whose results in float32 differ from the CPU's by more than the tolerance."""
    return DeviceError(
        f"{device}: this device computes the model wrongly in float32: compared with the CPU, {different}. "
        "Run `earmark doctor --selftest`, or choose another device with --device."
    )


def copy_on_cpu(model: PreTrainedModel) -> object:
    """Return a copy of ``model`` on the CPU, without making a second copy on its device."""
    if isinstance(model, EmbeddingModel):
        return EmbeddingModel(copy_on_cpu(model.model))
    memo: dict[int, Any] = {}
    for parameter in model.parameters():
        memo[id(parameter)] = nn.Parameter(parameter.detach().to("cpu", copy=True), parameter.requires_grad)
    for buffer in model.buffers():
        memo[id(buffer)] = buffer.detach().to("cpu", copy=True)
    return copy.deepcopy(model, memo)


@contextmanager
def unchanged(model: PreTrainedModel) -> Iterator[None]:
    """Switch to evaluation mode in this context, then restore mode, buffers and random generators."""
    modules = list(model.modules())
    modes = [module.training for module in modules]
    # Some models keep tables outside of their buffers, in the type of the last call (wav2vec2-conformer's pe).
    tables = [{name: value for name, value in vars(module).items() if _is_table(value)} for module in modules]
    buffers = [(module._buffers, name, buffer) for module in modules for name, buffer in module._buffers.items()]
    copies = [None if buffer is None else buffer.clone() for _, _, buffer in buffers]
    device = next(model.parameters()).device
    states = (random.getstate(), np.random.get_state(), torch.get_rng_state())
    backend = None if device.type == "cpu" else getattr(torch, device.type)
    state = None if backend is None else backend.get_rng_state()
    model.eval()
    try:
        yield
    finally:
        for module, mode, table in zip(modules, modes, tables, strict=True):
            module.training = mode
            vars(module).update(table)
        for (own, name, buffer), before in zip(buffers, copies, strict=True):
            own[name] = buffer
            if buffer is not None:
                with torch.inference_mode(buffer.is_inference()), torch.no_grad():
                    buffer.copy_(before)
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])
        if backend is not None:
            backend.set_rng_state(state)


def _is_table(value: object) -> bool:
    return value is None or torch.is_tensor(value)


@contextmanager
def computing(model: PreTrainedModel, way: Way, *, gradients: bool = False) -> Iterator[None]:
    """Let ``model`` compute in a given way, in evaluation mode."""
    forward = model.forward
    before = forward.scoring_weights
    plain = {parameter.dtype for parameter in model.parameters() if parameter.ndim > 1} == {way.dtype}
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.set_grad_enabled(gradients))
        stack.enter_context(torch.autocast(way.device.type, way.dtype, enabled=way.autocast))
        forward.scoring_weights = None if way.autocast or plain else cast_weights(model, way.dtype)
        if not way.autocast:
            forward.convolutions.check(way.dtype, backward=gradients)
        try:
            yield
        finally:
            forward.scoring_weights = before


def _gradients(model: PreTrainedModel, value: torch.Tensor, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    scale = _LOSS_SCALE if dtype == torch.float16 else 1.0
    found = torch.autograd.grad(value * scale, list(learning.values()), allow_unused=True)
    return {
        name: gradient.float() / scale for name, gradient in zip(learning, found, strict=True) if gradient is not None
    }


@contextmanager
def _noting_head(model: PreTrainedModel) -> Iterator[list[float]]:
    """Yield a list for the typical size of logits of a random head with weights and inputs as large as this head's."""
    noted: list[float] = []
    head = model.forward.family.last_layer(model)
    if not isinstance(head, nn.Linear):
        yield noted
        return

    def note(_: nn.Module, inputs: tuple[torch.Tensor, ...], __: object) -> None:
        rows = inputs[0].detach().float().flatten(0, -2)
        by_chance = rows.square().sum(dim=-1).mean().sqrt() * head.weight.detach().float().square().mean().sqrt()
        noted.append(float(by_chance))

    handle = head.register_forward_hook(note)
    try:
        yield noted
    finally:
        handle.remove()


def _scale(logits: torch.Tensor, by_chance: list[float]) -> float:
    """Return the spread of the logits, or the typical size of a random head's logits if that is larger.

    A head with inputs ``x`` and unrelated weights ``w`` gives logits of about ``norm(x) * rms(w)``. Rounding errors are
    proportional to this size, even if the logits are nearly equal, as those of a new head are.
    """
    return max([float(_centred(logits).square().mean().sqrt()), *by_chance])


def _centred(logits: torch.Tensor) -> torch.Tensor:
    """Return logits (B, C) minus the mean of each row, which does not change a softmax; unchanged if C is 1."""
    return logits - logits.mean(dim=-1, keepdim=True) if logits.shape[-1] > 1 else logits


@contextmanager
def _noting_layers(model: PreTrainedModel) -> Iterator[dict[tuple[str, int], torch.Tensor]]:
    """Yield a table into which the layers write their outputs; see :class:`Computed`."""
    outputs: dict[tuple[str, int], torch.Tensor] = {}
    calls: dict[str, int] = {}

    def note(name: str, output: object) -> None:
        tensor = _first_tensor(output)
        if tensor is not None:
            calls[name] = calls.get(name, -1) + 1
            # An odd step reaches all channels. This many values are enough to distinguish garbage from rounding.
            step = math.ceil(tensor.numel() / _VALUES_OF_A_LAYER) | 1
            outputs[name, calls[name]] = tensor.detach().reshape(-1)[::step].float().cpu()

    with ExitStack() as stack:
        for name, module in model.named_modules():
            if name:
                hook = module.register_forward_hook(lambda _, __, output, name=name: note(name, output))
                stack.callback(hook.remove)
        yield outputs


def _first_tensor(output: object) -> torch.Tensor | None:
    if torch.is_tensor(output):
        return output if output.is_floating_point() else None
    values = output.values() if isinstance(output, dict) else output if isinstance(output, (tuple, list)) else ()
    return next((tensor for value in values if (tensor := _first_tensor(value)) is not None), None)
