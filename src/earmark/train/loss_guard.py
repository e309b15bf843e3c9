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

_CHECKED_AFTER = 100  # maximum number of batches between two checks; logging, scoring and saving also check
_NAMED = 8  # maximum number of clips in a message


class LossGuard:
    """Keeps the losses of recent batches on the device and checks them together, so that steps do not wait for checks.

    Args:
        table: the training clips.
    """

    def __init__(self, table: ClipTable) -> None:
        self._table = table
        self._losses: list[torch.Tensor] = []
        self._rows: list[torch.Tensor] = []

    def add(self, loss: torch.Tensor, rows: torch.Tensor, step: int) -> None:
        """Store the loss (scalar) of a batch in step ``step``, with the rows of its clips in the table, int64 (B,).

        Raises:
            DataError: see :meth:`check`, which is called after many losses.
        """
        self._losses.append(loss)
        self._rows.append(rows)
        if len(self._losses) >= _CHECKED_AFTER:
            self.check(step)

    def check(self, step: int) -> None:
        """Check the stored losses. The trainer calls this before it logs, scores or saves.

        Raises:
            DataError: a loss is NaN or infinite.
        """
        rows = self.rows_of_first_bad()
        if rows is not None:
            raise DataError(
                f"step {step} or shortly before: {self._bad(rows)}. Check these recordings, lower --learning_rate, "
                f"train in fp32, or skip such batches with --on_nan_loss skip."
            )

    def rows_of_first_bad(self) -> list[int] | None:
        """Return the rows of the first batch whose loss is not finite, or ``None``, and clear the stored losses."""
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
        """Return the loss of a batch, or a loss with zero gradients if it is not finite on some rank.

        Args:
            loss: loss of the batch, scalar.
            model: the model in training.
            averages: buffers of the model and their values before the batch, which are restored.
            rows: rows of the clips of the batch, int64 (B,).
            step: the current step.
        """
        if all_ranks_ok(bool(loss.isfinite())):
            return loss
        logger.warning("step %d: the batch is skipped, because %s", step, self._bad(rows.tolist()))
        for buffer, before in averages:
            buffer.copy_(before)
        zero: torch.Tensor = sum(weight.sum() * 0 for weight in model.parameters() if weight.requires_grad)
        return zero

    def _bad(self, rows: list[int]) -> str:
        names = and_more([self._table[row].source for row in rows], _NAMED)
        return f"the loss of these clips is NaN or infinite: {names}"
