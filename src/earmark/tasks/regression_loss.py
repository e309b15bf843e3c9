"""The loss of a regression.

Shapes: B batch.
"""

from __future__ import annotations

import torch

from earmark.tasks.task import NO_LABEL


class NumberLoss:
    """Squared error of standardised numbers.

    Args:
        unit: mean and standard deviation of the training clips. Logits are in the unit of the numbers; labels are
            standardised already.
    """

    def __init__(self, unit: tuple[float, float]) -> None:
        self.unit = unit

    def __call__(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Return the loss of each clip, float32 (B,), from logits (B, 1) and labels (B,); 0 where the label is -100."""
        mean, deviation = self.unit
        return torch.where(labels != NO_LABEL, ((logits[:, 0] - mean) / deviation - labels) ** 2, 0.0)
