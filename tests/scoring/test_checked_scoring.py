"""The first clip that is scored in half precision is compared with float32."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from transformers.activations import GELUActivation

import earmark
from earmark.cli.main import main
from earmark.errors import DeviceError
from earmark.models import numerics
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.embedding import EmbeddingModel
from earmark.models.forward import cast_copy
from earmark.models.packed import can_pack
from earmark.predict.scorers import make_embedder
from earmark.scoring.inference import score
from earmark.scoring.torch_scorer import TorchScorer, fast_dtype
from earmark.settings.serving_flags import ServeOptions
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.tiny import ARCHITECTURES, RATE_HZ, save_model, tone

CPU = torch.device("cpu")
FIRST = "wav2vec2.feature_extractor.conv_layers.0.activation (GELUActivation)"


def build(kind: str = "wav2vec2", **settings: Any) -> AudioModel:
    torch.manual_seed(0)
    source = ModelSource(model_type=kind, config_overrides=json.dumps({**ARCHITECTURES[kind], **settings}))
    return build_for_training(source, ["a", "b", "c"], 0.5, 0.5)


def clips(count: int) -> list[np.ndarray]:
    return [tone(300.0 + 100 * i, 0.3, seed=i) for i in range(count)]


@pytest.fixture
def broken_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    def forward(_: Any, values: torch.Tensor) -> torch.Tensor:
        output = torch.nn.functional.gelu(values)
        return output.flip(-1) if values.dtype != torch.float32 else output

    for activation in (GELUActivation, torch.nn.GELU):  # of Transformers' classes, and of those that only score
        monkeypatch.setattr(activation, "forward", forward)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The float32 passes of the comparison, as they are made."""
    ways: list[str] = []
    plain = numerics.compute

    def compute(model: Any, make_inputs: Any, way: Any, *args: Any, **settings: Any) -> Any:
        ways.append(str(way))
        return plain(model, make_inputs, way, *args, **settings)

    monkeypatch.setattr("earmark.scoring.checked_scoring.compute", compute)
    return ways


@pytest.mark.parametrize("is_cast", [False, True], ids=["session", "cast"])
@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_a_healthy_model_is_compared_once(kind: str, is_cast: bool, computed: list[str]) -> None:
    audio = build(kind)
    if is_cast:
        audio.model = cast_copy(audio.model, torch.bfloat16)
    for _ in range(2):
        scorer = TorchScorer(audio.model, audio.frontend, CPU, None if is_cast else torch.bfloat16)
        rows = list(score(scorer, clips(3), batch_size=2))
        assert np.isfinite(rows).all()
    assert computed == ["float32 on cpu", "bfloat16 on cpu"]


