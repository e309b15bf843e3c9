"""Tiny versions of every architecture, and generated clips for them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import soundfile

RATE_HZ = 16_000

_CONV = {
    "conv_dim": [8, 8, 8],
    "conv_stride": [5, 8, 8],
    "conv_kernel": [10, 8, 8],
    "num_feat_extract_layers": 3,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "num_conv_pos_embeddings": 8,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
    "mask_time_length": 2,
    "layerdrop": 0.0,
}
_SEW = {key: value for key, value in _CONV.items() if key != "layerdrop"} | {"squeeze_factor": 2}

# model_type -> overrides that make it small
ARCHITECTURES: dict[str, dict[str, object]] = {
    "audio-spectrogram-transformer": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "num_mel_bins": 32, "max_length": 256,
    },
    "data2vec-audio": _CONV | {"conv_pos_kernel_size": 3, "num_conv_pos_embeddings": 2},
    "hubert": _CONV,
    "sew": _SEW,
    "sew-d": _SEW | {"position_buckets": 16, "max_position_embeddings": 32},
    "unispeech": _CONV,
    "unispeech-sat": _CONV,
    "wav2vec2": _CONV,
    "wav2vec2-bert": {
        "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32,
        "classifier_proj_size": 8, "mask_time_length": 2, "layerdrop": 0.0, "conv_depthwise_kernel_size": 3,
    },
    "wav2vec2-conformer": _CONV | {"conv_depthwise_kernel_size": 3},
    "wavlm": _CONV | {"num_buckets": 16, "max_bucket_distance": 32},
    "whisper": {
        "d_model": 16, "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 2,
        "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "num_mel_bins": 20,
        "max_source_positions": 150, "classifier_proj_size": 8, "vocab_size": 10,
        "pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0, "decoder_start_token_id": 0,
    },
    "tc_resnet": {},
}  # fmt: skip


def overrides(model_type: str) -> str:
    """``--config_overrides`` of a tiny architecture."""
    return json.dumps(ARCHITECTURES[model_type])


def save_model(folder: Path, longest_s: float) -> Path:
    """A random wav2vec2 of the classes high, low and mid whose answers differ from clip to clip."""
    import torch

    from earmark.models.build_model import ModelSource, build_for_training

    torch.manual_seed(0)
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    audio = build_for_training(source, ["high", "low", "mid"], longest_s, longest_s=longest_s)
    with torch.no_grad():
        audio.model.classifier.weight *= 300  # or every answer would be a third
    audio.save(folder)
    return folder


def tone(frequency_hz: float, seconds: float, *, seed: int = 0, rate_hz: int = RATE_HZ) -> np.ndarray:
    """A tone in a little noise, float32 (samples,)."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(max(1, round(seconds * rate_hz))) / rate_hz
    wave = 0.3 * np.sin(2 * np.pi * frequency_hz * time_s + rng.uniform(0, 6)) + 0.01 * rng.standard_normal(len(time_s))
    return wave.astype(np.float32)


def write_tones(folder: Path, *, per_class: int, seconds: float = 0.5, seed: int = 0) -> Path:
    """Class folders ``low`` and ``high`` under ``train/`` and ``validation/``: easy to tell apart by ear."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", per_class), ("validation", max(2, per_class // 2))):
        for label, centre_hz in (("low", 300.0), ("high", 2500.0)):
            place = folder / split / label
            place.mkdir(parents=True, exist_ok=True)
            for i in range(count):
                wave = tone(centre_hz * rng.uniform(0.9, 1.1), seconds, seed=int(rng.integers(1 << 30)))
                soundfile.write(place / f"{split}_{i}.wav", wave, RATE_HZ)
    return folder
