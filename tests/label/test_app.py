"""Who may ask the page's server, and for what."""

from __future__ import annotations

import io
import shlex
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import soundfile

from tests.label.conftest import TOKEN, Labelling, Start, noise
from tests.patience import wait_until
from tests.tiny import RATE_HZ


@pytest.fixture
def labelling(start: Start, pool: Path) -> Labelling:
    return start(pool)


@pytest.fixture
def client(labelling: Labelling) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=labelling.url, headers={"X-Earmark-Token": TOKEN}) as opened:
        yield opened


def decide(client: httpx.Client, at: int, was: object, now: object, **more: str) -> httpx.Response:
    return client.post(f"/clips/{at}/decide", json={"was": was, "now": now}, headers=more)


def test_the_page_asks_nobody_else_and_holds_no_token(labelling: Labelling) -> None:
    page = httpx.get(labelling.url)
    assert page.status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src 'sha256-" in policy
    assert TOKEN not in page.text
    assert page.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("path", ["/state", "/clips/0", "/clips/0/sound", "/clips/0/picture"])
def test_nothing_without_the_token(path: str, labelling: Labelling) -> None:
    assert httpx.get(labelling.url + path).status_code == 403
    assert httpx.get(labelling.url + path, headers={"X-Earmark-Token": "another"}).status_code == 403
    assert httpx.get(labelling.url + path, headers={"X-Earmark-Token": TOKEN}).status_code == 200


def test_names_that_were_made_to_point_here(client: httpx.Client) -> None:
    for host in ("evil.example", "127.0.0.1.evil.example", "", "[", "0.0.0.0"):
        assert client.get("/state", headers={"Host": host}).status_code in (400, 403)
        assert client.get("/", headers={"Host": host}).status_code in (400, 403)
    assert client.get("/state", headers={"Host": "localhost:9999"}).status_code == 200  # through a tunnel


def test_other_origins_may_not_write(client: httpx.Client, labelling: Labelling) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1"):
        assert decide(client, 0, None, ["label", "mid"], Origin=origin).status_code == 403
    assert labelling.labels() == ""
    assert decide(client, 0, None, ["label", "mid"], Origin=labelling.url).status_code == 200
    assert labelling.labels().endswith(",mid\n")


@pytest.mark.parametrize("path", ["/clips/8", "/clips/-1", "/clips/x", "/clips/0/..%2f..", "/etc/passwd"])
def test_clips_go_by_number(path: str, client: httpx.Client) -> None:
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.json()["error"]


def test_a_defect_is_logged_and_answered(client: httpx.Client, labelling: Labelling, caplog, monkeypatch) -> None:
    def fail() -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(labelling.session, "state", fail)
    answer = client.get("/state")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal server error. See the server's log."})
    assert answer.headers["cache-control"] == "no-store"
    wait_until(lambda: any(record.exc_info and "a defect" in str(record.exc_info[1]) for record in caplog.records))
    assert client.get("/clips/0").status_code == 200, "the server continues"


def test_what_makes_no_sense_is_told(client: httpx.Client, labelling: Labelling) -> None:
    for body in (b"", b"[]", b"{", b'{"now": 3}', b'{"now": ["label", 3]}', b'{"now": ["label"]}'):
        answer = client.post("/clips/0/decide", content=body)
        assert answer.status_code == 400
        assert answer.json()["error"]
    for now in (["label", " "], ["label", "a\nb"], ["aside", "because"], ["delete", "x"]):
        assert decide(client, 0, None, now).status_code == 400
    for length in (200_000, 20_000_000):  # the larger one is sent whole before a client looks for an answer
        assert client.post("/clips/0/decide", content=b"x" * length).status_code == 413
    assert client.get("/clips/0/decide").status_code == 405
    assert labelling.labels() == ""


def test_state_and_clips(client: httpx.Client, labelling: Labelling) -> None:
    state = client.get("/state").json()
    assert (state["total"], state["labelled"], state["bad"], state["next"]) == (8, 0, 1, 0)
    assert state["labels"] == ["high", "low", "mid"]
    assert shlex.split(state["train_command"])[2:4] == ["--train_file", str(labelling.folder / "labels.csv")]
    clip = client.get("/clips/0").json()
    assert len(clip["choices"]) == 3
    assert clip["next"] == 1
    after = decide(client, 0, None, ["label", "owl"]).json()
    assert after["labels"] == ["high", "low", "mid", "owl"]
    assert (after["labelled"], after["as_proposed"], after["next"]) == (1, 0, 1)
    assert decide(client, 1, None, ["label", client.get("/clips/1").json()["choices"][0][0]]).json()["as_proposed"] == 1
    assert decide(client, 7, None, ["aside", "none"]).json()["next"] == 2  # from the start again


def test_a_stale_page_is_told(client: httpx.Client) -> None:
    assert decide(client, 0, None, ["label", "mid"]).status_code == 200
    answer = decide(client, 0, None, ["label", "low"])
    assert answer.status_code == 409
    assert "somebody else has labelled the clip 'mid'" in answer.json()["error"]


def test_sound_is_played_whatever_its_format_and_rate(start: Start, tmp_path: Path) -> None:
    folder = tmp_path / "formats"
    folder.mkdir()
    soundfile.write(folder / "a.au", noise(0.5), RATE_HZ)
    soundfile.write(folder / "b.flac", noise(0.5), 96_000)
    soundfile.write(folder / "c.ogg", noise(40.0), 8_000)
    started = start(folder)
    heard = {}
    with httpx.Client(base_url=started.url, headers={"X-Earmark-Token": TOKEN}) as client:
        for at in range(3):
            answer = client.get(f"/clips/{at}/sound")
            assert answer.headers["content-type"] == "audio/wav"
            samples, rate_hz = soundfile.read(io.BytesIO(answer.content))
            picture = client.get(f"/clips/{at}/picture").json()
            heard[client.get(f"/clips/{at}").json()["path"][-1]] = (len(samples) / rate_hz, rate_hz, picture["whole"])
    assert heard["u"] == (0.5, RATE_HZ, True)
    assert heard["c"] == (pytest.approx(noise(0.5).size / 96_000), 48_000, True)
    assert heard["g"] == (30.0, 8_000, False)


def test_a_recording_that_is_gone(client: httpx.Client, pool: Path) -> None:
    path = Path(client.get("/clips/0").json()["path"])
    path.unlink()
    answer = client.get("/clips/0/sound")
    assert answer.status_code == 404
    assert path.name in answer.json()["error"]


def test_a_manifest_that_was_broken_meanwhile(client: httpx.Client, labelling: Labelling) -> None:
    decide(client, 0, None, ["label", "mid"])
    (labelling.folder / "labels.csv").write_text("path,label\n1,2,3\n")
    answer = decide(client, 1, None, ["label", "mid"])
    assert answer.status_code == 400
    assert "Fix the file" in answer.json()["error"]
    assert labelling.labels() == "path,label\n1,2,3\n"
