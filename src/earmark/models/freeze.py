"""Freeze weights of any architecture: ``none``, ``feature_encoder``, ``encoder`` or ``last-N``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from torch import nn

from earmark.errors import ModelError
from earmark.text import with_article

if TYPE_CHECKING:
    from earmark.families.family import Family
    from earmark.models.build_model import AudioModel

_CHOICES = "none, feature_encoder, encoder or last-N (train the last N layers and the head)"


def find_body(model: nn.Module, family: Family) -> nn.Module:
    """Return the pretrained part of a classifier, without its head.

    Raises:
        ModelError: the body of the architecture is unknown.
    """
    body: nn.Module = family.body(model)
    if body is model:
        raise ModelError(
            f"{type(model).__name__}: earmark does not know which part of it is the head. Use another architecture."
        )
    return body


def is_body_frozen(audio: AudioModel) -> bool:
    """Return whether only the head is trained."""
    head = head_parameters(audio.model, audio.family)
    return not any(weight.requires_grad for name, weight in audio.model.named_parameters() if name not in head)


def head_parameters(model: nn.Module, family: Family) -> set[str]:
    """Return the names of the parameters outside the body: projector, classifier, layer weights."""
    in_body = {id(parameter) for parameter in find_body(model, family).parameters()}
    return {name for name, parameter in model.named_parameters() if id(parameter) not in in_body}


def encoder_layers(model: nn.Module, family: Family) -> nn.ModuleList:
    """Return the stack of equal layers in the body, first to last."""
    layers = family.layers(model)
    if layers is None:
        raise ModelError(
            f"{type(model).__name__}: this model has no stack of layers. Leave out flags that need one, such as "
            "--freeze last-N."
        )
    return layers


def freeze(audio: AudioModel, what: str | None) -> str:
    """Freeze some weights.

    Args:
        audio: an audio classifier.
        what: ``none``, ``feature_encoder``, ``encoder`` or ``last-N``. ``None`` freezes the convolutional waveform
            encoder if there is one, as Transformers' example does.

    Returns:
        The choice that was applied.

    Raises:
        ModelError: the choice is unknown, or names more layers than the model has.
    """
    model, family = audio.model, audio.family
    if what is None:
        what = "feature_encoder" if family.freezes_by_default(model) else "none"
    last = re.fullmatch(r"last-(\d+)", what)
    if what not in ("none", "feature_encoder", "encoder") and last is None:
        raise ModelError(f"--freeze {what}: unknown choice. Use {_CHOICES}.")
    if what == "feature_encoder":
        if not family.freeze_feature_encoder(model):
            raise ModelError(
                f"--freeze feature_encoder: earmark does not know the feature encoder of "
                f"{with_article(model.config.model_type)}. Use none, encoder or last-N."
            )
    elif what == "encoder":
        find_body(model, family).requires_grad_(False)
    elif last is not None:
        layers = encoder_layers(model, family)
        count = int(last.group(1))
        if count > len(layers):
            raise ModelError(f"--freeze {what}: the model has {len(layers)} layers. Use at most last-{len(layers)}.")
        find_body(model, family).requires_grad_(False)
        for layer in list(layers)[len(layers) - count :]:
            layer.requires_grad_(True)
    return what
