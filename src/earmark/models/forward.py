"""What a classifier's ``forward`` does here, in training, evaluation, prediction and every later path.

Families with a static forward run through it, everything else through the library's own forward. Either can compute in
bfloat16 while the weights that are learned stay float32: each step casts every weight once, and gradients flow back
through the cast. Autocast would cast activations back and forth at each operation instead (it adds 443 casts to the
1,050 operations of a wav2vec2-base step).

On a CPU, convolutions that it computes wrongly in bfloat16 run in float32, whichever way the model gets to bfloat16:
:mod:`earmark.models.convolutions`.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.func import functional_call
from transformers.modeling_outputs import SequenceClassifierOutput

from earmark.families.family_registry import find_family
from earmark.models.convolutions import CheckedConvolutions
from earmark.models.head import CONFIG_KEY, output_layer, saved_unit
from earmark.models.layer_drop import SelectedLayers, drop_rate

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class ModelForward:
    """Stands in for ``model.forward``; see :func:`install_forward`.

    Attributes:
        compared: the kinds of scoring, with their types, that were compared with float32; see
            :mod:`earmark.scoring.checked_scoring`.
        convolutions: the convolutions of the model, checked before they run in half precision on a CPU.
        family: what is particular to its architecture.
        scoring_weights: weights by name that evaluation mode computes with in place of the model's own; see
            :func:`earmark.scoring.inference.scoring`, which casts them once for many batches.
        static: a forward of our own in which padding changes nothing; ``None`` for the library's.
        temperature: logits are divided by it; see :mod:`earmark.tasks.decision`. 1 in training.
        unit: ``(mean, deviation)`` of the numbers that a regression learns. The head gives how many deviations a number
            is from the mean, whatever its unit, so that learning rates suit; the answer is in the unit.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self.model = model
        self.family = find_family(model.config)
        self.static = self.family.static_forward(model)
        self.convolutions = CheckedConvolutions(model)
        self.compared: set[tuple[type, torch.dtype]] = set()
        self._training_dtype: torch.dtype | None = None
        self.scoring_weights: dict[str, torch.Tensor] | None = None
        self.temperature = 1.0
        self.unit = saved_unit(model.config)
        sums = self.family.sums_layers(model.config)
        self.selected = SelectedLayers(model) if sums and drop_rate(model.config) > 0 else None
        self._is_cast = False

    @property
    def training_dtype(self) -> torch.dtype | None:
        """The type that training computes in; ``None`` for the type of the weights."""
        return self._training_dtype

    @training_dtype.setter
    def training_dtype(self, dtype: torch.dtype | None) -> None:
        self.convolutions.check(dtype, backward=True)
        self._training_dtype = dtype

    def __call__(self, *args: object, **inputs: object) -> object:
        """Model outputs with ``logits`` (B, C) float32.

        Args:
            *args: for the library's forward.
            **inputs: what the frontend gave; or ``features`` (B, F, D) that a static forward gave, with
                ``num_frames`` (B,) where some are padding; or ``embeddings`` (B, D) of the whole body. With
                ``stop_at="features"`` or ``"embeddings"``, these are returned in place of the outputs.
        """
        weights = None if self._is_cast else self._cast_weights()
        if weights is None:
            return self._run(*args, **self._like_weights(inputs))
        self._is_cast = True
        try:
            return functional_call(self.model, weights, args, inputs)
        finally:
            self._is_cast = False

    def _cast_weights(self) -> dict[str, torch.Tensor] | None:
        if not self.model.training:
            return self.scoring_weights
        return None if self.training_dtype is None else cast_weights(self.model, self.training_dtype)

    def _run(self, *args: Any, **inputs: Any) -> Any:
        # Trainer hands every model the size of the batch that its loss is averaged over; the loss is not taken here
        inputs.pop("num_items_in_batch", None)
        given = {name: value for name, value in inputs.items() if value is not None}
        stop_at = given.pop("stop_at", None)
        if stop_at == "embeddings":
            return self.family.embeddings(self.model, given)
        mask = given.get("attention_mask")
        num_samples = None if mask is None else mask.sum(dim=-1)
        if stop_at == "features":
            assert self.static is not None, "only a static forward gives features"
            return self.static.features(given["input_values"], num_samples)
        if "embeddings" in given:
            outputs = SequenceClassifierOutput(logits=self.family.classify(self.model, given["embeddings"]))
        elif self.static is None or args or not set(given) <= self.static.inputs:
            drops = self.selected is not None and self.model.training
            with self.selected.used() if drops else nullcontext():  # type: ignore[union-attr]  # drops says so
                outputs = type(self.model).forward(self.model, *args, **inputs)
        elif "features" in given:
            outputs = SequenceClassifierOutput(logits=self.static.logits_of_features(**given))
        else:
            outputs = SequenceClassifierOutput(logits=self.static.logits(given["input_values"], num_samples))
        if hasattr(outputs, "logits"):
            outputs["logits"] = self._answered(outputs["logits"].float())
        return outputs

    def _answered(self, logits: torch.Tensor) -> torch.Tensor:
        if self.unit is not None:
            mean, deviation = self.unit
            return logits * deviation + mean
        return logits if self.temperature == 1.0 else logits / self.temperature

    def _like_weights(self, inputs: dict[str, object]) -> dict[str, object]:
        """Floating inputs in the type of the weights, unless the family takes float32."""
        if self.family.takes_float32:
            return inputs
        dtype = next(parameter.dtype for parameter in self.model.parameters() if parameter.ndim > 1)
        return {
            name: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
            for name, value in inputs.items()
        }


def fold_unit(model: PreTrainedModel) -> None:
    """Give the head of a regression the unit of its numbers, so that plain Transformers answers in it, too."""
    # accelerate puts its autocast round forward for good and keeps ours beside it
    forward = getattr(model, "_original_forward", model.forward)
    if forward.unit is None:
        return
    mean, deviation = forward.unit
    last = output_layer(model)
    with torch.no_grad():
        last.weight.mul_(deviation)
        last.bias.mul_(deviation).add_(mean)
    forward.unit = None
    getattr(model.config, CONFIG_KEY).pop("unit")


def install_forward(model: PreTrainedModel) -> Any:
    """Give ``model`` the forward of this module; returns ``model``.

    Everything that calls the model, Trainer and its wrappers for many devices included, then takes this way.
    """
    model.forward = ModelForward(model)
    return model


def pads_exactly(model: PreTrainedModel) -> bool:
    """Whether a clip's logits stay the same when it is padded to the length of another, given an attention mask."""
    if find_family(model.config).masks_padding:
        return True
    return isinstance(model.forward, ModelForward) and model.forward.static is not None


def cast_in_place(model: nn.Module, dtype: torch.dtype) -> None:
    """Cast the weights of a ``model`` that will only score in ``dtype``, as :func:`cast_weights` does."""
    assert isinstance(model.forward, ModelForward), "a model without this project's forward has unchecked convolutions"
    model.forward.convolutions.check(dtype, backward=False)
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, weight in cast_weights(model, dtype).items():
            parameters[name].data = weight


def cast_weights(model: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Every parameter of ``model`` by name, in ``dtype``; those of batch norms, whose statistics are float32, as is."""
    kept = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters(recurse=False)
    }
    return {
        name: parameter if id(parameter) in kept else parameter.to(dtype)
        for name, parameter in model.named_parameters()
        if parameter.is_floating_point()
    }
