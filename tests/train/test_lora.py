"""Adapters: what learns, that merged and separate models answer the same, and that they go through every command."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForAudioClassification

from earmark.cli.main import main
from earmark.errors import MissingExtraError, ModelError, UsageError
from earmark.models import adapters
from earmark.models.build_model import AudioModel, ModelSource, build_for_training, load_trained
from earmark.models.freeze import head_parameters
from earmark.scoring import inference
from earmark.scoring.torch_scorer import TorchScorer
from earmark.settings.model_flags import ModelArguments
from earmark.train.lora import add_adapters, save_kept
from tests.families.tiny_models import KINDS_BY_FAMILY, build_varied
from tests.tiny import ARCHITECTURES, tone, write_tones
from tests.train.small import CPU, build, make_trainer, mixed_lengths_s, usable, write_clips

peft = pytest.importorskip("peft")
WITH_ATTENTION = [one for one in KINDS_BY_FAMILY if one.id != "tc_resnet"]
CLIPS = [tone(frequency_hz, 0.4, seed=i) for i, frequency_hz in enumerate((300.0, 700.0, 2500.0))]


def score(audio: AudioModel) -> np.ndarray:
    return np.stack(list(inference.score(TorchScorer(audio.model, audio.frontend, CPU), CLIPS, batch_size=2)))


def stir(audio: AudioModel) -> None:
    """Give adapters and head weights as after some training: a new adapter's second factor is zero."""
    torch.manual_seed(1)
    head = head_parameters(audio.model, audio.family)
    with torch.no_grad():
        for name, weight in audio.model.named_parameters():
            if ".lora_" in name or name in head:
                weight.copy_(torch.randn_like(weight) * 0.3)


@pytest.mark.parametrize("targets", [None, adapters.ALL_LINEAR])
@pytest.mark.parametrize("model_type", WITH_ATTENTION)
def test_adapters_and_head_learn_and_merged_answers_are_the_same(model_type: str, targets: str | None) -> None:
    audio = build_varied(model_type)
    names = {name for name, _ in audio.model.named_parameters()}
    before = score(audio)
    adapters.attach(audio, 4, 8, targets)
    np.testing.assert_allclose(score(audio), before, atol=1e-6)  # nothing has been learned yet
    stir(audio)
    audio.model.config.layerdrop = 0.0
    audio.model.train()
    audio.model(**audio.frontend(CLIPS)).logits.square().sum().backward()
    graded = {name for name, weight in audio.model.named_parameters() if weight.grad is not None}
    added = {name for name, _ in audio.model.named_parameters() if ".lora_" in name}
    assert graded == added | head_parameters(audio.model, audio.family)
    assert all(audio.model.get_parameter(name).grad.abs().max() > 0 for name in added)
    apart = score(audio)
    assert np.abs(apart - before).max() > 1e-3
    adapters.merge(audio.model)
    assert {name for name, _ in audio.model.named_parameters()} == names
    np.testing.assert_allclose(score(audio), apart, atol=1e-5)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft asks a model so
@pytest.mark.parametrize("model_type", ["wav2vec2", "whisper", "audio-spectrogram-transformer", "sew-d"])
def test_a_separate_adapter_answers_the_same_here_and_in_plain_peft(model_type: str, tmp_path: Path) -> None:
    base_s = {"whisper": 3.0, "audio-spectrogram-transformer": 2.56}.get(model_type, 1.0)
    build_varied(model_type, base_s).save(tmp_path / "base")
    source = ModelSource(name_or_path=str(tmp_path / "base"))
    audio = build_for_training(source, ["a", "b"], 1.0, longest_s=1.0)  # fixed-length encoders are cut
    adapters.attach(audio, 4, 8)
    stir(audio)
    before = score(audio)
    settings = SimpleNamespace(lora=4, lora_save="separate")
    save_kept(audio, tmp_path, settings, ModelArguments(model_name_or_path=str(tmp_path / "base")))
    written = {path.name for path in tmp_path.iterdir() if path.is_file()}
    assert written == {"adapter_config.json", "adapter_model.safetensors", "config.json", "preprocessor_config.json"}
    np.testing.assert_allclose(score(audio), before, atol=1e-5)  # merged in memory

    again = load_trained(ModelSource(name_or_path=str(tmp_path)))
    assert again.labels == ["a", "b"]
    assert not [name for name, _ in again.model.named_parameters() if "lora" in name]
    np.testing.assert_allclose(score(again), before, atol=1e-5)
    if model_type in ("whisper", "audio-spectrogram-transformer"):
        return  # plain Transformers does not cut the base
    base = AutoModelForAudioClassification.from_pretrained(
        tmp_path / "base", num_labels=2, ignore_mismatched_sizes=True
    )
    plain = peft.PeftModel.from_pretrained(base, str(tmp_path)).eval()
    with torch.inference_mode():
        logits = [plain(**again.frontend([clip])).logits[0].numpy() for clip in CLIPS]
    np.testing.assert_allclose(logits, before, atol=1e-5)


