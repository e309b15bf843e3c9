"""A server among many clients and at its end: full queues, tokens, draining, metrics, logs."""

from __future__ import annotations

import asyncio
import base64
import copy
import shutil
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import earmark
from earmark.cli.command_table import COMMANDS
from earmark.errors import ModelError, UsageError
from earmark.http.lifecycle import Lifecycle
from earmark.serve.app import build_app
from earmark.serve.server_metrics import ServerMetrics
from earmark.serve.service import Service
from earmark.serve.start_server import read_token, serve
from earmark.serve.stream import Streams
from earmark.settings.serving_flags import ServeOptions
from tests.patience import PATIENCE_S, wait_until
from tests.serve.conftest import Server, Start
from tests.serve.test_classify import encoded
from tests.tiny import tone

TOKEN = "a-token-of-letters-and-digits-0123456789"


def classify(server: Server, data: bytes, **headers: str) -> httpx.Response:
    return httpx.post(f"{server.url}/v1/classify", content=data, headers=headers, timeout=PATIENCE_S)


@pytest.fixture(scope="module")
def narrow(start: Start) -> Server:
    """A server with little room."""
    return start("--queue_size", "2", "--batch_delay_ms", "700", "--max_connections", "10")


def test_a_model_without_a_background_class_is_warned_about_at_the_start(server: Server) -> None:
    first, second = server.lines()[:2]
    assert first["event"] == "listening"
    assert second["level"] == "warning"
    assert second["event"].startswith("/v1/timeline and /v1/stream: this model has no background class")


@pytest.mark.slow
def test_a_full_queue_says_come_back(narrow: Server) -> None:
    data = encoded(tone(440, 0.3), "WAV")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: classify(narrow, data), range(8)))
    statuses = [answer.status_code for answer in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= 2  # more if some of the requests come late
    refused = next(answer for answer in answers if answer.status_code == 429)
    assert int(refused.headers["retry-after"]) >= 1
    assert "2 requests are waiting" in refused.json()["error"]
    assert classify(narrow, data).status_code == 200


@pytest.mark.slow
def test_connections_are_counted(narrow: Server) -> None:
    held = [socket.create_connection(("127.0.0.1", narrow.port)) for _ in range(10)]
    wait_until(lambda: httpx.get(f"{narrow.url}/healthz").status_code == 503)
    for connection in held:
        connection.close()
    wait_until(lambda: httpx.get(f"{narrow.url}/healthz").status_code == 200)


@pytest.mark.slow
def test_patience_ends(start: Start) -> None:
    server = start("--answer_timeout_seconds", "0.2", "--batch_delay_ms", "1000", "--drain_timeout_seconds", "0.5")
    response = classify(server, encoded(tone(440, 0.3), "WAV"))
    assert response.status_code == 503
    assert "retry-after" in response.headers
    # draining does not wait for ever for a client that sends nothing
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n")
        server.wait_for_metric("earmark_in_flight", 2)  # this one, and the one that asks
        assert server.stop() == 0


@pytest.mark.slow
def test_a_token_is_asked_for(start: Start) -> None:
    server = start("--cors_origins", "https://a.example", token=TOKEN)
    data = encoded(tone(440, 0.3), "WAV")
    for wrong in ("", TOKEN, f"Bearer {TOKEN}x", "Bearer", f"Basic {TOKEN}"):
        response = classify(server, data, **({"authorization": wrong} if wrong else {}))
        assert response.status_code == 401
        assert response.headers["www-authenticate"] == "Bearer"
    assert httpx.get(f"{server.url}/metrics").status_code == 401
    assert httpx.get(f"{server.url}/v2/anything").status_code == 401
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert classify(server, data, authorization=f"Bearer {TOKEN}").status_code == 200
    assert TOKEN not in server.log.read_text()
    for path in ("/healthz", "/readyz", "/", "/page/page.js", "/openapi.json"):
        head, whole = httpx.head(server.url + path), httpx.get(server.url + path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.content))
        assert head.headers["content-type"] == whole.headers["content-type"]
    for path in ("/metrics", "/v1/model"):
        assert httpx.head(server.url + path).status_code == 401
        assert httpx.head(server.url + path, headers={"authorization": f"Bearer {TOKEN}"}).status_code == 200
    for path, status in (("/v1/classify", 405), ("/nope", 404)):
        head = httpx.head(server.url + path, headers={"authorization": f"Bearer {TOKEN}"})
        assert (head.status_code, head.content) == (status, b"")
    for origin, expected in (("https://a.example", "https://a.example"), ("https://b.example", None)):
        response = classify(server, data, origin=origin, authorization=f"Bearer {TOKEN}")
        assert response.headers.get("access-control-allow-origin") == expected


