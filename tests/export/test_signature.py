"""An ``export.json`` with the right fields and a content that does not belong to the model file."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

pytest.importorskip("onnxruntime")

import earmark
from earmark.cli.main import main
from earmark.errors import ModelError
from earmark.export.export_model import export
from earmark.settings.export_flags import ExportOptions
from tests.families.tiny_models import build_for_export

EXPORTS = {"onnx": None, "pt2": "2x0.5"}  # format -> fixed shape


@pytest.fixture(scope="module")
def exports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """TC-ResNet of the classes a, b and c in several forms."""
    folder = tmp_path_factory.mktemp("exports")
    build_for_export("tc_resnet").save(folder / "model")
    for form, shape in EXPORTS.items():
        options = ExportOptions(str(folder / "model"), format=form, output=str(folder / form), fixed_shape=shape)
        export(options)
    return {form: folder / form for form in EXPORTS}


@pytest.mark.parametrize("form", EXPORTS)
def test_an_empty_model_file_is_a_line(
    form: str, exports: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(exports[form], tmp_path / "export")
    (folder / f"model.{form}").write_bytes(b"")
    for words in (["predict", str(folder), __file__], ["serve", str(folder), "--port", "0"]):
        assert main(words) == 2
        last = capsys.readouterr().err.splitlines()[-1]
        assert last.startswith(f"earmark: error: {folder / f'model.{form}'}: ")
        assert "cannot load it" in last


@pytest.mark.parametrize("form", EXPORTS)
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": ["a", "b"]}, r"has 2 labels, but {file} has 3 outputs"),
        ({"labels": ["c", "b", "a"]}, r"lists the labels in another order than {file}"),
        ({"takes_num_samples": False}, r"describes the inputs samples, but {file} has samples, num_samples"),
        ({"fixed_shape": [3, 16000]}, r"describes input of the shape 3 x 16000, but {file} takes (any x any|2 x 8000)"),
        ({"min_samples": 500_000}, r"min_samples 500000 is more than max_samples \d+"),
        ({"sampling_rate_hz": 8000}, r"sampling_rate_hz is 8000, but {file} was exported with 16000"),
        ({"task": "multi_label"}, r"task is 'multi_label', but {file} was exported with 'single_label'"),
    ],
)
def test_what_does_not_belong_to_the_model_file_is_refused(
    changes: dict[str, object], message: str, form: str, exports: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError) as refusal:
        load_changed(exports[form], tmp_path / "export", changes)
    file = re.escape(f"model.{form}")
    start, end = re.escape(f"{tmp_path / 'export' / 'export.json'}: "), r"\. Copy the whole folder .*"
    assert re.fullmatch(start + message.replace("{file}", file) + end, str(refusal.value))


@pytest.mark.parametrize("changes", [{"fixed_shape": None}, {"max_samples": 9000}])
def test_lengths_that_a_fixed_file_does_not_take_are_refused(
    changes: dict[str, object], exports: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(ModelError, match=r"takes 2 x 8000|more than the fixed length of 8000 samples"):
        load_changed(exports["pt2"], tmp_path / "export", changes)


@pytest.mark.parametrize("form", EXPORTS)
def test_renamed_labels_and_more_fields_stay(form: str, exports: dict[str, Path], tmp_path: Path) -> None:
    changes = {"labels": ["alder", "birch", "cedar"], "cpu_batch_s": 3.0}
    load_changed(exports[form], tmp_path / "export", changes)


def load_changed(export: Path, copy: Path, changes: dict[str, object]) -> None:
    shutil.copytree(export, copy)
    content = json.loads((copy / "export.json").read_text(encoding="utf-8"))
    (copy / "export.json").write_text(json.dumps(content | changes), encoding="utf-8")
    earmark.Classifier.from_pretrained(copy, device="cpu")
