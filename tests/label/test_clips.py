"""The clips of ``earmark label --check``, and what is said about how their table was read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from earmark.errors import DataError, UsageError
from earmark.label.label_clips import clips_to_label
from earmark.settings.labelling_flags import LabelOptions
from earmark.tasks import MULTI_LABEL


def checked(place: Path, **options: Any) -> tuple[list[tuple[str | None, Any]], list[str]]:
    table, notes = clips_to_label(LabelOptions(inputs=[str(place)], model_name_or_path="m", check=True, **options))
    return [(clip.path, clip.label) for clip in table], notes


@pytest.mark.parametrize("is_folder", [True, False])
def test_how_the_table_was_read_is_logged(is_folder: bool, tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.wav").touch()
    (tmp_path / "metadata.csv").write_text("file_name,category\na.wav,low\n")
    clips, notes = checked(tmp_path if is_folder else tmp_path / "metadata.csv")
    assert clips == [(f"{tmp_path}/deep/a.wav", "low")]
    assert any("column `category` was read as the label" in note for note in notes)
    assert any("1 recording was found below" in note for note in notes)


def test_the_flags_that_messages_about_tables_name_are_there(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/a.wav").touch()
    path = tmp_path / "t.csv"
    path.write_text("file,label,onset,offset\na.wav,low,0.5,1\na.wav,,0.5,1\n")
    with pytest.raises(DataError, match=r"has no label.*--on_missing_label skip$"):
        checked(path)
    options = {"audio_dir": str(tmp_path / "deep"), "start_column_name": "none", "on_missing_label": "skip"}
    table, _ = clips_to_label(LabelOptions(inputs=[str(path)], model_name_or_path="m", check=True, **options))
    assert [(clip.path, clip.offset_s) for clip in table] == [(f"{tmp_path}/deep/a.wav", 0.0)]


def test_flags_that_label_lacks_are_named(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text('{"train": ["a.wav"], "test": ["b.wav", "c.wav"]}')
    with pytest.raises(DataError, match=r"Note: earmark label does not have --train_file, --eval_file, --test_file\. "):
        checked(path)


def test_several_labels_are_read_for_a_model_of_several(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.wav,dog;rain\nb.wav,\n")
    options = LabelOptions(inputs=[str(tmp_path / "t.csv")], model_name_or_path="m", check=True)
    table, _ = clips_to_label(options, MULTI_LABEL, ";")
    assert [clip.label for clip in table] == [("dog", "rain"), ()]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("found.rttm", "SPEAKER a 1 0.500 0.250 <NA> <NA> owl 0.9 <NA>\n"),
        (
            "found.jsonl",
            '{"path": "a.wav", "start_s": 0.5, "end_s": 0.75, "predictions": [{"label": "owl", "score": 0.9}]}\n',
        ),
        ("a.wav.labels.txt", "0.500000\t0.750000\towl\n"),
    ],
)
def test_results_of_predict_in_any_format_are_checked(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.wav").touch()
    (tmp_path / name).write_text(text)
    options = LabelOptions(inputs=[str(tmp_path / name)], model_name_or_path="m", check=True)
    ((clip,), _) = clips_to_label(options)
    assert (clip.path, clip.offset_s, clip.duration_s, clip.label) == (str(tmp_path / "a.wav"), 0.5, 0.25, "owl")
    with pytest.raises(UsageError, match=r"a manifest has labels\. Add --check"):
        clips_to_label(LabelOptions(inputs=[str(tmp_path / name)], model_name_or_path="m"))
