"""Runs of several labels, or of numbers, held against each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earmark.cli.report import run
from earmark.data.clips import Clip, ClipTable
from earmark.errors import DataError, UsageError
from earmark.models.decision import Decision
from earmark.report.compare_tasks import compare_task, read_scores, task_of
from earmark.runs.folder import RunFolder
from earmark.runs.judged import judge, write_predictions
from earmark.scoring.multi_label import compute_multi_label
from earmark.scoring.paired_tasks import compare_labels, compare_numbers
from earmark.tasks import Task

LABELS = ["a", "b, with a comma"]


def of_labels(folder: Path, noise: float, seed: int, count: int = 60) -> str:
    folder.mkdir()
    rng = np.random.default_rng(seed)
    there = np.random.default_rng(0).random((count, 2)) < 0.4
    clips = [
        Clip(f"{i}.wav", tuple(label for label, is_there in zip(LABELS, row, strict=True) if is_there))
        for i, row in enumerate(there)
    ]
    logits = (2.0 * there - 1 + noise * rng.standard_normal((count, 2))).astype(np.float32)
    judged = judge(logits, ClipTable(clips, "here"), LABELS, decision=Decision(task=Task.MULTI_LABEL))
    write_predictions(RunFolder(folder), "test", judged)
    return str(folder)


def of_numbers(folder: Path, noise: float, seed: int, count: int = 60) -> str:
    folder.mkdir()
    numbers = np.random.default_rng(0).random(count) * 10
    answers = numbers + noise * np.random.default_rng(seed).standard_normal(count)
    clips = [Clip(f"{i}.wav", float(number)) for i, number in enumerate(numbers)]
    judged = judge(
        answers[:, None].astype(np.float32), ClipTable(clips, "here"), ["db"], decision=Decision(task=Task.REGRESSION)
    )
    write_predictions(RunFolder(folder), "test", judged)
    return str(folder)


def test_runs_of_several_labels(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = [of_labels(tmp_path / name, noise, seed) for name, noise, seed in (("plain", 1.5, 1), ("good", 0.3, 2))]
    run(runs)
    text = capsys.readouterr().out
    assert "test: 60 clips, 2 labels" in text
    assert "good: better than plain" in text
    read = read_scores(tmp_path / "good" / "predictions_test.csv", Task.MULTI_LABEL)
    assert read.labels == LABELS
    logits = Task.MULTI_LABEL.logits(read.probabilities)
    assert f"| good  | {compute_multi_label(logits, read.targets, LABELS).mean_average_precision:.4g}" in text


def test_runs_of_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = (("plain", 1.0, 1), ("bad", 3.0, 2), ("like", 1.0, 3))
    runs = [of_numbers(tmp_path / name, noise, seed) for name, noise, seed in given]
    run(runs)
    text = capsys.readouterr().out
    assert "bad: worse than plain" in text
    assert "like: these clips do not tell it from plain" in text
    assert "Wilcoxon p" in text


def test_what_cannot_be_compared_is_one_line(tmp_path: Path) -> None:
    labels, fewer = of_labels(tmp_path / "labels", 1, 1), of_labels(tmp_path / "fewer", 1, 1, count=50)
    numbers = of_numbers(tmp_path / "numbers", 1, 1)
    assert [task_of(one, None) for one in (labels, numbers, str(tmp_path))] == [
        Task.MULTI_LABEL,
        Task.REGRESSION,
        Task.SINGLE_LABEL,
    ]
    with pytest.raises(DataError, match=r"other clips than .*labels \(50 here, 60 there, 50 the same\)"):
        compare_task([labels, fewer], "test", Task.MULTI_LABEL)
    for pair, task in (([labels, numbers], Task.MULTI_LABEL), ([numbers, labels], Task.REGRESSION)):
        with pytest.raises(DataError, match="of another task than the first"):
            compare_task(pair, "test", task)
    with pytest.raises(DataError, match=r"predictions_validation\.csv: not there"):
        compare_task([labels, fewer], "validation", Task.MULTI_LABEL)
    with pytest.raises(UsageError, match="several labels a clip"):
        run([labels, fewer, "--output", str(tmp_path / "x.html")])
    first, *lines = (tmp_path / "labels" / "predictions_test.csv").read_text().splitlines()
    other = next(i for i, line in enumerate(lines) if line.split(",")[1] == "a")
    lines[other] = lines[other].replace(",a,", ",,", 1)
    (tmp_path / "fewer" / "predictions_test.csv").write_text("\n".join([first, *lines]))
    with pytest.raises(DataError, match=f"{other}.wav is labelled otherwise than in"):
        compare_task([labels, fewer], "test", Task.MULTI_LABEL)


def test_the_same_model_is_no_better() -> None:
    rng = np.random.default_rng(0)
    there, probabilities = rng.random((50, 3)) < 0.5, rng.random((50, 3))
    one = (probabilities, probabilities > 0.5)
    found = compare_labels(there, one, one)
    assert (found.only_first, found.only_second, found.p) == (0, 0, 1.0)
    assert all(value == 0 and of is not None and of.low == of.high == 0 for value, of in found.differences.values())
    numbers = rng.random(20)
    assert compare_numbers(numbers, numbers + 1, numbers - 1).p == 1.0


def test_differences_of_numbers_are_paired() -> None:
    rng = np.random.default_rng(0)
    numbers, shared = rng.random(200), rng.standard_normal(200)
    found = compare_numbers(numbers, numbers + shared, numbers + 0.9 * shared)
    value, of = found.differences["mae"]
    assert value == pytest.approx(-0.1 * np.abs(shared).mean())
    assert of is not None
    assert of.low < value < of.high < 0  # errors of the two go together: a small difference is certain
    assert found.only_second == 200
    assert found.p < 1e-6
