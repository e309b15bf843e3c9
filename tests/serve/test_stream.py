"""Samples over a WebSocket: the windows of the classifier, and streams that are not taken."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import numpy as np
import pytest
import soxr
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

import earmark
from tests.patience import PATIENCE_S
from tests.serve.conftest import Server, Start
from tests.serve.streaming import PATIENT, pieces, stream
from tests.serve.test_classify import same
from tests.tiny import RATE_HZ, tone


def refused(server: Server, query: str = "", **headers: str) -> tuple[int, str]:
    with pytest.raises(InvalidStatus) as caught:
        stream(server, query, [], **headers)
    return caught.value.response.status_code, json.loads(caught.value.response.body or b"")["error"]


@pytest.mark.parametrize(("rate_hz", "encoding"), [(RATE_HZ, "s16le"), (8000, "f32le")])
def test_windows_are_those_of_the_classifier(
    server: Server, classifier: earmark.Classifier, rate_hz: int, encoding: str
) -> None:
    wave = np.concatenate([tone(300, 1.1, rate_hz=rate_hz), tone(2500, 2.25, rate_hz=rate_hz)])
    pcm = (wave * 32767).astype("<i2").tobytes() if encoding == "s16le" else wave.astype("<f4").tobytes()
    query = f"sampling_rate={rate_hz}&encoding={encoding}&hop_seconds=0.5&top_k=3"
    rows, code = stream(server, query, [*pieces(pcm, 1600), "end"])
    assert code == 1000
    heard = wave if rate_hz == RATE_HZ else soxr.resample(wave, rate_hz, RATE_HZ)
    expected = classifier.timeline(heard, sampling_rate=RATE_HZ, hop_seconds=0.5).windows
    assert [(row["start_s"], row["end_s"]) for row in rows] == [(one.start_s, one.end_s) for one in expected]
    assert len(rows) == 6
    for row, one in zip(rows, expected, strict=True):
        ours = {each["label"]: each["score"] for each in row["scores"]}
        theirs = {each["label"]: each["score"] for each in classifier.top(one.probabilities, 3)}
        assert ours == pytest.approx(theirs, abs=2e-3)  # 16 bits
        if encoding == "f32le":
            assert same(row["scores"], classifier.top(one.probabilities, 3))


def test_answers_come_while_the_client_still_sends(server: Server) -> None:
    async def talk() -> None:
        async with connect(f"ws://127.0.0.1:{server.port}/v1/stream", **PATIENT) as socket:
            for second in range(3):
                await socket.send((tone(440, 1.0) * 32767).astype("<i2").tobytes())
                assert json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))["start_s"] == second

    asyncio.run(talk())


def test_streams_that_go_wrong_are_told_why(server: Server) -> None:
    second = bytes(2 * RATE_HZ)
    cases: list[tuple[str, list[bytes | str], str]] = [
        ("", [b"123"], "has a partial sample"),
        ("encoding=f32le", [np.array([np.nan], "<f4").tobytes()], "NaN"),
        ("", ["hello"], "Send binary samples"),
        ("", [second], "no samples for 1.5 s"),
        ("sampling_rate=4000", [bytes(41 * 8000)], "longer than 40 s"),
    ]
    for query, messages, reason in cases:
        rows, code = stream(server, query, messages)
        assert code == 1008
        assert reason in rows[-1]["error"]
    for size in (1 << 21, 1 << 24):
        rows, code = stream(server, "", [bytes(2 * RATE_HZ), bytes(size)])
        assert code == 1009
        assert "larger than 1048576 bytes" in rows[-1]["error"]
    assert stream(server, "", ["end"]) == ([], 1000)
    for query in (
        "sampling_rate=1",
        "sampling_rate=0",
        "encoding=mp3",
        "hop_seconds=9",
        "top_k=0",
        "sampling_rate=nan",
        "token=a",
    ):
        assert refused(server, query)[0] == 400
    assert refused(server, "sample_rate=8000")[1].endswith("Did you mean sampling_rate?")
    assert httpx.get(f"{server.url}/readyz").status_code == 200
    assert server.metric("earmark_in_flight") == 1  # the request for this metric


def test_broken_handshakes_are_answered_in_json_too(server: Server) -> None:
    upgrade = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    response = httpx.get(f"{server.url}/v1/stream", headers=upgrade)
    assert response.status_code == 400
    assert "missing Sec-WebSocket-Key" in response.json()["error"]
    response = httpx.get(f"{server.url}/v1/strem", headers=upgrade | {"sec-websocket-key": "x" * 22 + "=="})
    assert response.status_code == 404
    assert response.json() == {"error": "no such route. Did you mean /v1/stream?"}


def test_a_refused_handshake_is_one_request_in_the_log(server: Server) -> None:
    assert refused(server, "sampling_rte=8000")[0] == 400
    assert refused(server, "top_k=1&top_k=2") == (400, '"top_k": given more than once. Send each setting once.')
    assert refused(server, origin="https://evil.example")[0] == 403
    assert "handshake" not in server.log.read_text()
    assert '"level": "error"' not in server.log.read_text().lower()


@pytest.mark.slow
def test_who_may_open_a_stream(start: Start) -> None:
    token = "a-token-of-letters-and-digits-0123456789"
    server = start("--max_streams", "1", token=token)
    right = {"authorization": f"Bearer {token}"}
    assert refused(server)[0] == 401
    assert refused(server, authorization="Bearer wrong")[0] == 401
    assert refused(server, origin="https://evil.example", **right)[0] == 403
    name = "earmark.bearer." + base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    alone = refused(server, **{"sec-websocket-protocol": name})
    assert alone == (400, "the token is the only subprotocol. Offer earmark and earmark.bearer.TOKEN")
    assert stream(server, "", ["end"], origin=server.url, **right) == ([], 1000)

    async def two_at_once_and_a_signal() -> int:
        address = f"ws://127.0.0.1:{server.port}/v1/stream"
        async with connect(address, additional_headers=right, **PATIENT) as socket:
            assert (await asyncio.to_thread(refused, server, **right))[0] == 429
            await socket.send(bytes(2 * RATE_HZ))
            await socket.recv()
            server.process.terminate()
            await socket.wait_closed()
            return socket.close_code or 0

    assert asyncio.run(two_at_once_and_a_signal()) == 1001
    assert server.process.wait(PATIENCE_S) == 0
    assert token not in server.log.read_text()
