"""Classifiers of torch modules only: logits and embeddings of Transformers' classes from the same files."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from earmark.errors import ModelError
from earmark.families.plain_model import PlainClassifier
from earmark.models.build_model import AudioModel, ModelSource, build_for_training, load_trained
from earmark.models.embedding import EmbeddingModel, classify_all
from earmark.models.forward import install_forward
from earmark.models.plain_checkpoint import load_plain
from earmark.models.transformers_model import load_classifier
from earmark.scoring.inference import score
from earmark.scoring.torch_scorer import TorchScorer
from earmark.tasks import REGRESSION
from tests.families.tiny_models import CPU, LABELS, build_varied
from tests.tiny import overrides, tone

KINDS: list[tuple[str, dict[str, object]]] = [
    ("tc_resnet", {}),
    ("wav2vec2", {}),
    ("wav2vec2", {"do_stable_layer_norm": True, "feat_extract_norm": "layer", "conv_bias": True}),
    ("wav2vec2", {"num_conv_pos_embeddings": 9}),
    ("hubert", {}),
    ("hubert", {"feat_proj_layer_norm": False}),
    ("whisper", {}),
    ("unispeech", {}),
    ("unispeech-sat", {"do_stable_layer_norm": True}),
]
WRONG = ["wrong", -1, 0, None, [1], {"a": 1}, True, 0.5]  # values for a setting
WAVES = [tone(frequency_hz, seconds) for frequency_hz, seconds in ((300, 1.0), (2000, 0.3), (900, 0.7))]


def saved(folder: Path, kind: str = "wav2vec2", **settings: object) -> Path:
    build_varied(kind, **settings).save(folder)
    return folder


def source(folder: Path) -> ModelSource:
    return ModelSource(name_or_path=str(folder))


def with_transformers(folder: Path, audio: AudioModel) -> Any:
    """The same checkpoint as a model of Transformers."""
    model = load_classifier(source(folder), folder)
    install_forward(model, audio.family).forward.temperature = audio.decision.temperature
    return model


def rows(model: Any, audio: AudioModel, dtype: torch.dtype | None = None) -> np.ndarray:
    return np.stack(list(score(TorchScorer(model, audio.frontend, CPU, dtype), WAVES, batch_size=3)))


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_logits_and_embeddings_are_those_of_transformers(
    kind: str, settings: dict[str, object], tmp_path: Path
) -> None:
    audio = load_trained(source(saved(tmp_path, kind, **settings)))
    assert isinstance(audio.model, PlainClassifier)
    library = with_transformers(tmp_path, audio)
    assert audio.labels == LABELS
    found, expected = rows(audio.model, audio), rows(library, audio)
    assert np.ptp(expected, axis=0).min() > 1e-4  # the clips differ, or agreement would mean nothing
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    vectors, expected = (rows(EmbeddingModel(model), audio) for model in (audio.model, library))
    np.testing.assert_allclose(vectors, expected, rtol=1e-4, atol=1e-5)
    heads = [classify_all(model, vectors, CPU) for model in (audio.model, library)]
    np.testing.assert_allclose(heads[0], heads[1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["tc_resnet", "wav2vec2", "whisper"])
def test_bfloat16_is_close_to_float32(kind: str, tmp_path: Path) -> None:
    audio = load_trained(source(saved(tmp_path, kind)))
    exact, rounded = rows(audio.model, audio), rows(audio.model, audio, torch.bfloat16)
    assert np.abs(rounded - exact).max() < 0.1 * np.abs(exact).max()


def test_half_precision_files_become_float32(tmp_path: Path) -> None:
    weights = tmp_path / "model.safetensors"
    halved = {name: value.half() for name, value in load_file(saved(tmp_path) / weights.name).items()}
    save_file(halved, weights, {"format": "pt"})
    model = load_plain(source(tmp_path), tmp_path)
    assert model is not None
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def test_weight_norms_of_earlier_files_are_read(tmp_path: Path) -> None:
    audio = load_trained(source(saved(tmp_path)))
    weights = load_file(tmp_path / "model.safetensors")
    old = {"parametrizations.weight.original0": "weight_g", "parametrizations.weight.original1": "weight_v"}
    for name in [name for name in weights if "original" in name]:
        stem, _, factor = name.rpartition("parametrizations")
        weights[stem + old[f"parametrizations{factor}"]] = weights.pop(name)
    assert any(name.endswith("weight_g") for name in weights)
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    again = load_trained(source(tmp_path))
    assert isinstance(again.model, PlainClassifier)
    np.testing.assert_array_equal(rows(again.model, again), rows(audio.model, audio))


def test_a_regression_keeps_its_unit(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    build_for_training(model, ["level"], 1.0, 1.0, REGRESSION, (50.0, 10.0)).save(tmp_path)
    audio = load_trained(source(tmp_path))
    assert isinstance(audio.model, PlainClassifier)
    assert audio.task is REGRESSION
    found = rows(audio.model, audio)
    assert found.min() > 20  # near the mean, not near 0
    assert found.max() < 80
    np.testing.assert_allclose(found, rows(with_transformers(tmp_path, audio), audio), rtol=1e-4)


def edit_config(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


CHANGES: dict[str, Callable[[dict[str, Any]], object]] = {
    "a setting is missing": lambda config: config.pop("mask_time_prob"),
    "heads that do not divide the width": lambda config: config.update(num_attention_heads=5),
    "too few strides": lambda config: config.update(conv_stride=[5, 8]),
    "a number as text": lambda config: config.update(layer_norm_eps="1e-5"),
    "another number of classes": lambda config: config.update(num_labels=7),
    "other indices of classes": lambda config: config.update(label2id={"a": 1, "b": 0, "c": 2}),
    "a list in place of an object": lambda config: config.update(id2label=LABELS),
    "another activation": lambda config: config.update(hidden_act="relu"),
    "adapters": lambda config: config.update(adapter_attn_dim=4),
    "another class": lambda config: config.update(architectures=["Wav2Vec2ForXVector"]),
    "no class": lambda config: config.pop("architectures"),
    "quantized": lambda config: config.update(quantization_config={"quant_method": "none"}),
    "another size": lambda config: config.update(intermediate_size=48),
    "labels with a gap": lambda config: config.update(id2label={"0": "a", "2": "b"}),
    "a setting of another type": lambda config: config.update(hidden_size="wide"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_other_checkpoints_are_left_to_transformers(change: Callable[[dict[str, Any]], object], tmp_path: Path) -> None:
    saved(tmp_path)
    assert load_plain(source(tmp_path), tmp_path) is not None
    edit_config(tmp_path, change)
    assert load_plain(source(tmp_path), tmp_path) is None


def scored(folder: Path) -> tuple[AudioModel, np.ndarray]:
    audio = load_trained(source(folder))
    return audio, rows(audio.model, audio)


def score_as_transformers(folder: Path, original: np.ndarray) -> None:
    """Check that a checkpoint scores as Transformers does, or raises an error that names its folder."""
    try:
        audio, found = scored(folder)
    except ModelError as error:
        audio, message = None, str(error)
    if audio is None:
        assert str(folder) in message
    elif isinstance(audio.model, PlainClassifier):
        try:
            expected = rows(with_transformers(folder, audio), audio)
        except ModelError:  # Transformers also checks settings that have no effect on scores
            expected = original
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors", "ignore:invalid value encountered")
@pytest.mark.parametrize("kind", ["tc_resnet", "wav2vec2", "whisper"])
def test_every_setting_may_be_missing_or_damaged(kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path, kind) / "config.json"
    config = json.loads(path.read_text())
    audio, original = scored(tmp_path)
    assert isinstance(audio.model, PlainClassifier)
    assert audio.model.settings.keys() <= config.keys()
    for key, wrong in zip(config, itertools.cycle(WRONG)):  # each key with one of them; all pairs take a minute
        missing = {name: value for name, value in config.items() if name != key}
        for changed in (missing, config | {key: wrong}):
            path.write_text(json.dumps(changed))
            score_as_transformers(tmp_path, original)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors", "ignore:invalid value encountered")
@pytest.mark.parametrize("kind", ["tc_resnet", "wav2vec2", "hubert", "unispeech", "unispeech-sat", "whisper"])
def test_every_setting_may_have_any_wrong_value(kind: str, tmp_path: Path) -> None:
    path = saved(tmp_path, kind) / "config.json"
    config = json.loads(path.read_text())
    _, original = scored(tmp_path)
    for key, value in itertools.product(config, WRONG):
        path.write_text(json.dumps(config | {key: value}))
        score_as_transformers(tmp_path, original)


def test_settings_of_training_may_be_missing(tmp_path: Path) -> None:
    _, before = scored(saved(tmp_path))
    edit_config(tmp_path, lambda config: [config.pop(name) for name in ("layerdrop", "mask_feature_prob")])
    audio, after = scored(tmp_path)
    assert isinstance(audio.model, PlainClassifier)
    np.testing.assert_array_equal(after, before)


def test_settings_that_run_no_model_are_errors(tmp_path: Path) -> None:
    path = saved(tmp_path) / "config.json"
    text = path.read_text()
    for change, message in (
        ({"num_hidden_layers": 0}, "has the num_hidden_layers 0, with which no model can run"),
        ({"num_attention_heads": -1}, "has the num_attention_heads -1"),
        ({"conv_stride": [5, 0, 8]}, "has the conv_stride"),
        ({"model_type": "wavlm", "max_bucket_distance": 0}, "has the max_bucket_distance 0"),
        (
            {"id2label": {"0": "a", "2": "b", "3": "c"}},
            "has the indices 0, 2, 3 for 3 classes. Use the indices 0 to 2.",
        ),
        ({"earmark": {"max_length_seconds": "long"}}, "the section 'earmark' of config.json is damaged"),
        ({"earmark": {"unit": {"mean": 1.0}}}, "the section 'earmark' of config.json is damaged"),
        ({"num_labels": 7}, "lacks the head"),
    ):
        path.write_text(json.dumps(json.loads(text) | change))
        with pytest.raises(ModelError, match=f"^{re.escape(str(tmp_path))}.*{re.escape(message)}"):
            load_trained(source(tmp_path))


_LIBRARY_FORWARDS = ("wav2vec2", "wav2vec2-bert", "whisper", "sew-d", "audio-spectrogram-transformer")


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("wavlm", {"max_bucket_distance": 0}),
        ("wavlm", {"max_bucket_distance": 1}),  # the nearest distances have a bucket each
        ("wavlm", {"num_buckets": 3}),
        ("sew", {"squeeze_factor": 0}),
        ("sew-d", {"position_buckets": 1}),
        ("sew-d", {"activation_dropout": 1}),
        ("sew-d", {"attention_dropout": 1}),
        ("wav2vec2-bert", {"feature_projection_input_dim": 1}),
        ("wav2vec2-bert", {"feature_projection_input_dim": 161}),
        *((kind, {"return_dict": 0}) for kind in _LIBRARY_FORWARDS),
        *((kind, {"output_hidden_states": "yes"}) for kind in _LIBRARY_FORWARDS),
        ("data2vec-audio", {"num_feat_extract_layers": 0}),
        ("wav2vec2", {"mask_time_length": 0}),
        ("audio-spectrogram-transformer", {"patch_size": 0}),
        ("audio-spectrogram-transformer", {"hidden_dropout_prob": -1}),
    ],
)
def test_overrides_that_run_no_model_are_errors(kind: str, settings: dict[str, object]) -> None:
    ((name, value),) = settings.items()
    text = json.dumps(json.loads(overrides(kind)) | settings)
    with pytest.raises(ModelError) as error:
        build_for_training(ModelSource(model_type=kind, config_overrides=text), ["a"], 1.0, 1.0)
    assert str(error.value) == (
        f"--config_overrides: the config has the {name} {value!r}, with which no model can run. Fix the value."
    )


def test_a_missing_setting_has_the_default_of_transformers(tmp_path: Path) -> None:
    before = load_trained(source(saved(tmp_path)))
    edit_config(tmp_path, lambda config: config.pop("layer_norm_eps"))
    after = load_trained(source(tmp_path))
    assert not isinstance(after.model, PlainClassifier)
    np.testing.assert_allclose(rows(after.model, after), rows(before.model, before), rtol=1e-4, atol=1e-5)


def test_damaged_weights_and_a_missing_head_are_errors(tmp_path: Path) -> None:
    weights = load_file(saved(tmp_path) / "model.safetensors")
    headless = {name: value for name, value in weights.items() if not name.startswith("classifier")}
    save_file(headless, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match="lacks the head"):
        load_trained(source(tmp_path))
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_trained(source(tmp_path))


@pytest.mark.parametrize("kind", ["tc_resnet", "wav2vec2", "whisper"])
def test_a_model_that_was_loaded_to_score_is_neither_saved_nor_trained(kind: str, tmp_path: Path) -> None:
    audio, before = scored(saved(tmp_path / "model", kind))
    assert isinstance(audio.model, PlainClassifier)
    with pytest.raises(ModelError, match=r"cannot be saved\. Copy the folder that it was loaded from"):
        audio.save(tmp_path / "copy")
    assert not (tmp_path / "copy").exists()
    with pytest.raises(ModelError, match=rf"{kind}: this model was loaded to score\. Train with `earmark train`"):
        audio.model.train()
    np.testing.assert_array_equal(rows(audio.model, audio), before)
