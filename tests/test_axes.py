"""Axes, ticks, histograms and spectrograms that all pages share, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark import pages
from earmark.audio.excerpts import small_spectrogram
from tests.browser import NAMELESS, ONSET, PIXELS, bright_height, needs_browser, opened, tick_at
from tests.tiny import RATE_HZ, tone

pytestmark = needs_browser

_TEMPLATE = """__HEAD__
<title>Axes</title><style>__STYLE__</style><main></main>
<script type="application/json" id="data">__DATA__</script>
<script>
__SCRIPT__
const main = document.querySelector("main");
main.append(spectrogram(data.tone), spectrogram(data.silence), outline([.1, .5], 2.5),
  histogram("Scores", [1, 0, 5, 2], 0, 2, { name: "length (s)", text: "a fact" }));
</script>
"""


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tone of 1 kHz in the second half of 2 s, digital silence, an outline and a histogram of eight clips."""
    folder = tmp_path_factory.mktemp("axes")
    (folder / "template.html").write_text(_TEMPLATE, encoding="utf-8")
    samples = tone(1000.0, 2.0).copy()
    samples[:RATE_HZ] = 0
    found = {"tone": small_spectrogram(samples), "silence": small_spectrogram(np.zeros(RATE_HZ, np.float32))}
    data = {name: one.to_dict() for name, one in found.items()}
    (folder / "page.html").write_text(pages.render(folder / "template.html", data), encoding="utf-8")
    return folder / "page.html"


@pytest.fixture
def page(browser: Any, html: Path) -> Iterator[Any]:
    with opened(browser, html) as page:
        yield page


def test_a_tone_is_at_its_ticks(page: Any) -> None:
    frame = page.locator(".framed").first
    assert bright_height(frame) == pytest.approx(tick_at(frame, "y", "1k"), abs=0.03)
    assert frame.locator("canvas").evaluate(ONSET) == pytest.approx(tick_at(frame, "x", "1.0"), abs=0.03)


def test_axes_of_a_spectrogram_have_units_and_round_ticks(page: Any) -> None:
    frame = page.locator(".framed").first
    assert frame.locator(".axis.x i").all_inner_texts() == ["0", "0.5", "1.0", "1.5", "2.0"]
    assert tick_at(frame, "x", "2.0") == pytest.approx(1, abs=0.01)  # the clip has 2 s
    assert frame.locator(".axis.x span").inner_text() == "time (s)"
    assert frame.locator(".axis.y i").all_text_contents() == ["1k", "100", "500", "2k", "5k", "200"]
    assert frame.locator(".axis.y span").inner_text() == "frequency (Hz)"
    assert frame.locator(".axis.colours i").all_inner_texts() == ["−60", "−40", "−20", "0"]
    assert frame.locator(".axis.colours span").inner_text() == "dB, 0 = loudest"
    words = frame.locator("canvas").get_attribute("aria-label")
    assert words == (
        "spectrogram: time from 0 to 2 s, frequency from 60 to 7,600 Hz (logarithmic scale), "
        "colour from −60 to 0 dB (the loudest point)"
    )


def test_digital_silence_is_dark(page: Any) -> None:
    pixels = f"canvas => Math.max(...({PIXELS})(canvas).filter((_, i) => i % 4 === 1))"
    assert page.locator("canvas").first.evaluate(pixels) == 250
    assert page.locator("canvas").last.evaluate(pixels) == 25


def test_the_colours_of_the_legend_are_those_of_the_picture(page: Any) -> None:
    colours = page.evaluate("[colour(0), colour(.5), colour(1)]")
    stops = page.locator(".axis.colours b").first.get_attribute("style")
    for red, green, blue in colours:
        assert f"rgb({red}, {green}, {blue})" in stops.replace("rgb(0 25 50)", "rgb(0, 25, 50)")


