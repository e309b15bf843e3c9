"""Draw spectrograms with axes as one SVG file, without an imaging library."""

from __future__ import annotations

import base64
import math
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np
import torch

from earmark.audio.excerpts import Spectrogram
from earmark.families.temporal_layers import LogMel
from earmark.models.tc_resnet import TCResNetConfig
from earmark.pages import round_step

_BINS = 64
_MOST_FRAMES = 240
_RANGE_DB = 50.0
_LOUDEST = "the loudest point of the clip before augmentation"
_WIDTH, _HEIGHT = 240, 128  # size of a spectrogram, in pixels
_LEFT, _TOP, _BOTTOM, _LEGEND = 56, 44, 44, 70  # space around it, and for the legend at the right of a row
_TICKS_HZ = (100, 500, 1000, 2000, 5000, 10_000, 20_000)
_MOST_TICKS = 5
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def log_mel(samples: np.ndarray, sampling_rate_hz: int) -> torch.Tensor:
    """Return log-mel energies (1, F, M) of samples (T,), in frames of 25 ms every 10 ms."""
    energies: torch.Tensor = LogMel(_config(sampling_rate_hz))(torch.from_numpy(samples)[None])
    return energies


def _config(sampling_rate_hz: int) -> TCResNetConfig:
    return TCResNetConfig(
        sampling_rate=sampling_rate_hz,
        window_samples=round(0.025 * sampling_rate_hz),
        hop_samples=round(0.010 * sampling_rate_hz),
        num_mel_bins=_BINS,
    )


def spectrogram(values: torch.Tensor, loudest: float, seconds: float, sampling_rate_hz: int) -> Spectrogram:
    """Return a spectrogram to draw.

    Args:
        values: log-mel energies (1, F, M), natural logarithms.
        loudest: the energy that is drawn as 0 dB.
        seconds: length of the clip.
        sampling_rate_hz: sampling rate of the clip.
    """
    plane = values[0].T.numpy()  # (M, F)
    frames = plane.shape[1]
    columns = np.arange(min(frames, _MOST_FRAMES)) * frames // min(frames, _MOST_FRAMES)
    level_db = (plane[:, columns] - loudest) * 10 / math.log(10)
    levels = (255 * np.clip(1 + level_db / _RANGE_DB, 0, 1)).astype(np.uint8)
    lowest, highest = _mel(_config(sampling_rate_hz).min_frequency), _mel(sampling_rate_hz / 2)
    half_band = (highest - lowest) / (_BINS + 1) / 2  # the filter centres are equally spaced between the two limits
    edges = [_hertz(lowest + half_band), _hertz(highest - half_band)]
    return Spectrogram(levels, seconds, edges[0], edges[1], "mel", _RANGE_DB, _LOUDEST)


def _mel(hertz: float) -> float:
    return math.log1p(hertz / 700)


def _hertz(mel: float) -> float:
    return 700 * math.expm1(mel)


def colour(level: np.ndarray) -> np.ndarray:
    """Return RGB values, uint8 (..., 3), for levels from 0 to 1, like ``colour`` in ``pages/axes.js``."""
    channels = (255 * level**2, 25 + 225 * level, 50 + 120 * np.sin(np.pi * level * 0.8))
    return np.floor(np.stack(channels, axis=-1) + 0.5).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """Return a PNG file of uint8 (H, W, 3) (W3C Portable Network Graphics, section 11: header, one data block, end)."""
    height, width, _ = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels.reshape(height, -1)], axis=1)  # filter 0: none
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    blocks = (_block(b"IHDR", header), _block(b"IDAT", zlib.compress(lines.tobytes())), _block(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(blocks)


def _block(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@dataclass(frozen=True)
class Row:
    """The versions of one clip.

    Attributes:
        title: the clip's label and file name.
        panels: title and spectrogram of each version.
    """

    title: str
    panels: Sequence[tuple[str, Spectrogram]]


def svg(rows: Sequence[Row]) -> str:
    """Return an SVG file with rows of spectrograms, each with axes, and a colour legend for each row."""
    most = max(len(row.panels) for row in rows)
    width, row_height = most * (_LEFT + _WIDTH) + _LEGEND, _TOP + _HEIGHT + _BOTTOM
    parts = []
    for number, row in enumerate(rows):
        parts.append(_text(_LEFT, number * row_height + 16, row.title, "start", "font-weight='bold'"))
        for place, (title, one) in enumerate(row.panels):
            parts.append(_panel(place * (_LEFT + _WIDTH) + _LEFT, number * row_height + _TOP, title, one))
        range_db = row.panels[0][1].range_db
        parts.append(_legend(len(row.panels) * (_LEFT + _WIDTH) + 12, number * row_height + _TOP, range_db))
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{len(rows) * row_height}' "
        f"font-family='system-ui, sans-serif' font-size='11' fill='#333'>"
        f"<rect width='100%' height='100%' fill='#fff'/>{''.join(parts)}</svg>\n"
    )


def _panel(x: int, y: int, title: str, one: Spectrogram) -> str:
    parts = [_text(x, y - 8, title, "start"), _image(x, y, _WIDTH, one.levels[::-1] / 255)]
    step = round_step(one.seconds / _MOST_TICKS)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    for count in range(math.floor(one.seconds / step + 1e-6) + 1):
        at = x + _WIDTH * count * step / one.seconds
        parts += [_line(at, y + _HEIGHT, 0, 4), _text(at, y + _HEIGHT + 15, f"{count * step:.{digits}f}", "middle")]
    low, high = _mel(one.low_hz), _mel(one.high_hz)
    for hertz in _TICKS_HZ:
        at = y + _HEIGHT * (1 - (_mel(hertz) - low) / (high - low))
        if y <= at <= y + _HEIGHT:
            parts += [_line(x - 4, at, 4, 0), _text(x - 7, at + 4, _in_words(hertz), "end")]
    parts.append(_text(x + _WIDTH / 2, y + _HEIGHT + 30, "time (s)", "middle"))
    return "".join(parts) + _upright(x - 42, y + _HEIGHT / 2, "frequency (Hz)")


def _legend(x: int, y: int, range_db: float) -> str:
    parts = [_image(x, y, 10, np.linspace(1, 0, 64)[:, None])]
    for level_db in range(0, -round(range_db) - 1, -10):
        at = y - _HEIGHT * level_db / range_db
        parts += [_line(x + 10, at, 4, 0), _text(x + 16, at + 4, str(level_db).replace("-", "−"), "start")]
    return "".join(parts) + _upright(x + 50, y + _HEIGHT / 2, "dB, 0 = loudest")


def _in_words(hertz: int) -> str:
    return str(hertz) if hertz < 1000 else f"{hertz // 1000}k"


def _image(x: float, y: float, width: int, levels: np.ndarray) -> str:
    data = base64.b64encode(png(colour(levels))).decode()
    return (
        f"<image x='{x}' y='{y}' width='{width}' height='{_HEIGHT}' preserveAspectRatio='none' "
        f"href='data:image/png;base64,{data}'/>"
    )


def _line(x: float, y: float, dx: float, dy: float) -> str:
    return f"<path d='M{x:.1f} {y:.1f}l{dx} {dy}' stroke='#333'/>"


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' text-anchor='{anchor}' {more}>{escape(_NO_XML.sub('?', words))}</text>"


def _upright(x: float, y: float, words: str) -> str:
    return _text(0, 0, words, "middle", f"transform='translate({x:.1f} {y:.1f}) rotate(-90)'")
