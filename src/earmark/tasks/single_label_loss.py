"""The loss of single labels, and what a clip of each class counts for.

Shapes: B batch, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F

from earmark.tasks.task import NO_LABEL, LossSettings


class ClassLoss:
    """Cross-entropy of single labels.

    The loss of a clip with the target distribution ``q`` and the probabilities ``p`` is
    ``-w[target] * sum_c q_c * (1 - p_c)**gamma * log(p_c)``: the focal loss of Lin et al. 2017 ("Focal Loss for Dense
    Object Detection", arXiv:1708.02002), whose alpha is the weight here; with gamma 0 plain cross-entropy. Under label
    smoothing (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision") ``q`` is
    ``1 - smoothing`` on the target plus ``smoothing / C`` on every class.

    Args:
        how: smoothing, gamma and weights.
    """

    def __init__(self, how: LossSettings) -> None:
        self.how = how

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each clip, float32 (B,), 0 where the label is -100."""
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
        # 1 - p as expm1 keeps the small differences of a class that is all but certain, and its gradient at 0
        rest = -torch.expm1(log_p.clamp(max=-torch.finfo(log_p.dtype).tiny))
        terms = -(rest**self.how.focal_gamma) * log_p  # (B, C)
        counted = labels != NO_LABEL
        of_target = terms.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
        smoothed = (1 - self.how.label_smoothing) * of_target + self.how.label_smoothing * terms.mean(dim=-1)
        return torch.where(counted, smoothed, 0.0)


def class_weights(
    given: Mapping[str, float] | None, labels: Sequence[str], counts: np.ndarray, *, even: bool = False
) -> np.ndarray:
    """What a clip of each class counts for, float64 (C,), 1 on average over the clips that are trained on.

    Balanced is ``N / (C * count)`` (King and Zeng 2001, "Logistic Regression in Rare Events Data", as
    scikit-learn's ``class_weight`` has it): all classes together count the same.

    Args:
        given: weights by class, 1 for others; ``None`` for balanced ones.
        labels: class names.
        counts: training clips of each class, int64 (C,).
        even: whether a sampler shows each class equally often, whatever its clips.
    """
    weights = 1 / np.maximum(counts, 1) if given is None else np.array([given.get(label, 1.0) for label in labels])
    share = np.full(len(labels), 1 / len(labels)) if even else counts / counts.sum()
    scaled: np.ndarray = weights / (weights * share).sum()
    return scaled
