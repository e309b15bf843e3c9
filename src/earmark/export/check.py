"""An export against the PyTorch model it was made from: lengths, batch sizes, whole recordings.

Both answer through the loop that scores, so that windows and batches are those of ``earmark predict``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from earmark.export.recordings import Recordings
from earmark.scoring.inference import Scorer, score

LARGEST_DIFFERENCE = 1e-3  # of a probability; more, or another first class, refuses a float32 export
_LENGTHS = 12  # enough to include odd and even numbers of frames
_BATCH_SIZES = (1, 3)


@dataclass(frozen=True)
class ExportComparison:
    """What two models answer for the same clips.

    Attributes:
        clips: how many.
        lengths: lengths of the sweep, in samples.
        batch_sizes: batch sizes of the sweep.
        largest_difference: of any probability; of numbers in their deviations over the clips that both heard.
        flips: clips whose answer is another one: the most likely class, or the labels from one half on.
        agreement: share of the whole recordings whose answer is the same.
        accuracy: share of the labelled recordings that PyTorch and the export get right; ``None`` without labels.
    """

    clips: int
    lengths: list[int]
    batch_sizes: list[int]
    largest_difference: float
    flips: int
    agreement: float
    accuracy: tuple[float, float] | None

    def to_dict(self) -> dict[str, object]:
        """For ``export.json``."""
        values: dict[str, Any] = {
            "clips": self.clips,
            "lengths_samples": self.lengths,
            "batch_sizes": self.batch_sizes,
            "largest_difference": self.largest_difference,
            "flips": self.flips,
            "agreement": self.agreement,
        }
        if self.accuracy is not None:
            values |= {"accuracy_pytorch": self.accuracy[0], "accuracy_export": self.accuracy[1]}
        return values


def compare(torch_model: Scorer, exported: Scorer, recordings: Recordings, min_samples: int) -> ExportComparison:
    """Compare over stretches of every length, in batches of several sizes, and over whole recordings.

    Args:
        torch_model: the model as it was trained.
        exported: what was made of it.
        recordings: what both listen to.
        min_samples: the shortest clip of the sweep.
    """
    lengths = np.unique(np.geomspace(min_samples, exported.max_samples, _LENGTHS).round().astype(int)).tolist()
    stretches = list(_stretches(recordings.waveforms, lengths, max(_BATCH_SIZES)))
    expected = _scores(torch_model, stretches, 1)
    task = torch_model.task
    differences, flips = [0.0], 0
    for batch_size in _BATCH_SIZES:
        given = _scores(exported, stretches, batch_size)
        differences.append(float(np.abs(given - expected).max()))
        flips += int(task.differs(given, expected).sum())
    if exported.shortest_in_batch < 1:  # the loop keeps lengths apart to save work; other programs need not
        mixed = [0, len(stretches) // 2, len(stretches) - 1]
        with exported.session():
            given = task.scores(exported.logits([stretches[i] for i in mixed]))
        differences.append(float(np.abs(given - expected[mixed]).max()))
        flips += int(task.differs(given, expected[mixed]).sum())
    whole = [_scores(scorer, recordings.waveforms, 16) for scorer in (torch_model, exported)]
    differences.append(float(np.abs(whole[0] - whole[1]).max()))
    accuracy, others = None, task.differs(whole[0], whole[1])
    if recordings.labels is not None and task.has_one_class:
        firsts = [rows.argmax(axis=1) for rows in whole]
        right = [float((first == recordings.labels).mean()) for first in firsts]
        accuracy = right[0], right[1]
    return ExportComparison(
        clips=len(stretches) * len(_BATCH_SIZES) + len(recordings.waveforms),
        lengths=lengths,
        batch_sizes=list(_BATCH_SIZES),
        largest_difference=max(differences) / task.spread(expected),
        flips=flips + int(others.sum()),
        agreement=float(1 - others.mean()),
        accuracy=accuracy,
    )


def _stretches(waveforms: list[np.ndarray], lengths: list[int], each: int) -> Iterator[np.ndarray]:
    """``each`` stretches of every length, from the recordings in turn, repeated where these are shorter."""
    rng = np.random.default_rng(0)
    number = 0
    for length in lengths:
        for _ in range(each):
            waveform = waveforms[number % len(waveforms)]
            number += 1
            waveform = np.tile(waveform, -(-length // len(waveform)))
            start = int(rng.integers(len(waveform) - length + 1))
            yield waveform[start : start + length]


def _scores(scorer: Scorer, waveforms: list[np.ndarray], batch_size: int) -> np.ndarray:
    return scorer.task.scores(np.stack(list(score(scorer, waveforms, batch_size=batch_size))))
