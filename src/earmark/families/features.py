"""Frontends as tensor code, which runs on the device of the samples without copies to the host.

Shapes: B batch, T samples, F frames, M mel bins.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import nn

from earmark.families.frontend_settings import WaveformSettings


class Features(nn.Module):
    """Base class: maps samples (B, T) float32, zero after ``num_samples`` (B,) int64, to model inputs by name.

    The inputs for a clip depend neither on T nor on the other clips of the batch.

    Attributes:
        input_name: the model input that holds samples or a spectrogram.
        stride: number of spectrogram frames that are concatenated to one frame of the input.
        bins_first: whether a spectrogram is (B, M, F) instead of (B, F, M).
    """

    input_name: ClassVar[str] = "input_values"
    stride = 1
    bins_first: ClassVar[bool] = False

    @property
    def pads_with_silence(self) -> bool:
        """Whether model inputs are the same for padding as for digital silence."""
        return False

    def num_frames(self, num_samples: torch.Tensor) -> torch.Tensor | None:
        """Return the number of input frames in ``num_samples``, int64 (B,); ``None`` if the input is samples."""
        return None

    def forward(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return model inputs in float32, also under autocast."""
        with torch.autocast(samples.device.type, enabled=False):
            return self.compute(samples.float(), num_samples)

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return model inputs."""
        raise NotImplementedError


class WaveformFeatures(Features):
    """Returns ``input_values`` (B, T) and ``attention_mask`` (B, T) int64."""

    def __init__(self, settings: WaveformSettings) -> None:
        super().__init__()
        self.settings = settings

    def compute(self, samples: torch.Tensor, num_samples: torch.Tensor) -> dict[str, torch.Tensor]:
        """See the base class."""
        valid = is_valid(num_samples, samples.shape[1])
        if self.settings.do_normalize:
            samples = normalized(samples, valid, num_samples[:, None], lost_degrees=0)
        if self.settings.do_normalize or self.settings.padding_value != 0.0:
            samples = samples.masked_fill(~valid, self.settings.padding_value)
        return {"input_values": samples, "attention_mask": valid.long()}


def is_valid(count: torch.Tensor, length: int) -> torch.Tensor:
    """Return which of ``length`` positions are among the first ``count`` (B,): bool (B, length)."""
    return torch.arange(length, device=count.device) < count[:, None]


def normalized(values: torch.Tensor, valid: torch.Tensor, count: torch.Tensor, *, lost_degrees: int) -> torch.Tensor:
    """Return values (B, N, ...) with zero mean and unit variance along N.

    Args:
        values: samples or frames.
        valid: valid positions, bool, in a shape that broadcasts to ``values``.
        count: number of valid positions of each clip.
        lost_degrees: degrees of freedom to subtract from the count in the variance.
    """
    values = values - values.narrow(1, 0, 1)  # makes the mean of equal values (digital silence) exact
    mean = (values * valid).sum(dim=1, keepdim=True) / count
    spread = (values - mean) * valid
    variance = spread.square().sum(dim=1, keepdim=True) / (count - lost_degrees).clamp(min=1)
    return (values - mean) / (variance + 1e-7).sqrt()
