"""The one frontend: waveforms in, model inputs out, the same in training, evaluation, prediction and export.

It is the checkpoint's own Transformers feature extractor with the shortest and the longest clip made part of it, and it
is saved with the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch


class Frontend:
    """Normalisation, log-mel and padding of a batch of clips.

    Attributes:
        extractor: the Transformers feature extractor; ``preprocessor_config.json`` when saved.
        sampling_rate_hz: rate of the waveforms it takes.
        min_samples: shorter clips are padded with zeros up to here.
        max_samples: longest clip the model takes at once; longer ones are cut into windows by the caller.
        pads_itself: the extractor pads every clip to the one length its model takes, and knows no other way.
    """

    def __init__(self, extractor: Any, *, min_samples: int, max_samples: int, pads_itself: bool) -> None:
        self.extractor = extractor
        self.sampling_rate_hz = int(extractor.sampling_rate)
        self.min_samples = min_samples
        self.max_samples = max_samples
        self.pads_itself = pads_itself

    def __call__(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Turn clips into one batch of model inputs, on the CPU.

        Args:
            waveforms: B float32 arrays of shape ``(samples,)``, at most ``max_samples`` long.

        Returns:
            ``input_values`` (B, T) or ``input_features`` (B, mel bins, F) / (B, F, mel bins) float32, by model, and
            ``attention_mask`` (B, T) int where the extractor is set to give one and the clips differ in length.
        """
        clips = [self._at_least_minimum(waveform) for waveform in waveforms]
        padding = {} if self.pads_itself else {"padding": True}
        batch = self.extractor(clips, sampling_rate=self.sampling_rate_hz, return_tensors="pt", **padding)
        inputs = dict(batch)
        mask = inputs.get("attention_mask")
        if mask is not None and bool(mask.all()):
            del inputs["attention_mask"]  # nothing is padded: the same answer without the mask's extra work
        return inputs

    def save(self, folder: str | Path) -> None:
        """Write ``preprocessor_config.json`` into ``folder``."""
        self.extractor.save_pretrained(folder)

    def _at_least_minimum(self, waveform: np.ndarray) -> np.ndarray:
        missing = self.min_samples - len(waveform)
        return np.pad(waveform, (0, missing)) if missing > 0 else waveform
