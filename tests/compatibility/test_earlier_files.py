"""Runs, checkpoints and exports of an earlier version load and give the same predictions.

``written_by_0.1.0.tar.xz`` was written by version 0.1.0 before families, tasks and sources had files of their own:

* ``recordings``, ``train.csv``, ``validation.csv``, ``test.csv``: twelve clips of 0.25 s, labelled in three ways;
* ``single``: a run of wav2vec2 with one class a clip, a fitted temperature, averaged weights and a checkpoint;
* ``several``: a run of tc_resnet with several labels a clip and thresholds; ``number``: a regression of whisper;
* ``single.onnx``, ``number.pt2``: exports;
* ``NAME.rows.jsonl``: what ``earmark predict NAME`` wrote then, with float32 on a CPU.
"""

from __future__ import annotations

import json
import logging
import tarfile
from pathlib import Path

import pytest

from earmark.cli.main import main
from earmark.export.description import read_description

ARCHIVE = Path(__file__).with_name("written_by_0.1.0.tar.xz")


@pytest.fixture
def earlier(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of what was written, which is also the working directory, as it was then."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def read_rows(path: Path) -> list[tuple[str, dict[str, float]]]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["path"], {one["label"]: one["score"] for one in row["predictions"]}) for row in rows]


@pytest.mark.parametrize("name", ["single", "several", "number", "single.onnx", "number.pt2"])
def test_predictions_are_the_same(name: str, earlier: Path) -> None:
    then = read_rows(earlier / f"{name}.rows.jsonl")
    files = [path for path, _ in then]
    assert main(["predict", name, *files, "--output", "now.jsonl", "--device", "cpu", "--precision", "fp32"]) == 0
    now = read_rows(earlier / "now.jsonl")
    assert [path for path, _ in now] == files
    for (_, scores_then), (_, scores_now) in zip(then, now, strict=True):
        assert scores_now == pytest.approx(scores_then, abs=2e-5)


def test_an_export_without_a_batch_limit_has_that_of_its_architecture(earlier: Path) -> None:
    assert "cpu_batch_s" not in json.loads((earlier / "single.onnx" / "export.json").read_text(encoding="utf-8"))
    assert read_description(earlier / "single.onnx").cpu_batch_s == 8.0


def test_a_checkpoint_is_resumed(earlier: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = ["--data_dir", "recordings", "--output_dir", "single", "--config", "single/run_config.yaml", "--resume"]
    with caplog.at_level(logging.WARNING, "earmark"):
        assert main(["train", *words]) == 0
    # threads and instruction sets may differ from those of then; settings must not
    assert not [text for text in caplog.messages if "--" in text and "checkpoint" in text]
    steps = json.loads((earlier / "single" / "trainer_state.json").read_text(encoding="utf-8"))["log_history"]
    assert max(entry["step"] for entry in steps) == 18


def test_the_clips_that_a_run_was_trained_on_are_known(earlier: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "single", "--data_dir", "recordings", "--split", "unseen", "--device", "cpu"]) == 2
    assert "6 in its training split, 4 in its validation split, 2 in its test split" in capsys.readouterr().err
