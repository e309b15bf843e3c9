"""Every architecture becomes an ONNX file and a torch.export file that answer as PyTorch does.

torch's exporters take 5 to 20 seconds a model. Three always run: one length for all, masks of the model's own, masks by
this project's forward; the others where EARMARK_TEST_ALL_EXPORTS is set.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("onnxruntime")

from earmark.export.check import compare
from earmark.export.description import MODEL_FILES
from earmark.export.export_model import describe, write
from earmark.export.graph import WaveformClassifier, example_length, trace
from earmark.export.load_export import ExportedModel
from earmark.export.recordings import Recordings, speech_like
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.scoring.inference import TorchScorer
from tests.tiny import ARCHITECTURES, RATE_HZ

CPU = torch.device("cpu")
ALWAYS = ("whisper", "tc_resnet", "wav2vec2")
only_if_asked = pytest.mark.skipif("EARMARK_TEST_ALL_EXPORTS" not in os.environ, reason="EARMARK_TEST_ALL_EXPORTS=1")
KINDS = [pytest.param(kind, marks=() if kind in ALWAYS else only_if_asked) for kind in sorted(ARCHITECTURES)]
RECORDINGS = Recordings("generated", speech_like(RATE_HZ, 6), None)


def build(kind: str) -> AudioModel:
    """A classifier of one layer whose logits differ from clip to clip, by 0.1 or so."""
    torch.manual_seed(0)
    layers = "encoder_layers" if kind == "whisper" else "num_hidden_layers"
    settings = ARCHITECTURES[kind] | ({} if kind == "tc_resnet" else {layers: 1})
    source = ModelSource(model_type=kind, config_overrides=json.dumps(settings))
    audio = build_for_training(source, ["a", "b", "c"], 1.0, 1.0)
    head = [module for module in audio.model.modules() if isinstance(module, torch.nn.Linear)][-1]
    scorer = TorchScorer(audio.model.eval(), audio.frontend, CPU)
    with torch.no_grad():
        for parameter in audio.model.parameters():
            if parameter.ndim > 1 and kind != "tc_resnet":
                parameter.mul_(3)
        rows = np.stack([scorer.logits([wave[:RATE_HZ]])[0] for wave in RECORDINGS.waveforms])
        scale = 0.1 / float(rows.std(axis=0).mean())
        head.weight.mul_(scale)
        head.bias.sub_(torch.from_numpy(rows.mean(axis=0))).mul_(scale)
    return audio


@pytest.mark.parametrize("kind", KINDS)
def test_both_formats_answer_as_pytorch(kind: str, tmp_path: Path) -> None:
    audio = build(kind)
    graph = WaveformClassifier(audio)
    program = trace(graph, None)
    reference = TorchScorer(audio.model, audio.frontend, CPU)
    for format in ("onnx", "pt2"):
        description = describe(format, audio, graph, audio.frontend, None)
        write(program, description, tmp_path)
        exported = ExportedModel(tmp_path, description).scorer("cpu")
        comparison = compare(reference, exported, RECORDINGS, audio.frontend.min_samples)
        assert comparison.flips == 0
        assert comparison.largest_difference < 1e-4
        assert (tmp_path / MODEL_FILES[format]).is_file()


def test_sew_is_traced_where_its_pooling_leaves_a_rest() -> None:
    """Any other length leaves the padding behind the pooling out of the graph, and odd numbers of frames wrong."""
    audio = build("sew")
    graph = WaveformClassifier(audio)
    samples = torch.zeros(1, example_length(graph))
    frames = audio.model.base_model.feature_extractor(samples).shape[-1]
    assert frames % audio.model.config.squeeze_factor == 1
