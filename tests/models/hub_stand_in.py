"""A model hub on loopback: just enough of its HTTP interface to list, download and upload one model."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "a" * 40
TOKEN = "hf_stand_in"


@contextmanager
def serve(folder: Path, name: str) -> Iterator[str]:
    """Serve the files of ``folder`` as the model ``name``; yields the endpoint."""

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            """Keep quiet."""

        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def do_POST(self) -> None:
            """An upload: make the repository, ask how each file goes, send the large ones apart, commit."""
            path = self.path.split("?")[0]
            content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                return self._refuse(401)
            if path == "/api/validate-yaml":
                return self._json({"errors": [], "warnings": []})
            if path == "/api/repos/create":
                return self._json({"url": f"{self._here()}/{name}", "name": name})
            if path == f"/api/models/{name}/preupload/main":
                asked = json.loads(content)["files"]
                return self._json(
                    {
                        "files": [
                            {"path": f["path"], "uploadMode": mode(f["path"]), "shouldIgnore": False} for f in asked
                        ]
                    }
                )
            if path == f"/{name}.git/info/lfs/objects/batch":
                objects = json.loads(content)["objects"]
                for one in objects:
                    one["actions"] = {"upload": {"href": f"{self._here()}/put/{one['oid']}"}}
                return self._json({"transfer": "basic", "objects": objects}, "application/vnd.git-lfs+json")
            if path == f"/api/models/{name}/commit/main":
                for line in map(json.loads, content.splitlines()):
                    if line["key"] == "file":
                        (folder / line["value"]["path"]).write_bytes(base64.b64decode(line["value"]["content"]))
                    elif line["key"] == "lfsFile":
                        (folder / line["value"]["path"]).write_bytes(large[line["value"]["oid"]])
                url = f"{self._here()}/{name}/commit/{COMMIT}"
                return self._json({"success": True, "commitUrl": url, "commitOid": COMMIT, "hookOutput": ""})
            return self._refuse(404)

        def do_PUT(self) -> None:
            content = self.rfile.read(int(self.headers["Content-Length"]))
            large[hashlib.sha256(content).hexdigest()] = content
            self._json({})

        def _json(self, value: object, kind: str = "application/json") -> None:
            self._send(json.dumps(value).encode(), True, kind)

        def _here(self) -> str:
            return f"http://127.0.0.1:{self.server.server_address[1]}"

        def _refuse(self, status: int) -> None:
            content = json.dumps({"error": "refused"}).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _answer(self, body: bool) -> None:
            path = self.path.split("?")[0]
            if path.startswith(f"/api/models/{name}/tree/"):
                rows = [{"type": "file", "path": f.name, "size": f.stat().st_size, "oid": "b" * 40} for f in files()]
                self._send(json.dumps(rows).encode(), body, "application/json")
            elif path.startswith(f"/api/models/{name}"):
                siblings = [{"rfilename": f.name} for f in files()]
                info = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "private": False, "tags": []}
                self._send(json.dumps(info).encode(), body, "application/json")
            elif path.startswith(f"/{name}/resolve/") and (folder / path.split("/")[-1]).is_file():
                self._send((folder / path.split("/")[-1]).read_bytes(), body, "application/octet-stream")
            else:
                self.send_response(404)
                self.send_header("X-Error-Code", "RepoNotFound")
                self.send_header("Content-Length", "0")
                self.end_headers()

        def _send(self, content: bytes, body: bool, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if body:
                self.wfile.write(content)

    large: dict[str, bytes] = {}

    def mode(path: str) -> str:
        return "lfs" if path.endswith(".safetensors") else "regular"

    def files() -> list[Path]:
        return sorted(entry for entry in folder.iterdir() if entry.is_file())

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
