"""The loss of several labels, and what a clip with each of them counts for.

Shapes: B batch, N clips, C labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from earmark.tasks.task import NO_LABEL, LossSettings

_MOST_WEIGHT = 100.0  # of a label that few clips have: more and a few clips would make up the gradient


class LabelsLoss:
    """Binary cross-entropy of several labels.

    Of a label that is there with the probability ``p`` it is ``-w * (1 - p)**gamma * log(p)``, of one that is not
    ``-p**gamma * log(1 - p)``: the focal loss in the form Lin et al. 2017 (arXiv:1708.02002) give it, with gamma 0
    plain cross-entropy. Under label smoothing a target is ``1 - smoothing / 2`` or ``smoothing / 2``. The loss of a
    clip is the sum over its labels.

    Args:
        how: smoothing, gamma and weights.
    """

    def __init__(self, how: LossSettings) -> None:
        self.how = how

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each clip, float32 (B,), of logits and labels (B, C); 0 where the labels are -100."""
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
    """What a clip with each label counts for, against one without it, float64 (C,).

    Balanced is the number of clips without a label over that of clips with it, at most 100, so that both count the
    same together (``pos_weight`` of PyTorch's ``BCEWithLogitsLoss``).

    Args:
        given: weights by label, 1 for others; ``None`` for balanced ones.
        labels: label names.
        targets: which are there, (N, C).
    """
    if given is not None:
        return np.array([given.get(label, 1.0) for label in labels])
    there = targets.sum(axis=0, dtype=np.float64)
    return np.clip((len(targets) - there) / np.maximum(there, 1), 1 / _MOST_WEIGHT, _MOST_WEIGHT)
