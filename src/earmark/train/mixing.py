"""Mixup on the device: two clips and the labels of both (Zhang et al. 2017, arXiv:1710.09412).

Which clips, and in which ratio, comes with the batch (:mod:`earmark.batch.augment`). The loss of a mixed clip is
that of either label, weighted as the samples are. For cross-entropy that is the loss of a soft label, and it only needs
a loss that can be computed clip by clip.

Shapes: B batch, W samples, P clips that are mixed with another, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from earmark.models.build_model import AudioModel
from earmark.models.hidden_spans import hide
from earmark.train.frozen import hears_mask, model_inputs


@dataclass(frozen=True)
class MixedLabels:
    """Labels of clips that are mixed with others.

    Attributes:
        own: of the clips themselves, int64 (B,).
        partner: of those they are mixed with, int64 (B,); -100 where ``own`` is.
        own_weights: fraction of the clips themselves, float32 (B,); 1 for clips that are not mixed.
    """

    own: torch.Tensor
    partner: torch.Tensor
    own_weights: torch.Tensor


def training_inputs(audio: AudioModel, batch: dict[str, torch.Tensor], device: torch.device) -> dict[str, Any]:
    """A batch of training clips to what the model takes, with ``labels``: those of the batch, or :class:`MixedLabels`.

    Args:
        audio: model and frontend.
        batch: of :class:`earmark.batch.dataset.TrainingClips`, or of clips that are augmented.
        device: where the model is.
    """
    batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
    labels: Any = batch["labels"]
    if "own_weights" in batch:
        labels = MixedLabels(labels, batch["partner_labels"], batch["own_weights"])
        batch["samples"] = mixed(batch["samples"], batch["partner_samples"], batch["partners"], labels.own_weights)
    known = {name: value for name, value in batch.items() if name in ("samples", "scales", "num_samples")}
    inputs = model_inputs(audio, known, device, mask=hears_mask(audio))
    if "hidden" in batch:
        clips, width = batch["samples"].shape
        lengths = batch["num_samples"] if "num_samples" in batch else torch.full((clips,), width, device=device)
        inputs = hide(inputs, batch["hidden"], lengths, audio.frontend)
    return {**inputs, "labels": labels}


def mixed(
    samples: torch.Tensor, partner_samples: torch.Tensor, partners: torch.Tensor, own_weights: torch.Tensor
) -> torch.Tensor:
    """Clips (B, W) with ``partner_samples`` (P, W) mixed into those at ``partners`` (P,), by ``own_weights`` (B,)."""
    mixed_in = partner_samples * (1 - own_weights[partners])[:, None]
    return (samples * own_weights[:, None]).index_add(0, partners, mixed_in)


def loss_of_clips(loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], logits: torch.Tensor, labels: Any) -> Any:
    """Loss of each clip (B,), of mixed ones too.

    Args:
        loss: of logits and labels, clip by clip (B,), 0 where the label is -100.
        logits: (B, C).
        labels: int64 (B,), or :class:`MixedLabels`.
    """
    if not isinstance(labels, MixedLabels):
        return loss(logits, labels)
    return labels.own_weights * loss(logits, labels.own) + (1 - labels.own_weights) * loss(logits, labels.partner)
