"""The one frontend: samples in, model inputs out, the same in training, evaluation, prediction and every later path.

It is the checkpoint's own (:mod:`earmark.models.extractor`), computed as tensor code where the samples are, with the
shortest and the longest clip made part of it. Its settings are saved with the model.

Shapes: B batch, T samples, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earmark.families.features import Features
from earmark.families.frontend_settings import Extractor, FrontendSettings


class Frontend:
    """Normalisation, log-mel and padding of a batch of clips.

    Attributes:
        extractor: its settings, or a feature extractor of Transformers that no tensor code is known for;
            ``preprocessor_config.json`` when saved.
        sampling_rate_hz: rate of the waveforms it takes.
        min_samples: shorter clips are padded with zeros up to here.
        max_samples: longest clip the model takes at once; longer ones are cut into windows by the caller.
        pads_itself: the extractor pads every clip to the one length its model takes, and knows no other way.
    """

    def __init__(self, extractor: Extractor, *, min_samples: int, max_samples: int, pads_itself: bool) -> None:
        self.extractor = extractor
        self.sampling_rate_hz = int(extractor.sampling_rate)
        self.min_samples = min_samples
        self.max_samples = max_samples
        self.pads_itself = pads_itself
        self._features = extractor.features() if isinstance(extractor, FrontendSettings) else None

    @property
    def features(self) -> Features | None:
        """The tensor code; ``None`` where the extractor itself is called, on the CPU."""
        return self._features

    @property
    def tells_padding_from_silence(self) -> bool:
        """Whether model inputs depend on which samples are padding."""
        return self._features is None or not self._features.pads_with_silence

    @property
    def levels_out(self) -> bool:
        """Whether a clip gives the same model inputs however loud it is, as far as that is known."""
        return isinstance(self.extractor, FrontendSettings) and self.extractor.levels_out

    def with_limits(self, min_samples: int, max_samples: int) -> Frontend:
        """The same with another shortest and longest clip."""
        return Frontend(self.extractor, min_samples=min_samples, max_samples=max_samples, pads_itself=self.pads_itself)

    def __call__(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Turn clips into one batch of model inputs, on the CPU; see :meth:`pack` and :meth:`inputs`."""
        return self.inputs(*self.pack(waveforms))

    def pack(self, waveforms: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Lay clips side by side.

        Args:
            waveforms: B float32 arrays of shape ``(samples,)``, at most ``max_samples`` long.

        Returns:
            samples (B, T) float32 with zeros behind each clip, and the length of each, int64 (B,); ``None`` where all
            have T. Clips shorter than ``min_samples`` count as that long.
        """
        samples, lengths = side_by_side(waveforms, self.min_samples)
        same = lengths.min() == lengths.max()
        return torch.from_numpy(samples), None if same else torch.from_numpy(lengths)

    def inputs(
        self, samples: torch.Tensor, num_samples: torch.Tensor | None = None, *, mask: bool = True
    ) -> dict[str, torch.Tensor]:
        """Turn samples into model inputs, on the device they are on.

        Args:
            samples: (B, T) float32, zero behind each clip.
            num_samples: length of each clip, int64 (B,); ``None``: all have T.
            mask: whether the model is told which samples are padding.

        Returns:
            ``input_values`` (B, T) or ``input_features`` (B, mel bins, F) / (B, F, mel bins) float32, by model, and
            ``attention_mask`` (B, T) or (B, F) where clips differ in length and the model takes one.
        """
        lengths = num_samples
        if lengths is None:
            lengths = torch.full((samples.shape[0],), samples.shape[1], device=samples.device)
        if self._features is None:
            inputs = self._extracted(samples, lengths)
        else:
            inputs = self._features.to(samples.device)(samples, lengths)
        given = inputs.get("attention_mask")
        # where nothing is padded, a mask over samples is extra work for the same answer; one over frames may still
        # leave out a last frame that is not whole
        needless = num_samples is None and given is not None and given.shape == samples.shape
        if needless or not mask:
            inputs.pop("attention_mask", None)
        return inputs

    def save(self, folder: str | Path) -> None:
        """Write ``preprocessor_config.json`` into ``folder``."""
        self.extractor.save_pretrained(folder)

    def _extracted(self, samples: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """The same through a feature extractor of Transformers, on the CPU."""
        clips = [row[:length] for row, length in zip(samples.cpu().numpy(), lengths.tolist(), strict=True)]
        padding = {} if self.pads_itself else {"padding": True}
        extractor: Any = self.extractor
        batch = extractor(clips, sampling_rate=self.sampling_rate_hz, return_tensors="pt", **padding)
        return {name: value.to(samples.device) for name, value in batch.items()}


def side_by_side(waveforms: Sequence[np.ndarray], min_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """B clips of shape ``(samples,)`` as (B, T) float32 with zeros behind each, and their lengths, int64 (B,).

    Clips shorter than ``min_samples`` count as that long.
    """
    lengths = np.array([max(len(waveform), min_samples) for waveform in waveforms], dtype=np.int64)
    samples = np.zeros((len(waveforms), lengths.max()), dtype=np.float32)
    for row, waveform in zip(samples, waveforms, strict=True):
        row[: len(waveform)] = waveform
    return samples, lengths
