"""Prepare a clip of any format for the browser: audio as WAV, and a picture."""

from __future__ import annotations

import io

import numpy as np
import soundfile

from earmark.audio.decode import stream_at_own_rate, to_mono_at_rate
from earmark.audio.excerpts import RATE_HZ, small_spectrogram
from earmark.audio.incomplete import log_notes
from earmark.clips.clip import Clip
from earmark.errors import AudioError

LONGEST_S = 30.0  # maximum length sent to the page
_HIGHEST_RATE_HZ = 48_000
_BANDS, _FRAMES = 96, 320


def page_excerpt(clip: Clip) -> tuple[bytes, dict[str, object]]:
    """Return the beginning of a clip as audio and picture.

    Returns:
        ``(wav, picture)``. ``wav`` is mono, 16 bits, at the clip's own rate up to 48 kHz. ``picture`` has
        ``spectrogram`` (``Spectrogram.to_dict()``), ``seconds``, and ``whole``: whether this is the whole clip.

    Raises:
        AudioError: the clip cannot be read, or was deleted.
    """
    parts: list[np.ndarray] = []
    count, rate_hz, whole = 0, RATE_HZ, True
    try:
        for part, rate_hz in stream_at_own_rate(clip):
            parts.append(part)
            count += len(part)
            if count > LONGEST_S * rate_hz:
                whole = False
                break
    except AudioError:
        if not parts:
            raise
        whole = False
    log_notes()
    samples = np.clip(np.concatenate(parts)[: round(LONGEST_S * rate_hz)], -1, 1)
    seconds = len(samples) / rate_hz
    shown = to_mono_at_rate(samples, rate_hz, RATE_HZ, clip.source)
    if rate_hz > _HIGHEST_RATE_HZ:
        samples, rate_hz = to_mono_at_rate(samples, rate_hz, _HIGHEST_RATE_HZ, clip.source), _HIGHEST_RATE_HZ
    file = io.BytesIO()
    soundfile.write(file, samples, rate_hz, format="WAV", subtype="PCM_16")
    picture = small_spectrogram(shown, _BANDS, _FRAMES)
    return file.getvalue(), {"spectrogram": picture.to_dict(), "seconds": round(seconds, 3), "whole": whole}
