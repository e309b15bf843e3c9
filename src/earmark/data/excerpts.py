"""A few seconds of a clip inside a page: sound as a data URI and the outline of its waveform."""

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


@dataclass(frozen=True)
class Excerpt:
    """The beginning of a clip.

    Attributes:
        uri: ``data:audio/ogg;base64,...``, mono, 16 kHz, about 8 kB a second; empty where the clip cannot be read.
        outline: peaks of equal parts, from 0 to 1.
        whole: whether it is the whole clip.
    """

    uri: str
    outline: list[float]
    whole: bool


def excerpt(clip: Clip, longest_s: float = LONGEST_S) -> Excerpt:
    """The first ``longest_s`` seconds of a clip; an empty one where it cannot be read."""
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
    return Excerpt(uri, [round(float(piece.max()), 3) for piece in pieces], whole)


def sound_uri(samples: np.ndarray, rate_hz: int) -> str:
    """Samples (T,) in [-1, 1] as ``data:audio/ogg;base64,...``."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="OGG", subtype="VORBIS")
    return "data:audio/ogg;base64," + base64.b64encode(file.getvalue()).decode()
