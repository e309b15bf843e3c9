"""Apply SpecAugment to the output of a frontend: mask spans of time and bands of frequency.

Park et al. 2019 (arXiv:1904.08779) mask two time spans and two frequency bands of a log-mel spectrogram. Here the
widths are fractions of the clip's length (after Park et al. 2020, arXiv:1912.05533, section 3) and of the mel bins, so
that short and long clips lose the same fraction. Masked values become the mean of the clip. For a model that takes
waveforms, time spans are spans of samples, and bands are removed by a band-stop filter of the same width on the mel
scale.

These masks are independent of those in models of the wav2vec2 family and in TC-ResNet.

Shapes: B batch, T samples, F frames, M mel bins, S spans or bands of a clip.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F

from earmark.models.frontend import Frontend

_TAPS = 255  # taps of the band-stop filter, for transitions of about 200 Hz at 16 kHz
_STRETCHES = 2
_LOG_FLOOR_HZ = 700.0  # constant of the HTK mel scale, 2595 log10(1 + f / 700)


def can_hide(frontend: Frontend) -> bool:
    """Return whether :func:`hide` supports the output of a frontend."""
    return frontend.features is not None


def hide(
    inputs: dict[str, torch.Tensor], hidden: torch.Tensor, num_samples: torch.Tensor, frontend: Frontend
) -> dict[str, torch.Tensor]:
    """Return masked model inputs.

    Args:
        inputs: output of the frontend.
        hidden: start and width of two time spans, then of two bands, as fractions, float32 (B, 4, 2).
        num_samples: length of each clip, int64 (B,).
        frontend: the frontend, for which :func:`can_hide` is true.
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
    """Return a log-mel spectrogram with time spans and bands set to its mean.

    Args:
        values: (B, F, stride * M), with ``stride`` frames concatenated.
        count: number of valid frames of each clip, int64 (B,); other frames are not changed.
        stretches: start and width of each time span, as fractions of the valid frames, (B, S, 2).
        bands: start and width of each band, as fractions of the mel bins, (B, S, 2).
        stride: number of concatenated frames.
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
    """Return which positions are in any span, bool (B, length).

    Widths are rounded down to whole positions, and spans end before ``count``.

    Args:
        spans: start, as a fraction of the possible starts, and width, as a fraction of ``count``, (B, S, 2).
        count: number of positions that can be in a span, int64 (B,).
        length: number of positions in the batch.
    """
    width = (spans[..., 1] * count[:, None]).floor()  # (B, S)
    start = (spans[..., 0] * (count[:, None] - width + 1)).floor()
    position = torch.arange(length, device=spans.device)
    inside = (position >= start[..., None]) & (position < (start + width)[..., None])  # (B, S, length)
    return inside.any(dim=1)


def _hide_in_waveform(
    samples: torch.Tensor, count: torch.Tensor, stretches: torch.Tensor, bands: torch.Tensor, sampling_rate_hz: int
) -> torch.Tensor:
    """Mask waveforms (B, T) of ``count`` (B,) samples each, whose mean is about 0."""
    valid = torch.arange(samples.shape[1], device=samples.device) < count[:, None]
    for band in bands.unbind(dim=1):
        samples = _without_band(samples, band, sampling_rate_hz)
    return samples.masked_fill(within(stretches, count, samples.shape[1]) | ~valid, 0.0)


def _without_band(samples: torch.Tensor, band: torch.Tensor, sampling_rate_hz: int) -> torch.Tensor:
    """Remove a band from each waveform (B, T), with start and width (B, 2) on the mel scale; width 0 removes nothing.

    The filter is a windowed sinc. It is computed as a batched product of overlapping pieces of the waveform with the
    filter's Toeplitz matrix, which is faster than a grouped convolution with as many taps.
    """
    top_mel = math.log10(1 + sampling_rate_hz / 2 / _LOG_FLOOR_HZ)
    low = band[:, 0] * (1 - band[:, 1])
    edges_hz = _LOG_FLOOR_HZ * (10 ** (torch.stack([low, low + band[:, 1]], dim=1) * top_mel) - 1)  # (B, 2)
    half = _TAPS // 2
    time = torch.arange(-half, half + 1, device=samples.device, dtype=torch.float32)
    window = 0.54 + 0.46 * torch.cos(math.pi * time / half)  # Hamming
    turns = 2 * edges_hz[..., None] / sampling_rate_hz
    low_pass = turns * torch.sinc(turns * time) * window  # (B, 2, taps): low-pass filters up to each edge
    passed = low_pass[:, 1] - low_pass[:, 0]  # (B, taps): the band-pass filter between the edges
    return samples - _filtered(samples, passed)


def _filtered(samples: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
    """Apply a symmetric filter (B, K), K odd, to each waveform of (B, T)."""
    length, num_taps = samples.shape[1], taps.shape[1]
    block = num_taps + 1  # output samples of one product
    blocks = -(-length // block)
    half = num_taps // 2
    padded = F.pad(samples, (half, blocks * block - length + half + 1))
    pieces = padded.unfold(1, block + num_taps, block)  # (B, blocks, block + K)
    # Column j of the matrix holds the taps from row j on.
    placed = F.pad(taps, (0, block + 1))  # (B, K + block + 1)
    matrix = placed.repeat(1, block)[:, : block * (block + num_taps)].unflatten(1, (block, block + num_taps))
    return (pieces @ matrix.transpose(1, 2)).flatten(1)[:, :length]
