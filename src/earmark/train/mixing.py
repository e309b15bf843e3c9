"""Mixup on the device: mix two clips and use the labels of both (Zhang et al. 2017, arXiv:1710.09412).

The batch says which clips to mix and in which ratio (:mod:`earmark.batch.augment`). The loss of a mixed clip is the
sum of its losses with the two labels, weighted like the samples. For cross-entropy it equals the loss of a soft label.

Shapes: B batch, W samples, P clips that are mixed with another, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from earmark.models.build_model import AudioModel
from earmark.models.hidden_spans import hide
from earmark.train.frozen import model_inputs, uses_mask


@dataclass(frozen=True)
class MixedLabels:
    """Labels of clips that are mixed with others.

    Attributes:
        own: labels of the clips, int64 (B,).
        partner: labels of the clips mixed in, int64 (B,); -100 where ``own`` is -100.
        own_weights: weight of the clip in the mixture, float32 (B,); 1 for clips that are not mixed.
    """

    own: torch.Tensor
    partner: torch.Tensor
    own_weights: torch.Tensor


def training_inputs(audio: AudioModel, batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, Any]:
    """Return the inputs of the model for a batch, with ``labels``: the labels of the batch, or :class:`MixedLabels`.

    Args:
        audio: model and frontend.
        batch: a batch of :class:`earmark.batch.dataset.TrainingClips`, augmented or not.
        device: device of the model.
    """
    batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    labels: Any = batch["labels"]
    if "own_weights" in batch:
        labels = MixedLabels(labels, batch["partner_labels"], batch["own_weights"])
        batch["samples"] = mixed(batch["samples"], batch["partner_samples"], batch["partners"], labels.own_weights)
    known = {name: value for name, value in batch.items() if name in ("samples", "scales", "num_samples")}
    inputs = model_inputs(audio, known, device, mask=uses_mask(audio))
    if "hidden" in batch:
        clips, width = batch["samples"].shape
        lengths = batch["num_samples"] if "num_samples" in batch else torch.full((clips,), width, device=device)
        inputs = hide(inputs, batch["hidden"], lengths, audio.frontend)
    return {**inputs, "labels": labels}


def mixed(
    samples: torch.Tensor, partner_samples: torch.Tensor, partners: torch.Tensor, own_weights: torch.Tensor
) -> torch.Tensor:
    """Mix ``partner_samples`` (P, W) into rows ``partners`` (P,) of ``samples`` (B, W), by ``own_weights`` (B,)."""
    mixed_in = partner_samples * (1 - own_weights[partners])[:, None]
    return (samples * own_weights[:, None]).index_add(0, partners, mixed_in)


def loss_of_clips(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], logits: torch.Tensor, labels: Any) -> Any:
    """Return the loss of each clip (B,), mixed or not.

    Args:
        loss: returns the loss of each clip (B,) from logits and labels, 0 where the label is -100.
        logits: (B, C).
        labels: int64 (B,), or :class:`MixedLabels`.
    """
    if not isinstance(labels, MixedLabels):
        return loss(logits, labels)
    return labels.own_weights * loss(logits, labels.own) + (1 - labels.own_weights) * loss(logits, labels.partner)
