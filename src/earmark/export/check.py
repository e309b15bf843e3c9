"""Compare an export with its PyTorch model over clip lengths, batch sizes and whole recordings.

Both models run in earmark's inference loop, so windows and batches are the same as in ``earmark predict``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from earmark.export.recordings import Recordings
from earmark.scoring.inference import Scorer, score

LARGEST_DIFFERENCE = 1e-3  # between probabilities; earmark rejects a float32 export that differs more
_LENGTHS = 12  # enough to include odd and even numbers of frames
_BATCH_SIZES = (1, 3)


@dataclass(frozen=True)
class ExportComparison:
    """Differences between two models on the same clips.

    Attributes:
        clips: number of clips.
        lengths: clip lengths that were compared, in samples.
        batch_sizes: batch sizes that were compared.
        largest_difference: largest difference between two probabilities; for a regression, between two numbers, in
            standard deviations over the clips.
        flips: number of clips with another prediction: another most likely class, or other labels above 0.5.
        agreement: fraction of the whole recordings with the same prediction.
        accuracy: accuracy of PyTorch and of the export on the labelled recordings; ``None`` without labels.
    """

    clips: int
    lengths: list[int]
    batch_sizes: list[int]
    largest_difference: float
    flips: int
    agreement: float
    accuracy: tuple[float, float] | None

    def to_dict(self) -> dict[str, object]:
        """Return the values for ``export.json``."""
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
    """Compare two models on clips of many lengths, in batches of several sizes, and on whole recordings.

    Args:
        torch_model: the trained model.
        exported: its export.
        recordings: audio to score.
        min_samples: shortest clip, in samples.
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
    if exported.shortest_in_batch < 1:  # other programs may mix lengths that earmark's loop puts into separate batches
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
    """Yield ``each`` clips of every length, cut from the recordings in turn; short recordings are repeated."""
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
