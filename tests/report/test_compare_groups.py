"""Runs held against each other on clips with groups: what is copied within a group says nothing new."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.report.compare import Comparison, compare_runs
from earmark.report.compare_page import write_comparison
from earmark.stats.uncertainty import Interval
from tests.browser import needs_browser, opened
from tests.report.some_runs import noisy_labels, noisy_numbers, of_classes, of_groups, of_labels, of_numbers

# ninety recordings of ten speakers: "better" alone has six right, "plain" alone one, each of another speaker
SPEAKERS = [f"s{i % 10}" for i in range(90)]
PLAIN = [i not in (0, 1, 2, 3, 4, 5, 17, 18) for i in range(90)]
BETTER = [i not in (6, 17, 18) for i in range(90)]
UNEVEN = [f"s{int(i**0.5)}" for i in range(90)]  # ten as well, of 1 to 17 recordings


def of_speakers(root: Path, times: int = 1) -> list[str]:
    return [of_groups(root / name, of, SPEAKERS, times=times) for name, of in (("plain", PLAIN), ("better", BETTER))]


def intervals(found: Comparison) -> list[Interval | None]:
    """Return the intervals of all metrics and all differences."""
    figures = [of.interval for run in found.runs for of in run.figures.values()]
    return figures + [of.interval for pair in found.pairs for of in pair.differences.values()]


def same(one: list[Interval | None], other: list[Interval | None]) -> bool:
    ends = [[(of.low, of.high) for of in each if of is not None] for each in (one, other)]
    return len(ends[0]) == len(ends[1]) == len(one) and np.allclose(*ends, rtol=1e-9)


def own_intervals(run: str, found: Comparison, name: str) -> tuple[list[float], list[float]]:
    """Return a metric as the run wrote it, and as the comparison prints it."""
    within = next(one for one in found.runs if one.name == Path(run).name).figures[name].interval
    assert within is not None
    return json.loads((Path(run) / "metrics.json").read_text())["test"][f"{name}_interval_95"], [
        within.low,
        within.high,
    ]


def test_copies_within_groups_are_no_proof(tmp_path: Path) -> None:
    once, often = compare_runs(of_speakers(tmp_path / "once")), compare_runs(of_speakers(tmp_path / "often", 10))
    assert len(often.clips) == 900
    assert once.p == often.p == [0.125]  # six against one: what McNemar's test says of the ninety recordings
    alone = [str(of_classes(tmp_path / "alone" / name, of)) for name, of in (("plain", PLAIN), ("better", BETTER))]
    assert compare_runs(alone).p == pytest.approx([0.125])
    assert same(intervals(once), intervals(often))
    assert (often.pairs[0].only_first, often.pairs[0].only_second) == (10, 60)
    text = often.summary()
    assert "900 clips, 2 classes" in text
    assert "\nintervals and p are over 10 groups: each group is drawn and tested as a whole\n" in text
    assert "| Sign-flip p |" in text
    assert "better: no significant difference from plain on these clips (p 0.12 over 10 groups)" in text


def test_intervals_over_groups_are_those_of_the_runs_themselves(tmp_path: Path) -> None:
    classes = of_speakers(tmp_path / "classes", 10)
    there, logits = noisy_labels(1.0, 1, 90)
    labels = [of_labels(tmp_path / name, there, of, groups=UNEVEN) for name, of in (("l", logits), ("m", -logits))]
    numbers, answers = noisy_numbers(1.0, 1, 90)
    of_numbers_ = [
        of_numbers(tmp_path / name, numbers, answers + by, groups=UNEVEN) for name, by in (("n", 0), ("o", 1))
    ]
    for runs, names in (
        (classes, ("accuracy", "macro_f1")),
        (labels, ("mean_average_precision", "macro_f1")),
        (of_numbers_, ("mae", "rmse")),
    ):
        found = compare_runs(runs)
        for run in runs:
            for name in names:
                own, here = own_intervals(run, found, name)
                assert here == pytest.approx(own, rel=1e-4), (run, name)


def test_copies_of_clips_with_several_labels(tmp_path: Path) -> None:
    groups = [f"s{i % 20}" for i in range(60)]
    ten_times = np.repeat(np.arange(60), 10).tolist()
    found = []
    for rows in ([], ten_times):
        root = tmp_path / str(len(rows))
        given = (("plain", 1.0, 1), ("like", 1.0, 2))
        runs = [
            of_labels(root / name, *noisy_labels(noise, seed), rows=rows, groups=groups) for name, noise, seed in given
        ]
        found.append(compare_runs(runs))
    once, often = found
    assert once.p == often.p
    assert once.p[0] > 0.05
    assert same(intervals(once), intervals(often))
    of_labels_ = [[one.interval for of in each.pairs[0].of_labels.values() for one in of if one] for each in found]
    assert same(*of_labels_)
    assert "plain by the clips" not in often.summary()
    assert "no significant difference from plain on clips with all labels right (p" in often.verdicts()[0]


def test_copies_of_clips_with_numbers(tmp_path: Path) -> None:
    groups = [f"s{i % 30}" for i in range(60)]  # more than are tested with all signs
    found = []
    for rows in ([], np.repeat(np.arange(60), 10).tolist()):
        root = tmp_path / str(len(rows))
        given = (("plain", 1.0, 1), ("like", 1.1, 3), ("bad", 3.0, 2))
        runs = [
            of_numbers(root / name, *noisy_numbers(noise, seed), rows=rows, groups=groups)
            for name, noise, seed in given
        ]
        found.append(compare_runs(runs))
    once, often = found
    assert once.p == often.p
    assert same(intervals(once), intervals(often))
    like, bad = often.verdicts()
    assert like.startswith("like: no significant difference from plain on these clips (p ")
    assert bad.startswith("bad: worse than plain (p ")
    assert bad.endswith(" over 30 groups)")
    assert not often.pairs[1].second_is_better


@pytest.mark.parametrize(
    ("groups", "said"),
    [
        ([f"s{i % 9}" for i in range(40)], "only 9 groups"),
        (["s"] * 40, "only 1 group"),
        ([None, None, *(f"s{i}" for i in range(38))], "2 clips without a group"),
    ],
)
def test_where_groups_do_not_do_clips_are_taken_and_a_line_says_so(
    tmp_path: Path, groups: list[str | None], said: str
) -> None:
    right = {"plain": [i % 4 != 0 for i in range(40)], "better": [i != 0 for i in range(40)]}
    with_groups = [of_groups(tmp_path / "with" / name, of, groups) for name, of in right.items()]
    without = [str(of_classes(tmp_path / "without" / name, of)) for name, of in right.items()]
    found, wanted = compare_runs(with_groups), compare_runs(without)
    assert not found.units.are_groups
    assert found.p == wanted.p == pytest.approx([2 * 0.5**9])
    assert same(intervals(found), intervals(wanted))
    assert f"\n{said}: intervals and p are over clips as if they were independent. Clips" in found.summary()
    assert wanted.notes == []
    assert "| McNemar p |" in found.summary()
    assert "over" not in found.verdicts()[0]


def test_folds_are_joined_group_by_group(tmp_path: Path) -> None:
    groups = [f"s{i % 12}" for i in range(60)]
    right = {"plain": [i % 4 != 0 for i in range(60)], "better": [i != 0 for i in range(60)]}
    for name, of in right.items():
        for fold in range(2):
            of_groups(tmp_path / name / f"fold_{fold}", of, groups, rows=range(fold, 60, 2))  # six speakers each
    folds = compare_runs([str(tmp_path / name) for name in right])
    whole = compare_runs([of_groups(tmp_path / "whole" / name, of, groups) for name, of in right.items()])
    assert folds.units.in_words == "12 groups"
    assert folds.p == whole.p
    assert same(intervals(folds), intervals(whole))


@pytest.mark.parametrize("turned", [False, True])
def test_groups_of_one_run_count_for_all(tmp_path: Path, turned: bool) -> None:
    with_groups = of_groups(tmp_path / "with", PLAIN, SPEAKERS)
    without = of_groups(tmp_path / "without", BETTER, [None] * 90, rows=range(89, -1, -1))
    runs = [without, with_groups] if turned else [with_groups, without]
    found = compare_runs(runs)
    assert found.units.in_words == "10 groups"
    assert "\nwithout: its predictions have no groups, so the groups of with are used\n" in found.summary()
    assert found.p == [0.125]
    others = of_groups(tmp_path / "others", BETTER, [f"tape {i % 30}" for i in range(90)])
    found = compare_runs([with_groups, others])
    assert found.units.in_words == "10 groups"
    assert found.notes[-1] == "others: its predictions have other groups, so the groups of with are used"


def test_groups_are_told_by_clip_not_by_row(tmp_path: Path) -> None:
    plain = of_groups(tmp_path / "plain", PLAIN, SPEAKERS, rows=range(89, -1, -1))
    better = of_groups(tmp_path / "better", BETTER, SPEAKERS)
    found = compare_runs([plain, better])
    assert len(found.notes) == 1  # the same groups, in another order
    assert same(intervals(found), intervals(compare_runs(of_speakers(tmp_path / "straight"))))


@needs_browser
def test_the_page_says_what_it_is_over(tmp_path: Path, browser: Any) -> None:
    found = compare_runs(of_speakers(tmp_path, 10))
    with opened(browser, write_comparison(tmp_path / "x.html", found)) as page:
        assert (
            page.locator("#notes").inner_text()
            == "intervals and p are over 10 groups: each group is drawn and tested as a whole"
        )
        tests = page.locator("#tests").inner_text()
        assert "the same groups drawn for both" in tests
        assert "p of the sign-flip test over 10 groups of the clips that are right" in tests
        assert "Groups are assumed to be independent" in tests
        assert "McNemar" not in tests
        assert "(p 0.12 over 10 groups)" in page.locator("#verdicts").inner_text()
    few = [of_groups(tmp_path / "few" / name, of, ["s"] * 90) for name, of in (("plain", PLAIN), ("better", BETTER))]
    with opened(browser, write_comparison(tmp_path / "y.html", compare_runs(few))) as page:
        assert page.locator("#notes").inner_text().startswith("only 1 group: intervals and p are over clips")
        assert "McNemar's exact test" in page.locator("#tests").inner_text()
