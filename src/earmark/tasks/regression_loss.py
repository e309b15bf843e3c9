"""The loss of numbers.

Shapes: B batch.
"""

from __future__ import annotations

import torch

from earmark.tasks.task import NO_LABEL


class NumberLoss:
    """Square error of numbers, in deviations from the mean of the training clips.

    Args:
        unit: that mean and deviation. The model answers in the unit of the numbers, labels come in deviations.
    """

    def __init__(self, unit: tuple[float, float]) -> None:
        self.unit = unit

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each clip, float32 (B,), of logits (B, 1) and labels (B,); 0 where the label is -100."""
        mean, deviation = self.unit
        return torch.where(labels != NO_LABEL, ((logits[:, 0] - mean) / deviation - labels) ** 2, 0.0)
