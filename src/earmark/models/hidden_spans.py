"""SpecAugment on what the frontend gives, for every architecture: stretches of time and bands of frequency are hidden.

Park et al. 2019 (arXiv:1904.08779) hide two stretches and two bands of a log-mel spectrogram. Here their widths are
shares of the clip's own length (after Park et al. 2020, arXiv:1912.05533, section 3) and of the mel bins, so that a
clip of a second loses as little of itself as one of ten. What is hidden becomes the mean of the clip. A model that
takes waveforms loses stretches of samples, and bands through a band-stop filter as wide as those on the mel scale.

The masks that models of the wav2vec2 family and TC-ResNet have of their own are another matter, and stay.

Shapes: B batch, T samples, F frames, M mel bins, S stretches or bands of a clip.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from earmark.models.frontend import Frontend

_TAPS = 255  # of the band-stop filter: edges of about 200 Hz at 16 kHz
_STRETCHES = 2
_LOG_FLOOR_HZ = 700.0  # of the HTK mel scale, 2595 log10(1 + f / 700)


def can_hide(frontend: Frontend) -> bool:
    """Whether the frontend's output is one that :func:`hide` knows."""
    return frontend.features is not None


def hide(
    inputs: dict[str, torch.Tensor], hidden: torch.Tensor, num_samples: torch.Tensor, frontend: Frontend
) -> dict[str, torch.Tensor]:
    """Model inputs with parts hidden.

    Args:
        inputs: what the frontend gave.
        hidden: place and width of two stretches, then of two bands, as shares, float32 (B, 4, 2).
        num_samples: length of each clip, int64 (B,).
        frontend: that gave them; :func:`can_hide` holds.
    """
    stretches, bands = hidden[:, :_STRETCHES], hidden[:, _STRETCHES:]
    features = frontend.features
    assert features is not None, "see can_hide"
    values, count = inputs[features.input_name], features.num_frames(num_samples)
    if count is None:
        values = _hide_in_waveform(values, num_samples, stretches, bands, frontend.sampling_rate_hz)
    elif features.bins_first:
        values = hide_bins(values.transpose(1, 2), count, stretches, bands, features.stride).transpose(1, 2)
    else:
        values = hide_bins(values, count, stretches, bands, features.stride)
    return {**inputs, features.input_name: values}


def hide_bins(
    values: torch.Tensor, count: torch.Tensor, stretches: torch.Tensor, bands: torch.Tensor, stride: int = 1
) -> torch.Tensor:
    """A log-mel spectrogram with stretches and bands at its mean.

    Args:
        values: (B, F, stride * M), ``stride`` frames beside each other.
        count: valid frames of each clip, int64 (B,); the others stay as they are.
        stretches: place and width of each, as shares of the valid frames, (B, S, 2).
        bands: the same of the mel bins, (B, S, 2).
        stride: see ``values``.
    """
    frames, bins = values.shape[1], values.shape[2] // stride
    count = count.clamp(1, frames)
    valid = torch.arange(frames, device=values.device) < count[:, None]  # (B, F)
    total = (values * valid[..., None]).sum(dim=(1, 2))
    mean = (total / (count * values.shape[2]))[:, None, None]
    covered = within(stretches, count, frames)[..., None]  # (B, F, 1)
    all_bins = torch.full_like(count, bins)
    covered = covered | within(bands, all_bins, bins).repeat(1, stride)[:, None]  # (B, F, stride * M)
    return torch.where(covered & valid[..., None], mean, values)


def within(spans: torch.Tensor, count: torch.Tensor, length: int) -> torch.Tensor:
    """Which positions are in any span, bool (B, length).

    Args:
        spans: place of each among those possible and width, as shares, (B, S, 2).
        count: positions that these are shares of, int64 (B,).
        length: positions of the batch. A span has whole positions, rounded down; none lies past ``count``.
    """
    width = (spans[..., 1] * count[:, None]).floor()  # (B, S)
    start = (spans[..., 0] * (count[:, None] - width + 1)).floor()
    position = torch.arange(length, device=spans.device)
    inside = (position >= start[..., None]) & (position < (start + width)[..., None])  # (B, S, length)
    return inside.any(dim=1)


def _hide_in_waveform(
    samples: torch.Tensor, count: torch.Tensor, stretches: torch.Tensor, bands: torch.Tensor, sampling_rate_hz: int
) -> torch.Tensor:
    """Waveforms (B, T) of ``count`` (B,) samples each, whose mean is about 0."""
    valid = torch.arange(samples.shape[1], device=samples.device) < count[:, None]
    for band in bands.unbind(dim=1):
        samples = _without_band(samples, band, sampling_rate_hz)
    return samples.masked_fill(within(stretches, count, samples.shape[1]) | ~valid, 0.0)


def _without_band(samples: torch.Tensor, band: torch.Tensor, sampling_rate_hz: int) -> torch.Tensor:
    """Waveforms (B, T) without a band each, of place and width (B, 2) on the mel scale; width 0 takes nothing away.

    A windowed-sinc filter as one matrix of the clip: overlapping pieces of the waveform times the filter's Toeplitz
    matrix, a batched product, which is faster than a grouped convolution of that many taps.
    """
    top_mel = math.log10(1 + sampling_rate_hz / 2 / _LOG_FLOOR_HZ)
    low = band[:, 0] * (1 - band[:, 1])
    edges_hz = _LOG_FLOOR_HZ * (10 ** (torch.stack([low, low + band[:, 1]], dim=1) * top_mel) - 1)  # (B, 2)
    half = _TAPS // 2
    time = torch.arange(-half, half + 1, device=samples.device, dtype=torch.float32)
    window = 0.54 + 0.46 * torch.cos(math.pi * time / half)  # Hamming
    turns = 2 * edges_hz[..., None] / sampling_rate_hz
    low_pass = turns * torch.sinc(turns * time) * window  # (B, 2, taps): up to each edge
    passed = low_pass[:, 1] - low_pass[:, 0]  # (B, taps), the band alone
    return samples - _filtered(samples, passed)


def _filtered(samples: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Each waveform of (B, T) through its own symmetric filter (B, K), K odd; (B, T)."""
    length, num_taps = samples.shape[1], taps.shape[1]
    block = num_taps + 1  # samples that come out of one product
    blocks = -(-length // block)
    half = num_taps // 2
    padded = F.pad(samples, (half, blocks * block - length + half + 1))
    pieces = padded.unfold(1, block + num_taps, block)  # (B, blocks, block + K)
    # column j of the matrix holds the taps from row j on
    placed = F.pad(taps, (0, block + 1))  # (B, K + block + 1)
    matrix = placed.repeat(1, block)[:, : block * (block + num_taps)].unflatten(1, (block, block + num_taps))
    return (pieces @ matrix.transpose(1, 2)).flatten(1)[:, :length]
