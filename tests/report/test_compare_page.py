"""The page of a comparison, in a real browser."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.cli.report_command import COMMAND
from earmark.clips.clip import Clip, ClipTable
from earmark.report.compare import compare_runs
from earmark.report.compare_page import write_comparison
from earmark.runs.folder import RunFolder
from earmark.runs.judged import judge, write_predictions
from tests.audit.test_run import write
from tests.browser import MUDDLED, NAMELESS, needs_browser, opened
from tests.report.some_runs import CLASSES, of_classes, of_labels, of_numbers
from tests.tiny import RATE_HZ, tone

HOSTILE = "</script><script>document.title='taken'</script>'\"& 鸟"
IN_A_PATH = HOSTILE.replace("/", "|")


def test_clips_are_found_wherever_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of a manifest: their names count from its folder, and one is the end of a recording that begins silent."""
    tape = np.concatenate([np.zeros(RATE_HZ), 0.5 * tone(500.0, 1.0) / np.abs(tone(500.0, 1.0)).max()])
    write(tmp_path / "data" / "tape.wav", tape)
    monkeypatch.chdir(tmp_path)
    table = ClipTable(
        [
            Clip("tape.wav", "a", path="data/tape.wav", offset_s=1.0, duration_s=0.5),
            Clip("x.parquet row 1", "b", read_bytes=bytes),
        ],
        "x",
    )
    for name, logits in (("right", [[1.0, 0], [0, 1]]), ("wrong", [[0.0, 1], [0, 1]])):
        (tmp_path / name).mkdir()
        write_predictions(RunFolder(tmp_path / name), "test", judge(np.array(logits, np.float32), table, CLASSES))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = compare_runs([str(tmp_path / "right"), str(tmp_path / "wrong")])
    page = write_comparison(tmp_path / "x.html", found).read_text(encoding="utf-8")
    (uri,) = re.findall(r'"uri":"data:audio/ogg;base64,([^"]+)"', page)
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(uri)))
    assert len(samples) == pytest.approx(0.5 * rate_hz, rel=0.01)
    assert np.abs(samples[: rate_hz // 10]).max() > 0.4


@needs_browser
def test_terminal_and_page_round_alike(tmp_path: Path, browser: Any) -> None:
    """p 0.0625 and a difference of 5/32 are halfway between two roundings."""
    right = {"plain": [i >= 5 for i in range(32)], "better": [True] * 32}
    found = compare_runs([str(of_classes(tmp_path / name, of)) for name, of in right.items()])
    path = write_comparison(tmp_path / "x.html", found)
    lines = [line for line in found.summary().splitlines() if line.startswith("| ")]
    with opened(browser, path) as page:
        for table, line in (("figures", lines[2]), ("pairs", lines[6])):
            shown = [cell.strip().replace("-", "−") for cell in line.split("|")[1:-1]]
            cells = page.locator(f"#{table} tbody tr", has_text=shown[0]).locator("td").all_inner_texts()
            assert [cell for cell in cells if cell] == shown  # the bar of the headline has no text
        assert cells[-1] == "0.062"
        assert "(p 0.062)" in page.locator("#verdicts").inner_text()


@needs_browser
def test_the_clips_that_decide_can_be_heard(tmp_path: Path, browser: Any, capsys: pytest.CaptureFixture[str]) -> None:
    right = {"plain": [i % 4 != 0 for i in range(40)], "better": [i != 0 for i in range(40)]}
    right["same"] = [i % 4 != 1 for i in range(40)]
    runs = [str(of_classes(tmp_path / name, of)) for name, of in right.items()]
    for i in (4, 8):
        write(tmp_path / f"{i}.wav", tone(500.0, 1.0))
    COMMAND.does(COMMAND.read([*runs, "--output", str(tmp_path / "x.html")])[0])
    assert str(tmp_path / "x.html") in capsys.readouterr().out
    with opened(browser, tmp_path / "x.html") as page:
        section = page.locator("section", has_text="9 clips that only better predicts correctly")
        assert section.locator(".clip").count() == 9
        assert section.locator("audio").count() == 2  # the others are gone
        assert section.locator(".clip").first.inner_text().count("36.wav") == 1  # the surest
        assert "+0.2250" in page.locator("#pairs").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.fixture(scope="module")
def labels_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty clips of three labels. "good" misses one in clip 1 and has all others right; "plain" answers three labels
    wrongly in clip 4, two in clip 8, one in clips 12 and 16."""
    root = tmp_path_factory.mktemp("labels")
    there = np.array([[i % 2 == 0, i % 4 == 0, i % 3 == 0] for i in range(40)])
    plain, good = 2 * there - 1.0, 2 * there - 1.0
    for clip, count in ((4, 3), (8, 2), (12, 1), (16, 1)):
        plain[clip, :count] *= -1
    plain[16, 0] *= 3  # a surer mistake than that of clip 12
    good[1, 0] *= -1
    for i in (4, 8):
        write(root / f"{i}.wav", tone(500.0, 0.5, seed=i))
    names = ["high", HOSTILE, "low"]
    runs = [of_labels(root / name, there, of, names) for name, of in (("plain", plain), ("good", good))]
    runs.append(of_labels(root / "like", there, plain, names))
    return write_comparison(root / "x.html", compare_runs(runs))


@pytest.fixture
def labels(browser: Any, labels_page: Path) -> Iterator[Any]:
    with opened(browser, labels_page) as page:
        yield page


@needs_browser
def test_runs_of_several_labels_stand_side_by_side(labels: Any) -> None:
    assert labels.title() == "3 runs on test"
    assert "40 clips, 3 labels" in labels.locator("#about").inner_text()
    figures = labels.locator("#figures").inner_text()
    assert "All labels right" in figures
    assert "0.9750" in figures  # good: one clip is wrong
    assert "0.9000" in figures  # plain: four are
    assert (
        "good: no significant difference from plain on clips with all labels right"
        in labels.locator("#verdicts").inner_text()
    )
    assert labels.locator("#pairs tbody tr").first.locator("td").nth(5).inner_text() == "4"


@needs_browser
def test_labels_are_sorted_by_how_much_better_they_are(labels: Any) -> None:
    rows = labels.locator("#per_label tbody tr")
    assert rows.count() == 3
    head = labels.locator("#per_label th", has_text="F1 difference")
    head.locator("button").click()
    assert head.get_attribute("aria-sort") == "ascending"
    labels.keyboard.press("Enter")  # the button has kept the focus
    assert head.get_attribute("aria-sort") == "descending"
    gains = [float(row.locator("td").nth(7).inner_text().split()[0].replace("−", "-")) for row in rows.all()]
    assert gains == sorted(gains, reverse=True)
    assert gains[0] > 0
    assert HOSTILE in labels.locator("#per_label").inner_text()
    labels.locator("#which").select_option(label="like")
    assert set(labels.locator("#per_label tbody tr td:nth-child(8)").all_inner_texts()) == {
        "+0.0000\n+0.0000 to +0.0000"
    }


@needs_browser
def test_the_clips_whose_labels_differ_most_come_first(labels: Any) -> None:
    side = labels.locator("section section", has_text="4 clips in which good has fewer wrong labels than plain")
    clips = side.locator(".clip")
    assert [re.findall(r"\d+\.wav", text)[0] for text in clips.all_inner_texts()] == [
        f"{i}.wav" for i in (4, 8, 16, 12)
    ]
    assert clips.first.locator(".asked").inner_text() == f"high, {HOSTILE}"
    first = clips.first.inner_text()
    assert re.search(r"good:\s+found: .*plain:\s+false alarm: low 0\.731\s+missed: high 0\.269", first, re.DOTALL)
    assert side.locator("canvas").count() == side.locator("audio").count() == 2  # the others are gone
    seconds = side.locator("audio").first.evaluate(
        "p => new Promise(d => { p.onloadedmetadata = () => d(p.duration); p.load(); })"
    )
    assert seconds == pytest.approx(0.5, abs=0.05)
    other = labels.locator("section section", has_text="1 clip in which plain has fewer wrong labels than good")
    assert "false alarm: high 0.731" in other.locator(".clip").inner_text()
    assert "no label, which is correct" in other.locator(".clip").inner_text()


@pytest.fixture(scope="module")
def numbers_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty numbers: the first run is one too high, five in clip 7; the second is right, but 9 too low in clip 30 and
    as the first in clip 0."""
    root = tmp_path_factory.mktemp("numbers")
    right = np.arange(40.0)
    good = right.copy()
    good[0], good[30] = 1, 21
    write(root / "30.wav", tone(500.0, 0.5))
    plain = right + 1
    plain[7] += 4
    runs = [of_numbers(root / name, right, of) for name, of in (("plain", plain), (IN_A_PATH, good))]
    return write_comparison(root / "x.html", compare_runs(runs))


@pytest.fixture
def numbers(browser: Any, numbers_page: Path) -> Iterator[Any]:
    with opened(browser, numbers_page) as page:
        yield page


@needs_browser
def test_runs_of_numbers_stand_side_by_side(numbers: Any) -> None:
    figures = numbers.locator("#figures tbody tr").last.inner_text()
    assert figures.startswith(IN_A_PATH)
    assert "0.25" in figures  # (1 + 9) / 40
    assert "−0.85" in numbers.locator("#pairs").inner_text()
    assert "better than plain (p " in numbers.locator("#verdicts").inner_text()
    text = numbers.locator("figure").inner_text()
    assert "closer in 0.950 of the clips, plain in 0.025, equal in 0.025; the median difference is −1" in text
    assert "closer in 38 clips, plain in 1" in numbers.locator("figure svg").get_attribute("aria-label")
    assert numbers.locator("#per_label, #per_class").count() == 0
    assert numbers.locator("figure text.name").all_text_contents() == ["difference of absolute errors", "clips"]
    counts = numbers.locator("figure svg title").all_text_contents()
    assert sum(int(count.split(": ")[1].split()[0]) for count in counts) == 40
    assert numbers.locator("#figures th .ends").inner_text().split() == ["0", "10"]  # the MAE of the median is 10


@needs_browser
def test_the_clips_whose_errors_differ_most_can_be_heard(numbers: Any) -> None:
    for_first = numbers.locator("section section", has_text="1 clip for which plain has a smaller error")
    text = for_first.locator(".clip").inner_text()
    assert "plain: 31 (error +1)" in text
    assert ": 21 (error −9)" in text
    assert for_first.locator("audio").count() == 1
    for_other = numbers.locator("section section", has_text="38 clips for which")
    assert for_other.locator(".clip").count() == 16
    assert "plain: 12 (error +5)" in for_other.locator(".clip").first.inner_text()
    assert "the largest differences first; 16 shown" in for_other.inner_text()


@needs_browser
@pytest.mark.slow
@pytest.mark.parametrize("name", ["labels", "numbers"])
def test_everything_has_a_name_and_it_fits_a_phone(request: pytest.FixtureRequest, name: str) -> None:
    page = request.getfixturevalue(name)
    assert page.title() == f"{3 if name == 'labels' else 2} runs on test"
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(MUDDLED) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    reached = "(one) => one.tabIndex === 0 || one.scrollWidth <= one.clientWidth"
    assert page.evaluate(f"[...document.querySelectorAll('.scroll')].every({reached})")
    assert page.locator("nav a").count() == page.locator("h2[id]").count() > 2


@needs_browser
@pytest.mark.parametrize("case", ["no label", "one clip", "all alike", "one number"])
def test_the_least_that_can_be_shown(browser: Any, tmp_path: Path, case: str) -> None:
    if case in ("no label", "one clip"):
        there = np.zeros((3, 2), bool) if case == "no label" else np.ones((1, 2), bool)
        logits = np.ones(there.shape)
        runs = [of_labels(tmp_path / name, there, sign * logits) for name, sign in (("plain", 1), ("good", -1))]
    else:
        right = np.full(3 if case == "all alike" else 1, 2.0)
        runs = [of_numbers(tmp_path / name, right, right) for name in ("plain", "good")]
    with opened(browser, write_comparison(tmp_path / "x.html", compare_runs(runs))) as page:
        text = page.locator("main").inner_text()
        for word in ("NaN", "undefined", "Infinity", "null"):
            assert word not in text
        assert page.evaluate(NAMELESS) == []


@pytest.mark.slow
def test_a_page_of_many_clips_and_runs_is_bounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    there = rng.random((800, 20)) < 0.1
    names = [f"label {i:02}" for i in range(20)]
    for i in range(800):
        (tmp_path / f"{i}.wav").symlink_to(tmp_path / "noise.wav")
    write(tmp_path / "noise.wav", rng.standard_normal(4 * RATE_HZ) * 0.2)
    runs = [
        of_labels(tmp_path / f"run{k}", there, 2.0 * there - 1 + rng.standard_normal(there.shape), names)
        for k in range(7)
    ]
    page = write_comparison(tmp_path / "x.html", compare_runs(runs)).read_text(encoding="utf-8")
    assert page.count('"uri":"data:audio/ogg') == 6 * 2 * 13  # at most 160 in all
    assert len(page) < 10e6
