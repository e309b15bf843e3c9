"""Evaluations of other clips, or of another model, lie beside one another and are never written over."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from earmark.cli.main import main
from earmark.clips.clip import ClipTable
from earmark.evaluate.place import describe
from earmark.settings.evaluation_flags import EvaluateOptions
from tests.tiny import write_tones


@pytest.fixture(scope="module")
def quiet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("data") / "quiet", per_class=6, seconds=0.2)


@pytest.fixture(scope="module")
def noisy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Names and labels of ``quiet``, other sound: a copy recorded again."""
    return write_tones(tmp_path_factory.mktemp("data") / "noisy", per_class=6, seconds=0.2, seed=1)


def evaluate(model: Path, data: Path, *more: str | Path) -> int:
    words = ["evaluate", model, "--data_dir", data, "--device", "cpu", "--report", "false", *more]
    return main([str(word) for word in words])


def test_other_clips_go_beside_and_the_same_ones_where_they_were(model: Path, quiet: Path, noisy: Path, capsys) -> None:
    first, second = model / "evaluation_validation", model / "evaluation_validation_2"
    assert evaluate(model, quiet) == 0
    before = {path.name: path.read_bytes() for path in first.iterdir()}
    assert json.loads(before["evaluation.json"])["data"].startswith(str(quiet))
    capsys.readouterr()
    assert evaluate(model, noisy) == 0
    out, err = capsys.readouterr()
    assert f"{first}: holds an evaluation of other clips (6 validation clips of {quiet}" in err
    assert str(second / "metrics.json") in out
    assert {path.name: path.read_bytes() for path in first.iterdir()} == before
    assert (second / "predictions_validation.csv").read_bytes() != before["predictions_validation.csv"]
    assert evaluate(model, noisy) == 0  # the same again replaces its own files only
    assert evaluate(model, quiet) == 0
    assert sorted(path.name for path in model.glob("evaluation_*")) == [first.name, second.name]
    assert (first / "predictions_validation.csv").read_bytes() == before["predictions_validation.csv"]


def test_a_named_folder_with_another_evaluation_is_refused(
    model: Path, quiet: Path, noisy: Path, tmp_path: Path, capsys
) -> None:
    place = tmp_path / "scores"
    other = Path(shutil.copytree(model, tmp_path / "other"))
    assert evaluate(model, quiet, "--output_dir", place) == 0
    assert evaluate(model, quiet, "--output_dir", place) == 0
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    for words, said in (
        ((model, noisy), f"{place}: holds an evaluation of other clips"),
        ((model, quiet, "--max_eval_samples", "4"), "of other clips"),
        ((other, quiet), f"{place}: holds an evaluation of the model {model}"),
    ):
        assert evaluate(*words, "--output_dir", place) == 2
        assert said in capsys.readouterr().err.strip().splitlines()[-1]
        assert {path.name: path.read_bytes() for path in place.iterdir()} == before
    (place / "evaluation.json").unlink()  # as files of somebody else's that are called alike
    assert evaluate(model, quiet, "--output_dir", place) == 2
    assert "holds metrics.json of unknown clips" in capsys.readouterr().err


def test_clips_that_thresholds_were_fitted_on_are_told_of(model: Path, quiet: Path, noisy: Path, capsys) -> None:
    assert (
        main(["calibrate", str(model), "--data_dir", str(quiet), "--device", "cpu", "--target_precision", "0.3"]) == 0
    )
    fitted = json.loads((model / "decision.json").read_text())["fitted"]
    assert fitted["data"] == "quiet/validation"
    assert len(fitted["recordings"]) == 12
    capsys.readouterr()
    for data, told in ((quiet, True), (noisy, False)):
        assert evaluate(model, data) == 0
        assert ("were fitted on these clips" in capsys.readouterr().out) == told


def test_the_record_names_a_model_of_the_hub_without_its_scheme() -> None:
    table = ClipTable([], "here")
    names = ("hf://org/name", "org/name")
    named = [describe(EvaluateOptions(model_name_or_path=name, data_dir="d"), table)["model"] for name in names]
    assert named == ["org/name", "org/name"]


def test_the_page_names_the_data_that_was_scored(model: Path, noisy: Path) -> None:
    assert evaluate(model, noisy, "--report", "true") == 0
    page = (model / "evaluation_validation" / "report.html").read_text(encoding="utf-8")
    assert f"model on {noisy}/validation" in page
