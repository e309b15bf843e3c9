"""The page of an inspection, in a real browser."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.audio.excerpts import excerpt
from earmark.audit.inspect_clips import inspect
from earmark.audit.inspect_page import _histogram
from earmark.clips.clip import Clip
from earmark.settings.evaluation_flags import InspectOptions
from tests.audit.test_duplicates import chirp
from tests.audit.test_run import write
from tests.browser import needs_browser, opened
from tests.tiny import RATE_HZ

HOSTILE = "</script><script>document.title='taken'</script>'\"& 鸟"


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out")
    rows = []
    for i in range(10):
        write(root / f"a{i}.wav", chirp(i))
        write(root / f"b{i}.wav", chirp(50 + i))
        rows += [f"a{i}.wav,kite\n", f'b{i}.wav,"{HOSTILE.replace(chr(34), chr(34) * 2)}"\n']
    write(root / "long silence.wav", np.zeros(5 * RATE_HZ))
    write(root / "copy.wav", chirp(3))
    rows += ["long silence.wav,kite\n", "copy.wav,kite\n"]
    (root / "train.csv").write_text("audio,label\n" + "".join(rows), encoding="utf-8")
    write(root / "v.wav", chirp(90))
    (root / "validation.csv").write_text("audio,label\nv.wav,kite\n")
    inspect(InspectOptions(data_dir=str(root), output_dir=str(out)))
    return out / "inspect.html"


def test_what_a_label_holds_stays_text(html: Path) -> None:
    text = html.read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])  # type: ignore[index]
    assert HOSTILE in data["splits"]["train"]["labels"]


@pytest.fixture
def page(browser: Any, html: Path) -> Iterator[Any]:
    with opened(browser, html) as page:
        yield page


@needs_browser
def test_findings_can_be_heard(page: Any) -> None:
    assert "taken" not in page.title()
    copies = page.locator("details", has_text="of copies within one split")
    assert copies.locator(".clip").count() == 2
    copies.locator("summary").press("Enter")
    player = copies.locator("audio").first
    seconds = player.evaluate("p => new Promise(d => { p.onloadedmetadata = () => d(p.duration); p.load(); })")
    assert seconds == pytest.approx(1.0, abs=0.05)
    silent = page.locator("details", has_text="silent (peak")
    assert "first seconds only" in silent.locator(".clip").inner_html()


@needs_browser
def test_it_fits_a_phone_and_shows_every_class(page: Any) -> None:
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert HOSTILE in page.locator("#classes").inner_text()


@needs_browser
def test_plots_have_axes_with_units_and_count_every_clip(page: Any) -> None:
    plots = page.locator("#plots svg")
    names = plots.locator("text.name").all_text_contents()
    assert names == ["length (s)", "clips", "level (dB, 0 = full scale)", "clips", "peak (dB, 0 = full scale)", "clips"]
    for plot in plots.all():
        assert sum(int(title.split(": ")[1].split()[0]) for title in plot.locator("title").all_text_contents()) == 23
    length = plots.first
    assert length.get_attribute("aria-label") == "Length: 23 clips, length (s) from 1.0 to 5.0"
    assert length.locator("text.x").all_text_contents() == ["1", "2", "3", "4", "5"]
    assert length.locator("title").first.text_content() == "1.0 to 1.1: 22 clips"
    assert length.locator("title").last.text_content() == "4.9 to 5.0: 1 clip"
    waveform = page.locator("details", has_text="silent (peak").locator(".framed")
    assert waveform.locator(".axis.x i").all_text_contents() == ["0", "1", "2", "3"]  # the first 3 s
    assert page.locator("#classes th .ends").all_inner_texts() == ["0\n12", "0\n12"]


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [([1.0, 1.0], 0.5, 1.5), ([0.2], 0, 0.7), ([-20.0, -3.0, -3.1], -20, -3), ([0.0], 0, 0.5)],
)
def test_histograms_have_round_edges_and_lose_no_clip(values: list[float], low: float, high: float) -> None:
    found = _histogram("Peak", np.array(values), "peak")
    assert found["low"] == pytest.approx(low)
    assert found["high"] == pytest.approx(high)
    assert sum(found["counts"]) == len(values)
    rng = np.random.default_rng(0)
    for scale in (1e-3, 0.3, 1.0, 7.0, 4000.0):
        assert sum(_histogram("Length", scale * rng.random(1000), "s")["counts"]) == 1000


def test_an_excerpt_of_what_cannot_be_read_is_empty(tmp_path: Path) -> None:
    (tmp_path / "x.wav").write_bytes(b"RIFF")
    assert excerpt(Clip("x.wav", path=str(tmp_path / "x.wav"))).uri == ""
    write(tmp_path / "y.wav", chirp(0, 5.0))
    found = excerpt(Clip("y.wav", path=str(tmp_path / "y.wav")))
    assert not found.whole
    assert len(found.outline) == 80
    assert len(found.uri) < 60_000
