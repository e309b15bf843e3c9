"""The report of a split of several labels a clip."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import auc, precision_recall_curve

from earmark.clips.clip import Clip, ClipTable
from earmark.report.report_page import ReportFacts, ScoredSplit, split_content, write_report
from earmark.runs.judged import judge
from earmark.stats.curves import label_histograms, precision_recall
from earmark.tasks import MULTI_LABEL
from earmark.tasks.decision import NEVER, Decision
from earmark.tasks.multi_label_section import choose_of_labels, confused_pairs
from earmark.tasks.report_section import MISTAKES, ROOM
from tests.audit.test_run import write
from tests.browser import MUDDLED, NAMELESS, needs_browser, opened
from tests.tiny import RATE_HZ, tone

HOSTILE = "</script><script>document.title='taken'</script>'\"& 鸟"
LABELS = ["high", HOSTILE, "low", "never heard"]


def scored(root: Path, split: str) -> ScoredSplit:
    """Forty clips: "high" in the even ones, the hostile label in every fourth, "low" in the first ten.

    "high" is missed in clip 0 and, surely, in clip 4; the hostile one is answered wrongly in 2, 6 and 10, which
    are "high".
    """
    clips, logits = [], []
    for i in range(40):
        path = root / f"{split}{i}.wav"
        write(path, tone(500.0, 0.5, seed=i))
        there = np.array([i % 2 == 0, i % 4 == 0, i < 10, False])
        said = there.copy()
        said[0] &= i not in (0, 4)
        said[1] |= i in (2, 6, 10)
        sure = np.array([5.0 if i == 4 else 1.0 + i / 100, 2, 3, 4])
        logits.append(np.where(said, sure, -sure))
        label = tuple(name for name, is_there in zip(LABELS, there, strict=True) if is_there)
        clips.append(
            Clip(f"{split}{i}.wav", label, str(path), group=f"tape {i % 4}", metadata={"place": "x" * (i > 19)})
        )
    (root / f"{split}4.wav").unlink()
    judged = judge(np.array(logits, np.float32), ClipTable(clips, "here"), LABELS, decision=Decision(task=MULTI_LABEL))
    return ScoredSplit(judged, np.linspace(0.5, 3, 40))


def test_the_interval_of_whole_clips_is_over_groups() -> None:
    clips = [Clip(f"{i}.wav", ("high",), f"{i}.wav", group=f"{i // 20}") for i in range(400)]
    logits = np.repeat(np.where(np.arange(20) % 3 > 0, 1, -1), 20)[:, None].astype(np.float32)  # whole groups are wrong
    widths = []
    for table in (clips, [replace(clip, group=None) for clip in clips]):
        judged = judge(logits, ClipTable(table, "here"), ["high"], decision=Decision(task=MULTI_LABEL))
        low, high = split_content("test", judged, np.ones(400), "tape")["exact_match_interval"]
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(20**0.5, rel=0.1)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labels")
    history = [{"epoch": i, "eval_loss": 2.5 - i, "eval_mean_average_precision": i / 2} for i in (1, 2)]
    facts = ReportFacts("my run", {"": "tc_resnet"}, {"seed": 42}, {"device": "cpu"}, history, "tape", ["too sure"])
    splits = {split: scored(root, split) for split in ("test", "validation")}
    return write_report(root / "report.html", facts, splits)


@needs_browser
def test_the_headline_stands_beside_knowing_nothing(page: Any) -> None:
    assert page.title() == "Report of my run"
    cards = page.locator("#cards .card")
    assert "by chance: 0.3333" in cards.first.inner_text()  # of 20, 10 and 10 in 40 clips
    assert "40 clips, 4 labels, 1 of them without clips" in cards.first.inner_text()
    assert cards.locator("svg").first.get_attribute("aria-label").startswith("95 % interval 0.")
    whole = page.locator("#cards .card", has_text="All labels right").inner_text()
    assert "0.8750" in whole  # five of forty are wrong
    assert "too sure" in page.locator("#warnings").inner_text()


@needs_browser
def test_a_label_is_chosen_from_the_table_and_its_clips_are_heard(page: Any) -> None:
    page.locator("#per_label button", has_text="high").click()
    assert page.evaluate("document.activeElement.id") == "one"
    heard = page.locator("#heard")
    text = heard.inner_text()
    assert "False alarms: 0 clips" in text
    assert "Misses: 2 clips" in text
    assert "Correct predictions: 38 clips" in text
    assert "The 3 least confident; predictions_test.csv lists all." in text
    surest = heard.locator(".clip").first
    assert HOSTILE + " 0.881" in surest.inner_text()
    assert "missed: high 0.007" in surest.inner_text()
    assert surest.locator("audio").count() == 0  # that file is gone
    player = heard.locator("audio").first
    seconds = player.evaluate("p => new Promise(d => { p.onloadedmetadata = () => d(p.duration); p.load(); })")
    assert seconds == pytest.approx(0.5, abs=0.05)
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == "high"


@needs_browser
def test_a_label_is_chosen_by_keys_and_curves_are_in_words(page: Any) -> None:
    page.locator("#label").focus()
    page.locator("#label").select_option(label="never heard")
    assert "No clip has “never heard”" in page.locator("#of_label").inner_text()
    page.locator("#label").select_option(label=HOSTILE)
    assert page.locator("#of_label figure").count() == 4
    first = page.locator("#of_label svg").first.get_attribute("aria-label")
    names = page.locator("#of_label svg text.name").all_text_contents()
    assert names[:4] == ["recall", "precision", "probability", "fraction with the label"]
    assert names[4:] == ["probability", "clips"] * 2
    counts = page.locator("#of_label .histogram title").all_text_contents()
    assert sum(int(count.split(": ")[1].split()[0]) for count in counts) == 40
    assert first.startswith(
        "average precision 0.7692, by chance 0.2500; at the threshold precision 0.769 and recall 1.000"
    )
    assert page.locator("#heard .wrong").first.inner_text().startswith(HOSTILE)


@needs_browser
def test_labels_that_are_taken_for_one_another_can_be_heard(page: Any) -> None:
    pair = page.locator("#pairs tbody tr").first
    assert [cell.strip() for cell in pair.inner_text().split("\t")] == ["high", HOSTILE, "3 of 10", "0.300", "0.000"]
    pair.locator("button").click()
    assert page.locator("#of_pair .clip").count() == 3
    assert page.evaluate("document.activeElement.id") == "of_pair"
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.textContent") == HOSTILE


@needs_browser
def test_labels_sort_mistakes_parts_and_training_are_there(page: Any) -> None:
    lines = page.locator("#per_label tbody tr")
    page.locator("#per_label th button", has_text="precision").last.click()
    assert lines.first.inner_text().startswith("never heard")  # never answered, so without one
    page.locator("#per_label th button", has_text="precision").last.click()
    assert page.locator("#per_label th[aria-sort='descending']").inner_text().strip() == "precision"
    assert page.locator("#wrong .clip").count() == 5
    assert "missed: high 0.007" in page.locator("#wrong .clip").first.inner_text()
    parts = page.locator("#parts").inner_text()
    for heading in ("By length", "By tape", "By place", "all correct"):
        assert heading in parts
    assert "mAP from 0.5 to 1" in page.locator("#curves svg").last.get_attribute("aria-label")
    assert page.locator("#reliability tbody tr").count() > 1
    page.locator("#splits button", has_text="validation").click()
    assert page.locator("#splits button[aria-pressed='true']").inner_text() == "validation: 40 clips"


@needs_browser
def test_everything_has_a_name_and_it_fits_a_phone(page: Any) -> None:
    assert page.evaluate(NAMELESS) == []
    assert page.evaluate(MUDDLED) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@needs_browser
@pytest.mark.parametrize("case", ["one clip", "all alike", "nothing answered", "one label"])
def test_the_least_that_can_be_shown(browser: Any, tmp_path: Path, case: str) -> None:
    labels = ["a"] if case == "one label" else ["a", "b"]
    there = [("a",)] if case == "one clip" else [("a",), ("a",), ()] if case != "all alike" else [("a",)] * 3
    clips = [Clip(f"{i}.wav", names, "/none") for i, names in enumerate(there)]
    logits = np.full((len(clips), len(labels)), -3.0 if case == "nothing answered" else 3.0, np.float32)
    never = Decision(task=MULTI_LABEL, class_thresholds={"a": NEVER} if case == "nothing answered" else {})
    judged = judge(logits, ClipTable(clips, "here"), labels, decision=never)
    facts = ReportFacts("small", {}, {}, {})
    path = write_report(tmp_path / "r.html", facts, {"test": ScoredSplit(judged, np.ones(len(clips)))})
    with opened(browser, path) as page:
        assert page.locator("#cards .card").count() == 6
        assert page.locator("#per_label tbody tr").count() == len(labels)
        assert "NaN" not in page.locator("main").inner_text()
        assert "undefined" not in page.locator("main").inner_text()
        assert page.evaluate(NAMELESS) == []


def test_the_curve_is_that_of_scikit_learn_and_short() -> None:
    rng = np.random.default_rng(0)
    there = rng.random(5000) < 0.3
    probability = np.round(rng.random(5000) * 0.6 + 0.4 * there, 2)  # many are equal
    points = np.array(precision_recall(probability, there))
    assert len(points) <= 102
    precision, recall, _ = precision_recall_curve(there, probability)
    assert auc(points[:, 0], points[:, 1]) == pytest.approx(auc(recall[:-1], precision[:-1]), abs=0.01)
    pairs = {(round(r, 4), round(p, 4)) for r, p in zip(recall, precision, strict=True)}
    assert {(r, p) for r, p in points.tolist()} <= pairs
    assert points[-1][0] == 1.0
    assert precision_recall(probability, np.zeros(5000, bool)) == []


def test_histograms_are_of_clips_with_a_label_and_without() -> None:
    counts = label_histograms(np.array([0.96, 0.52, 0.0]), np.array([True, False, False]))
    assert (counts["own"][19], counts["others"][10], counts["others"][0]) == (1, 1, 1)
    assert sum(counts["own"]) + sum(counts["others"]) == 3


def test_clips_of_each_label_the_surest_mistakes_first() -> None:
    probabilities = np.array([[0.9, 0.1], [0.6, 0.2], [0.45, 0.4], [0.2, 0.7], [0.55, 0.3]])
    there = np.array([[0, 0], [0, 1], [1, 0], [1, 1], [1, 0]], bool)
    answered = probabilities >= 0.5
    chosen = choose_of_labels(probabilities, there, answered, np.array([0.5, 0.5]), [(1, 0)])
    assert chosen.mistakes == [0, 1, 3, 2]  # 0.9 off, then both 0.8 off
    assert chosen.groups[0, "alarm"] == [0, 1]
    assert chosen.groups[0, "miss"] == [3, 2]
    assert chosen.groups[1, "miss"] == [1]
    assert chosen.groups[1, "right"] == [2, 3, 4]
    assert (1, "alarm") not in chosen.groups
    assert chosen.groups[1, "0"] == [1]
    assert chosen.rows() == [0, 1, 2, 3, 4]


def test_room_goes_to_mistakes_of_every_label_first() -> None:
    rng = np.random.default_rng(0)
    probabilities = rng.random((3000, 60))
    there = rng.random((3000, 60)) < 0.1
    chosen = choose_of_labels(probabilities, there, probabilities >= 0.5, np.full(60, 0.5))
    assert len(chosen.rows()) <= ROOM + MISTAKES
    assert all(chosen.groups[i, "alarm"] and chosen.groups[i, "miss"] for i in range(60))


def test_pairs_are_those_that_go_together_more_often_than_elsewhere() -> None:
    there = np.zeros((100, 3), bool)
    there[:40, 0] = there[40:60, 2] = True
    answered = there.copy()
    answered[:12, 1] = True  # where the first is
    answered[60:66, 1] = True  # and where nothing is
    assert confused_pairs(there, answered) == [[0, 1, 12, 40, 0.1]]
    assert confused_pairs(there, there) == []


def test_what_the_page_counts_is_what_the_figures_say(tmp_path: Path) -> None:
    one = scored(tmp_path, "test")
    content = split_content("test", one.judged, one.durations_s, None)
    hostile, figures = content["of_label"][1], content["figures"]["per_label"][HOSTILE]
    assert (hostile["alarm"], hostile["miss"]) == (3, 0)
    assert figures["precision"] == pytest.approx(10 / 13)
    assert content["wrong_clips"] == 5
    assert content["decision"] == ""


@pytest.mark.usefixtures("encoded_once")
def test_a_report_of_many_clips_is_bounded(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    count, labels = 3000, [f"label {i:02}" for i in range(40)]
    write(tmp_path / "noise.wav", rng.standard_normal(3 * RATE_HZ) * 0.2)
    path = str(tmp_path / "noise.wav")
    there = rng.random((count, 40)) < 0.08
    clips = [
        Clip(path, tuple(np.array(labels)[row].tolist()), path, group=f"s{n % 300}") for n, row in enumerate(there)
    ]
    logits = (rng.standard_normal((count, 40)) - 2 + 4 * there).astype(np.float32)
    judged = judge(logits, ClipTable(clips, "here"), labels, decision=Decision(task=MULTI_LABEL))
    one = {"test": ScoredSplit(judged, rng.uniform(0.1, 9, count))}
    assert write_report(tmp_path / "r.html", ReportFacts("big", {}, {}, {}), one).stat().st_size < 15e6
