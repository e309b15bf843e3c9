"""A model hub on loopback: just enough of its HTTP interface to list and download one model."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

COMMIT = "a" * 40


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
