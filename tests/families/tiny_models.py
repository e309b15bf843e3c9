"""Tiny classifiers whose logits differ from clip to clip, and their logits."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from earmark.export.recordings import Recordings, speech_like
from earmark.families.family_registry import FAMILIES
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.head import output_layer
from earmark.scoring import inference
from earmark.scoring.torch_scorer import TorchScorer
from tests.tiny import ARCHITECTURES, RATE_HZ

CPU = torch.device("cpu")
LABELS = ["a", "b", "c"]
RECORDINGS = Recordings("generated", speech_like(RATE_HZ, 6), None)
_FIRST = {family.model_types[0] for family in FAMILIES}
# Architectures of one family run the same code: by default, one of each is tested. What each architecture promises is
# in tests/families/test_conformance.py.
KINDS_BY_FAMILY = [
    pytest.param(kind, marks=() if kind in _FIRST else pytest.mark.slow, id=kind) for kind in sorted(ARCHITECTURES)
]


def build_varied(kind: str, length_s: float = 1.0, **overrides: object) -> AudioModel:
    """A tiny classifier in evaluation mode whose logits differ from clip to clip."""
    torch.manual_seed(0)
    settings = json.dumps({**ARCHITECTURES[kind], **overrides})
    audio = build_for_training(
        ModelSource(model_type=kind, config_overrides=settings), LABELS, length_s, longest_s=length_s
    )
    with torch.no_grad():
        for parameter in audio.model.parameters():
            if parameter.ndim > 1 and kind != "tc_resnet":
                parameter.mul_(3)
    audio.model.eval()
    return audio


def score(audio: AudioModel, waveforms: list[np.ndarray], batch_size: int) -> np.ndarray:
    return np.stack(
        list(inference.score(TorchScorer(audio.model, audio.frontend, CPU), waveforms, batch_size=batch_size))
    )


def build_for_export(kind: str) -> AudioModel:
    """A classifier of one layer whose logits differ from clip to clip, by 0.1 or so."""
    layers = "encoder_layers" if kind == "whisper" else "num_hidden_layers"
    audio = build_varied(kind, **({} if kind == "tc_resnet" else {layers: 1}))
    rows = score(audio, [wave[:RATE_HZ] for wave in RECORDINGS.waveforms], 1)
    scale = 0.1 / float(rows.std(axis=0).mean())
    head = output_layer(audio.model, audio.family)
    with torch.no_grad():
        head.weight.mul_(scale)
        head.bias.sub_(torch.from_numpy(rows.mean(axis=0))).mul_(scale)
    return audio
