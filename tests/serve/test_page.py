"""The page at `/`, by HTTP and in a real browser."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

import earmark
from earmark.models.build_model import ModelSource, build_for_training
from earmark.predict.timeline import SegmentRules
from earmark.tasks import REGRESSION
from tests.browser import ONSET, bright_height, needs_browser, tick_at, watch
from tests.patience import PATIENCE_S
from tests.serve.conftest import Server, Start
from tests.serve.test_classify import encoded
from tests.tiny import overrides, tone


@pytest.fixture
def page(browser: Any, server: Server) -> Iterator[Any]:
    """The page, opened; a fault in its script or a request to elsewhere fails the test."""
    context = browser.new_context(locale="en-GB", permissions=["microphone"])
    opened = context.new_page()
    faults = watch(opened, server.url, "blob:", "data:", console="Content Security Policy")
    opened.goto(server.url)
    opened.set_default_timeout(1000 * PATIENCE_S)
    yield opened
    context.close()
    assert not faults


def recording(name: str, data: bytes) -> dict[str, Any]:
    return {"name": name, "mimeType": "audio/wav", "buffer": data}


def two_tones() -> tuple[np.ndarray, bytes]:
    wave = np.concatenate([tone(300, 1.0), tone(2500, 1.0, seed=1)])
    return wave, encoded(wave, "WAV")


def test_its_files_and_nothing_else(server: Server) -> None:
    index = httpx.get(f"{server.url}/")
    assert index.status_code == 200
    assert index.headers["content-type"] == "text/html; charset=utf-8"
    assert "default-src 'none'" in index.headers["content-security-policy"]
    assert "://" not in index.text
    for name in ("page.js", "words.js", "picture.js", "style.css", "axes.js", "axes.css", "vendor/wavesurfer.esm.js"):
        assert httpx.get(f"{server.url}/page/{name}").status_code == 200
    for path in (
        "/page/__init__.py",
        "/page/../app.py",
        "/page/%2e%2e/app.py",
        "/page/",
        "/page/vendor/LICENSE-wavesurfer",
    ):
        assert httpx.get(f"{server.url}{path}").status_code == 404


@needs_browser
def test_a_recording_gets_its_labels(page: Any, classifier: earmark.Classifier, tmp_path: Path) -> None:
    wave, data = two_tones()
    page.set_input_files("#file", recording("two tones.wav", data))
    page.wait_for_selector("#result:not([hidden])")
    expected = classifier.timeline(wave, sampling_rate=16_000)
    bars = page.locator("#bars .label").all_inner_texts()
    assert bars == [row["label"] for row in classifier.top(expected.aggregate(), 5)]
    segments = expected.segments(SegmentRules())
    assert page.locator("#segments .label").all_inner_texts() == [one.label for one in segments]
    assert page.locator("#state").inner_text().startswith("2.0 s of audio")
    page.wait_for_selector("#waveform canvas", state="attached")
    page.wait_for_selector("#spectrogram canvas", state="attached")
    with page.expect_download() as download:
        page.click("#csv")
    assert download.value.suggested_filename == "two tones.csv"
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [row["label"] for row in rows] == [one.label for one in segments]
    with page.expect_download() as download:
        page.click("#audacity")
    first = Path(download.value.path()).read_text().splitlines()[0].split("\t")
    assert first == [f"{segments[0].start_s:.6f}", f"{segments[0].end_s:.6f}", segments[0].label]


@needs_browser
def test_omitted_background_classes_are_named(page: Any, server: Server) -> None:
    def answer(route: Any) -> None:
        found = route.fetch()
        route.fulfill(response=found, json={**found.json(), "omitted_classes": ["noise"]})

    page.route("**/v1/timeline*", answer)
    page.set_input_files("#file", recording("two tones.wav", two_tones()[1]))
    page.wait_for_selector("#result:not([hidden])")
    assert page.inner_text("#omitted") == "Segments of the background class “noise” are omitted."
    page.unroute("**/v1/timeline*")
    page.click("summary")
    page.click("#again")
    page.wait_for_selector("#omitted", state="hidden")
    page.wait_for_selector("#result:not([hidden])")


@needs_browser
def test_the_picture_has_axes_with_units_and_a_legend(page: Any) -> None:
    half = 0.5 * np.sin(2 * np.pi * 1000 * np.arange(16_000) / 16_000).astype(np.float32)
    wave = np.concatenate([np.zeros_like(half), half])  # a tone of 1 kHz in the second of two seconds
    page.set_input_files("#file", recording("tone.wav", encoded(wave, "WAV")))
    page.wait_for_selector("#spectrogram canvas", state="attached")
    frame, waveform = page.locator("#spectrogram-frame"), page.locator("#waveform-frame")
    page.wait_for_function("document.querySelectorAll('#spectrogram-frame .axis').length === 3")
    assert frame.locator(".axis span").all_inner_texts() == ["time (s)", "frequency (Hz)", "dB, 0 = full scale"]
    assert waveform.locator(".axis span").all_inner_texts() == ["amplitude"]
    assert waveform.locator(".axis.y i").all_inner_texts() == ["−1", "0", "1"]
    assert frame.locator(".axis.colours i").all_inner_texts() == ["−100", "−80", "−60", "−40", "−20"]
    assert tick_at(frame, "x", "2.0") == pytest.approx(1, abs=0.01)
    page.wait_for_function(f"({ONSET})(document.querySelector('#spectrogram canvas')) >= 0")  # drawn
    assert bright_height(frame) == pytest.approx(tick_at(frame, "y", "1k"), abs=0.04)
    onset = page.locator("#spectrogram canvas").first.evaluate(ONSET)
    assert onset == pytest.approx(tick_at(frame, "x", "1.0"), abs=0.03)
    assert "frequency from 0 to 8000 Hz" in page.get_attribute("#spectrogram", "aria-label")
    page.click("#language")
    assert frame.locator(".axis span").all_inner_texts() == ["时间 (s)", "频率 (Hz)", "dB（0 = 满量程）"]
    assert frame.locator(".axis").count() == 3  # and not six


@pytest.fixture(scope="module")
def counter(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model that answers with a number, called snr_db."""
    import torch

    torch.manual_seed(0)
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    audio = build_for_training(source, ["snr_db"], 1.0, longest_s=1.0, task=REGRESSION)
    with torch.no_grad():
        audio.model.classifier.weight *= 300
    folder = tmp_path_factory.mktemp("counter")
    audio.save(folder)
    return folder


