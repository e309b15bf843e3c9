"""Score a whole table of clips, distributed over the processes of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from earmark.audio.reading import Waveforms
from earmark.distributed.ranks import gathered, raise_on_all_ranks, rank_and_world
from earmark.errors import EarmarkError
from earmark.heap import freed_memory_kept
from earmark.models.frontend import Frontend
from earmark.progress import Progress
from earmark.scoring.inference import Scorer, score
from earmark.scoring.torch_scorer import TorchScorer

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def score_table(
    model: PreTrainedModel,
    frontend: Frontend,
    waveforms: Waveforms,
    *,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
    what: str = "scoring",
) -> np.ndarray:
    """Return the logits of every clip, the same on every rank; each clip is scored once, by one rank.

    Args:
        model: classifier, on ``device``.
        frontend: its frontend.
        waveforms: samples of N clips, all readable.
        batch_size: largest number of windows in one forward pass.
        device: device of the model.
        dtype: dtype to compute in; ``None`` for the dtype of the weights.
        what: label of the progress bar.

    Returns:
        float32 (N, C), in the order of the table.

    Raises:
        DataError: a clip cannot be read.
        DeviceError: the device computes wrongly in ``dtype``.
    """
    return score_table_with(TorchScorer(model, frontend, device, dtype), waveforms, batch_size=batch_size, what=what)


def score_table_with(scorer: Scorer, waveforms: Waveforms, *, batch_size: int, what: str = "scoring") -> np.ndarray:
    """Return the logits of every clip, like :func:`score_table`, with any scorer."""
    total = len(waveforms.num_samples)
    rank, world = rank_and_world()
    mine = range(rank, total, world)
    rows: list[np.ndarray] = []
    error: EarmarkError | None = None
    # One session casts and packs the weights once for all chunks.
    with Progress(what, len(mine)) as progress, scorer.session(), freed_memory_kept():
        try:
            for row in score(scorer, waveforms.iterate(mine), batch_size=batch_size):
                rows.append(row)
                progress.update(1)
        except EarmarkError as exc:
            if world == 1:
                raise
            error = exc  # raised below, on all ranks, because the other ranks wait for these rows
    if world == 1:
        return np.stack(rows)
    outcomes = gathered((rows, error))
    raise_on_all_ranks(next((failure for _, failure in outcomes if failure is not None), None))
    parts = [part for part, _ in outcomes]
    classes = next(len(part[0]) for part in parts if part)
    logits = np.empty((total, classes), dtype=np.float32)
    for other, part in enumerate(parts):
        if part:
            logits[other::world] = np.stack(part)
    return logits
