"""A few seconds of a clip for a page: audio as a data URI, the outline of its waveform, a small spectrogram."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import soundfile

from earmark.audio.decode import stream_clip
from earmark.clips.clip import Clip
from earmark.errors import AudioError

RATE_HZ = 16_000
LONGEST_S = 3.0
_OUTLINE = 80  # number of values in an outline
_FRAME = 512  # samples of a spectrogram's frame: 32 ms
_BANDS, _FRAMES = 48, 96  # height and width of a spectrogram
_LOWEST_HZ, _HIGHEST_HZ = 60.0, 7600.0
_RANGE_DB = 60.0  # from the brightest colour to the darkest
_SILENT_POWER = 1e-12


@dataclass(frozen=True)
class Spectrogram:
    """A small spectrogram and its axes.

    Attributes:
        levels: uint8 (bands, frames), low bands first; 255 is 0 dB, 0 is ``range_db`` below.
        seconds: time from the left edge to the right edge.
        low_hz: frequency at the bottom edge.
        high_hz: frequency at the top edge.
        scale: scale on which bands have equal width, logarithmic or mel.
        range_db: range of the colours, in dB.
        loudest: name of the level that is shown as 0 dB.
    """

    levels: np.ndarray
    seconds: float
    low_hz: float
    high_hz: float
    scale: Literal["log", "mel"]
    range_db: float
    loudest: str = "the loudest point"

    def to_dict(self) -> dict[str, object]:
        """Return JSON values for ``spectrogram`` in ``pages/axes.js``, with the levels in base64."""
        return {
            "points": base64.b64encode(self.levels.tobytes()).decode(),
            "bands": self.levels.shape[0],
            "frames": self.levels.shape[1],
            "seconds": round(self.seconds, 3),
            "low_hz": round(self.low_hz, 1),
            "high_hz": round(self.high_hz, 1),
            "scale": self.scale,
            "range_db": self.range_db,
            "loudest": self.loudest,
        }


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a clip.

    Attributes:
        uri: ``data:audio/ogg;base64,...``, mono, 16 kHz, about 8 kB a second; empty if the clip cannot be read.
        outline: peak levels of equal parts of the excerpt, from 0 to 1.
        whole: whether this is the whole clip.
        seconds: length of the excerpt, in seconds.
        spectrogram: spectrogram of the excerpt, if requested.
    """

    uri: str
    outline: list[float]
    whole: bool
    seconds: float = 0.0
    spectrogram: Spectrogram | None = None


def excerpt(clip: Clip, *, spectrogram: bool = False) -> Excerpt:
    """Return the first :data:`LONGEST_S` seconds of a clip, or an empty excerpt if the clip cannot be read."""
    most = round(LONGEST_S * RATE_HZ)
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
    uri = audio_uri(samples, RATE_HZ)
    pieces = np.array_split(np.abs(samples), min(_OUTLINE, len(samples)))
    outline = [round(float(piece.max()), 3) for piece in pieces]
    picture = small_spectrogram(samples) if spectrogram else None
    return Excerpt(uri, outline, whole, round(len(samples) / RATE_HZ, 3), picture)


def audio_uri(samples: np.ndarray, rate_hz: int) -> str:
    """Return samples (T,) in [-1, 1] as ``data:audio/ogg;base64,...``."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="OGG", subtype="VORBIS")
    return "data:audio/ogg;base64," + base64.b64encode(file.getvalue()).decode()


def small_spectrogram(samples: np.ndarray, bands: int = _BANDS, frames: int = _FRAMES) -> Spectrogram:
    """Return a small spectrogram for display.

    Bands have equal width in pitch, from 60 Hz to 7.6 kHz, and show their loudest bin. Digital silence has the darkest
    colour.

    Args:
        samples: float32 (T,) at 16 kHz.
        bands: height.
        frames: maximum width.
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
    level_db = 10 * np.log10(levels + _SILENT_POWER)
    shade = (level_db - level_db.max()) / _RANGE_DB + (1 if levels.max() > _SILENT_POWER else 0)
    shown = (np.clip(shade, 0, 1) * 255).astype(np.uint8)
    return Spectrogram(shown, len(samples) / RATE_HZ, _LOWEST_HZ, _HIGHEST_HZ, "log", _RANGE_DB)
