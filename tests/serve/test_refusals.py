"""What a server must not take: each is one line of JSON, and the server goes on."""

from __future__ import annotations

import base64
import http.client
import io
import json
import socket
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile
from fastapi import HTTPException

from earmark.scoring.windows import Windowing
from earmark.serve.decode_request import DecodeLimits, iter_windows
from tests.patience import PATIENCE_S
from tests.serve.conftest import Server
from tests.serve.test_classify import encoded
from tests.tiny import tone


def ask(server: Server, body: bytes | Iterator[bytes], **headers: str) -> tuple[int, str]:
    response = httpx.post(f"{server.url}/v1/classify", content=body, headers=headers, timeout=PATIENCE_S)
    answer = response.json()
    assert set(answer) == {"error"}
    assert "\n" not in answer["error"]
    return response.status_code, answer["error"]


def classify(server: Server, body: bytes) -> int:
    return httpx.post(f"{server.url}/v1/classify", content=body, timeout=PATIENCE_S).status_code


def test_broken_recordings(server: Server) -> None:
    wav, flac, ogg = (encoded(tone(440, 1.0), format) for format in ("WAV", "FLAC", "OGG"))
    nan = io.BytesIO()
    soundfile.write(nan, np.array([0.1, np.nan], np.float32), 16_000, format="WAV", subtype="FLOAT")
    for data, status in (
        (wav[:1000], 422), (flac[: len(flac) // 3], 422), (ogg[: len(ogg) // 2], 422), (nan.getvalue(), 422),
        (wav[:44], 422), (b"fLaC" + b"\0" * 100, 422), (b"hello", 415), (b"\0" * 1000, 415), (b"", 400),
    ):  # fmt: skip
        assert ask(server, data)[0] == status
    assert "cut short" in ask(server, wav[:1000])[1]


def test_a_recording_that_is_too_long_is_not_decoded(server: Server) -> None:
    silence = np.zeros(21 * 16_000, np.int16)
    assert ask(server, encoded(silence, "FLAC")) == (413, "longer than 20 s. Send a shorter recording")
    # nine hours at 8 kHz that are 700 kB
    av = pytest.importorskip("av")
    file = io.BytesIO()
    with av.open(file, "w", format="webm") as output:
        stream = output.add_stream("libopus", rate=48_000)
        for _ in range(700):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 4800), np.float32), format="flt", layout="mono")
            frame.sample_rate = 48_000
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    assert ask(server, file.getvalue())[0] == 413


def test_a_header_s_claims_are_not_believed(server: Server) -> None:
    wav = bytearray(encoded(tone(440, 0.5), "WAV"))
    wav[40:44] = struct.pack("<I", 0x7000_0000)  # bytes of sound that the header promises
    assert ask(server, bytes(wav))[0] == 422
    flac = bytearray(encoded(tone(440, 0.5), "FLAC"))
    flac[21] |= 0x0F  # the total of samples, 36 bits: the four highest
    assert classify(server, bytes(flac)) == 200
    flac[21:26] = bytes([flac[21] & 0xF0, 0, 0, 0, 0])  # no total
    assert classify(server, bytes(flac)) == 200


def test_ffmpeg_gets_the_demuxer_of_the_container(server: Server) -> None:
    """What libsndfile does not read is decoded, and no format is guessed: test_no_client_names_a_path has playlists."""
    cases = pytest.importorskip("benchmarks.variant_cases")
    samples = tone(440, 1.0)[:, None]
    for container, codec, rate_hz in (("ogg", "flac", 16_000), ("wav", "g726", 8000), ("mp4", "aac", 16_000)):
        assert classify(server, cases.av_make(samples, rate_hz, container, codec)) == 200


def test_decoding_may_not_take_for_ever() -> None:
    limits = DecodeLimits(max_s=100, timeout_s=1e-4)
    with pytest.raises(HTTPException, match=r"decoding took longer than 0\.0001 s") as refused:
        list(iter_windows(encoded(tone(440, 60.0), "MP3"), Windowing(16_000, 16_000), 16_000, limits))
    assert refused.value.status_code == 422


def test_a_body_is_cut_off_at_the_limit_while_it_streams(server: Server) -> None:
    def chunks() -> Iterator[bytes]:
        yield encoded(tone(440, 1.0), "WAV")
        for _ in range(1000):
            yield bytes(1 << 16)

    limit = (413, "the body is larger than 1000000 bytes. Send a smaller one")
    before = server.metric("process_resident_memory_bytes")
    assert ask(server, chunks()) == limit
    assert server.metric("process_resident_memory_bytes") - before < 30e6
    assert ask(server, bytes(1_000_001)) == limit
    assert ask(server, iter([bytes(600_000), bytes(600_000)])) == limit


