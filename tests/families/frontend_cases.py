"""Frontends whose outputs are compared: with golden files everywhere, with Transformers' extractors while they exist.

``python -m tests.families.frontend_cases`` writes the golden files from the extractors of the installed Transformers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from earmark.families.frontend_settings import FrontendSettings, WaveformSettings
from earmark.families.spectrogram_transformer import SpectrogramSettings
from earmark.families.wav2vec2_bert import StackedMelSettings
from earmark.families.whisper import WhisperSettings

RATE_HZ = 16_000
GOLDEN = Path(__file__).parent / "golden"
MIXED_S = (0.3, 0.95, 0.611)
_KEPT = 1_500  # numbers of each output in a golden file

SETTINGS: dict[str, FrontendSettings] = {
    "wav2vec2": WaveformSettings(return_attention_mask=True),
    "wav2vec2-raw": WaveformSettings(do_normalize=False, return_attention_mask=True),
    "whisper-1s": WhisperSettings(chunk_length=1),
    "whisper-128": WhisperSettings(feature_size=128, chunk_length=1),
    "ast": SpectrogramSettings(),
    "ast-1s": SpectrogramSettings(max_length=98),
    "ast-short": SpectrogramSettings(num_mel_bins=32, max_length=100, do_normalize=False),
    "seamless": StackedMelSettings(),
    "seamless-stride-1": StackedMelSettings(stride=1),
    "seamless-padding": StackedMelSettings(padding_value=1.0),
    "whisper-30s": WhisperSettings(),
}
IN_FILES = ["wav2vec2", "wav2vec2-raw", "whisper-1s", "whisper-128", "ast-1s", "seamless"]


def sounds(seconds: float) -> dict[str, np.ndarray]:
    """Generated clips, float32 (samples,); the noise is the same with any version of numpy."""
    count = round(seconds * RATE_HZ)
    time = np.arange(count) / RATE_HZ
    noise = np.random.RandomState(0).standard_normal(count)
    sweep = 0.7 * np.sin(2 * np.pi * (100 * time + 3_500 * time**2 / seconds))
    waves = {
        "noise": 0.1 * noise,
        "speech-like": 0.3 * np.sin(2 * np.pi * 220 * time) * (1 + np.sin(2 * np.pi * 4 * time)) + 0.01 * noise,
        "quiet": 1e-4 * noise,
        "offset": 0.4 + 0.05 * noise,
        "silence": np.zeros(count),
        "tone": 0.5 * np.sin(2 * np.pi * 440 * time),
        # loud, of 16 bits: all bands but one hold nothing but the rounding to 16 bits, 90 dB below
        "sweep": np.round(sweep * 2**15) / 2**15,
        "half silence": 0.1 * noise * (time < seconds / 2),
    }
    return {name: wave.astype(np.float32) for name, wave in waves.items()}


def golden_clips() -> list[np.ndarray]:
    """The clips of the golden files, of three lengths."""
    kinds = ("speech-like", "sweep", "half silence")
    return [sounds(seconds)[kind] for kind, seconds in zip(kinds, MIXED_S, strict=True)]


def sampled(values: np.ndarray) -> np.ndarray:
    """Return numbers of an output, spread evenly over it."""
    flat = np.asarray(values).reshape(-1)
    return flat[:: max(1, len(flat) // _KEPT) | 1].astype(np.float32)


def of_transformers(settings: FrontendSettings, clips: list[np.ndarray]) -> dict[str, Any]:
    """Return what the extractor of Transformers gives, as tensors."""
    import transformers

    extractor = getattr(transformers, settings.extractor_type)(**settings.to_json())
    padding = {} if isinstance(settings, (WhisperSettings, SpectrogramSettings)) else {"padding": True}
    return dict(extractor(clips, sampling_rate=RATE_HZ, return_tensors="pt", **padding))


def write_golden_files() -> None:
    """Write one file for each of ``IN_FILES``."""
    GOLDEN.mkdir(exist_ok=True)
    for name in IN_FILES:
        outputs = of_transformers(SETTINGS[name], golden_clips())
        shapes = {f"{key}_shape": np.array(values.shape) for key, values in outputs.items()}
        numbers = {key: sampled(values.numpy()) for key, values in outputs.items()}
        np.savez_compressed(GOLDEN / f"{name}.npz", **numbers, **shapes)


if __name__ == "__main__":
    write_golden_files()
