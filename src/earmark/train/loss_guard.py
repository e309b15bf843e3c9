"""A loss that is NaN or infinite: which clips it came from, without waiting for the loss of every step."""

from __future__ import annotations

import torch

_CHECKED_AFTER = 100  # batches, where nothing is logged or saved before


class LossGuard:
    """Remembers losses on their device until they are looked at, all at once."""

    def __init__(self) -> None:
        self._losses: list[torch.Tensor] = []
        self._rows: list[torch.Tensor] = []

    @property
    def is_due(self) -> bool:
        """Whether so many losses wait that they should be looked at."""
        return len(self._losses) >= _CHECKED_AFTER

    def add(self, loss: torch.Tensor, rows: torch.Tensor) -> None:
        """Remember the loss (scalar) of a batch of clips, rows int64 (B,) of their table."""
        self._losses.append(loss)
        self._rows.append(rows)

    def rows_of_first_bad(self) -> list[int] | None:
        """Rows of the first batch whose loss was not finite, ``None`` if all were; forgets what it has seen."""
        losses, rows = self._losses, self._rows
        self._losses, self._rows = [], []
        if not losses:
            return None
        bad = (~torch.stack(losses).isfinite()).nonzero()
        return rows[int(bad[0])].tolist() if len(bad) else None
