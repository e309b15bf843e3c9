"""Training and scoring ask how many threads to compute with, and a run records the threads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from earmark.cli.main import main
from earmark.runs.folder import RunFolder
from earmark.threads import watch
from tests.tiny import write_tones


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """An entry for each time that the number of threads is asked for."""
    entries: list[None] = []
    monkeypatch.setattr(watch, "adjust", lambda: entries.append(None))
    return entries


def test_each_step_and_each_batch_asks(asked: list[None], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_tones(tmp_path / "tones", per_class=8, seconds=0.3)
    small = ["--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}', "--device", "cpu"]
    flags = [*small, "--model_type", "tc_resnet", "--max_steps", "5", "--per_device_train_batch_size", "2"]
    run = tmp_path / "run"
    words = ["--data_dir", str(data), "--eval_strategy", "no", "--save_strategy", "steps", "--save_steps", "5"]
    words += ["--load_best_model_at_end", "false", "--output_dir", str(run)]
    assert main(["train", *flags, *words]) == 0
    assert len(asked) >= 6, "5 steps and a batch of validation clips"
    err = capsys.readouterr().err
    assert f"threads: {watch.describe()}" in err
    assert json.loads(RunFolder(run).environment.read_text())["cpu_threads"] == watch.describe()
    marker = json.loads((run / "checkpoint-5/complete.json").read_text())
    assert marker["run"]["arithmetic"]["threads"] == watch.most_threads()
    asked.clear()
    assert main(["predict", str(run), str(data), "--output", str(tmp_path / "labels.csv")]) == 0
    assert asked
