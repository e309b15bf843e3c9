"""The loss of single labels, and the class weights.

Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from earmark.tasks.task import NO_LABEL, LossSettings


class ClassLoss:
    """Cross-entropy of single labels, with focal loss, label smoothing and class weights.

    The loss of a clip with the target distribution ``q`` and the probabilities ``p`` is
    ``-w[target] * sum_c q_c * (1 - p_c)**gamma * log(p_c)``: the focal loss of Lin et al. 2017 ("Focal Loss for Dense
    Object Detection", arXiv:1708.02002), where ``w`` is their alpha. It is plain cross-entropy if gamma is 0. With
    label smoothing (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision") ``q`` is
    ``1 - smoothing`` on the target plus ``smoothing / C`` on every class.

    Args:
        how: smoothing, gamma and weights.
    """

    def __init__(self, how: LossSettings) -> None:
        self.how = how

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each clip, float32 (B,), 0 where the label is -100."""
        if self.how.focal_gamma == 0:
            loss = F.cross_entropy(
                logits, labels, reduction="none", label_smoothing=self.how.label_smoothing, ignore_index=NO_LABEL
            )
        else:
            loss = self._focal(logits, labels)
        if self.how.class_weights is None:
            return loss
        return loss * self.how.class_weights.to(logits.device)[labels.clamp(min=0)]

    def _focal(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        log_p = logits.log_softmax(dim=-1)
        # expm1 keeps 1 - p accurate if p is almost 1, and the clamp keeps the gradient finite at p = 1
        rest = -torch.expm1(log_p.clamp(max=-torch.finfo(log_p.dtype).tiny))
        terms = -(rest**self.how.focal_gamma) * log_p  # (B, C)
        counted = labels != NO_LABEL
        of_target = terms.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
        smoothed = (1 - self.how.label_smoothing) * of_target + self.how.label_smoothing * terms.mean(dim=-1)
        return torch.where(counted, smoothed, 0.0)


def class_weights(
    given: Mapping[str, float] | None, labels: Sequence[str], counts: np.ndarray, *, even: bool = False
) -> np.ndarray:
    """Return the weight of each class in the loss, float64 (C,), with a mean of 1 over the training clips.

    A balanced weight is ``N / (C * count)``, so that all classes have the same total weight (King and Zeng 2001,
    "Logistic Regression in Rare Events Data"; scikit-learn's ``class_weight``).

    Args:
        given: weights by class, 1 for classes that are not listed; ``None`` for balanced weights.
        labels: class names.
        counts: training clips of each class, int64 (C,).
        even: whether the sampler draws each class equally often, however many clips it has.
    """
    weights = 1 / np.maximum(counts, 1) if given is None else np.array([given.get(label, 1.0) for label in labels])
    share = np.full(len(labels), 1 / len(labels)) if even else counts / counts.sum()
    scaled: np.ndarray = weights / (weights * share).sum()
    return scaled
