"""A few seconds of a clip inside a page: sound as a data URI, the outline of its waveform, a small spectrogram."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import soundfile

from earmark.data.clips import Clip
from earmark.data.decode import stream_clip
from earmark.errors import AudioError

RATE_HZ = 16_000
LONGEST_S = 3.0
_OUTLINE = 80  # numbers of an outline
_FRAME = 512  # samples of a spectrogram's frame: 32 ms
_BANDS, _FRAMES = 48, 96  # height and width of a spectrogram
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 7600.0
_RANGE_DB = 60.0  # from white to black


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a clip.

    Attributes:
        uri: ``data:audio/ogg;base64,...``, mono, 16 kHz, about 8 kB a second; empty where the clip cannot be read.
        outline: peaks of equal parts, from 0 to 1.
        whole: whether it is the whole clip.
        spectrogram: the sound as a picture, rows from low to high bands, one byte a point, in base64; 255 is the
            loudest point, 0 is 60 dB below.
        frames: its width; 0 for no picture.
    """

    uri: str
    outline: list[float]
    whole: bool
    spectrogram: str = ""
    frames: int = 0


def excerpt(clip: Clip, longest_s: float = LONGEST_S, *, spectrogram: bool = False) -> Excerpt:
    """The first ``longest_s`` seconds of a clip, with a spectrogram if asked; an empty one where it cannot be read."""
    most = round(longest_s * RATE_HZ)
    parts: list[np.ndarray] = []
    try:
        for part in stream_clip(clip, RATE_HZ):
            parts.append(part)
            if sum(map(len, parts)) > most:
                break
    except AudioError:
        if not parts:
            return Excerpt("", [], True)
    samples = np.concatenate(parts)
    whole = len(samples) <= most
    samples = np.clip(samples[:most], -1, 1)
    uri = sound_uri(samples, RATE_HZ)
    pieces = np.array_split(np.abs(samples), min(_OUTLINE, len(samples)))
    outline = [round(float(piece.max()), 3) for piece in pieces]
    if not spectrogram:
        return Excerpt(uri, outline, whole)
    picture = picture_of(samples)
    return Excerpt(uri, outline, whole, base64.b64encode(picture.tobytes()).decode(), picture.shape[1])


def sound_uri(samples: np.ndarray, rate_hz: int) -> str:
    """Samples (T,) in [-1, 1] as ``data:audio/ogg;base64,...``."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="OGG", subtype="VORBIS")
    return "data:audio/ogg;base64," + base64.b64encode(file.getvalue()).decode()


def picture_of(samples: np.ndarray, bands: int = _BANDS, frames: int = _FRAMES) -> np.ndarray:
    """A small spectrogram for looking at: uint8 (bands, frames), low bands first.

    Bands are of equal width in pitch, from 60 Hz to 7.6 kHz; a band shows the loudest bin in it.

    Args:
        samples: float32 (T,) at 16 kHz.
        bands: its height.
        frames: its width, at most.
    """
    padded = np.pad(samples, (0, max(0, _FRAME - len(samples))))
    frames = min(frames, 1 + (len(padded) - _FRAME) // (_FRAME // 4))
    starts = np.linspace(0, len(padded) - _FRAME, frames).astype(int)
    windows = padded[starts[:, None] + np.arange(_FRAME)] * np.hanning(_FRAME)
    power = np.abs(np.fft.rfft(windows, 2 * _FRAME)).T ** 2  # (bins, frames)
    edges = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, bands + 1) * 2 * _FRAME / RATE_HZ
    low = edges[:-1].astype(int)
    high = np.maximum(np.ceil(edges[1:]).astype(int), low + 1)
    levels = np.stack([power[a:b].max(axis=0) for a, b in zip(low, high, strict=True)])
    level_db = 10 * np.log10(levels + 1e-12)
    shade = (level_db - level_db.max()) / _RANGE_DB + 1
    return (np.clip(shade, 0, 1) * 255).astype(np.uint8)
