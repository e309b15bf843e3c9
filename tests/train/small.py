"""Small trainers on generated clips: what the tests of training share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import nn

from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.freeze import freeze
from earmark.settings.data_flags import DataArguments
from earmark.sources.folders import load_folder
from earmark.store.usable import UsableClips, keep_usable
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.trainer import AudioTrainer
from tests.tiny import ARCHITECTURES, RATE_HZ, tone

CPU = torch.device("cpu")
NO_CHANCE = {"mask_time_prob": 0.0, "mask_feature_prob": 0.0, "layerdrop": 0.0, "attention_dropout": 0.0}


def write_clips(folder: Path, lengths_s: Sequence[float], *, validation_s: Sequence[float] | None = None) -> Path:
    """Class folders ``low`` and ``high``, the clips of each split taking turns between them."""
    for split, seconds_of in (("train", lengths_s), ("validation", validation_s or lengths_s[:4])):
        for i, seconds in enumerate(seconds_of):
            label, frequency_hz = (("low", 300.0), ("high", 2500.0))[i % 2]
            place = folder / split / label
            place.mkdir(parents=True, exist_ok=True)
            wave = tone(frequency_hz * (1 + 0.02 * (i % 5)), seconds, seed=i)
            soundfile.write(place / f"{i:03}.wav", wave, RATE_HZ)
    return folder


def mixed_lengths_s(count: int, *, longest_s: float = 0.5, seed: int = 0) -> list[float]:
    """Lengths from 0.05 s on; the longest is there."""
    lengths = np.random.default_rng(seed).uniform(0.05, longest_s, count - 1)
    return [longest_s, *(float(length) for length in lengths)]


def usable(folder: Path, **options: Any) -> dict[str, UsableClips]:
    splits = load_folder(folder)
    tables = {"train": splits.train, "validation": splits.validation}
    return keep_usable(tables, RATE_HZ, DataArguments(**options))[0]


def build(kind: str = "wav2vec2", what_is_frozen: str = "none", length_s: float = 0.5, **settings: Any) -> AudioModel:
    """A tiny classifier with the same weights each time, whose training draws no random numbers."""
    torch.manual_seed(0)
    chance = {} if kind in ("whisper", "audio-spectrogram-transformer", "tc_resnet") else NO_CHANCE
    if not kind.startswith(("wav2vec2", "wavlm", "hubert", "unispeech", "data2vec")):
        chance = {name: value for name, value in chance.items() if name != "layerdrop"}
    source = ModelSource(model_type=kind, config_overrides=json.dumps({**ARCHITECTURES[kind], **chance, **settings}))
    audio = build_for_training(source, ["high", "low"], length_s, longest_s=length_s)
    for module in audio.model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    freeze(audio, what_is_frozen)
    return audio


def make_trainer(
    audio: AudioModel, clips: dict[str, UsableClips], output: Path, *, bucket_waste: float = 0.1, **settings: Any
) -> AudioTrainer:
    given = {
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "num_train_epochs": 2,
        "learning_rate": 1e-3,
        "eval_strategy": "no",
        "save_strategy": "no",
        "logging_steps": 1,
    }
    args = EarmarkTrainingArguments(output_dir=str(output), use_cpu=True, **{**given, **settings})
    return AudioTrainer(audio, args, clips["train"], clips.get("validation"), bucket_waste=bucket_waste)


def train_on_kept(trainer: AudioTrainer, root: Path | None, *, small_only: bool = False) -> list[float]:
    """Train, on what the frozen part gives where there is a ``root``; the loss of each step."""
    with ExitStack() as stack:
        if root is not None:
            trainer.keep_frozen(stack, root, small_only=small_only)
        trainer.train()
    return [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]


def alike(value: Any) -> Any:
    """Return a value that equals a JSON value up to rounding, which depends on the number of threads."""
    if isinstance(value, dict):
        return {name: alike(item) for name, item in value.items()}
    if isinstance(value, list):
        return [alike(item) for item in value]
    return pytest.approx(value, rel=1e-5, abs=1e-6) if isinstance(value, float) else value
