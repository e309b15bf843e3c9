"""Spectrograms as PNG pictures, without a library for pictures."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
import torch

from earmark.models.tc_resnet import LogMel, TCResNetConfig

_BINS = 64
_DECADES_SHOWN = 5.0  # below the loudest point of the clip before it was changed
# colours from quiet to loud, of even steps in brightness
_COLOURS = np.array([(13, 8, 60), (74, 20, 110), (150, 38, 100), (220, 80, 60), (250, 160, 40), (250, 250, 170)])


def log_mel(samples: np.ndarray, sampling_rate_hz: int) -> torch.Tensor:
    """Log-mel energies (1, F, M) of samples (T,), in frames of 25 ms every 10 ms."""
    config = TCResNetConfig(
        sampling_rate=sampling_rate_hz,
        window_samples=round(0.025 * sampling_rate_hz),
        hop_samples=round(0.010 * sampling_rate_hz),
        num_mel_bins=_BINS,
    )
    energies: torch.Tensor = LogMel(config)(torch.from_numpy(samples)[None])
    return energies


def picture(values: torch.Tensor, loudest: float, *, width: int = 240, height: int = 128) -> np.ndarray:
    """A spectrogram in colours, uint8 (height, width, 3), low frequencies at the bottom.

    Args:
        values: log-mel energies (1, F, M), natural logarithms.
        loudest: value that gets the brightest colour.
        width: pixels.
        height: pixels.
    """
    plane = values[0].T.flip(0).numpy()  # (M, F)
    share = np.clip(1 + (plane - loudest) / (_DECADES_SHOWN * np.log(10)), 0, 1)
    rows = np.arange(height) * plane.shape[0] // height
    columns = np.arange(width) * plane.shape[1] // width
    scaled = share[rows][:, columns]
    steps = np.linspace(0, 1, len(_COLOURS))
    return np.stack([np.interp(scaled, steps, _COLOURS[:, channel]) for channel in range(3)], axis=-1).astype(np.uint8)


def grid(rows: Sequence[Sequence[np.ndarray]], gap: int = 6) -> np.ndarray:
    """Pictures of one size beside and below each other on white, uint8 (H, W, 3)."""
    height, width, _ = rows[0][0].shape
    shape = (len(rows) * (height + gap) - gap, len(rows[0]) * (width + gap) - gap, 3)
    whole = np.full(shape, 255, dtype=np.uint8)
    for i, row in enumerate(rows):
        for j, one in enumerate(row):
            whole[i * (height + gap) :, j * (width + gap) :][:height, :width] = one
    return whole


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 (H, W, 3) (W3C Portable Network Graphics, section 11: header, one block of data, end)."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # filter 0: none
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    blocks = (_block(b"IHDR", header), _block(b"IDAT", zlib.compress(lines.tobytes())), _block(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(blocks)


def _block(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
