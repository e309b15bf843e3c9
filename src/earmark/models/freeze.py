"""Which weights learn: ``none``, ``feature_encoder``, ``encoder`` or ``last-N``, for every architecture."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torch import nn

from earmark.errors import ModelError
from earmark.families.family_registry import find_family

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_CHOICES = "none, feature_encoder, encoder or last-N (the last N layers and the head learn)"


def find_body(model: nn.Module) -> nn.Module:
    """The pretrained part of a classifier, without its head.

    Raises:
        ModelError: the architecture does not tell its body from its head.
    """
    body: nn.Module = find_family(model.config).body(model)
    if body is model:
        raise ModelError(
            f"{type(model).__name__}: its body cannot be told from its head, so --freeze cannot work on it"
        )
    return body


def is_body_frozen(model: nn.Module) -> bool:
    """Whether nothing but the head learns."""
    head = head_parameters(model)
    return not any(weight.requires_grad for name, weight in model.named_parameters() if name not in head)


def head_parameters(model: nn.Module) -> set[str]:
    """Names of the parameters outside the body: projector, classifier, layer weights."""
    in_body = {id(parameter) for parameter in find_body(model).parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) not in in_body}


def encoder_layers(model: nn.Module) -> nn.ModuleList:
    """The stack of equal layers inside the body, first to last."""
    layers = find_family(model.config).layers(model)
    if layers is None:
        raise ModelError(f"{type(model).__name__}: no stack of layers to freeze; use none, feature_encoder or encoder")
    return layers


def freeze(model: PreTrainedModel, what: str | None) -> str:
    """Stop some weights from learning.

    Args:
        model: an audio classifier.
        what: one of the choices above. ``None``: the convolutional waveform encoder where there is one, as the original
            example does, else nothing.

    Returns:
        The choice that was applied.

    Raises:
        ModelError: not a choice, or more layers than the model has.
    """
    family = find_family(model.config)
    if what is None:
        what = "feature_encoder" if family.freezes_by_default(model) else "none"
    last = re.fullmatch(r"last-(\d+)", what)
    if what not in ("none", "feature_encoder", "encoder") and last is None:
        raise ModelError(f"--freeze {what}: not a choice; use {_CHOICES}")
    if what == "feature_encoder":
        if not family.freeze_feature_encoder(model):
            raise ModelError(
                f"--freeze feature_encoder: it is not known which part of a {model.config.model_type} that is; use "
                "none, encoder or last-N"
            )
    elif what == "encoder":
        find_body(model).requires_grad_(False)
    elif last is not None:
        layers = encoder_layers(model)
        count = int(last.group(1))
        if count > len(layers):
            raise ModelError(f"--freeze {what}: the model has {len(layers)} layers")
        find_body(model).requires_grad_(False)
        for layer in list(layers)[len(layers) - count :]:
            layer.requires_grad_(True)
    return what