def test_where_a_token_comes_from(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "token"
    file.write_text(TOKEN + "\n")
    assert read_token(None) is None
    assert read_token(str(file)) == TOKEN
    monkeypatch.setenv("EARMARK_SERVE_TOKEN", TOKEN[::-1])
    assert read_token(None) == TOKEN[::-1]
    assert read_token(str(file)) == TOKEN
    monkeypatch.setenv("EARMARK_SERVE_TOKEN", "")
    with pytest.raises(UsageError, match=r"EARMARK_SERVE_TOKEN is empty\. Unset it to serve without a token"):
        read_token(None)
    for bad in ("short", "with a space in it and long"):
        monkeypatch.setenv("EARMARK_SERVE_TOKEN", bad)
        with pytest.raises(UsageError, match="at least 16"):
            read_token(None)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--host", "0.0.0.0"], "--allow_public_without_token"),
        (["--host", "::"], "--allow_public_without_token"),
        (["--host", "example.com"], "--allow_public_without_token"),
        (["--auth_token_file", "none"], "--auth_token_file none: cannot be read"),
        (["--queue_size", "0"], "--queue_size 0"),
        (["--cors_origins", "https://a.example/page"], "--cors_origins https://a.example/page: not an origin"),
        (["--cors_origins", "a.example"], "--cors_origins a.example: not an origin"),
        (["--frame_ancestors", "https://a.example; script-src *"], "not a source"),
        (["--frame_ancestors", "none", "self"], "excludes all others"),
        (["--keep_alive_seconds", "0"], "--keep_alive_seconds 0"),
        (["--host", "203.0.113.1", "--allow_public_without_token"], "cannot listen on this address"),
    ],
)
def test_what_is_not_served(flags: list[str], expected: str, model: Path) -> None:
    with pytest.raises(UsageError, match=expected):
        serve(COMMANDS["serve"].read([str(model), *flags])[0])


def test_a_taken_port_is_told(server: Server, model: Path) -> None:
    with pytest.raises(UsageError, match=f"--port {server.port}: cannot listen on this address"):
        serve(COMMANDS["serve"].read([str(model), "--port", str(server.port)])[0])


@pytest.mark.slow
def test_idle_connections_stay_open_as_long_as_asked(server: Server, start: Start) -> None:
    def ask(connection: socket.socket) -> bytes:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}") and (part := connection.recv(1 << 16)):
            answer += part
        return answer

    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        assert ask(connection).startswith(b"HTTP/1.1 200 ")
        assert connection.recv(1) == b""  # closed after the default, 5 s; there is no request to answer
    long = start("--keep_alive_seconds", str(PATIENCE_S), "--read_timeout_seconds", "0.3")
    with socket.create_connection(("127.0.0.1", long.port), timeout=PATIENCE_S) as connection:
        assert ask(connection).startswith(b"HTTP/1.1 200 ")
        time.sleep(6.0)  # longer than the default, and than a request may be silent
        assert ask(connection).startswith(b"HTTP/1.1 200 ")


@pytest.mark.slow
def test_sigterm_lets_requests_under_way_finish(start: Start) -> None:
    patience = str(PATIENCE_S)
    limits = ("--read_timeout_seconds", "--body_timeout_seconds", "--drain_timeout_seconds")
    server = start(*(word for limit in limits for word in (limit, patience)))
    data = encoded(tone(440, 0.3), "WAV")
    head = f"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: {len(data)}\r\n\r\n".encode()
    address = ("127.0.0.1", server.port)
    with httpx.Client() as kept, httpx.Client() as new, socket.create_connection(address, PATIENCE_S) as under_way:
        kept.get(f"{server.url}/healthz")
        under_way.sendall(head + data[:100])
        server.wait_for_metric("earmark_in_flight", 2)  # this one, and the one that asks
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: httpx.get(f"{server.url}/readyz").status_code == 503)
        for client in (kept, new):
            refused = client.post(f"{server.url}/v1/classify", content=data)
            assert (refused.status_code, refused.headers["connection"]) == (503, "close")
            assert client.get(f"{server.url}/readyz").status_code == 503
            assert client.get(f"{server.url}/healthz").status_code == 200
        under_way.sendall(data[100:])
        assert under_way.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
    assert server.process.wait(PATIENCE_S) == 0
    assert server.lines()[-1]["event"] == "stopped"


