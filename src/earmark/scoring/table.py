"""Score a whole table of clips, shared out over the processes of a distributed run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from earmark.data.clips import ClipTable
from earmark.data.reading import read_in_order
from earmark.errors import AudioError
from earmark.models.frontend import Frontend
from earmark.progress import Progress
from earmark.scoring.forward import score_waveforms


def score_table(
    model: Any,
    frontend: Frontend,
    table: ClipTable,
    *,
    batch_size: int,
    device: torch.device,
    dtype: torch.dtype | None = None,
    num_threads: int = 2,
    what: str = "scoring",
) -> np.ndarray:
    """Logits of every clip, the same on every rank; each clip is scored once, by one rank.

    Args:
        model: classifier, on ``device``.
        frontend: its frontend.
        table: N clips, all readable.
        batch_size: most windows in one forward pass.
        device: where the model is.
        dtype: autocast to this type; ``None`` for the weights' own.
        num_threads: decoder threads.
        what: word for the progress bar.

    Returns:
        float32 (N, C), in the order of the table.

    Raises:
        AudioError: a clip cannot be read; none is left out or replaced.
    """
    spread = dist.is_available() and dist.is_initialized()
    rank, world = (dist.get_rank(), dist.get_world_size()) if spread else (0, 1)
    mine = range(rank, len(table), world)
    with Progress(what, len(mine)) as progress:
        rows = []
        waveforms = _readable((table[i] for i in mine), frontend.sampling_rate_hz, num_threads)
        for row in score_waveforms(model, frontend, waveforms, batch_size=batch_size, device=device, dtype=dtype):
            rows.append(row)
            progress.update(1)
    if world == 1:
        return np.stack(rows)
    gathered: list[Any] = [None] * world
    dist.all_gather_object(gathered, rows)
    classes = next(len(part[0]) for part in gathered if part)
    logits = np.empty((len(table), classes), dtype=np.float32)
    for other, part in enumerate(gathered):
        if part:
            logits[other::world] = np.stack(part)
    return logits


def _readable(clips: Iterator[Any], sampling_rate_hz: int, num_threads: int) -> Iterator[np.ndarray]:
    for _, result in read_in_order(clips, sampling_rate_hz, num_threads=num_threads):
        if isinstance(result, AudioError):
            raise result
        yield result
