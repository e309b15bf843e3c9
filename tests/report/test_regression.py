"""The report of a split of numbers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.clips.clip import Clip, ClipTable
from earmark.report.learning_curves import learning_curves
from earmark.report.report_page import ReportFacts, ScoredSplit, split_content, write_report
from earmark.runs.judged import judge
from earmark.stats.curves import errors_histogram
from earmark.tasks import REGRESSION
from earmark.tasks.decision import Decision
from earmark.tasks.regression_section import MOST_POINTS, choose_of_numbers
from earmark.tasks.report_section import MISTAKES, ROOM
from tests.audit.test_run import write
from tests.browser import MUDDLED, NAMELESS, needs_browser, opened
from tests.tiny import RATE_HZ, tone

HOSTILE = "</script><script>document.title='taken'</script> Hz"


def scored(numbers: np.ndarray, answers: np.ndarray, path: str = "/none", asked: str = "pitch") -> ScoredSplit:
    clips = [
        Clip(f"{i}.wav", float(number), path, group=f"g{i % 2}", metadata={"room": "ab"[i % 2]})
        for i, number in enumerate(numbers)
    ]
    judged = judge(
        answers[:, None].astype(np.float32), ClipTable(clips, "here"), [asked], decision=Decision(task=REGRESSION)
    )
    return ScoredSplit(judged, np.linspace(0.5, 3, len(numbers)))


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty numbers from 0 to 39, answered one too high; clip 30 is answered 50."""
    root = tmp_path_factory.mktemp("numbers")
    write(root / "tone.wav", tone(500.0, 0.5))
    numbers = np.arange(40.0)
    answers = numbers + 1
    answers[30] = 50
    history = [{"epoch": i, "loss": 1 / i, "eval_loss": 900 / i, "eval_mae": 3 / i, "eval_rmse": 4 / i} for i in (1, 2)]
    facts = ReportFacts("my run", {"": "tc_resnet"}, {"seed": 42}, {"device": "cpu"}, history, "tape", ["too sure"])
    splits = {split: scored(numbers, answers, str(root / "tone.wav"), HOSTILE) for split in ("test", "validation")}
    return write_report(root / "report.html", facts, splits)


@needs_browser
def test_the_headline_stands_beside_the_median(page: Any) -> None:
    assert page.title() == "Report of my run"
    mae = page.locator("#cards .card").first.inner_text()
    assert "1.475" in mae  # (39 x 1 + 20) / 40
    assert "always the median: 10" in mae
    assert HOSTILE in mae
    rmse = page.locator("#cards .card", has_text="RMSE").inner_text()
    assert "always the mean: 11.54" in rmse  # of 0 to 39 the deviation
    assert "+1.475" in page.locator("#cards .card", has_text="Mean error").inner_text()


@needs_browser
def test_a_point_is_heard_by_touch_and_by_keys(page: Any) -> None:
    heard = page.locator("#heard")
    assert "30 → 50" in heard.inner_text()  # the largest error, at first
    spot = page.locator("#cloud circle.heard").first.bounding_box()
    page.mouse.move(0, 0)
    page.locator("#cloud circle.heard").first.scroll_into_view_if_needed()
    spot = page.locator("#cloud circle.heard").first.bounding_box()
    page.mouse.click(spot["x"] + spot["width"] / 2 + 1, spot["y"] + spot["height"] / 2)
    assert "0 → 1" in heard.inner_text()
    assert "error +1" in heard.inner_text()
    page.locator("#clip").focus()
    page.keyboard.press("ArrowDown")
    assert "1 → 2" in heard.inner_text()
    player = heard.locator("audio").first
    seconds = player.evaluate("p => new Promise(d => { p.onloadedmetadata = () => d(p.duration); p.load(); })")
    assert seconds == pytest.approx(0.5, abs=0.05)
    ring, point = (
        page.locator("#cloud .chosen").bounding_box(),
        page.locator("#cloud circle.heard").nth(1).bounding_box(),
    )
    assert ring["x"] + ring["width"] / 2 == pytest.approx(point["x"] + point["width"] / 2, abs=1)