def test_figures_count_what_happened(server: Server) -> None:
    classified = 'earmark_requests_total{route="/v1/classify"'
    names = [classified + ',status="200"', classified + ',status="415"']
    names += ['earmark_requests_total{route="other",status="404"}', "earmark_audio_seconds_total"]
    names += ["earmark_batch_windows_sum", "earmark_request_seconds_count"]
    before = [server.metric(name) for name in names]
    data = encoded(tone(440, 0.5), "WAV")
    for _ in range(3):
        classify(server, data)
    classify(server, b"hello")
    httpx.get(f"{server.url}/{'a' * 50}")
    counted = [server.metric(name) - was for name, was in zip(names, before, strict=True)]
    assert counted == pytest.approx([3, 1, 1, 1.5, 3, 5 + len(names)])  # the last: and those for these metrics
    assert server.metric("earmark_in_flight") == 1  # the request for this metric


def test_logs_tell_a_request_and_nothing_of_what_is_in_it(server: Server) -> None:
    size = server.log.stat().st_size
    data = encoded(tone(440, 0.5), "WAV")
    secret = "name-of-a-person"
    assert httpx.post(f"{server.url}/v1/classify?{secret}={secret}", content=data).status_code == 400
    response = httpx.post(
        f"{server.url}/v1/classify",
        files={"file": (f"{secret}.wav", data)},
        headers={"user-agent": secret, "x-forwarded-for": secret},
    )
    httpx.get(f"{server.url}/{secret}")
    httpx.post(f"{server.url}/v1/classify", json={"inputs": secret, "parameters": {"top_k": secret}})
    lines = server.lines()  # every line is JSON
    line = next(line for line in lines if line.get("id") == response.headers["x-request-id"])
    assert (line["status"], line["route"], line["audio_seconds"]) == (200, "/v1/classify", 0.5)
    assert line["seconds"] > 0
    assert line["bytes"] > len(data)
    text = server.log.read_text()
    assert secret not in text
    for at in range(0, len(data) - 30, 3000):
        assert base64.b64encode(data[at : at + 30]).decode() not in text
    assert "RIFF" not in text
    assert server.log.stat().st_size - size < 2000


def test_a_model_that_answers_no_numbers_is_not_served(model: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(model, tmp_path / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["classifier.bias"] = torch.full_like(weights["classifier.bias"], float("nan"))
    save_file(weights, broken / "model.safetensors", {"format": "pt"})
    classifier = earmark.Classifier.from_pretrained(broken, device="cpu")
    service = Service(classifier, ServeOptions(model_name_or_path=str(broken)), ServerMetrics())
    with pytest.raises(
        ModelError, match="the model predicts NaN or infinity for 1 of 1 window: its weights are damaged"
    ):
        service.warm_up()
    service.close()


def test_a_defect_is_one_line_of_json_too(classifier: earmark.Classifier, caplog: pytest.LogCaptureFixture) -> None:
    def broken(windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        raise RuntimeError("a secret of the model")

    options, lifecycle, metrics = ServeOptions(model_name_or_path="model"), Lifecycle(1.0), ServerMetrics()
    service = Service(replace_logits(classifier, broken), options, metrics)
    streams = Streams(classifier, service.batcher, options, lifecycle)
    app = build_app(service, streams, lifecycle, metrics, token=None, cors_origins=[])

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as client:
            return await client.post("http://a/v1/classify", content=encoded(tone(440, 0.3), "WAV"))

    answer = asyncio.run(ask())
    streams.close()
    service.close()
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal server error. See the server's log."}
    assert "a secret of the model" in caplog.text


def replace_logits(classifier: earmark.Classifier, logits: Any) -> earmark.Classifier:
    other = copy.copy(classifier)
    other.logits = logits  # type: ignore[method-assign]  # the fault that is tried
    return other
