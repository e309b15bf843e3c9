"""The report of a split, in a real browser."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.audio.excerpts import small_spectrogram
from earmark.clips.clip import Clip, ClipTable
from earmark.report.report_page import ReportFacts, ScoredSplit, write_report
from earmark.runs.judged import judge
from tests.audit.test_run import write
from tests.browser import bright_height, needs_browser, opened, settled, tick_at
from tests.tiny import RATE_HZ, tone

# of text on what it stands on, as in WCAG 2.2; colours come as rgb(0 to 255) and as color(srgb 0 to 1)
_CONTRAST = """all => {
  const light = (text) => text.match(/[\\d.]+/g).slice(0, 3)
    .map((part) => text.startsWith("color(") ? Number(part) : part / 255)
    .map((part) => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, i) => sum + part * [.2126, .7152, .0722][i], .05);
  return all.filter((one) => one.innerText).map((one) => {
    const style = getComputedStyle(one), both = [light(style.color), light(style.backgroundColor)];
    return Math.max(...both) / Math.min(...both);
  });
}"""
HOSTILE = "</script><script>document.title='taken'</script>'\"& 鸟"
LABELS = ["high", HOSTILE, "low"]


def scored(root: Path, split: str, seed: int) -> ScoredSplit:
    """Thirty clips, of which two high ones are called low, surely, and one low one is gone."""
    rng = np.random.default_rng(seed)
    clips, logits = [], []
    for i in range(30):
        label = i % 3
        path = root / f"{split}{i}.wav"
        write(path, tone(500 * (label + 1), 1.0, seed=i))
        metadata = {"tape": "old" if i < 15 else "new"}
        clips.append(Clip(f"{split}{i}.wav", LABELS[label], str(path), group=f"speaker {i % 5}", metadata=metadata))
        answer = 2 if i in (3, 9) else label
        logits.append(4.0 * np.eye(3)[answer] + rng.normal(0, 0.1, 3))
    (root / f"{split}2.wav").unlink()
    table = ClipTable(clips, "here")
    return ScoredSplit(judge(np.array(logits, np.float32), table, LABELS), np.linspace(0.5, 3, 30))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    history = [{"epoch": i / 4, "loss": 2.0 - i / 4, "step": i} for i in range(8)]
    history += [{"epoch": i, "eval_loss": 2.5 - i, "eval_accuracy": i / 2} for i in (1, 2)]
    facts = ReportFacts("my run", {"": "tc_resnet"}, {"seed": 42}, {"device": "cpu"}, history, "speaker", ["too sure"])
    splits = {"test": scored(root, "test", 0), "validation": scored(root, "validation", 1)}
    return write_report(root / "report.html", facts, splits)


@needs_browser
def test_the_headline_says_how_far_to_trust_it(page: Any) -> None:
    assert page.title() == "Report of my run"
    accuracy = page.locator("#cards .card").first.inner_text()
    assert "0.9333" in accuracy
    assert "always" in accuracy
    assert "0.3333" in accuracy
    assert page.locator("#cards svg").first.get_attribute("aria-label").startswith("95 % interval 0.8")
    assert "too sure" in page.locator("#warnings").inner_text()


@needs_browser
def test_no_interval_of_macro_f1_if_all_clips_are_right(browser: Any, tmp_path: Path) -> None:
    clips = [Clip(f"{i}.wav", LABELS[i % 2], path="/none", group=f"speaker {i}") for i in range(12)]
    right = judge(4 * np.eye(2, dtype=np.float32)[np.arange(12) % 2], ClipTable(clips, "here"), LABELS[:2])
    assert "95 % interval over 12 clips: accuracy 0.7575 to 1.0000; calibration" in right.metrics.summary_lines()[2]
    path = write_report(tmp_path / "r.html", ReportFacts("x", {}, {}, {}), {"test": ScoredSplit(right, np.ones(12))})
    with opened(browser, path) as page:
        assert "95 % intervals by Wilson's method over 12 clips; clips" in page.locator("body").inner_text()
        accuracy, macro_f1 = page.locator("#cards .card").all()[:2]
        assert "95 %: 0.7575 to 1.0000" in accuracy.inner_text()
        assert "no interval: all clips are right" in macro_f1.inner_text()
        assert macro_f1.locator("svg").count() == 0


@needs_browser
def test_headline_cards_stand_in_even_rows(browser: Any, report: Path) -> None:
    with opened(browser, report, width=1280) as page:
        spots = [card.bounding_box() for card in page.locator("#cards .card").all()]
        rows: dict[float, list[float]] = {}
        for spot in spots:
            rows.setdefault(spot["y"], []).append(round(spot["x"] + spot["width"]))
        assert [len(ends) for ends in rows.values()] == [2, 3]
        assert len({ends[-1] for ends in rows.values()}) == 1  # none leaves a gap at its end


@needs_browser
def test_a_cell_lets_its_clips_be_heard(page: Any) -> None:
    page.locator("#matrix button[data-i='0'][data-j='2']").click()
    heard = page.locator("#heard")
    assert "“high” predicted as “low”: 2 clips" in heard.inner_text()
    player = heard.locator("audio").first
    seconds = player.evaluate("p => new Promise(d => { p.onloadedmetadata = () => d(p.duration); p.load(); })")
    assert seconds == pytest.approx(1.0, abs=0.05)
    frame = heard.locator(".framed").first
    assert bright_height(frame) == pytest.approx(tick_at(frame, "y", "500"), abs=0.04)  # the tone, where it is
    assert frame.locator(".axis span").all_inner_texts() == ["time (s)", "frequency (Hz)", "dB, 0 = loudest"]
    assert tick_at(frame, "x", "1.0") == pytest.approx(1, abs=0.02)


@needs_browser
def test_charts_have_axes_and_colours_a_legend(page: Any) -> None:
    bars = page.locator("#histograms svg")
    assert bars.locator("text.name").all_text_contents() == ["probability", "clips"] * 2
    counts = [int(title.split(": ")[1].split()[0]) for title in bars.locator("title").all_text_contents()]
    assert sum(counts) == 30
    assert sum(counts[20:]) == 2  # of wrong predictions
    assert page.locator("#reliability svg text.name").all_text_contents() == ["probability", "fraction correct"]
    curves = page.locator("#curves svg text.name").all_text_contents()
    assert curves == ["epoch", "loss", "epoch", "accuracy"]
    assert page.locator("#curves svg").first.locator("text.x").all_text_contents() == ["0", "0.5", "1.0", "1.5", "2.0"]
    assert page.locator("#matrix .corner").inner_text() == "true ↓ predicted →"
    assert page.locator("#legend").inner_text().split("wrong")[1].strip() == ": 0 to 2 clips"
    page.locator("#shares").click()
    assert "wrong: 0 to 33 % of the row, or more" in page.locator("#legend").inner_text()
    page.locator("#shares").click()
    assert page.locator("#cards .ends").first.inner_text().split() == ["0", "1"]
    assert set(page.locator("#parts th .ends").all_inner_texts()) == {"0\n1"}


@needs_browser
def test_the_matrix_goes_by_keys(page: Any) -> None:
    first = page.locator("#matrix button").first
    first.focus()
    for key in ("ArrowRight", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    page.keyboard.press("Enter")
    assert "“low” predicted correctly: 10 clips" in page.locator("#heard").inner_text()
    assert page.evaluate("document.activeElement.id") == "heard"
    assert "(no audio" in page.locator("#heard").inner_text()  # the least sure three may hold the lost one
    assert page.locator("#matrix button[tabindex='0']").count() == 1


@needs_browser
def test_keys_lead_back_to_the_cell_and_wide_tables_can_be_moved(page: Any) -> None:
    cell = page.locator("#matrix button[data-i='0'][data-j='2']")
    cell.click()
    assert page.locator("#matrix button[tabindex='0']").count() == 1
    page.keyboard.press("Escape")
    assert page.evaluate("[document.activeElement.dataset.i, document.activeElement.dataset.j]") == ["0", "2"]
    page.locator("#shares").click()
    assert cell.get_attribute("aria-pressed") == "true"
    assert cell.inner_text() == "20"  # two of ten
    page.locator("#shares").click()
    page.set_viewport_size({"width": 240, "height": 800})
    region = settled(page).locator("#parts [role='region']").first
    assert region.get_attribute("tabindex") == "0"
    assert region.get_attribute("aria-label").startswith("By ")
    page.set_viewport_size({"width": 1280, "height": 800})
    assert settled(page).locator("#parts [role='region']").count() == 0
    page.set_viewport_size({"width": 360, "height": 800})
    assert settled(page).locator("th", has_not_text=re.compile(".")).count() == 0


@needs_browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_numbers_in_the_matrix_stand_out(page: Any, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme)
    for shares in range(2):  # shares make cells strongest
        ratios = page.locator("#matrix button, #splits button[aria-pressed='true']").evaluate_all(_CONTRAST)
        assert len(ratios) > 3
        assert min(ratios) >= 4.5, shares  # WCAG 2.2, 1.4.3
        page.locator("#shares").click()
    page.emulate_media(color_scheme="light")


@needs_browser
def test_classes_sort_and_splits_change(page: Any) -> None:
    classes = page.locator("#per_class tbody tr")
    assert classes.first.inner_text().startswith(("high", "low"))
    page.locator("#per_class th button", has_text="precision").click()
    page.locator("#per_class th button", has_text="precision").click()
    assert page.locator("#per_class th[aria-sort='descending']").inner_text().startswith("precision")
    page.locator("#splits button", has_text="validation").click()
    assert page.locator("#splits button[aria-pressed='true']").inner_text() == "validation: 30 clips"
    page.locator("#class").select_option(label=HOSTILE)
    assert "Clips of other classes: 20" in page.locator("#histograms").inner_text()
    page.locator("#splits button", has_text="test").click()


@needs_browser
def test_parts_training_and_facts_are_there_and_it_fits_a_phone(page: Any) -> None:
    parts = page.locator("#parts").inner_text()
    for heading in ("By length", "By speaker", "By tape", "By sampling rate"):
        assert heading in parts
    assert page.locator("#curves figure").count() == 1 + 1  # loss, and accuracy of validation; no rate was logged
    assert (
        page.locator("#curves svg").first.get_attribute("aria-label").startswith("training from 2 to 0.25; validation")
    )
    page.locator("summary", has_text="Settings").click()
    assert "seed" in page.locator("#facts").inner_text()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.slow
@pytest.mark.usefixtures("encoded_once")
def test_a_report_of_many_clips_is_bounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count, classes = 100_000, 35
    noise = rng.standard_normal(3 * RATE_HZ) * 0.2  # what compresses worst
    write(tmp_path / "noise.wav", noise)
    targets = rng.integers(0, classes, count)
    labels = [f"class {i:02}" for i in range(classes)]
    path = str(tmp_path / "noise.wav")
    clips = [Clip(path, labels[i], path, group=f"s{n % 3000}", metadata={"n": n}) for n, i in enumerate(targets)]
    logits = rng.standard_normal((count, classes)).astype(np.float32) + 3 * np.eye(classes, dtype=np.float32)[targets]
    scored = ScoredSplit(judge(logits, ClipTable(clips, "here"), labels), rng.uniform(0.1, 9, count))
    report = write_report(tmp_path / "r.html", ReportFacts("big", {}, {}, {}), {"test": scored, "validation": scored})
    assert report.stat().st_size < 30e6


def test_columns_that_are_odd_are_told_of_in_the_log_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    ages = [31, "young", 40, None]
    clips = [Clip(f"{i}.wav", LABELS[i % 2], path="/none", metadata={"age": age}) for i, age in enumerate(ages)]
    judged = judge(np.eye(4, 2, dtype=np.float32), ClipTable(clips, "here"), LABELS[:2])
    with caplog.at_level("INFO", "earmark.report.report_page"):
        write_report(tmp_path / "r.html", ReportFacts("x", {}, {}, {}), {"test": ScoredSplit(judged, np.ones(4))})
    assert "report, test: column 'age' mixes 2 numbers with 1 text ('young') and is read as text" in caplog.text


def test_a_picture_shows_a_tone_where_it_is_and_when() -> None:
    samples = tone(1000.0, 1.0).copy()
    samples[: RATE_HZ // 2] = 0
    picture = small_spectrogram(samples).levels
    assert picture.shape == (48, 96)
    band = int(48 * np.log(1000 / 60) / np.log(7600 / 60))
    assert abs(int(picture[:, 80].argmax()) - band) <= 1
    assert picture[:, :40].max() == 0
    assert small_spectrogram(np.zeros(10, np.float32)).levels.shape == (48, 1)
