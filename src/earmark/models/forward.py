"""Replace a classifier's ``forward``, for training, evaluation, prediction and export.

A family's static forward is used if there is one, else the library's. Both can compute in bfloat16 while the trained
weights stay float32: each step casts every weight once, and gradients flow back through the cast. Autocast would cast
activations at each operation instead (443 casts in addition to the 1,050 operations of a wav2vec2-base step).

Convolutions that a CPU computes wrongly in bfloat16 run in float32: :mod:`earmark.models.convolutions`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call

from earmark.families.plain_model import PlainClassifier, PlainOutput
from earmark.models.casting import cast_weights
from earmark.models.convolutions import CheckedConvolutions
from earmark.models.head import output_layer, saved_unit
from earmark.models.layer_drop import SelectedLayers, drop_rate
from earmark.models.model_sessions import ModelSessions
from earmark.models.stated_task import CONFIG_KEY
from earmark.models.training_products import TrainingProducts, can_multiply

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from earmark.families.family import Family


class ModelForward:
    """Replaces ``model.forward``; see :func:`install_forward`.

    Attributes:
        compared: the class that scored (classifier or embedding model) and the dtype of each comparison with float32
            so far; see :mod:`earmark.scoring.checked_scoring`.
        convolutions: the convolutions of the model, checked before they run in half precision on a CPU.
        family: family of the architecture.
        original: the model that :func:`cast_copy` copied; ``None`` for other models, and after a comparison with it.
        scoring_weights: weights by name that replace the model's weights in evaluation mode during a pass of a session.
            The session casts them once for many batches.
        sessions: the scoring sessions of the model.
        static: earmark's forward, which ignores padding; ``None`` to use the library's.
        temperature: divisor of the logits; see :mod:`earmark.tasks.decision`. 1 in training.
        unit: ``(mean, deviation)`` of the numbers of a regression. The head outputs standard deviations from the mean,
            so that learning rates suit any unit; the forward converts them to the unit.
    """

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        self.model = model
        self.family = family
        self.static = family.static_forward(model)
        self.convolutions = CheckedConvolutions(model)
        self.compared: set[tuple[type, torch.dtype]] = set()
        self.original: PreTrainedModel | None = None
        self._training_dtype: torch.dtype | None = None
        self.scoring_weights: dict[str, torch.Tensor] | None = None
        self.temperature = 1.0
        self.unit = saved_unit(model.config)
        drops = family.sums_layers(model.config) and drop_rate(model.config, family) > 0
        self.selected = SelectedLayers(model, family) if drops else None
        self.sessions = ModelSessions(self)
        self._is_cast = False
        self._outputs = _outputs_class(model)

    @property
    def training_dtype(self) -> torch.dtype | None:
        """The type that training computes in; ``None`` for the type of the weights."""
        return self._training_dtype

    @training_dtype.setter
    def training_dtype(self, dtype: torch.dtype | None) -> None:
        self.convolutions.check(dtype, backward=True)
        self._training_dtype = dtype

    def __call__(self, *args: object, **inputs: object) -> object:
        """Return model outputs with ``logits`` (B, C) float32.

        Args:
            *args: passed to the library's forward.
            **inputs: output of the frontend; or ``features`` (B, F, D) of a static forward, with ``num_frames`` (B,) if
                some are padding; or ``embeddings`` (B, D) of the whole body. With ``stop_at="features"`` or
                ``"embeddings"``, these are returned instead of the outputs.
        """
        if self.sessions.keeps_packs and torch.is_grad_enabled():
            self.sessions.expect_changes()
        weights = None if self._is_cast else self._cast_weights()
        if weights is None:
            return self._run(*args, **self._like_weights(inputs))
        self._is_cast = True
        try:
            with self._products():
                return functional_call(self.model, weights, args, inputs)
        finally:
            self._is_cast = False

    def _products(self) -> AbstractContextManager[None]:
        is_step = self.model.training and self.training_dtype == torch.bfloat16 and not torch.compiler.is_compiling()
        if not is_step or not can_multiply(self.model.device):
            return nullcontext()
        return TrainingProducts(self.model).used()

    def _cast_weights(self) -> dict[str, torch.Tensor] | None:
        if not self.model.training:
            return self.scoring_weights
        return None if self.training_dtype is None else cast_weights(self.model, self.training_dtype)

    def _run(self, *args: Any, **inputs: Any) -> Any:
        # Trainer passes the batch size for averaging a loss in the model, but the loss is computed elsewhere.
        inputs.pop("num_items_in_batch", None)
        given = {name: value for name, value in inputs.items() if value is not None}
        stop_at = given.pop("stop_at", None)
        if stop_at == "embeddings":
            return self.family.embeddings(self.model, given)
        mask = given.get("attention_mask")
        num_samples = None if mask is None else mask.sum(dim=-1)
        if stop_at == "features":
            assert self.static is not None, "only a static forward returns features"
            return self.static.features(given["input_values"], num_samples)
        if "embeddings" in given:
            outputs = self._outputs(logits=self.family.classify(self.model, given["embeddings"]))
        elif self.static is None or args or not set(given) <= self.static.inputs:
            selected = self.selected if self.model.training else None
            with nullcontext() if selected is None else selected.used():
                outputs = type(self.model).forward(self.model, *args, **inputs)
        elif "features" in given:
            outputs = self._outputs(logits=self.static.logits_of_features(**given))
        else:
            outputs = self._outputs(logits=self.static.logits(given["input_values"], num_samples))
        if hasattr(outputs, "logits"):
            outputs.logits = self._scaled(outputs.logits.float())
        return outputs

    def _scaled(self, logits: torch.Tensor) -> torch.Tensor:
        if self.unit is not None:
            mean, deviation = self.unit
            return logits * deviation + mean
        return logits if self.temperature == 1.0 else logits / self.temperature

    def _like_weights(self, inputs: dict[str, object]) -> dict[str, object]:
        """Return floating-point inputs in the type of the weights, unless the family takes float32."""
        if self.family.takes_float32:
            return inputs
        dtype = next(parameter.dtype for parameter in self.model.parameters() if parameter.ndim > 1)
        return {
            name: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
            for name, value in inputs.items()
        }


def _outputs_class(model: nn.Module) -> Any:
    """Return the class of a classifier's outputs. Trainer, DDP and FSDP need Transformers' own."""
    if isinstance(model, PlainClassifier):
        return PlainOutput
    from transformers.modeling_outputs import SequenceClassifierOutput

    return SequenceClassifierOutput


def fold_unit(model: PreTrainedModel) -> None:
    """Fold the unit of a regression into the head, so that plain Transformers also outputs numbers in the unit."""
    forward = _own_forward(model)
    if forward.unit is None:
        return
    mean, deviation = forward.unit
    last = output_layer(model, forward.family)
    with torch.no_grad():
        last.weight.mul_(deviation)
        last.bias.mul_(deviation).add_(mean)
    forward.unit = None
    getattr(model.config, CONFIG_KEY).pop("unit")


def install_forward(model: PreTrainedModel, family: Family) -> Any:
    """Install the forward of this module on ``model``, which is of ``family``, and return ``model``.

    All code that calls the model then uses it, including Trainer and its wrappers for several devices.
    """
    model.forward = ModelForward(model, family)
    return model


def pads_exactly(model: PreTrainedModel) -> bool:
    """Return whether padding a clip to the length of another does not change its logits, given an attention mask."""
    forward = _own_forward(model)
    return forward.family.masks_padding or forward.static is not None


def _own_forward(model: PreTrainedModel) -> ModelForward:
    # accelerate wraps forward in autocast permanently, and keeps earmark's as _original_forward.
    forward: ModelForward = getattr(model, "_original_forward", model.forward)
    return forward


def cast_copy(model: nn.Module, dtype: torch.dtype) -> Any:
    """Return a copy of ``model`` that only scores, with the weights that :func:`cast_weights` returns for ``dtype``.

    The copy keeps ``model`` until its first scores have been compared with those of ``model``, so do not change the
    weights of ``model`` before. A comparison with the cast weights in float32 would need memory for a second copy.
    """
    assert isinstance(model.forward, ModelForward), "a model without this project's forward has unchecked convolutions"
    model.forward.convolutions.check(dtype, backward=False)
    copied = _copy_with(model, cast_weights(model, dtype))
    copied.forward.original = model
    return copied


def copy_on(model: nn.Module, device: torch.device) -> Any:
    """Return a copy of ``model`` that only scores, with its weights on another device."""
    copied = _copy_with(model, {name: weight.to(device) for name, weight in model.named_parameters()}).to(device)
    copied.forward.compared = set()  # the comparisons of the other device
    return copied


def _copy_with(model: nn.Module, weights: Mapping[str, torch.Tensor]) -> Any:
    """Return a copy of ``model`` with other weights. It shares the weights that are not among them."""
    new = {name: nn.Parameter(weight, requires_grad=False) for name, weight in weights.items()}
    memo: dict[int, Any] = {id(weight): new.get(name, weight) for name, weight in model.named_parameters()}
    return copy.deepcopy(model, memo)