def test_an_outline_has_time_and_amplitude(page: Any) -> None:
    frame = page.locator(".framed", has=page.locator("svg"))
    assert frame.locator(".axis.x i").all_inner_texts() == ["0", "1", "2"]
    assert tick_at(frame, "x", "2") == pytest.approx(2 / 2.5, abs=0.01)
    assert frame.locator(".axis.y i").all_text_contents() == ["−1", "0", "1"]


def test_a_histogram_counts_every_clip(page: Any) -> None:
    svg = page.locator("svg.histogram")
    titles = svg.locator("rect title").all_text_contents()
    assert titles == ["0 to 0.5: 1 clip", "0.5 to 1.0: 0 clips", "1.0 to 1.5: 5 clips", "1.5 to 2.0: 2 clips"]
    assert svg.get_attribute("aria-label") == "Scores: 8 clips, length (s) from 0 to 2.0; a fact"
    assert svg.locator("text.x").all_text_contents() == ["0", "0.5", "1.0", "1.5", "2.0"]
    assert svg.locator("text.y").all_text_contents() == ["0", "2", "4", "6"]
    assert svg.locator("text.name").all_text_contents() == ["length (s)", "clips"]
    # the bar of five clips ends where the axis is at 5
    tops = {text: svg.locator("text.y").nth(i).bounding_box()["y"] for i, text in enumerate(("0", "2", "4", "6"))}
    bar = svg.locator("rect").nth(2).bounding_box()
    height = bar["height"] / (tops["0"] - tops["2"])
    assert 2 * height == pytest.approx(5, abs=0.05)


@pytest.mark.parametrize(
    ("made", "texts"),
    [
        ("linear('', 0, 1)", ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ("linear('', .013, .987)", ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ("linear('', -37.2, -3, { exact: true })", ["−30", "−20", "−10"]),
        ("linear('', 0, 3e-5)", ["0", "1e−5", "2e−5", "3e−5"]),
        ("linear('', 0, 2.5e9)", ["0", "5e8", "1.0e9", "1.5e9", "2.0e9", "2.5e9"]),
        ("linear('', 0, 1234)", ["0", "500", "1,000", "1,500"]),
        ("linear('', 0, 1, { whole: true })", ["0", "1"]),
        ("linear('', 3, 3)", ["1", "2", "3", "4", "5"]),
        ("linear('', 0, 0)", ["−0.6", "−0.4", "−0.2", "0", "0.2", "0.4", "0.6"]),
        ("times(.03)", ["0", "0.01", "0.02", "0.03"]),
        ("times(30, { most: 10 })", ["0", "5", "10", "15", "20", "25", "30"]),
        ("times(600)", ["0:00", "2:00", "4:00", "6:00", "8:00", "10:00"]),
        ("times(7200)", ["0:00", "30:00", "60:00", "90:00", "120:00"]),
        ("frequencies(0, 22050, 'mel')", ["1k", "100", "10k", "2k", "5k", "20k"]),
    ],
)
def test_ticks_are_round(page: Any, made: str, texts: list[str]) -> None:
    assert page.evaluate(f"{made}.ticks.map(([, text]) => text)") == texts


def test_everything_has_a_name_and_fits_a_phone(page: Any) -> None:
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("['1 clip', '0 clips', '1,000 clips', '2 classes']") == page.evaluate(
        "[counted(1, 'clip'), counted(0, 'clip'), counted(1000, 'clip'), counted(2, 'class')]"
    )


@pytest.mark.parametrize("width", [360, 1280])
def test_ticks_do_not_overlap(page: Any, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    overlaps = """() => [...document.querySelectorAll(".axis, svg.curve")].flatMap((axis) => {
      const texts = [...axis.querySelectorAll("i, span, text")];
      const boxes = texts.map((one) => [one.textContent, one.getBoundingClientRect()]);
      const touch = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
      return boxes.flatMap(([text, a], k) => boxes.slice(k + 1).filter(([, b]) => touch(a, b)).map(([b]) => [text, b]));
    })"""
    assert page.evaluate(overlaps) == []
    page.set_viewport_size({"width": 360, "height": 800})
