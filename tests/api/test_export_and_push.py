"""``classifier.export`` and ``classifier.push``."""

from __future__ import annotations

from pathlib import Path

import pytest

import earmark
from earmark.errors import UsageError
from tests.families.tiny_models import build_for_export
from tests.models.hub_stand_in import TOKEN, UPLOADS, serve, use
from tests.tiny import save_model, tone


def test_an_export_gives_the_same_probabilities(tmp_path: Path) -> None:
    build_for_export("whisper").save(tmp_path / "model")  # which exports fastest
    classifier = earmark.Classifier.from_pretrained(tmp_path / "model", device="cpu")
    outcome = classifier.export(tmp_path / "exported", format="pt2", fixed_shape=(2, 1.0))
    assert outcome.folder == tmp_path / "exported"
    assert outcome.description.fixed_shape == (2, 16_000)
    exported = earmark.Classifier.from_pretrained(outcome.folder, device="cpu")
    sound = tone(700, 1.0)
    expected = classifier.predict_proba(sound, sampling_rate=16_000)
    assert exported.predict_proba(sound, sampling_rate=16_000) == pytest.approx(expected, abs=1e-4)


def test_wrong_values_have_the_messages_of_the_command(tmp_path: Path) -> None:
    classifier = earmark.Classifier.from_pretrained(save_model(tmp_path / "model", 0.5), device="cpu")
    with pytest.raises(UsageError, match="--format onx: expected onnx, onnx-int8 or pt2"):
        classifier.export(tmp_path / "out", format="onx")
    with pytest.raises(UsageError, match="--max_calibration_samples 0: expected a whole number of at least 1"):
        classifier.export(tmp_path / "out", max_calibration_samples=0)
    with pytest.raises(UsageError, match="--fixed_shape 1 second: expected BATCHxSECONDS"):
        classifier.export(tmp_path / "out", fixed_shape="1 second")
    classifier._source = None
    with pytest.raises(UsageError, match="made from a model in memory"):
        classifier.export(tmp_path / "out")


@pytest.mark.filterwarnings(UPLOADS)
def test_a_run_is_pushed_with_its_card(run: earmark.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "hub"
    there.mkdir()
    with serve(there, "team/birds") as endpoint:
        use(endpoint, tmp_path / "home", monkeypatch)
        pushed = run.classifier(device="cpu").push("team/birds", token=TOKEN, message="From Python")
    assert pushed.startswith(f"{endpoint}/team/birds/commit/")
    assert (there / "README.md").read_bytes() == (run.folder / "README.md").read_bytes()