@pytest.mark.parametrize("length", ["declared", "chunked"])
def test_a_client_that_sends_all_before_it_reads_is_told_that_it_is_too_much(server: Server, length: str) -> None:
    body = bytes(1 << 16)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_S)
    declared = {"Content-Length": str(400 * len(body))} if length == "declared" else {}
    connection.request("POST", "/v1/classify", (body for _ in range(400)), declared, encode_chunked=not declared)
    answer = connection.getresponse()
    assert (answer.status, answer.getheader("connection")) == (413, "close")
    assert json.loads(answer.read())["error"].startswith("the body is larger than 1000000 bytes")
    connection.close()


def test_a_refusal_comes_before_the_rest_of_the_body(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        connection.sendall(b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\nRIFF")
        answer = b""
        while not answer.endswith(b"}"):  # the client has not sent the rest, and is not asked for it
            part = connection.recv(1 << 16)
            assert part
            answer += part
        assert answer.startswith(b"HTTP/1.1 413 ")


def talk(server: Server, *parts: bytes, pause_s: float = 0.0) -> tuple[bytes, float]:
    """What a server says to bytes that come slowly, and after how many seconds it closes."""
    started_s = time.monotonic()
    with socket.create_connection(("127.0.0.1", server.port), timeout=PATIENCE_S) as connection:
        answer = b""
        for part in parts:
            try:
                connection.sendall(part)
            except OSError:
                break
            time.sleep(pause_s)
        try:
            while data := connection.recv(1 << 16):
                answer += data
        except ConnectionError:
            pass
    return answer, time.monotonic() - started_s


def test_slow_clients_are_told_to_go(server: Server) -> None:
    head = b"POST /v1/classify HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n"
    for parts, reason in (
        ([b"P"], b"head"),
        ([bytes([byte]) for byte in head[:30]], b"head"),  # never silent for long, never done
        ([head], b"head"),
        ([head + b"\r\nRIFF"], b"no bytes for 1.5 s"),
    ):
        answer, seconds = talk(server, *parts, pause_s=0.07 if len(parts) > 1 else 0)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert reason in answer
        assert b'{"error":' in answer
        assert seconds > 1.4


def test_what_is_no_http_is_told_so(server: Server) -> None:
    answer, _ = talk(server, b"\x16\x03\x01\x02\x00\x01\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b'{"error":' in answer
    answer, _ = talk(server, b"GET / HTTP/1.1\r\nHost: a\r\n" + b"a: " + b"b" * 200_000 + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 431 ")
    assert b'{"error": "the request headers are too large' in answer


def test_no_client_names_a_path_or_an_address(server: Server, tmp_path: Path) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(encoded(tone(440, 0.5), "WAV"))
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0.3)
        address = f"http://127.0.0.1:{elsewhere.getsockname()[1]}/a.wav"
        names = [str(secret), f"file://{secret}", address, f"../../../../../{secret}"]
        bodies = [f'{{"inputs": "{name}"}}'.encode() for name in names]
        bodies += [f'{{"inputs": {{"path": "{secret}"}}}}'.encode(), f'{{"inputs": ["{secret}"]}}'.encode()]
        bodies += [str(secret).encode()]
        # playlists, alone and behind the marks of recordings, that FFmpeg would open
        hls = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}\n#EXT-X-ENDLIST\n"
        concat = f"ffconcat version 1.0\nfile '{secret}'\n"
        session = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=a\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 5004 RTP/AVP 0\n"
        for playlist in (hls, concat, session):
            for mark in (b"", b"ID3\x03\0\0\0\0\0\0", b"\xff\xfb\n", b"fLaC\n", b"OggS\n", b"\x1a\x45\xdf\xa3\n"):
                bodies.append(mark + playlist.encode())
        for body in bodies:
            status, _ = ask(server, body)
            assert status in (400, 415, 422), body
            coded = base64.b64encode(body).decode()
            assert httpx.post(f"{server.url}/v1/classify", json={"inputs": coded}).status_code in (400, 415, 422)
        with pytest.raises(TimeoutError):
            elsewhere.accept()


def test_broken_forms(server: Server) -> None:
    wav = base64.b64encode(encoded(tone(440, 0.3), "WAV")).decode()
    for body in (
        b"{", b"[]", b'{"inputs": 1}', b"[" * 100_000, b'{"inputs": "", "parameters": []}',
        b'{"inputs": "!!!"}', b'{"a": [' + b"0," * 5000 + b"0]}",
        f'{{"inputs": "{wav}", "parameters": {{"top_k": 0}}}}'.encode(),
        f'{{"inputs": "{wav}", "parameters": {{"top_k": true}}}}'.encode(),
        f'{{"inputs": "{wav}", "parameters": {{"function_to_apply": ["softmax"]}}}}'.encode(),
    ):  # fmt: skip
        assert ask(server, body)[0] == 400, body[:60]
    form = b"--x\r\nContent-Disposition: form-data; name=file; filename=a\r\n\r\nRIFF"
    for body in (form, b"--x--\r\n", b"", b"--y\r\n", form.replace(b"file", b"f") * 40, b"\0" * 100):
        assert ask(server, body, **{"content-type": "multipart/form-data; boundary=x"})[0] == 400
    for boundary in ("", "; boundary=" + "x" * 500):
        assert ask(server, b"a", **{"content-type": f"multipart/form-data{boundary}"})[0] == 400


def test_unknown_settings_are_refused_with_the_nearest_name(server: Server) -> None:
    wav = encoded(tone(440, 0.3), "WAV")
    inputs = base64.b64encode(wav).decode()
    for route, name, near in (
        ("classify", "topk", "top_k"), ("classify", "function", None), ("classify", "hop_seconds", None),
        ("timeline", "window_second", "window_seconds"), ("timeline", "treshold", "threshold"),
        ("timeline", "x" * 10_000, None), ("timeline", "a\nb", None), ("timeline", "", None),
    ):  # fmt: skip
        url = f"{server.url}/v1/{route}"
        responses = [
            httpx.post(url, params={name: "1"}, content=wav),
            httpx.post(url, json={"inputs": inputs, "parameters": {name: 1}}),
        ]
        if name.isidentifier() and len(name) < 100:  # other names break the head of a form's part
            responses.append(httpx.post(url, files={"file": wav}, data={name: "1"}))
        for response in responses:
            assert response.status_code == 400, response.text
            error = response.json()["error"]
            assert "\n" not in error
            assert len(error) < 300
            assert "not a setting of this route" in error
            assert (f"Did you mean {near}?" in error) == (near is not None)
    for key in ("input", "top_k"):
        response = httpx.post(f"{server.url}/v1/classify", json={"inputs": inputs, key: 1})
        assert response.status_code == 400
        assert f'"{key}": not a key of the JSON (settings go into parameters)' in response.json()["error"]
    answer = httpx.post(f"{server.url}/v1/classify", json={"inputs": inputs, "options": {"use_cache": False}})
    assert answer.status_code == 200


def test_a_setting_that_is_given_twice_is_refused(server: Server) -> None:
    wav = encoded(tone(440, 0.3), "WAV")
    for name in ("top_k", "x" * 10_000):
        for response in (
            httpx.post(f"{server.url}/v1/classify?{name}=1&{name}=2", content=wav),
            httpx.post(f"{server.url}/v1/classify", files={"file": wav}, data={name[:50]: ["1", "2"]}),
        ):
            assert response.status_code == 400
            assert response.json() == {"error": f'"{name[:50]}": given more than once. Send each setting once.'}
    assert "xxxx" not in server.log.read_text()


def test_samples_that_no_model_can_hear(server: Server) -> None:
    loud = io.BytesIO()
    soundfile.write(loud, np.full(8000, 1e38, np.float32), 16_000, format="WAV", subtype="FLOAT")
    status, reason = ask(server, loud.getvalue())
    assert status == 422
    assert "8,000 samples are above 8 times full scale" in reason


def test_other_routes_and_methods_are_told_in_json_too(server: Server) -> None:
    for method, path, status in (
        ("GET", "/nope", 404),
        ("GET", "/v1/classify", 405),
        ("GET", "/v1/../etc/passwd", 404),
        ("DELETE", "/v1/stream-ticket", 405),
        ("GET", "/v1/stream", 426),
        ("PATCH", "/healthz", 405),
    ):
        response = httpx.request(method, server.url + path)
        assert response.status_code == status
        assert set(response.json()) == {"error"}
    assert httpx.post(f"{server.url}/classify").json()["error"] == "no such route. Did you mean /v1/classify?"
    assert httpx.get(f"{server.url}/v1/classify").json()["error"] == "this route only accepts POST. Change the method."
    refused = httpx.delete(f"{server.url}/healthz")
    assert refused.headers["allow"] == "GET, HEAD"
    assert refused.json()["error"] == "this route only accepts GET, HEAD. Change the method."
    assert httpx.head(f"{server.url}/healthz").status_code == 200
    assert (
        "access-control-allow-origin" not in httpx.get(f"{server.url}/healthz", headers={"origin": "http://a"}).headers
    )