def command(tmp_path: Path, *words: str) -> list[str]:
    flags = "--device cpu --disable_tqdm True --num_train_epochs 2 --per_device_train_batch_size 4 --lora 4"
    data = ["--data_dir", str(tmp_path / "data"), "--output_dir", str(tmp_path / "run")]
    return ["train", *data, *flags.split(), "--model_name_or_path", str(tmp_path / "base"), *words]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    audio = build_for_training(
        ModelSource(model_type="wav2vec2", config_overrides=json.dumps(ARCHITECTURES["wav2vec2"])), ["x"], 0.5, 0.5
    )
    audio.save(tmp_path / "base")
    write_tones(tmp_path / "data", per_class=4)
    return tmp_path / "base"


@pytest.mark.parametrize("how", ["merged", "separate"])
def test_a_run_is_trained_scored_and_used(
    how: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--lora_save", how, "--precision", "bf16", "--ema", "0.9", "--layer_decay", "0.5"]
    assert main(command(tmp_path, *words)) == 0, capsys.readouterr().err
    log = capsys.readouterr().err
    # 2 layers x (q, v) x 2 x 4 x 16 numbers, projector 16 x 8 + 8, classifier 8 x 2 + 2
    assert "666 of them learning (--lora 4, alpha 8, on q_proj, v_proj, and the head)" in log
    run = tmp_path / "run"
    assert (run / "model.safetensors").is_file() == (how == "merged")
    assert (run / "adapter_model.safetensors").is_file() == (how == "separate")
    metrics = json.loads((run / "metrics.json").read_text())["validation"]
    assert main(["evaluate", str(run), "--data_dir", str(tmp_path / "data"), "--device", "cpu"]) == 0
    again = json.loads((run / "evaluation_validation" / "metrics.json").read_text())["validation"]
    assert again["loss"] == pytest.approx(metrics["loss"], abs=1e-5)
    output = tmp_path / "labels.csv"
    assert main(["predict", str(run), str(tmp_path / "data"), "--output", str(output), "--device", "cpu"]) == 0
    assert len(output.read_text().splitlines()) == 1 + 12
    if how == "separate":
        capsys.readouterr()
        base.rename(tmp_path / "moved")
        assert main(["predict", str(run), str(tmp_path / "data"), "--device", "cpu"]) == 2
        assert f"an adapter of {base}, which cannot be found" in capsys.readouterr().err


def test_a_resumed_run_ends_with_the_same_bits(base: Path, tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(16, longest_s=0.5)))

    def run(checkpoint: str | None) -> dict[str, torch.Tensor]:
        audio = build()
        torch.manual_seed(2)
        adapters.attach(audio, 2, 4)
        settings = {"save_strategy": "epoch", "save_total_limit": None, "lora": 2, "ema": 0.9}
        trainer = make_trainer(audio, clips, tmp_path / "run", **settings)
        trainer.train(resume_from_checkpoint=checkpoint)
        return {name: value.clone() for name, value in audio.model.state_dict().items()}

    whole, resumed = run(None), run(str(tmp_path / "run" / "checkpoint-4"))
    assert not [name for name, value in whole.items() if not torch.equal(value, resumed[name])]


def test_the_frozen_feature_encoder_is_computed_once(base: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(command(tmp_path, "--max_length_seconds", "1")) == 0
    assert "features of 8 clips computed once" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lora", "0"], "--lora 0: expected a rank, a whole number of at least 1"),
        (["--lora_alpha", "-1"], "--lora_alpha -1: expected a number above 0"),
        (["--lora_target_modules", "q_proj,qproj"], "--lora_target_modules qproj: this wav2vec2 has no linear layer"),
        (["--lora_target_modules", "classifier"], "Use intermediate_dense, k_proj, out_proj, output_dense"),
        (["--freeze", "last-1"], "--freeze last-1: --lora trains only adapters and head"),
        (["--fsdp", "full_shard"], "--lora and --fsdp cannot be combined"),
    ],
)
def test_wrong_flags_are_one_line(
    words: list[str], said: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(tmp_path, *words)) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("earmark: error: ")
    assert said in last
    assert not (tmp_path / "run" / "run_config.yaml").exists()


