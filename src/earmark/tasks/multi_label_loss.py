"""The loss of several labels, and the weight of each label.

Shapes: B batch, N clips, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from earmark.tasks.task import NO_LABEL, LossSettings

_MOST_WEIGHT = 100.0  # largest weight of a rare label; with a larger one, a few clips would dominate the gradient


class LabelsLoss:
    """Binary cross-entropy of several labels, with focal loss, label smoothing and class weights.

    The loss of a label with probability ``p`` is ``-w * (1 - p)**gamma * log(p)`` if the clip has the label, and
    ``-p**gamma * log(1 - p)`` if not: the focal loss of Lin et al. 2017 (arXiv:1708.02002). It is plain cross-entropy
    if gamma is 0. With label smoothing a target is ``1 - smoothing / 2`` or ``smoothing / 2``. The loss of a clip is
    the sum over all labels.

    Args:
        how: smoothing, gamma and weights.
    """

    def __init__(self, how: LossSettings) -> None:
        self.how = how

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each clip, float32 (B,), from logits and labels (B, C); 0 where the labels are -100."""
        counted = labels[:, 0] != NO_LABEL
        there = labels * (1 - self.how.label_smoothing) + self.how.label_smoothing / 2
        yes, no = -F.logsigmoid(logits), -F.logsigmoid(-logits)
        if self.how.focal_gamma:
            yes = yes * torch.sigmoid(-logits) ** self.how.focal_gamma
            no = no * torch.sigmoid(logits) ** self.how.focal_gamma
        if self.how.class_weights is not None:
            yes = yes * self.how.class_weights.to(logits.device)
        return torch.where(counted, (there * yes + (1 - there) * no).sum(dim=-1), 0.0)


def label_weights(given: Mapping[str, float] | None, labels: Sequence[str], targets: np.ndarray) -> np.ndarray:
    """Return the weight of a clip with each label, relative to a clip without it, float64 (C,).

    A balanced weight is the number of clips without the label divided by the number of clips with it, limited to
    1/100 to 100, so that both groups have the same total weight (``pos_weight`` of PyTorch's ``BCEWithLogitsLoss``).

    Args:
        given: weights by label, 1 for labels that are not listed; ``None`` for balanced weights.
        labels: label names.
        targets: the true labels, 0 or 1, (N, C).
    """
    if given is not None:
        return np.array([given.get(label, 1.0) for label in labels])
    there = targets.sum(axis=0, dtype=np.float64)
    return np.clip((len(targets) - there) / np.maximum(there, 1), 1 / _MOST_WEIGHT, _MOST_WEIGHT)