@needs_browser
def test_a_number_is_shown_over_time(browser: Any, start: Start, counter: Path) -> None:
    server = start(folder=counter)
    wave, data = two_tones()
    windows = earmark.Classifier.from_pretrained(counter, device="cpu").timeline(wave, sampling_rate=16_000).windows
    numbers = [float(window.probabilities[0]) for window in windows]
    assert len(numbers) == 2
    context = browser.new_context(locale="en-GB")
    page = context.new_page()
    page.goto(server.url)
    page.set_default_timeout(1000 * PATIENCE_S)
    page.set_input_files("#file", recording("tones.wav", data))
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#segments-title").inner_text() == "The number over time"
    assert page.locator("#state").inner_text() == "2.0 s of audio, 2 windows."
    shown = [float(text) for text in page.locator("#segments .score").all_inner_texts()]
    assert shown == pytest.approx(numbers, rel=1e-3)
    fills = page.locator(".segment").evaluate_all("(rows) => rows.map((row) => row.style.background.includes(' 100%'))")
    assert fills == [number == max(numbers) for number in numbers]
    assert float(page.locator("#bars .score").inner_text()) == pytest.approx(np.mean(numbers), rel=1e-3)
    assert not page.is_visible("#bars .meter")
    ends = re.search(r"from (\S+) \(lowest\) to (\S+) \(highest\)\.$", page.locator("#range").inner_text())
    assert ends is not None
    assert [float(text) for text in ends.groups()] == pytest.approx([min(numbers), max(numbers)], rel=1e-3)
    with page.expect_download() as download:
        page.click("#csv")
    rows = list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))
    assert [row["label"] for row in rows] == ["snr_db"] * 2
    assert [float(row["score"]) for row in rows] == pytest.approx(numbers, rel=1e-3)
    context.close()


@needs_browser
def test_a_file_is_dropped(page: Any) -> None:
    _, data = two_tones()
    page.evaluate(
        """(bytes) => {
            const transfer = new DataTransfer();
            transfer.items.add(new File([new Uint8Array(bytes)], "dropped.wav"));
            document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));
        }""",
        list(data),
    )
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#result-title").inner_text() == "dropped.wav"


@needs_browser
def test_a_broken_file_is_told(page: Any, server: Server) -> None:
    _, data = two_tones()
    broken = data[:1000]
    page.set_input_files("#file", recording("broken.wav", broken))
    page.wait_for_selector("#error:not(:empty)")
    reason = httpx.post(f"{server.url}/v1/timeline", content=broken).json()["error"]
    assert page.locator("#error").inner_text() == f"broken.wav: {reason}"
    assert not page.is_visible("#result")
    page.set_input_files("#file", recording("whole.wav", data))  # and the next one is heard
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#error").inner_text() == ""


@needs_browser
def test_what_a_browser_cannot_play_is_labelled_all_the_same(page: Any) -> None:
    wave, _ = two_tones()
    page.set_input_files("#file", recording("tape.au", encoded(wave, "AU")))
    page.wait_for_selector("#no-picture:not([hidden])")
    assert page.locator("#bars li").count() == 3
    assert page.locator("#segments button:not([disabled])").count() == 0
    assert not page.is_visible("#play")


