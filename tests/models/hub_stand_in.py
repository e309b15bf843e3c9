"""A model hub on loopback: just enough of its HTTP interface to list, download and upload one model."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants, hf_api

from tests.loopback import QuietHandler, serving

COMMIT = "a" * 40
TOKEN = "hf_stand_in"
# how the hub library sends weights, says httpx
UPLOADS = "ignore:Use 'content=:DeprecationWarning"


@contextmanager
def serve(folder: Path, name: str) -> Iterator[str]:
    """Serve the files of ``folder`` as the model ``name``, which can be uploaded too; yields the endpoint."""
    with serving(type("Handler", (_Hub,), {"folder": folder, "name": name, "large": {}})) as endpoint:
        yield endpoint


def use(endpoint: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have this process ask ``endpoint`` instead of the public hub, with nothing cached and no token.

    The hub library reads its environment when it is imported, which an earlier test has done.
    """
    settings = {
        "ENDPOINT": endpoint,
        "HUGGINGFACE_CO_URL_TEMPLATE": endpoint + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HUB_OFFLINE": False,
        "HF_HUB_DISABLE_XET": True,
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_TOKEN_PATH": str(home / "token"),
    }
    for name, value in settings.items():
        monkeypatch.setattr(constants, name, value)
    monkeypatch.setattr(hf_api.api, "endpoint", endpoint)  # of the functions of the library
    monkeypatch.setattr("transformers.utils.hub._hf_api", None, raising=False)  # made again, of this endpoint
    monkeypatch.setenv("HF_ENDPOINT", endpoint)
    monkeypatch.delenv("HF_TOKEN", raising=False)


class _Hub(QuietHandler):
    folder: Path
    name: str
    large: dict[str, bytes]  # files sent apart from the commit, by their SHA-256

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        files = sorted(entry for entry in self.folder.iterdir() if entry.is_file())
        if path.startswith(f"/api/models/{self.name}/tree/"):
            self._json([{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "b" * 40} for f in files])
        elif path.startswith(f"/api/models/{self.name}"):
            info = {"id": self.name, "modelId": self.name, "sha": COMMIT, "private": False, "tags": []}
            self._json({**info, "siblings": [{"rfilename": f.name} for f in files]})
        elif path.startswith(f"/{self.name}/resolve/") and (self.folder / path.split("/")[-1]).is_file():
            self._file((self.folder / path.split("/")[-1]).read_bytes(), "application/octet-stream")
        else:
            self.send(404, b"", X_Error_Code="RepoNotFound")

    do_HEAD = do_GET

    def do_POST(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        steps = {
            "/api/validate-yaml": self._validate,
            "/api/repos/create": self._create,
            f"/api/models/{self.name}/preupload/main": self._say_how,
            f"/{self.name}.git/info/lfs/objects/batch": self._say_where,
            f"/api/models/{self.name}/commit/main": self._commit,
        }
        step = steps.get(self.path.split("?")[0])
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self.send(401, b'{"error": "refused"}')
        elif step is None:
            self.send(404, b'{"error": "refused"}')
        else:
            step(content)

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers["Content-Length"]))
        self.large[hashlib.sha256(content).hexdigest()] = content
        self._json({})

    def _validate(self, content: bytes) -> None:
        self._json({"errors": [], "warnings": []})

    def _create(self, content: bytes) -> None:
        self._json({"url": f"{self._here()}/{self.name}", "name": self.name})

    def _say_how(self, content: bytes) -> None:
        """Weights go apart from the commit, all else inside it."""
        paths = [file["path"] for file in json.loads(content)["files"]]
        how = {path: "lfs" if path.endswith(".safetensors") else "regular" for path in paths}
        self._json({"files": [{"path": path, "uploadMode": how[path], "shouldIgnore": False} for path in paths]})

    def _say_where(self, content: bytes) -> None:
        objects = json.loads(content)["objects"]
        for one in objects:
            one["actions"] = {"upload": {"href": f"{self._here()}/put/{one['oid']}"}}
        self._file(json.dumps({"transfer": "basic", "objects": objects}).encode(), "application/vnd.git-lfs+json")

    def _commit(self, content: bytes) -> None:
        for line in map(json.loads, content.splitlines()):
            value = line["value"]
            if line["key"] == "file":
                (self.folder / value["path"]).write_bytes(base64.b64decode(value["content"]))
            elif line["key"] == "lfsFile":
                (self.folder / value["path"]).write_bytes(self.large[value["oid"]])
        url = f"{self._here()}/{self.name}/commit/{COMMIT}"
        self._json({"success": True, "commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})

    def _here(self) -> str:
        return f"http://{self.headers['Host']}"

    def _json(self, value: Any) -> None:
        self._file(json.dumps(value).encode(), "application/json")

    def _file(self, content: bytes, kind: str) -> None:
        self.send(200, content, kind, ETag=f'"{hashlib.sha1(content).hexdigest()}"', X_Repo_Commit=COMMIT)
