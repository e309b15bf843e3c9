"""Refuse logits that are not finite. Imports nothing heavy, because exports are scored without scipy."""

from __future__ import annotations

import numpy as np

from earmark.errors import ModelError
from earmark.text import counted


def check_finite(logits: np.ndarray, what: str) -> None:
    """Check that logits are finite.

    Args:
        logits: float (N, C).
        what: noun for a row, for the message.

    Raises:
        ModelError: logits that are NaN or infinite.
    """
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        raise ModelError(
            f"the model predicts NaN or infinity for {broken} of {counted(len(logits), what)}: its weights are "
            "damaged, its training diverged, or its number format overflows. Train again with a lower --learning_rate, "
            "or score with --precision fp32."
        )
