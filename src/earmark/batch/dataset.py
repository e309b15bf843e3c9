"""Training clips one by one: decode, and a random crop where a clip is longer than the model takes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypedDict

import numpy as np
import torch
from torch.utils.data import Dataset

from earmark.data.clips import ClipTable
from earmark.data.decode import read_clip


class Example(TypedDict):
    """One training clip: samples ``(T,)`` float32 and the index of its class."""

    waveform: np.ndarray
    label: int


class TrainingClips(Dataset[Example]):
    """Clips of a table, read when asked for.

    Args:
        table: labelled clips.
        label2id: index of each class name.
        sampling_rate_hz: rate wanted.
        max_samples: longer clips give a random crop of this length, a new one each epoch, drawn from torch's seeded
            generator.
    """

    def __init__(self, table: ClipTable, label2id: Mapping[str, int], sampling_rate_hz: int, max_samples: int) -> None:
        self.table = table
        self.label2id = label2id
        self.sampling_rate_hz = sampling_rate_hz
        self.max_samples = max_samples

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Example:
        clip = self.table[index]
        assert clip.label is not None, f"{clip.source} has no label"
        waveform = read_clip(clip, self.sampling_rate_hz)
        return {"waveform": self._crop(waveform), "label": self.label2id[clip.label]}

    def _crop(self, waveform: np.ndarray) -> np.ndarray:
        spare = len(waveform) - self.max_samples
        if spare <= 0:
            return waveform
        start = int(torch.randint(spare + 1, (1,)))
        return waveform[start : start + self.max_samples]


class Collator:
    """Examples to one batch: the frontend's tensors and ``labels`` (B,) int64, on the CPU."""

    def __init__(self, frontend: Callable[[Sequence[np.ndarray]], dict[str, torch.Tensor]]) -> None:
        self.frontend = frontend

    def __call__(self, examples: Sequence[Example]) -> dict[str, torch.Tensor]:
        """Model inputs of B examples, and ``labels``."""
        inputs = self.frontend([example["waveform"] for example in examples])
        return {**inputs, "labels": torch.tensor([example["label"] for example in examples])}
