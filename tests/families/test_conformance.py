"""What every architecture does, on the tiny models of ``tests/tiny.py``: one list, one test for each promise.

A clip has the same logits alone, in any batch, in training's own evaluation, after saving and loading, in plain
Transformers and in an export. A new way to score is compared with :func:`logits_alone`.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification, pipeline

from earmark.clips.clip import Clip, ClipTable
from earmark.errors import ModelError
from earmark.export.check import compare
from earmark.export.description import MODEL_FILES
from earmark.export.export_model import describe, write
from earmark.export.graph import WaveformClassifier, trace
from earmark.export.load_export import ExportedModel
from earmark.families.family_registry import FAMILIES
from earmark.models.build_model import (
    AudioModel,
    ModelSource,
    build_for_training,
    load_trained,
)
from earmark.models.embedding import classify_all
from earmark.models.forward import cast_copy, install_forward, pads_exactly
from earmark.models.freeze import freeze
from earmark.models.transformers_model import load_classifier, supported_architectures
from earmark.predict.classifier import Classifier
from earmark.scoring.torch_scorer import TorchScorer, scoring
from earmark.settings.data_flags import DataArguments
from earmark.store.usable import UsableClips, keep_usable
from earmark.tasks import softmax
from earmark.train.checkpoints import checkpoints_in
from tests.families.tiny_models import LABELS, RECORDINGS, build_for_export, build_varied, score
from tests.tiny import ARCHITECTURES, RATE_HZ, tone
from tests.train.small import CPU, build, make_trainer, mixed_lengths_s, usable, write_clips

SECONDS = [0.31, 1.0, 0.5, 0.31, 0.77, 2.3, 0.05, 0.99]
KINDS = sorted(ARCHITECTURES)
LIKE_LARGE_MODELS = {"feat_extract_norm": "layer", "do_stable_layer_norm": True}
VARIANTS = [(kind, {}) for kind in KINDS]
VARIANTS += [(kind, LIKE_LARGE_MODELS) for kind in ("wav2vec2", "hubert", "wavlm", "unispeech-sat")]
TOLERANCE = 1e-4  # of a logit, in float32; logits differ by 0.01 to 1 from clip to clip
BFLOAT16_TOLERANCE = 0.2  # of the largest logit

# parameters by their names: what `--freeze feature_encoder` means, and the stack of layers
HEAD = r"(projector|classifier)\."
FEATURE_ENCODERS = {
    "audio-spectrogram-transformer": r"\.patch_embeddings\.",
    "tc_resnet": r"\.stem\.",
    "wav2vec2-bert": r"\.feature_projection\.",
    "whisper": r"^encoder\.conv[12]\.",
}
LAYER = r"(?<!conv_embed)\.(?:layers|layer|blocks)\.(\d+)\."


def logits_alone(audio: AudioModel, waveforms: list[np.ndarray]) -> np.ndarray:
    """Logits (N, C), each clip by itself."""
    return np.concatenate([score(audio, [waveform], 1) for waveform in waveforms])


@dataclass
class Case:
    """A saved model, clips of many lengths, and the logits of each clip alone, (N, C)."""

    kind: str
    audio: AudioModel
    folder: Path
    waveforms: list[np.ndarray]
    alone: np.ndarray


@pytest.fixture(scope="module", params=VARIANTS, ids=lambda one: one[0] + ("-large" if one[1] else ""))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    kind, overrides = request.param
    audio = build_varied(kind, **overrides)
    # 16-bit values, so that recordings written from them hold the same samples
    waves = [tone(300 + 200 * i, seconds, seed=i) for i, seconds in enumerate(SECONDS)]
    waves = [(np.round(wave * 32767) / 32768).astype(np.float32) for wave in waves]
    folder = tmp_path_factory.mktemp("saved")
    audio.save(folder)
    yield Case(kind, audio, folder, waves, logits_alone(audio, waves))
    shutil.rmtree(folder)


def test_every_architecture_of_transformers_is_covered() -> None:
    assert set(ARCHITECTURES) == set(supported_architectures())
    assert {name for family in FAMILIES for name in family.model_types} == set(ARCHITECTURES)


def test_most_architectures_share_batches_between_lengths() -> None:
    apart = [kind for kind in KINDS if not pads_exactly(build_varied(kind).model)]
    assert apart == ["sew", "sew-d", "wav2vec2-conformer"]


def test_a_clip_has_the_same_logits_alone_and_in_any_batch(case: Case) -> None:
    assert case.alone.std(axis=0).max() > 1e-3, "logits that hardly differ show nothing"
    for size in (3, 64):
        np.testing.assert_allclose(score(case.audio, case.waveforms, size), case.alone, atol=TOLERANCE)
    backwards = score(case.audio, case.waveforms[::-1], 64)[::-1]
    np.testing.assert_allclose(backwards, case.alone, atol=TOLERANCE)


def test_a_saved_model_answers_the_same(case: Case) -> None:
    loaded = load_trained(ModelSource(name_or_path=str(case.folder)))
    assert loaded.labels == LABELS
    assert loaded.frontend.max_samples == case.audio.frontend.max_samples
    assert not list(case.folder.glob("*.bin"))
    inputs = [(wave, RATE_HZ) for wave in case.waveforms]
    probabilities = Classifier(loaded, device="cpu").predict_proba(inputs)
    np.testing.assert_allclose(probabilities, softmax(case.alone), atol=TOLERANCE)


def test_plain_transformers_answers_the_same(case: Case) -> None:
    wave, expected = case.waveforms[1], case.alone[1]
    extractor = AutoFeatureExtractor.from_pretrained(case.folder)
    plain = AutoModelForAudioClassification.from_pretrained(case.folder).eval()
    with torch.inference_mode():
        logits = plain(**extractor(wave, sampling_rate=RATE_HZ, return_tensors="pt")).logits[0]
    np.testing.assert_allclose(logits, expected, atol=TOLERANCE)
    classify = pipeline("audio-classification", model=str(case.folder), device="cpu")
    answer = classify({"raw": wave, "sampling_rate": RATE_HZ}, top_k=3)
    probabilities = {row["label"]: row["score"] for row in answer}
    assert probabilities == pytest.approx(dict(zip(LABELS, softmax(expected[None])[0], strict=True)), abs=TOLERANCE)


def test_training_evaluates_as_the_saved_model_answers(case: Case, tmp_path: Path) -> None:
    clips = written(tmp_path, case.waveforms)
    source = ModelSource(name_or_path=str(case.folder))
    audio = load_trained(source)
    audio.model = install_forward(load_classifier(source, case.folder), audio.family).train()
    trainer = make_trainer(audio, {"train": clips, "validation": clips}, tmp_path / "out", bf16=True)
    np.testing.assert_allclose(trainer.scorer.score(clips), case.alone, atol=TOLERANCE)


def written(folder: Path, waveforms: list[np.ndarray]) -> UsableClips:
    paths = [folder / f"{i}.wav" for i in range(len(waveforms))]
    for path, wave in zip(paths, waveforms, strict=True):
        soundfile.write(path, wave, RATE_HZ, subtype="PCM_16")
    table = ClipTable([Clip(str(path), LABELS[i % 3], str(path)) for i, path in enumerate(paths)], "test")
    return keep_usable({"validation": table}, RATE_HZ, DataArguments())[0]["validation"]


@pytest.mark.parametrize("kind", KINDS)
def test_clips_from_one_sample_up_train_and_score(kind: str) -> None:
    audio = build_varied(kind)
    clips = [tone(440, seconds) for seconds in (0.0, 0.011, 0.3, 1.0)]  # 1, 176, 4,800 and 16,000 samples
    assert len(clips[0]) == 1
    assert np.isfinite(score(audio, clips, 4)).all()
    audio.model.train()
    for batch in (clips[:1], clips):
        out = audio.model(**audio.frontend(batch), labels=torch.zeros(len(batch), dtype=torch.long))
        out.loss.backward()
        assert torch.isfinite(out.loss)


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_of_another_size_is_replaced(kind: str, tmp_path: Path) -> None:
    build_varied(kind).save(tmp_path)
    audio = build_for_training(ModelSource(name_or_path=str(tmp_path)), ["x", "y"], None, longest_s=1.0)
    assert score(audio, [tone(440, 1.0)], 1).shape == (1, 2)
    assert audio.model.config.label2id == {"x": 0, "y": 1}


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_on_an_embedding_gives_the_logits(kind: str) -> None:
    audio = build_varied(kind)
    lengths_s = (0.6, 1.0) if pads_exactly(audio.model) else (1.0, 1.0)
    with torch.no_grad():
        inputs = audio.frontend([tone(300 + 300 * i, seconds) for i, seconds in enumerate(lengths_s)])
        embeddings = audio.model(**inputs, stop_at="embeddings")
        whole = audio.model(**inputs).logits
        by_family = audio.family.classify(audio.model, embeddings)
    assert embeddings.ndim == 2
    torch.testing.assert_close(by_family, whole, atol=1e-5, rtol=1e-4)
    np.testing.assert_allclose(classify_all(audio.model, embeddings.numpy(), CPU), whole, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_bfloat16_scores_within_the_tolerance_and_trains_float32_weights(kind: str) -> None:
    audio = build_varied(kind)
    model = audio.model
    inputs = audio.frontend([tone(300, 0.6), tone(900, 1.0)])
    with torch.no_grad():
        exact = model(**inputs).logits
        with scoring(model, torch.bfloat16):
            half = model(**inputs).logits
    assert half.dtype == torch.float32
    assert 0 < (half - exact).abs().max() < BFLOAT16_TOLERANCE * exact.abs().max()
    torch.manual_seed(0)
    model.train().forward.training_dtype = torch.bfloat16
    model(**inputs).logits.square().sum().backward()
    gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.dtype == torch.float32 for gradient in gradients)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    only_scores = cast_copy(build_varied(kind).model, torch.bfloat16)
    with torch.no_grad():
        torch.testing.assert_close(only_scores(**inputs).logits, half, atol=0, rtol=0)


def learning(kind: str, point: str) -> set[str]:
    """Names of the parameters that get a gradient in a training step."""
    audio = build(kind, point, length_s=1.0)
    model = audio.model.train()
    model(**audio.frontend([tone(440, 1.0), tone(900, 1.0)])).logits.square().sum().backward()
    return {name for name, parameter in model.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_what_is_frozen_gets_no_gradient(kind: str) -> None:
    everything = learning(kind, "none")
    head = {name for name in everything if re.match(HEAD, name)}
    encoder = FEATURE_ENCODERS.get(kind, r"\.feature_extractor\.")
    features = {name for name in everything if re.search(encoder, name)}
    layers = {name: int(match[1]) for name in everything if (match := re.search(LAYER, name))}
    last = {name for name, number in layers.items() if number == max(layers.values())} - features
    assert min(len(head), len(features), len(last)) > 0
    assert learning(kind, "feature_encoder") == everything - features
    assert learning(kind, "encoder") == head
    assert learning(kind, "last-1") == head | last


def test_freezing_more_layers_than_there_are() -> None:
    with pytest.raises(ModelError, match="has 2 layers"):
        freeze(build_varied("wav2vec2"), "last-3")


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_fills_the_model_that_wrote_it(kind: str, tmp_path: Path) -> None:
    """As Trainer loads a checkpoint, to resume a run and for the best model."""
    model = build(kind).model
    model.save_pretrained(tmp_path)
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    loaded = model.load_state_dict(load_file(tmp_path / "model.safetensors"), strict=False)
    assert not loaded.missing_keys
    assert not loaded.unexpected_keys
    torch.testing.assert_close(dict(model.state_dict()), before, atol=0, rtol=0)


@pytest.mark.parametrize("kind", [family.model_types[0] for family in FAMILIES])
def test_a_resumed_run_ends_with_the_same_bits(kind: str, tmp_path: Path) -> None:
    """Clips of many lengths, half of them cut at a new random place each epoch; 8 clips, so 2 batches an epoch."""
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(8, longest_s=0.6)))

    def run(checkpoint: str | None) -> dict[str, torch.Tensor]:
        audio = build(kind, length_s=0.3)
        settings: dict[str, Any] = {"save_strategy": "steps", "save_steps": 2, "save_total_limit": None}
        trainer = make_trainer(audio, clips, tmp_path / "run", **settings)
        torch.manual_seed(5 if checkpoint is None else 6)  # what has been drawn before does not matter
        trainer.train(resume_from_checkpoint=checkpoint)
        return {name: value.clone() for name, value in audio.model.state_dict().items()}

    whole = run(None)
    first, *later = checkpoints_in(tmp_path / "run")
    for checkpoint in later:
        shutil.rmtree(checkpoint)
    resumed = run(str(first))
    assert whole.keys() == resumed.keys()
    assert [name for name, value in whole.items() if not torch.equal(value, resumed[name])] == []


# torch's exporters take up to 20 seconds a model, so by default the cheapest one is exported to pt2;
# tests/export/test_run.py exports another to ONNX
CHEAPEST = ("audio-spectrogram-transformer", "pt2")
EXPORTS = [
    pytest.param(kind, format, marks=() if (kind, format) == CHEAPEST else pytest.mark.slow)
    for kind in KINDS
    for format in ("onnx", "pt2")
]


@pytest.mark.parametrize(("kind", "format"), EXPORTS)
def test_an_export_answers_the_same(kind: str, format: str, tmp_path: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxruntime")
    audio = build_for_export(kind)
    graph = WaveformClassifier(audio)
    description = describe(format, audio, graph, audio.frontend, None)
    write(trace(graph, None), description, tmp_path)
    exported = ExportedModel(tmp_path, description).scorer("cpu")
    reference = TorchScorer(audio.model, audio.frontend, CPU)
    comparison = compare(reference, exported, RECORDINGS, audio.frontend.min_samples)
    assert comparison.flips == 0
    assert comparison.largest_difference < TOLERANCE
    assert (tmp_path / MODEL_FILES[format]).is_file()


def test_sew_is_traced_where_its_pooling_leaves_a_rest() -> None:
    """Any other length leaves the padding behind the pooling out of the graph, and odd numbers of frames wrong."""
    graph = WaveformClassifier(build_for_export("sew"))
    samples = torch.zeros(1, graph.example_length)
    frames = graph.model.base_model.feature_extractor(samples).shape[-1]
    assert frames % graph.model.config.squeeze_factor == 1