def test_what_cannot_be_adapted_is_one_line() -> None:
    settings = SimpleNamespace(lora=4, lora_alpha=None, lora_target_modules=None)
    with pytest.raises(UsageError, match="--model_type starts from random"):
        add_adapters(build(), settings, ModelArguments(model_type="wav2vec2"))
    with pytest.raises(ModelError, match="the body of tc_resnet has no linear layers"):
        adapters.attach(build("tc_resnet"), 4, 8)
    wavlm = build_varied("wavlm")
    wavlm.model.forward.static = None
    with pytest.raises(ModelError, match="bypasses its adapters"):
        adapters.attach(wavlm, 4, 8)


def test_an_adapter_of_another_model_is_one_line(tmp_path: Path) -> None:
    for name, width in (("base", 16), ("other", 32)):
        build(hidden_size=width).save(tmp_path / name)
    audio = build()
    adapters.attach(audio, 4, 8)
    model = ModelArguments(model_name_or_path=str(tmp_path / "base"))
    save_kept(audio, tmp_path, SimpleNamespace(lora=4, lora_save="separate"), model)
    settings = json.loads((tmp_path / "adapter_config.json").read_text())
    (tmp_path / "adapter_config.json").write_text(
        json.dumps({**settings, "base_model_name_or_path": str(tmp_path / "other")})
    )
    with pytest.raises(ModelError, match=r"the checkpoint lacks|cannot be loaded"):
        load_trained(ModelSource(name_or_path=str(tmp_path)))
    with pytest.raises(ModelError, match="training cannot start from an adapter"):
        build_for_training(ModelSource(name_or_path=str(tmp_path)), ["a", "b"], 0.5, 0.5)
    (tmp_path / "adapter_config.json").write_text(json.dumps(settings))
    weights = load_file(tmp_path / "adapter_model.safetensors")
    assert not [name for name in weights if "original" in name or "base_layer" in name]


def test_an_adapter_without_a_clip_length_is_one_line(tmp_path: Path) -> None:
    build().save(tmp_path / "base")
    audio = build()
    adapters.attach(audio, 4, 8)
    model = ModelArguments(model_name_or_path=str(tmp_path / "base"))
    save_kept(audio, tmp_path, SimpleNamespace(lora=4, lora_save="separate"), model)
    config = json.loads((tmp_path / "config.json").read_text())
    for section, message in ((None, "does not state max_length_seconds"), ("text", "section 'earmark' .* is damaged")):
        (tmp_path / "config.json").write_text(json.dumps({**config, "earmark": section}))
        with pytest.raises(ModelError, match=message):
            load_trained(ModelSource(name_or_path=str(tmp_path)))


def test_an_adapter_names_its_base_as_it_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder beside the script by its path, a model of the hub without ``hf://``."""
    monkeypatch.chdir(tmp_path)
    build().save(tmp_path / "base")
    Path("run").mkdir()
    Path("other").mkdir()  # makes ``other/base`` look like a folder that is missing
    for name, base in (("org/base", str(tmp_path / "base")), ("hf://org/base", "org/base"), ("other/x", "other/x")):
        audio = build()
        adapters.attach(audio, 4, 8)
        model = ModelArguments(model_name_or_path=name)
        save_kept(audio, tmp_path / "run", SimpleNamespace(lora=4, lora_save="separate"), model)
        assert json.loads(Path("run/adapter_config.json").read_text())["base_model_name_or_path"] == base


def test_an_adapter_beside_other_weights_is_one_line(tmp_path: Path) -> None:
    """A base of the same name and size that has been trained on, as a run that was replaced."""
    build().save(tmp_path / "base")
    audio = build_for_training(ModelSource(name_or_path=str(tmp_path / "base")), ["a", "b"], 0.5, 0.5)
    adapters.attach(audio, 4, 8)
    model = ModelArguments(model_name_or_path=str(tmp_path / "base"))
    save_kept(audio, tmp_path, SimpleNamespace(lora=4, lora_save="separate"), model)
    weights = tmp_path / "base" / "model.safetensors"
    before = load_file(weights)
    for name, others in (("classifier.bias", True), ("wav2vec2.encoder.layers.1.final_layer_norm.bias", False)):
        changed = {key: value + 0.01 if key == name else value for key, value in before.items()}
        save_file(changed, weights, metadata={"format": "pt"})
        if others:  # the head of the base is not used
            load_trained(ModelSource(name_or_path=str(tmp_path)))
            continue
        with pytest.raises(ModelError, match=f"the weights of {tmp_path / 'base'} have changed since"):
            load_trained(ModelSource(name_or_path=str(tmp_path)))
    # one that peft wrote does not tell, and is taken
    adapter = tmp_path / "adapter_model.safetensors"
    save_file(load_file(adapter), adapter, metadata={"format": "pt"})
    load_trained(ModelSource(name_or_path=str(tmp_path)))


def test_without_peft_the_pip_command_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(MissingExtraError, match=r"LoRA adapters need the package peft.*earmark\[lora\]"):
        adapters.attach(build(), 4, 8)
