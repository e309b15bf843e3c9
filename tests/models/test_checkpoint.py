"""Where weights come from: local folders and what is missing from them, and a hub on loopback."""

from __future__ import annotations

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants

from earmark.errors import ModelError, NetworkError
from earmark.models import checkpoint
from earmark.models.build_model import ModelSource, build_for_training, load_trained
from earmark.models.checkpoint import find_checkpoint, folder_to_write, hub_name, local_folder
from earmark.models.transformers_model import load_config
from tests.models.hub_stand_in import serve, use
from tests.tiny import overrides


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    build_for_training(source, ["a", "b"], 0.5, longest_s=0.5).save(tmp_path / "wav2vec2-base")
    return tmp_path / "wav2vec2-base"


def test_a_folder_beside_is_taken_for_the_hub_name(
    saved: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(saved.parent)
    with caplog.at_level(logging.INFO, "earmark"):
        assert find_checkpoint("facebook/wav2vec2-base") == Path("wav2vec2-base")
    assert "using the folder ./wav2vec2-base" in caplog.text


def test_a_folder_beside_that_holds_no_model_is_not_the_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``earmark evaluate org/name`` writes ``./name/evaluation_test``."""
    monkeypatch.chdir(tmp_path)
    Path("name/evaluation_test").mkdir(parents=True)
    assert local_folder("org/name") is None
    for file in ("config.json", "adapter_config.json", "export.json"):
        Path("name", file).write_text("{}")
        assert local_folder("org/name") == Path("name")
        Path("name", file).unlink()


def test_names_with_and_without_the_scheme() -> None:
    assert [hub_name(name) for name in ("hf://org/name", "org/name", "./a")] == ["org/name", "org/name", "./a"]
    for name in ("hf://org/name", "modelscope://org/name"):
        with pytest.raises(ModelError, match=f"{name}: this is a model on the hub, and X. Download it, or name a run"):
            folder_to_write(name, "X")


def test_a_folder_of_the_organisation_means_a_local_model(saved: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(saved.parent)
    Path("runs/first").mkdir(parents=True)
    with pytest.raises(
        ModelError, match=r"runs/other: no such folder; runs holds first\. For a model on the hub, write hf://"
    ):
        local_folder("runs/other")
    assert local_folder("runs/first") == Path("runs/first")
    assert [local_folder(name) for name in ("hf://runs/other", "modelscope://runs/other", "org/other")] == [None] * 3


def test_missing_files_are_named(saved: Path) -> None:
    (saved / "model.safetensors").rename(saved / "pytorch_model.bin")
    with pytest.raises(ModelError, match="only pickled weights"):
        find_checkpoint(str(saved))
    assert find_checkpoint(str(saved), allow_pickle=True) == saved
    (saved / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"the weights file model\.safetensors is missing"):
        find_checkpoint(str(saved))
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (saved / "model.safetensors.index.json").write_text(json.dumps(index))
    (saved / "model-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(ModelError, match=r"1 of 2 weights files are missing, first model-00002-of-00002\.safetensors"):
        find_checkpoint(str(saved))
    (saved / "config.json").unlink()
    with pytest.raises(ModelError, match=r"no config\.json"):
        find_checkpoint(str(saved))
    with pytest.raises(ModelError, match="no such folder"):
        find_checkpoint(str(saved / "none"))


def test_a_missing_folder_is_answered_without_hidden_names(tmp_path: Path) -> None:
    for name in (".cache", "clips"):
        (tmp_path / name).mkdir()
    with pytest.raises(
        ModelError, match=r"w2v: no such folder; .* holds clips\. Give a folder with weights, or a name"
    ):
        local_folder(str(tmp_path / "w2v"))
    with pytest.raises(ModelError, match=r"no such folder; did you mean .*/\.cache\?$"):
        local_folder(str(tmp_path / ".cahce"))


@pytest.mark.parametrize("damage", [lambda data: b"", lambda data: data[: len(data) // 2], lambda data: b"x" * 100])
def test_damaged_weights(saved: Path, damage) -> None:
    weights = saved / "model.safetensors"
    weights.write_bytes(damage(weights.read_bytes()))
    with pytest.raises(ModelError, match="weights cannot be loaded"):
        load_trained(ModelSource(name_or_path=str(saved)))


def test_an_architecture_without_an_audio_head(saved: Path) -> None:
    (saved / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ModelError, match="bert has no audio classification head"):
        build_for_training(ModelSource(name_or_path=str(saved)), ["a", "b"], None, longest_s=1.0)


def test_weights_of_another_size_are_an_error_not_fresh_weights(saved: Path) -> None:
    config = json.loads((saved / "config.json").read_text())
    (saved / "config.json").write_text(json.dumps(config | {"intermediate_size": 64}))
    with pytest.raises(ModelError, match="the checkpoint lacks"):
        build_for_training(ModelSource(name_or_path=str(saved)), ["a", "b"], None, longest_s=1.0)


def test_a_body_without_a_trained_head_cannot_predict(saved: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(saved / "model.safetensors")
    body = {name: weight for name, weight in state.items() if not name.startswith(("classifier", "projector"))}
    save_file(body, saved / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match="the head"):
        load_trained(ModelSource(name_or_path=str(saved)))
    build_for_training(ModelSource(name_or_path=str(saved)), ["x", "y", "z"], None, longest_s=1.0)


Load = Callable[..., list[str]]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a model by its name on a hub, with a cache that starts empty; its labels."""
    monkeypatch.chdir(tmp_path)

    def from_hub(endpoint: str, name: str = "org/tiny", *, offline: bool = False) -> list[str]:
        use(endpoint, tmp_path / "home", monkeypatch)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", offline)
        return load_trained(ModelSource(name_or_path=name, cache_dir=str(tmp_path / "cache"))).labels

    return from_hub


def test_a_model_from_a_hub_then_from_its_cache(saved: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with serve(saved, "org/tiny") as endpoint:
        assert load(endpoint, "hf://org/tiny") == ["a", "b"]
    with caplog.at_level(logging.INFO, "earmark"):
        assert load(endpoint) == ["a", "b"]  # the hub has gone
    assert "cannot be reached" in caplog.text
    assert load(endpoint, offline=True) == ["a", "b"]


def test_network_faults_are_called_that(tmp_path: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(NetworkError, match=rf"^org/tiny: not a .*{endpoint} cannot be reached \(.+\)\. Fix"):
            load(endpoint)
        (tmp_path / "models/tiny").mkdir(parents=True)
        (tmp_path / "models/tiny/config.json").write_text("{}")
        with (
            caplog.at_level(logging.INFO, "earmark"),
            pytest.raises(NetworkError, match=r"did you mean models/tiny\?"),
        ):
            load(endpoint, "runs/tiny")
    assert caplog.messages[0] == f"looking for runs/tiny on {endpoint}"
    with pytest.raises(NetworkError, match="offline mode is on"):
        load(endpoint, offline=True)


def test_a_model_that_the_hub_does_not_have(saved: Path, load: Load, caplog: pytest.LogCaptureFixture) -> None:
    with serve(saved, "org/other") as endpoint:
        with pytest.raises(ModelError, match=r"^org/tiny: not a folder here and no such model on the hub"):
            load(endpoint)
        with (
            caplog.at_level(logging.INFO, "earmark"),
            pytest.raises(ModelError, match=r"^org/tiny: no such model on the hub"),
        ):
            load(endpoint, "hf://org/tiny")
    assert caplog.messages == [f"looking for org/tiny on {endpoint}"]


def test_a_process_that_has_imported_nothing_else_asks_the_hub() -> None:
    code = "from earmark.models.checkpoint import find_checkpoint; find_checkpoint('org/tiny')"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert "NetworkError: org/tiny: not a folder here" in done.stderr


def test_a_hub_that_does_not_answer_is_not_waited_for(
    load: Load, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Timeouts of HTTP clients do not limit the DNS lookup, and a hub may accept connections and stay silent."""
    monkeypatch.setattr(checkpoint, "_HUB_ANSWERS_WITHIN_S", 0.2)
    looked_up = threading.Event()
    with socket.socket() as silent, caplog.at_level(logging.INFO, "earmark"):
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(NetworkError, match=rf"^org/tiny: .* not in the hub's cache, and {endpoint} cannot be"):
            load(endpoint)
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: looked_up.wait(60) and [])
        with pytest.raises(NetworkError, match=r"cannot be reached \(no answer within 0\.2 s\)\. Fix the path"):
            load("http://no.such.hub")
    looked_up.set()
    assert "so the cache is searched for org/tiny" in caplog.text


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "whisper-tny",
            r"\(did you mean openai/whisper-tiny\?\)\. Fix the path, or .* as ORG/NAME",
        ),
        ("frist", r"^frist: no such folder \(did you mean runs/first\?\)\. Fix the path"),
        ("nothing_like_it", r"^nothing_like_it: no such folder\. Fix the path"),
        ("tc_resnet", r"no such folder\. To train tc_resnet from random weights, use --model_type tc_resnet"),
    ],
)
def test_a_name_without_a_slash_is_a_folder(
    name: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub is not asked: it could not be reached here, and the error would say so."""
    monkeypatch.chdir(tmp_path)
    Path("runs/first").mkdir(parents=True)
    Path("runs/first/config.json").write_text("{}")
    for find in (local_folder, find_checkpoint):
        with pytest.raises(ModelError, match=message):
            find(name)


def test_a_misspelt_name_on_the_hub_is_answered_with_a_similar_one(saved: Path, load: Load) -> None:
    with serve(saved, "org/other") as endpoint:
        with pytest.raises(ModelError, match=r"did you mean openai/whisper-tiny\?\) and no such model on the hub"):
            load(endpoint, "opnai/whisper-tny")
        with pytest.raises(ModelError, match=r"^x/hubert-base: no such model on the hub \(did you mean facebook/hu"):
            load(endpoint, "hf://x/hubert-base")
    with pytest.raises(NetworkError, match=r"^openai/whisper-tiny: not a folder here and not in .*, and off"):
        load(endpoint, "openai/whisper-tiny", offline=True)


def test_pickled_weights_load_when_allowed(saved: Path) -> None:
    from safetensors.torch import load_file

    torch.save(load_file(saved / "model.safetensors"), saved / "pytorch_model.bin")
    (saved / "model.safetensors").unlink()
    assert load_trained(ModelSource(name_or_path=str(saved), allow_pickle=True)).labels == ["a", "b"]


def test_a_wrong_architecture_is_answered_with_the_nearest_one() -> None:
    with pytest.raises(ModelError, match=r"--model_type tcresnet: unknown architecture; did you mean tc_resnet\?"):
        load_config(ModelSource(model_type="tcresnet"), None)
    with pytest.raises(ModelError, match=r"--model_type x: unknown architecture\. Choose from .*, whisper\.$"):
        load_config(ModelSource(model_type="x"), None)


def test_a_wrong_run_name_is_answered_with_the_nearest_one(tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    with pytest.raises(ModelError, match=r"frist: no such folder, and X; did you mean .*/first\?$"):
        folder_to_write(str(tmp_path / "frist"), "X")
