"""``classifier.export`` and ``classifier.push``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import earmark
from earmark.errors import UsageError
from tests.models.hub_stand_in import TOKEN, serve
from tests.patience import PATIENCE_S
from tests.tiny import save_model, tone


def test_an_export_gives_the_same_probabilities(tmp_path: Path) -> None:
    classifier = earmark.Classifier.from_pretrained(save_model(tmp_path / "model", 0.5), device="cpu")
    outcome = classifier.export(tmp_path / "exported", format="pt2", fixed_shape=(2, 0.5))
    assert outcome.folder == tmp_path / "exported"
    assert outcome.description.fixed_shape == (2, 8000)
    exported = earmark.Classifier.from_pretrained(outcome.folder, device="cpu")
    sound = tone(700, 0.5)
    expected = classifier.predict_proba(sound, sampling_rate=16_000)
    assert exported.predict_proba(sound, sampling_rate=16_000) == pytest.approx(expected, abs=1e-4)


def test_wrong_values_have_the_messages_of_the_command(tmp_path: Path) -> None:
    classifier = earmark.Classifier.from_pretrained(save_model(tmp_path / "model", 0.5), device="cpu")
    with pytest.raises(UsageError, match="--format onx: expected onnx, onnx-int8 or pt2"):
        classifier.export(tmp_path / "out", format="onx")
    with pytest.raises(UsageError, match="--max_calibration_samples 0: expected a whole number from 1"):
        classifier.export(tmp_path / "out", max_calibration_samples=0)
    with pytest.raises(UsageError, match="--fixed_shape 1 second: expected BATCHxSECONDS"):
        classifier.export(tmp_path / "out", fixed_shape="1 second")
    classifier._source = None
    with pytest.raises(UsageError, match="made from a model in memory"):
        classifier.export(tmp_path / "out")


def test_a_run_is_pushed_with_its_card(run: earmark.Run, tmp_path: Path) -> None:
    """In a process of its own: the hub library reads its settings when it is imported."""
    there = tmp_path / "hub"
    there.mkdir()
    code = (
        "import sys, earmark; classifier = earmark.load_run(sys.argv[1]).classifier(device='cpu'); "
        "print(classifier.push('team/birds', token=sys.argv[2], message='From Python'))"
    )
    with serve(there, "team/birds") as endpoint:
        settings = {"HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path), "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"}
        done = subprocess.run(
            [sys.executable, "-c", code, str(run.folder), TOKEN],
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"{endpoint}/team/birds/commit/")
    assert (there / "README.md").read_bytes() == (run.folder / "README.md").read_bytes()