@pytest.mark.parametrize("embeds", [False, True], ids=["logits", "embeddings"])
def test_a_cast_copy_is_compared_with_its_original(embeds: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    audio = build()
    copied = cast_copy(audio.model, torch.bfloat16)
    scorer = TorchScorer(EmbeddingModel(copied) if embeds else copied, audio.frontend, CPU)
    with monkeypatch.context() as patched:
        patched.setattr(numerics, "cast_weights", lambda *_: pytest.fail("the weights are in memory in float32"))
        list(score(scorer, clips(1), batch_size=1))
    assert copied.forward.original is None, "the original stays in memory"

    copied = cast_copy(audio.model, torch.bfloat16)
    scorer = TorchScorer(EmbeddingModel(copied) if embeds else copied, audio.frontend, CPU)
    with torch.no_grad():
        audio.model.wav2vec2.feature_projection.projection.weight.neg_()
    with pytest.raises(DeviceError, match="projection"):
        list(score(scorer, clips(1), batch_size=1))


def test_silence_is_not_compared(computed: list[str], broken_activation: None) -> None:
    audio = build()
    scorer = TorchScorer(audio.model, audio.frontend, CPU, torch.bfloat16)
    list(score(scorer, [np.zeros(4800, np.float32)], batch_size=1))
    assert computed == []
    with pytest.raises(DeviceError, match="activation"):
        list(score(scorer, [np.zeros(4800, np.float32), *clips(1)], batch_size=2))
    with pytest.raises(DeviceError, match="activation"):  # nothing is scored with a model that failed
        list(score(scorer, clips(1), batch_size=2))


def test_float32_is_not_compared(computed: list[str]) -> None:
    audio = build()
    list(score(TorchScorer(audio.model, audio.frontend, CPU), clips(2), batch_size=2))
    assert computed == []


def test_noise_does_not_replace_the_comparison_of_a_clip(computed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.scoring.torch_scorer.supports_bf16", lambda _: True)
    audio = build()
    scorer = TorchScorer(EmbeddingModel(audio.model), audio.frontend, CPU)
    scorer.dtype = fast_dtype(scorer)
    assert computed == ["float32 on cpu", "bfloat16 on cpu"]
    list(score(scorer, clips(2), batch_size=2))
    assert computed == ["float32 on cpu", "bfloat16 on cpu"] * 2


def test_automatic_precision_casts_and_packs_once(computed: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.predict.scorers.supports_bf16", lambda _: True)
    monkeypatch.setattr(numerics, "cast_weights", lambda *_: pytest.fail("the weights are in memory in float32"))
    scorer, precision = make_embedder(build(), "cpu", "auto", "model")
    assert precision == "bf16"
    packs = dict(scorer.model.forward.sessions._packs)
    assert bool(packs) == can_pack(CPU)
    list(score(scorer, clips(2), batch_size=2))
    assert computed == ["float32 on cpu", "bfloat16 on cpu"] * 2
    kept = scorer.model.forward.sessions._packs
    assert all(kept[module] is pack for module, pack in packs.items())


def test_comparing_changes_no_score(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = []
    for compared in (True, False):
        audio = build()
        if not compared:
            monkeypatch.setattr("earmark.scoring.torch_scorer.is_compared", lambda *_: True)
        rows.append(list(score(TorchScorer(audio.model, audio.frontend, CPU, torch.bfloat16), clips(3), batch_size=2)))
    np.testing.assert_array_equal(rows[0], rows[1])


@pytest.mark.parametrize("is_cast", [False, True], ids=["session", "cast"])
@pytest.mark.parametrize("embeds", [False, True], ids=["logits", "embeddings"])
def test_a_wrong_layer_is_an_error_that_names_it(is_cast: bool, embeds: bool, broken_activation: None) -> None:
    audio = build()
    if is_cast:
        audio.model = cast_copy(audio.model, torch.bfloat16)
    model = EmbeddingModel(audio.model) if embeds else audio.model
    scorer = TorchScorer(model, audio.frontend, CPU, None if is_cast else torch.bfloat16)
    with pytest.raises(DeviceError, match=r"^bfloat16 on cpu: this device computes the model wrongly") as error:
        list(score(scorer, clips(2), batch_size=2))
    assert FIRST in str(error.value)


def test_the_unit_of_a_regression_hides_nothing(broken_activation: None) -> None:
    audio = build()
    audio.model.forward.unit = (1e6, 1.0)
    with pytest.raises(DeviceError):
        list(score(TorchScorer(audio.model, audio.frontend, CPU, torch.bfloat16), clips(1), batch_size=1))


def test_a_weight_beyond_half_precision_is_an_error() -> None:
    audio = build("tc_resnet")
    with torch.no_grad():
        audio.model.classifier.weight[0, 0] = 1e6
    audio.model = cast_copy(audio.model, torch.float16)
    with pytest.raises(DeviceError, match="not finite"):
        list(score(TorchScorer(audio.model, audio.frontend, CPU), clips(1), batch_size=1))


def test_the_command_and_the_class(tmp_path: Path, broken_activation: None, capsys: pytest.CaptureFixture[str]) -> None:
    model, sound = save_model(tmp_path / "model", 0.5), tmp_path / "sound.wav"
    soundfile.write(sound, tone(300.0, 0.4), RATE_HZ)
    assert main(["predict", str(model), str(sound), "--device", "cpu", "--precision", "bf16"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert said.startswith("earmark: error: bfloat16 on cpu")
    assert "--precision fp32" in said
    with pytest.raises(DeviceError, match="activation"):
        earmark.Classifier.from_pretrained(model, device="cpu", precision="bf16").predict(str(sound))


def test_a_server_compares_before_it_listens(broken_activation: None) -> None:
    service_module = pytest.importorskip("earmark.serve.service", reason="needs earmark[serve]")
    metrics_module = pytest.importorskip("earmark.serve.server_metrics", reason="needs earmark[serve]")
    classifier = earmark.Classifier(build(), device="cpu", precision="bf16")
    service = service_module.Service(
        classifier, ServeOptions(model_name_or_path="model"), metrics_module.ServerMetrics()
    )
    try:
        with pytest.raises(DeviceError, match="computes the model wrongly"):
            service.warm_up()
    finally:
        service.close()
