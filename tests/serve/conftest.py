"""A model, and real servers of it: `python -m earmark serve` on loopback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

import earmark
from tests.patience import PATIENCE_S, give_servers_time, read_certificates_once, wait_until
from tests.tiny import save_model

give_servers_time()
read_certificates_once()


@dataclass
class Server:
    """A server process.

    Attributes:
        process: the process.
        url: where it listens.
        port: the same as a number.
        log: file of its standard output.
    """

    process: subprocess.Popen[bytes]
    url: str
    port: int
    log: Path

    def lines(self) -> list[dict]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def metric(self, name: str) -> float:
        text = httpx.get(f"{self.url}/metrics").text
        values = [line.rsplit(" ", 1)[1] for line in text.splitlines() if line.startswith(name)]
        return sum(map(float, values))

    def wait_for_metric(self, name: str, value: float) -> None:
        wait_until(lambda: self.metric(name) >= value)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE_S)


Start = Callable[..., Server]


def start_server(folder: Path, log: Path, *flags: str, token: str | None = None) -> Server:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | ({"EARMARK_SERVE_TOKEN": token} if token else {})
    words = [sys.executable, "-m", "earmark", "serve", str(folder), "--device", "cpu", "--port", "0", *flags]
    with open(log, "wb") as stdout:
        process = subprocess.Popen(words, stdout=stdout, env=environment)
    wait_until(lambda: b'"listening"' in log.read_bytes() or process.poll() is not None)
    assert process.poll() is None, log.read_text()
    port = json.loads(log.read_text().splitlines()[0])["port"]
    return Server(process, f"http://127.0.0.1:{port}", port, log)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("served_model"), 1.0)


@pytest.fixture(scope="session")
def classifier(model: Path) -> earmark.Classifier:
    return earmark.Classifier.from_pretrained(model, device="cpu")


@pytest.fixture(scope="session")
def start(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Starts servers; those still running at the end are stopped."""
    servers: list[Server] = []

    def start_one(*flags: str, token: str | None = None, folder: Path = model) -> Server:
        servers.append(start_server(folder, tmp_path_factory.mktemp("server") / "log", *flags, token=token))
        return servers[-1]

    yield start_one
    for server in servers:
        if server.process.poll() is None:
            server.stop()


@pytest.fixture(scope="session")
def server(start: Start) -> Server:
    """One with small limits, for all tests that leave it as it was."""
    return start(
        "--max_seconds",
        "20",
        "--max_timeline_seconds",
        "40",
        "--max_body_mb",
        "1",
        "--read_timeout_seconds",
        "1.5",
        "--queue_size",
        "64",
    )
