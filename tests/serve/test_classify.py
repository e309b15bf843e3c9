"""Right answers: whatever the form, the format and the company."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest
import soundfile
from huggingface_hub import InferenceClient

import earmark
from earmark.predict.timeline import SegmentRules
from tests.patience import PATIENCE_S
from tests.serve.conftest import Server
from tests.tiny import RATE_HZ, tone


def encoded(wave: np.ndarray, format: str, rate_hz: int = RATE_HZ) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, wave, rate_hz, format=format)
    return file.getvalue()


def as_bytes(url: str, data: bytes) -> httpx.Response:
    return httpx.post(f"{url}/v1/classify?top_k=3", content=data)


def as_form(url: str, data: bytes) -> httpx.Response:
    return httpx.post(f"{url}/v1/classify", files={"file": ("a.txt", data, "text/plain")}, data={"top_k": "3"})


def as_json(url: str, data: bytes) -> httpx.Response:
    inputs = base64.b64encode(data).decode()
    return httpx.post(f"{url}/v1/classify", json={"inputs": inputs, "parameters": {"top_k": 3}})


def same(answer: list[dict], expected: list[dict]) -> bool:
    ours, theirs = ({row["label"]: row["score"] for row in rows} for rows in (answer, expected))
    in_order = [row["score"] for row in answer] == sorted(ours.values(), reverse=True)
    return in_order and ours == pytest.approx(theirs, abs=1e-4)


@pytest.mark.parametrize("send", [as_bytes, as_form, as_json])
@pytest.mark.parametrize("format", ["WAV", "FLAC", "MP3", "OGG"])
def test_every_form_and_format_gets_the_answer_of_predict(
    server: Server, classifier: earmark.Classifier, send: Callable[[str, bytes], httpx.Response], format: str
) -> None:
    data = encoded(np.stack([tone(440, 2.3), tone(2000, 2.3)], axis=1), format, 44_100)
    response = send(server.url, data)
    assert response.status_code == 200, response.text
    assert same(response.json(), classifier.predict(data, top_k=3))


def test_base64_in_every_usual_form(server: Server, classifier: earmark.Classifier) -> None:
    data = encoded(tone(440, 0.51), "WAV") + b"\xfb\xff"  # 64 KB, one byte short of whole groups, with + and /
    plain = base64.b64encode(data).decode()
    assert plain.endswith("=")
    assert "+" in plain
    assert "/" in plain
    lines = "\r\n".join(plain[i : i + 76] for i in range(0, len(plain), 76))
    url_safe = base64.urlsafe_b64encode(data).decode()
    for inputs in (
        plain,
        lines,
        f"\n{lines}\n",
        url_safe,
        url_safe.rstrip("="),
        plain.rstrip("="),
        f"data:audio/wav;base64,{plain}",
        f"data:audio/webm;codecs=opus;base64,{url_safe}",
        f"DATA:;base64,{lines}",
        f'data:audio/ogg;codecs="opus, pcm";base64,{plain}',
    ):
        response = httpx.post(f"{server.url}/v1/classify", json={"inputs": inputs, "parameters": {"top_k": 3}})
        assert response.status_code == 200, response.text
        assert same(response.json(), classifier.predict(data, top_k=3))
    for inputs in (plain[:-4] + "A", "data:audio/wav,RIFF", f"data:audio/wav;{plain}", plain + "!", "é"):
        response = httpx.post(f"{server.url}/v1/classify", json={"inputs": inputs})
        assert response.status_code == 400
        assert "not base64" in response.json()["error"]


def test_json_in_every_unicode_encoding(server: Server, classifier: earmark.Classifier) -> None:
    data = encoded(tone(440, 0.51), "WAV")
    text = "\n" + json.dumps({"inputs": base64.b64encode(data).decode(), "parameters": {"top_k": 3}})
    for encoding in ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"):
        response = httpx.post(f"{server.url}/v1/classify", content=text.lstrip().encode(encoding))
        assert response.status_code == 200, (encoding, response.text)
        assert same(response.json(), classifier.predict(data, top_k=3))
    for body in (b"\0\0\0[ftypisom", b"\0\0\0{ftypisom", b"\xff\xfb\x90{"):  # MP4 and MP3
        assert httpx.post(f"{server.url}/v1/classify", content=body).status_code != 400


def test_channels_of_opposite_phase_are_not_silence(server: Server, classifier: earmark.Classifier) -> None:
    wave = tone(440, 1.0)
    response = as_bytes(server.url, encoded(np.stack([wave, -wave], axis=1), "WAV"))
    assert same(response.json(), classifier.predict(encoded(wave, "WAV"), top_k=3))


def test_videos_and_browser_recordings(server: Server, classifier: earmark.Classifier) -> None:
    av = pytest.importorskip("av")
    for container, codec in (("mp4", "aac"), ("webm", "libopus"), ("adts", "aac")):
        file = io.BytesIO()
        with av.open(file, "w", format=container) as output:
            stream = output.add_stream(codec, rate=48_000)
            frame = av.AudioFrame.from_ndarray(tone(700, 1.0, rate_hz=48_000)[None], format="flt", layout="mono")
            frame.sample_rate = 48_000
            output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        response = as_bytes(server.url, file.getvalue())
        assert response.status_code == 200, response.text
        assert same(response.json(), classifier.predict(file.getvalue(), top_k=3))


def test_clients_that_share_batches_get_answers_of_their_own(server: Server, classifier: earmark.Classifier) -> None:
    lengths_s = [0.1, 0.4, 0.41, 0.42, 0.9, 1.0, 1.7, 5.3]
    clips = [encoded(tone(200 + 90 * i, lengths_s[i % 8], seed=i), "WAV") for i in range(32)]
    expected = [classifier.predict(clip, top_k=3) for clip in clips]
    batches, windows = (server.metric(f"earmark_batch_windows_{name}") for name in ("count", "sum"))
    with httpx.Client(limits=httpx.Limits(max_connections=32)) as client, ThreadPoolExecutor(32) as pool:
        for _ in range(3):
            answers = list(pool.map(lambda data: client.post(f"{server.url}/v1/classify", content=data).json(), clips))
            for answer, rows in zip(answers, expected, strict=True):
                assert same(answer, rows)
    batches = server.metric("earmark_batch_windows_count") - batches
    windows = server.metric("earmark_batch_windows_sum") - windows
    assert windows == 3 * 4 * sum(-(-length // 1) for length in lengths_s)
    assert windows / batches > 2, "requests do not share batches"


def test_the_hub_s_own_client(server: Server, classifier: earmark.Classifier) -> None:
    data = encoded(tone(440, 0.7), "FLAC")
    client = InferenceClient(model=f"{server.url}/v1/classify")
    rows = [{"label": row.label, "score": row.score} for row in client.audio_classification(data)]
    assert same(rows, classifier.predict(data, top_k=3))
    rows = client.audio_classification(data, top_k=1, function_to_apply="sigmoid")
    logits = next(classifier.logits(classifier_windows(classifier, data)))
    assert [row.score for row in rows] == pytest.approx([1 / (1 + np.exp(-logits.max()))], abs=1e-4)


def classifier_windows(classifier: earmark.Classifier, data: bytes) -> list[np.ndarray]:
    samples, rate_hz = soundfile.read(io.BytesIO(data), dtype="float32")
    assert rate_hz == classifier.sampling_rate_hz
    return [samples]


def test_what_turns_logits_into_scores(server: Server, classifier: earmark.Classifier) -> None:
    data = encoded(tone(440, 0.7), "WAV")
    logits = next(classifier.logits(classifier_windows(classifier, data)))
    softmax = np.exp(logits) / np.exp(logits).sum()
    for name, expected in (("none", logits), ("sigmoid", 1 / (1 + np.exp(-logits))), ("softmax", softmax)):
        rows = httpx.post(f"{server.url}/v1/classify?function_to_apply={name}", content=data).json()
        assert {row["label"]: row["score"] for row in rows} == pytest.approx(
            dict(zip(classifier.labels, expected.tolist(), strict=True)), abs=1e-3
        )


def test_a_timeline_is_that_of_the_classifier(server: Server, classifier: earmark.Classifier) -> None:
    data = encoded(np.concatenate([tone(300, 7.3), tone(2500, 12.0), tone(300, 5.0)]), "OGG")  # longer than 20 s
    settings = {"hop_seconds": "0.25", "threshold": "0.4", "smooth_windows": "3", "top_k": "3"}
    response = httpx.post(f"{server.url}/v1/timeline", files={"file": ("a", data)}, data=settings, timeout=PATIENCE_S)
    assert response.status_code == 200, response.text
    answer = response.json()
    expected = classifier.timeline(data, hop_seconds=0.25)
    assert answer["duration_s"] == pytest.approx(24.3)
    assert len(answer["windows"]) == len(expected.windows) > 90
    for ours, theirs in zip(answer["windows"], expected.windows, strict=True):
        assert (ours["start_s"], ours["end_s"]) == (theirs.start_s, theirs.end_s)
        assert same(ours["scores"], classifier.top(theirs.probabilities, 3))
    segments = expected.segments(SegmentRules(threshold=0.4, smooth_windows=3))
    assert [(one["start_s"], one["end_s"], one["label"]) for one in answer["segments"]] == [
        (one.start_s, one.end_s, one.label) for one in segments
    ]
    assert segments
    assert same(answer["scores"], classifier.top(expected.aggregate(), 3))
    for wrong in (
        "window_seconds=3",
        "hop_seconds=-1",
        "threshold=2",
        "smooth_windows=1.5",
        "hop_seconds=nan",
        "release=a",
    ):
        response = httpx.post(f"{server.url}/v1/timeline?{wrong}", content=data)
        assert response.status_code == 400, wrong
        assert wrong.split("=")[0] in response.json()["error"]


def test_openapi_shows_the_forms_with_examples(server: Server) -> None:
    operation = httpx.get(f"{server.url}/openapi.json").json()["paths"]["/v1/classify"]["post"]
    forms = operation["requestBody"]["content"]
    assert {"application/octet-stream", "multipart/form-data", "application/json"} <= set(forms)
    assert forms["application/json"]["example"]["parameters"]["top_k"] == 2
    for status in ("413", "415", "422", "429", "503", "default"):
        assert "error" in operation["responses"][status]["content"]["application/json"]["example"]


def test_openapi_has_one_body_for_all_errors(server: Server) -> None:
    schema = httpx.get(f"{server.url}/openapi.json").json()
    assert schema["components"]["schemas"]["Error"]["required"] == ["error"]
    num_errors = 0
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if status == "default" or int(status) >= 400:
                    content = response["content"]["application/json"]
                    assert content["schema"] == {"$ref": "#/components/schemas/Error"}, (path, status)
                    num_errors += 1
            assert "default" in operation["responses"], path
    assert num_errors > 30
