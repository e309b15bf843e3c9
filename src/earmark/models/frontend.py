"""Turn samples into model inputs, in the same way for training, evaluation, prediction and export.

The frontend of a checkpoint (:mod:`earmark.models.extractor`) is computed as tensor code on the device of the samples,
with limits for the length of a clip. Its settings are saved with the model.

Shapes: B batch, T samples, F frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earmark.batch.side_by_side import side_by_side
from earmark.families.features import Features
from earmark.families.frontend_settings import Extractor, FrontendSettings


class Frontend:
    """Normalization, log-mel and padding of a batch of clips.

    Attributes:
        extractor: its settings, or a feature extractor of Transformers without tensor code; saved as
            ``preprocessor_config.json``.
        sampling_rate_hz: rate of the waveforms.
        min_samples: shorter clips are padded with zeros to this length.
        max_samples: longest input of the model; callers cut longer clips into windows.
        pads_itself: whether the extractor pads every clip to the only length that the model takes.
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
        """The tensor code; ``None`` to call the extractor on the CPU."""
        return self._features

    @property
    def tells_padding_from_silence(self) -> bool:
        """Whether model inputs depend on which samples are padding."""
        return self._features is None or not self._features.pads_with_silence

    @property
    def levels_out(self) -> bool:
        """Whether model inputs are known not to depend on the level of a clip."""
        return isinstance(self.extractor, FrontendSettings) and self.extractor.levels_out

    def with_limits(self, min_samples: int, max_samples: int) -> Frontend:
        """Return this frontend with other length limits."""
        return Frontend(self.extractor, min_samples=min_samples, max_samples=max_samples, pads_itself=self.pads_itself)

    def __call__(self, waveforms: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Turn clips into one batch of model inputs on the CPU; see :meth:`pack` and :meth:`inputs`."""
        return self.inputs(*self.pack(waveforms))

    def pack(self, waveforms: Sequence[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Pad clips to one length.

        Args:
            waveforms: B float32 arrays of shape ``(samples,)``, at most ``max_samples`` long.

        Returns:
            Samples (B, T) float32 with zeros after each clip, and the length of each clip, int64 (B,), or ``None`` if
            all are T. Clips shorter than ``min_samples`` have the length ``min_samples``.
        """
        samples, lengths = side_by_side(waveforms, self.min_samples)
        same = lengths.min() == lengths.max()
        return torch.from_numpy(samples), None if same else torch.from_numpy(lengths)

    def inputs(
        self, samples: torch.Tensor, num_samples: torch.Tensor | None = None, *, mask: bool = True
    ) -> dict[str, torch.Tensor]:
        """Turn samples into model inputs on the same device.

        Args:
            samples: (B, T) float32, zero after each clip.
            num_samples: length of each clip, int64 (B,); ``None`` if all are T.
            mask: whether the model gets a mask of the padding.

        Returns:
            ``input_values`` (B, T) or ``input_features`` (B, mel bins, F) / (B, F, mel bins) float32, depending on the
            model, and ``attention_mask`` (B, T) or (B, F) if clips differ in length and the model takes a mask.
        """
        lengths = num_samples
        if lengths is None:
            lengths = torch.full((samples.shape[0],), samples.shape[1], device=samples.device)
        if self._features is None:
            inputs = self._extracted(samples, lengths)
        else:
            inputs = self._features.to(samples.device)(samples, lengths)
        given = inputs.get("attention_mask")
        # Without padding, a mask over samples only costs time. A mask over frames may still exclude an incomplete last
        # frame.
        needless = num_samples is None and given is not None and given.shape == samples.shape
        if needless or not mask:
            inputs.pop("attention_mask", None)
        return inputs

    def save(self, folder: str | Path) -> None:
        """Write ``preprocessor_config.json`` into ``folder``."""
        self.extractor.save_pretrained(folder)

    def _extracted(self, samples: torch.Tensor, lengths: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute model inputs with a feature extractor of Transformers on the CPU."""
        clips = [row[:length] for row, length in zip(samples.cpu().numpy(), lengths.tolist(), strict=True)]
        padding = {} if self.pads_itself else {"padding": True}
        extractor: Any = self.extractor
        batch = extractor(clips, sampling_rate=self.sampling_rate_hz, return_tensors="pt", **padding)
        return {name: value.to(samples.device) for name, value in batch.items()}
