"""Find the clips behind a NaN or infinite loss, without waiting for the loss of every step."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from earmark.clips.clip import ClipTable
from earmark.distributed.ranks import all_ranks_ok
from earmark.errors import DataError
from earmark.text import and_more

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_CHECKED_AFTER = 100  # batches, if nothing is logged or saved before
_NAMED = 8  # clips of a batch in a message


class LossGuard:
    """Keep losses on their device until they are checked, all at once.

    Args:
        table: the clips that the model is trained on.
    """

    def __init__(self, table: ClipTable) -> None:
        self._table = table
        self._losses: list[torch.Tensor] = []
        self._rows: list[torch.Tensor] = []

    def add(self, loss: torch.Tensor, rows: torch.Tensor, step: int) -> None:
        """Remember the loss (scalar) of a batch of clips, rows int64 (B,) of their table, in step ``step``.

        Raises:
            DataError: see :meth:`check`, which is called if many losses wait.
        """
        self._losses.append(loss)
        self._rows.append(rows)
        if len(self._losses) >= _CHECKED_AFTER:
            self.check(step)

    def check(self, step: int) -> None:
        """Check the losses that were kept. The trainer calls this before it logs, scores or saves.

        Raises:
            DataError: one of them is NaN or infinite.
        """
        rows = self.rows_of_first_bad()
        if rows is not None:
            raise DataError(
                f"step {step} or shortly before: {self._bad(rows)}. Check these recordings, lower --learning_rate, "
                f"train in fp32, or skip such batches with --on_nan_loss skip."
            )

    def rows_of_first_bad(self) -> list[int] | None:
        """Rows of the first batch whose loss was not finite, ``None`` if all were; forgets what it has seen."""
        losses, rows = self._losses, self._rows
        self._losses, self._rows = [], []
        if not losses:
            return None
        bad = (~torch.stack(losses).isfinite()).nonzero()
        return rows[int(bad[0])].tolist() if len(bad) else None

    def replaced(
        self,
        loss: torch.Tensor,
        model: PreTrainedModel,
        averages: list[tuple[torch.Tensor, torch.Tensor]],
        rows: Any,
        step: int,
    ) -> torch.Tensor:
        """Return the loss of a batch, or one without a gradient if it is not finite on some rank.

        Args:
            loss: scalar.
            model: whose weights learn from it.
            averages: buffers and their values before the batch, which they get back.
            rows: of the batch, int64 (B,).
            step: that is being trained.
        """
        if all_ranks_ok(bool(loss.isfinite())):
            return loss
        logger.warning("step %d: %s; skipped", step, self._bad(rows.tolist()))
        for buffer, before in averages:
            buffer.copy_(before)
        zero: torch.Tensor = sum(weight.sum() * 0 for weight in model.parameters() if weight.requires_grad)
        return zero

    def _bad(self, rows: list[int]) -> str:
        names = and_more([self._table[row].source for row in rows], _NAMED)
        return f"the loss is NaN or infinite, of the batch {names}"