@needs_browser
def test_errors_parts_and_training_are_there(page: Any) -> None:
    assert "30 → 50" in page.locator("#wrong .clip").first.inner_text()
    assert page.locator("#wrong .clip").count() == MISTAKES
    words = page.locator("#histogram svg").get_attribute("aria-label")
    assert "0 clips below the middle bar" in words
    parts = page.locator("#parts").inner_text()
    for heading in ("By " + HOSTILE, "By length", "By tape", "By room", "MAE"):
        assert heading in parts
    captions = page.locator("#curves figcaption").all_inner_texts()
    assert captions == ["Loss", "Validation"]
    assert page.locator("#curves svg text.name").all_text_contents() == ["epoch", "loss", "epoch", "MAE, RMSE"]
    assert page.locator("#histogram text.name").all_text_contents() == ["error (predicted − true)", "clips"]
    counts = page.locator("#histogram title").all_text_contents()
    assert sum(int(count.split(": ")[1].split()[0]) for count in counts) == 40
    assert page.locator("#cloud text.name").all_text_contents() == [HOSTILE, f"predicted {HOSTILE}"]
    ticks = page.locator("#cloud text.x").all_text_contents()
    assert ticks == page.locator("#cloud text.y").all_text_contents() == ["0", "10", "20", "30", "40", "50"]
    assert "validation" not in page.locator("#curves svg").first.get_attribute("aria-label")  # of another unit
    assert "MAE from 3 to 1.5; RMSE" in page.locator("#curves svg").last.get_attribute("aria-label")
    page.locator("#splits button", has_text="validation").click()
    assert page.locator("#splits button[aria-pressed='true']").inner_text() == "validation: 40 clips"


@needs_browser
def test_everything_has_a_name_and_it_fits_a_phone(page: Any) -> None:
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(MUDDLED) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@needs_browser
@pytest.mark.parametrize(
    ("numbers", "answers"),
    [([3.0], [3.5]), ([3.0], [3.0]), ([1.0, 2, 3], [2.0, 2, 2]), ([2.0, 2], [2.0, 2]), ([0.0, 0], [1e-9, 1e9])],
)
def test_the_least_that_can_be_shown(browser: Any, tmp_path: Path, numbers: list[float], answers: list[float]) -> None:
    one = scored(np.array(numbers), np.array(answers))
    with opened(browser, write_report(tmp_path / "r.html", ReportFacts("small", {}, {}, {}), {"test": one})) as page:
        assert page.locator("#cards .card").count() == 5
        text = page.locator("main").inner_text() + page.locator("#cloud").inner_html()
        assert "NaN" not in text
        assert "undefined" not in text
        assert "Infinity" not in text


def test_the_largest_errors_and_clips_from_the_lowest_number_to_the_highest() -> None:
    numbers = np.arange(5000.0)[::-1]
    errors = np.where(np.arange(5000) % 10 == 0, 3.0, 0.0)
    errors[17] = -9
    mistakes, others = choose_of_numbers(numbers, errors)
    assert mistakes[:3] == [17, 0, 10]
    assert len(mistakes) == MISTAKES
    assert len(others) == ROOM
    assert not set(mistakes) & set(others)
    quarters = np.histogram(numbers[others], 4)[0]
    assert quarters.min() > ROOM / 4 - 4
    assert choose_of_numbers(np.array([1.0]), np.array([0.0])) == ([], [0])
    assert choose_of_numbers(np.array([1.0]), np.array([2.0])) == ([0], [])


def test_points_are_bounded_and_drawn_the_same_each_time() -> None:
    rng = np.random.default_rng(0)
    one = scored(rng.normal(size=5000), rng.normal(size=5000))
    contents = [split_content("test", one.judged, one.durations_s, None) for _ in range(2)]
    assert contents[0]["points"] == contents[1]["points"]
    places = [place for _, _, place in contents[0]["points"]]
    assert len(places) == MOST_POINTS
    assert sorted(place for place in places if place >= 0) == list(range(len(contents[0]["examples"])))


def test_the_histogram_is_around_0_and_far_errors_do_not_stretch_it() -> None:
    errors = np.concatenate([np.linspace(-1, 1, 999), [40.0]])
    found = errors_histogram(errors)
    assert found["reach"] < 1.1
    assert sum(found["counts"]) == 1000
    assert 1 <= found["beyond"] <= 10
    assert errors_histogram(np.zeros(5)) == {"counts": [0] * 12 + [5] + [0] * 12, "reach": 1.0, "beyond": 0}
    assert errors_histogram(np.array([0.0] * 200 + [4.0]))["beyond"] == 0


def test_losses_of_two_units_are_not_on_one_axis() -> None:
    history = [{"epoch": i, "loss": 1.0 / i, "eval_loss": 900.0, "eval_mae": 1.0} for i in (1, 2)]
    assert [curve["name"] for curve in learning_curves(history, REGRESSION)[0]["curves"]] == ["training"]


@pytest.mark.usefixtures("encoded_once")
def test_a_report_of_many_clips_is_bounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    write(tmp_path / "noise.wav", rng.standard_normal(3 * RATE_HZ) * 0.2)
    numbers = rng.normal(size=30_000)
    one = scored(numbers, numbers + rng.normal(size=30_000), str(tmp_path / "noise.wav"))
    assert write_report(tmp_path / "r.html", ReportFacts("big", {}, {}, {}), {"test": one}).stat().st_size < 15e6
