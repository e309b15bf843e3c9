"""What is written of a scored split is read as that again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earmark.clips.clip import Clip, ClipTable, Label
from earmark.errors import DataError
from earmark.runs.folder import RunFolder
from earmark.runs.judged import judge, write_predictions
from earmark.runs.predictions import Predictions, read_predictions
from earmark.tasks import MULTI_LABEL, REGRESSION, SINGLE_LABEL, Task, sigmoid, softmax
from earmark.tasks.decision import Decision

LABELS = ["a", "b, with a comma", "[c"]


def read_back(folder: Path, task: Task, labels: list[str], right: list[Label], logits: np.ndarray) -> Predictions:
    clips = [Clip(f"{i}.wav", label, path="/tape.wav", offset_s=i / 2) for i, label in enumerate(right)]
    judged = judge(logits.astype(np.float32), ClipTable(clips, "here"), labels, decision=Decision(task=task))
    write_predictions(RunFolder(folder), "test", judged)
    return read_predictions(folder / "predictions_test.csv")


def test_single_labels(tmp_path: Path) -> None:
    logits = np.array([[2.0, 0, 0], [0, 1, 3]])
    found = read_back(tmp_path, SINGLE_LABEL, LABELS, ["a", "b, with a comma"], logits)
    assert found.task is SINGLE_LABEL
    assert found.targets.tolist() == ["a", "b, with a comma"]
    assert found.predictions.tolist() == ["a", "[c"]
    assert found.scores == pytest.approx(softmax(logits).max(axis=1), rel=1e-5)
    assert [(clip.path, clip.offset_s) for clip in found.clips] == [("/tape.wav", 0.0), ("/tape.wav", 0.5)]


def test_several_labels(tmp_path: Path) -> None:
    right: list[Label] = [("a", "[c"), (), ("b, with a comma",)]
    logits = np.array([[2.0, -1, 3], [-1, -2, -3], [1, 1, 1]])
    found = read_back(tmp_path, MULTI_LABEL, LABELS, right, logits)
    assert found.task is MULTI_LABEL
    assert found.labels == LABELS
    np.testing.assert_array_equal(found.targets, [[1, 0, 1], [0, 0, 0], [0, 1, 0]])
    np.testing.assert_array_equal(found.predictions, logits > 0)
    np.testing.assert_allclose(found.scores, sigmoid(logits), rtol=1e-5)


def test_numbers(tmp_path: Path) -> None:
    found = read_back(tmp_path, REGRESSION, ["label"], [1.5, -2.0], np.array([[1.0], [3]]))
    assert found.task is REGRESSION
    assert found.targets.tolist() == [1.5, -2.0]
    assert found.predictions.tolist() == found.scores.tolist() == [1.0, 3.0]


def test_groups_are_read_back_and_take_no_label_for_theirs(tmp_path: Path) -> None:
    groups = ["tape 1, side b", None, ' "x"', "001"]
    labels = ["answer", "group"]
    for task, right in (
        (SINGLE_LABEL, ["group", "answer", "group", "group"]),
        (MULTI_LABEL, [("group",), (), ("answer",), ("group",)]),
        (REGRESSION, [1.0, 2.0, 3.0, 4.0]),
    ):
        clips = [Clip(f"{i}.wav", right[i], path=f"/{i}.wav", group=group) for i, group in enumerate(groups)]
        named = ["group"] if task is REGRESSION else labels
        logits = np.eye(4, len(named), dtype=np.float32)
        (tmp_path / task.name).mkdir()
        judged = judge(logits, ClipTable(clips, "here"), named, decision=Decision(task=task))
        write_predictions(RunFolder(tmp_path / task.name), "test", judged)
        found = read_predictions(tmp_path / task.name / "predictions_test.csv")
        assert [clip.group for clip in found.clips] == groups
        assert [clip.path for clip in found.clips] == [clip.path for clip in clips]
        assert found.labels == (labels if task is MULTI_LABEL else [])


def test_clips_without_groups_have_no_column_of_them(tmp_path: Path) -> None:
    found = read_back(tmp_path, REGRESSION, ["label"], [1.5, -2.0], np.array([[1.0], [3]]))
    assert [clip.group for clip in found.clips] == [None, None]
    assert (tmp_path / "predictions_test.csv").read_text().startswith("path,label,predicted,error,file,offset_s\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file has no rows"),
        ("path,label,predicted,correct,p(a)\n", "the file has no rows"),
        ("path,label\nx,y\n", "the file is damaged"),
        ("path,label,predicted,correct,p(a)\nx,a,b,0,0.5\n", "the file is damaged"),  # an answer that is no label
        ("path,label,predicted,correct,p(a)\nx,a,a,1\n", "the file is damaged"),  # cut short
        ("path,label,predicted,score\nx,a,a,high\n", "the file is damaged"),
        ("path,label,predicted,error\nx,1,,0\n", "the file is damaged"),
    ],
)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "predictions_test.csv").write_text(text)
    with pytest.raises(DataError, match=rf"predictions_test\.csv: {said}"):
        read_predictions(tmp_path / "predictions_test.csv")