@needs_browser
def test_a_recording_is_made(page: Any) -> None:
    page.click("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(700)
    page.click("#record")
    page.wait_for_selector("#result:not([hidden])")
    assert page.locator("#result-title").inner_text().endswith(".webm")


@needs_browser
def test_keys_are_enough(page: Any) -> None:
    _, data = two_tones()
    page.set_input_files("#file", recording("two tones.wav", data))
    page.wait_for_selector("#segments button")
    page.wait_for_selector("#spectrogram canvas", state="attached")
    focused: list[str] = []
    for _ in range(20):
        page.keyboard.press("Tab")
        focused.append(page.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {"language", "file", "record", "play", "segment", "csv", "audacity"} <= set(focused)
    page.focus("#segments button")
    page.keyboard.press("Enter")
    page.wait_for_selector("#play:text-is('Pause')")


@needs_browser
def test_a_recording_chosen_while_another_is_drawn(page: Any) -> None:
    _, short = two_tones()
    long = encoded(tone(300, 19.0), "OGG")
    for wait_ms in (0, 20, 50, 100):
        page.set_input_files("#file", recording("long.ogg", long))
        page.wait_for_selector("#result-title:text-is('long.ogg')")
        page.set_input_files("#file", recording("short.wav", short))
        page.wait_for_selector("#result-title:text-is('short.wav')")
        page.wait_for_selector("#spectrogram canvas", state="attached")
        page.wait_for_timeout(wait_ms)
    assert page.locator("#waveform > div").count() == 1


@needs_browser
def test_a_double_click_leaves_no_microphone_open(page: Any) -> None:
    page.evaluate(
        """() => {
            window.streams = [];
            const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
            navigator.mediaDevices.getUserMedia = async (wanted) => {
                await new Promise((resolve) => setTimeout(resolve, 300));  // as long as a person takes to allow it
                const stream = await ask(wanted);
                window.streams.push(stream);
                return stream;
            };
        }"""
    )
    page.dblclick("#record")
    page.wait_for_selector("#record[aria-pressed=true]")
    page.wait_for_timeout(700)
    page.click("#record")
    page.wait_for_selector("#result:not([hidden])")
    assert page.evaluate("streams.map((one) => one.getTracks().map((track) => track.readyState))") == [["ended"]]


@needs_browser
def test_both_languages(page: Any, browser: Any, server: Server) -> None:
    assert page.locator("#record").inner_text() == "Record"
    page.click("#language")
    assert page.locator("#record").inner_text() == "录音"
    assert page.get_attribute("html", "lang") == "zh"
    words = page.evaluate("import('/page/words.js').then(({LANGUAGES}) => Object.values(LANGUAGES).map(Object.keys))")
    assert words[0] == words[1]
    page.set_input_files("#file", recording("tape.au", encoded(two_tones()[0], "AU")))
    page.wait_for_selector("#no-picture:not([hidden])")
    for key in ("en", "zh"):
        page.click("#language")
        told = page.evaluate(f"import('/page/words.js').then(({{LANGUAGES}}) => LANGUAGES.{key}.noPicture)")
        assert page.locator("#no-picture").inner_text() == told
    chinese = browser.new_context(locale="zh-CN").new_page()
    chinese.goto(server.url)
    assert chinese.locator("#record").inner_text() == "录音"
    chinese.context.close()


@needs_browser
def test_a_token_is_asked_for(browser: Any, start: Start) -> None:
    guarded = start(token="open-sesame-0123456789")
    context = browser.new_context(locale="en-GB", viewport={"width": 360, "height": 700})
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE_S)
    page.goto(guarded.url)
    _, data = two_tones()
    page.set_input_files("#file", recording("two tones.wav", data))
    page.wait_for_selector("#token-dialog[open]")
    page.keyboard.press("Escape")  # sent away, it stays away
    page.wait_for_selector("#error:has-text('missing or wrong token')")
    assert not page.is_visible("#token-dialog")
    page.set_input_files("#file", recording("two tones.wav", data))
    page.wait_for_selector("#token-dialog[open]")
    page.fill("#token", "秘密")  # no header can carry it
    page.keyboard.press("Enter")
    assert page.is_visible("#token-dialog")
    assert page.evaluate("sessionStorage.getItem('token')") is None
    for token in ("wrong", "open-sesame-0123456789"):  # a wrong one is asked for again
        page.wait_for_selector("#token-dialog[open]")
        page.fill("#token", token)
        page.keyboard.press("Enter")
    page.wait_for_selector("#result:not([hidden])")
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")  # on a phone
    context.close()
    guarded.stop()
