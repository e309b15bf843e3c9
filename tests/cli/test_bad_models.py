"""A model that cannot be used is one line that names it, whichever command loads it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Wav2Vec2Config, Wav2Vec2Model

from tests.cli.refusals import QUICK, Refusal, one_line
from tests.models.hub_stand_in import use
from tests.tiny import ARCHITECTURES


def rewrite_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def no_weights(model: Path) -> str:
    (model / "model.safetensors").unlink()
    return "weights file model.safetensors is missing"


def damaged_weights(model: Path) -> str:
    (model / "model.safetensors").write_bytes(b"\xff" * 1000)
    return "the weights cannot be loaded"


def cut_weights(model: Path) -> str:
    weights = model / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    return "the weights cannot be loaded"


def pickled_weights(model: Path) -> str:
    (model / "model.safetensors").unlink()
    torch.save({}, model / "pytorch_model.bin")
    return "--allow_pickle"


def missing_shard(model: Path) -> str:
    (model / "model.safetensors").unlink()
    shards = {"weight_map": {"a": "model-00001-of-00002.safetensors"}}
    (model / "model.safetensors.index.json").write_text(json.dumps(shards))
    return "weights files are missing, first model-00001-of-00002.safetensors"


def text_model(model: Path) -> str:
    (model / "config.json").write_text('{"model_type": "bert"}')
    return "bert has no audio classification head"


def no_config(model: Path) -> str:
    (model / "config.json").unlink()
    return "no config.json"


def damaged_config(model: Path) -> str:
    (model / "config.json").write_text("{oops")
    return "config.json cannot be read"


def config_of_the_wrong_type(model: Path) -> str:
    rewrite_json(model / "config.json", hidden_size="many")
    return "config.json cannot be read (Validation error for field 'hidden_size': TypeError"


def config_of_another_size(model: Path) -> str:
    rewrite_json(model / "config.json", hidden_size=32)
    return "the checkpoint lacks"


def damaged_preprocessor(model: Path) -> str:
    (model / "preprocessor_config.json").write_text("[]")
    return "preprocessor_config.json: not a JSON object"


def no_rate(model: Path) -> str:
    rewrite_json(model / "preprocessor_config.json", sampling_rate=0)
    return "sampling_rate is 0"


@pytest.mark.parametrize(
    "damage",
    [
        no_weights, damaged_weights, cut_weights, pickled_weights, missing_shard, text_model, no_config, damaged_config,
        config_of_the_wrong_type, config_of_another_size, damaged_preprocessor, no_rate,
    ],
)  # fmt: skip
def test_checkpoints(model: Path, tones: Path, tmp_path: Path, refusal: Refusal, damage) -> None:
    said = damage(model)
    words = ["--data_dir", tones, "--model_name_or_path", model, *QUICK, "--output_dir", tmp_path / "run"]
    one_line(refusal("train", *words, "--device", "cpu"), model, said)
    one_line(refusal("predict", model, tones, "--device", "cpu"), model, said)


def test_weights_that_are_nan_give_no_predictions(trained: Path, tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    model = shutil.copytree(trained, tmp_path / "model")
    weights = load_file(model / "model.safetensors")
    weights["classifier.bias"][0] = torch.nan
    save_file(weights, model / "model.safetensors", {"format": "pt"})
    for words in (
        ["predict", model, tones, "--device", "cpu"],
        ["evaluate", model, "--data_dir", tones, "--device", "cpu"],
        ["export", model, "--output", tmp_path / "exported"],
    ):
        one_line(refusal(*words), "the model predicts NaN or infinity for", "its weights are damaged")
    assert not (tmp_path / "exported").exists()


def test_a_folder_of_folds_names_them(trained: Path, tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    several = tmp_path / "several"
    for name in ("seed_0/fold_1", "seed_0/fold_2", "seed_1/fold_1"):
        shutil.copytree(trained, several / name)
    (several / "cross_validation.json").write_text("{}")
    (several / "run_config.yaml").write_text("")
    cpu = ["--device", "cpu"]
    for words in (
        ["predict", several, tones, *cpu],
        ["embed", several, tones, "--output", tmp_path / "x.parquet", *cpu],
        ["evaluate", several, "--data_dir", tones, *cpu],
        ["calibrate", several, "--data_dir", tones, *cpu],
        ["export", several, "--output", tmp_path / "exported"],
        ["serve", several, *cpu, "--port", "0"],
        ["label", tones, "--model", several, "--page", "false", "--output_dir", tmp_path / "labels"],
        ["push", several, "team/birds"],
    ):
        one_line(
            refusal(*words), f"{several}: no config.json", *sorted(several.glob("*/*")), "Give one of the models in it"
        )
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "export.json").write_text("{}")
    one_line(refusal("push", tmp_path / "export", "team/birds"), "an exported model", "the original run")
    unfinished = tmp_path / "unfinished"
    shutil.copytree(several / "seed_0/fold_1", unfinished / "checkpoint-3")
    one_line(refusal("predict", unfinished, tones, *cpu), unfinished / "checkpoint-3")


def test_a_model_without_a_trained_head(tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    Wav2Vec2Model(Wav2Vec2Config(**ARCHITECTURES["wav2vec2"])).save_pretrained(tmp_path / "body")
    for words in (["evaluate", tmp_path / "body", "--data_dir", tones], ["predict", tmp_path / "body", tones]):
        one_line(refusal(*words, "--device", "cpu"), tmp_path / "body", "the head of", "Train it first")


def test_a_name_that_is_neither_a_folder_nor_a_model(tones, tmp_path, refusal, monkeypatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    words = ["--data_dir", tones, *QUICK, "--output_dir", tmp_path / "run", "--device", "cpu", "--model_name_or_path"]
    one_line(refusal("train", *words, "no/such-model"), "no/such-model", "offline mode is on", "./such-model")
    one_line(refusal("train", *words, "not a name/!"), "not a name/!", "valid name")
    one_line(refusal("train", *words, tmp_path / "gone"), tmp_path / "gone", "no such folder")


@pytest.mark.parametrize(
    "asked",
    [
        ["--data_dir", "tones", "--model_name_or_path", "no/such"],
        ["--dataset_name", "no/such", "--model_type", "tc_resnet"],
        ["--data_dir", "tones", "--model_type", "tc_resnet", "--push_to_hub"],
    ],
)
def test_a_network_fault_is_called_that(
    asked: list[str], tones: Path, tmp_path: Path, refusal: Refusal, monkeypatch: pytest.MonkeyPatch
) -> None:
    endpoint = "http://127.0.0.1:9"
    use(endpoint, tmp_path / "home", monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_none")
    monkeypatch.chdir(tones.parent)
    line = refusal("train", *asked, *QUICK, "--output_dir", tmp_path / "run", "--device", "cpu")
    if "--push_to_hub" in asked:
        one_line(line, "--push_to_hub", "Connection refused")
    else:
        fault = "is unreachable" if "--dataset_name" in asked else "cannot be reached"
        one_line(line, "no/such", f"{endpoint} {fault}")
