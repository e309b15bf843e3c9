"""Models by ModelScope's names, from a stand-in on loopback."""

from __future__ import annotations

import hashlib
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from earmark.errors import ModelError, NetworkError
from earmark.models.build_model import ModelSource, build_for_training, load_trained
from tests.loopback import QuietHandler, serving
from tests.tiny import overrides

pytest.importorskip("modelscope_hub")


@contextmanager
def serve(folder: Path, name: str) -> Iterator[str]:
    """Serve the files of ``folder`` as the model ``name``; yields the endpoint."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            url = urlsplit(self.path)
            if url.path == f"/api/v1/models/{name}/repo/files":
                files = [described(file) for file in sorted(folder.iterdir())]
                self.send(200, json.dumps({"Code": 200, "Success": True, "Data": {"Files": files}}).encode())
            elif url.path == f"/api/v1/models/{name}/repo":
                self.send(200, (folder / parse_qs(url.query)["FilePath"][0]).read_bytes())
            else:
                self.send(404, json.dumps({"Code": 404, "Success": False, "Message": "no such record"}).encode())

    with serving(Handler) as endpoint:
        yield endpoint


def described(file: Path) -> dict[str, object]:
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    place = {"Path": file.name, "Name": file.name, "Type": "blob", "Revision": "master"}
    return {**place, "Size": file.stat().st_size, "Sha256": digest}


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    build_for_training(source, ["a", "b"], 0.5, longest_s=0.5).save(folder)
    return folder


def load(cache: Path, name: str = "modelscope://org/tiny") -> list[str]:
    return load_trained(ModelSource(name_or_path=name, cache_dir=str(cache))).labels


def test_a_model_then_from_its_cache(saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serve(saved, "org/tiny") as endpoint:
        monkeypatch.setenv("MODELSCOPE_ENDPOINT", endpoint)
        assert load(tmp_path) == ["a", "b"]
        with pytest.raises(ModelError, match=r"modelscope://org/none: no such model or revision"):
            load(tmp_path, "modelscope://org/none")
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    assert load(tmp_path) == ["a", "b"]
    with pytest.raises(NetworkError, match="offline mode is on"):
        load(tmp_path / "other")


def test_what_cannot_be(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match=r"Write modelscope://ORG/NAME"):
        load(tmp_path, "modelscope://tiny")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    monkeypatch.setenv("MODELSCOPE_ENDPOINT", endpoint)
    with pytest.raises(NetworkError, match=f"cannot be downloaded from {endpoint}"):
        load(tmp_path)
