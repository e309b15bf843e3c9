"""Prediction tables: order, streaming, names of any kind, what is refused."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from earmark.errors import OutputError
from earmark.predict.outputs import open_writer

TOP = [{"label": 'a "b", c', "score": 0.75}, {"label": "ü\nx", "score": 0.1234567}]


def test_csv_columns_and_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    with open_writer(str(path), "csv", 2) as writer:
        writer.write("one.wav", TOP)
        writer.write_bad("two, 2.wav", "empty file")
        assert not path.exists()
        assert Path(f"{path}.part").read_text().startswith("path,label,score,label_2,score_2\n")  # streams
    with path.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[1] == ["one.wav", 'a "b", c', "0.75", "ü\nx", "0.123457"]
    assert rows[2] == ["two, 2.wav", "", "", "", ""]
    bad = Path(f"{path}.bad_audio.csv").read_text().splitlines()
    assert bad == ["path,reason", '"two, 2.wav",empty file']
    assert not Path(f"{path}.part").exists()


def test_jsonl(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with open_writer(str(path), "jsonl", 2) as writer:
        writer.write("one.wav", TOP)
        writer.write_bad("two.wav", "empty file")
    first, second = (json.loads(line) for line in path.read_text().splitlines())
    assert first == {"path": "one.wav", "predictions": [TOP[0], {"label": "ü\nx", "score": 0.123457}]}
    assert second == {"path": "two.wav", "error": "empty file"}


@pytest.mark.parametrize("format", ["csv", "jsonl"])
def test_file_names_that_are_not_utf8(tmp_path: Path, format: str) -> None:
    path = tmp_path / f"out.{format}"
    name = os.fsdecode(b"caf\xe9.wav")
    with open_writer(str(path), format, 1) as writer:
        writer.write(name, TOP[:1])
        writer.write_bad(name, "empty file")
    if format == "csv":
        assert b"caf\xe9.wav" in path.read_bytes()
    else:
        assert json.loads(path.read_text(encoding="utf-8").splitlines()[0])["path"] == name


def test_what_is_refused(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("mine")
    for output, message in (("there.csv", "exists already"), ("none/a.csv", "cannot be written"), ("", "a folder")):
        with pytest.raises(OutputError, match=message), open_writer(str(tmp_path / output), "csv", 1):
            pass
    assert (tmp_path / "there.csv").read_text() == "mine"
    with open_writer(str(tmp_path / "there.csv"), "csv", 1, overwrite=True) as writer:
        writer.write("a", TOP[:1])
    assert "a," in (tmp_path / "there.csv").read_text()


def test_an_error_of_the_caller_is_not_blamed_on_the_output(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), open_writer(str(tmp_path / "a.csv"), "csv", 1):
        raise FileNotFoundError("a model file")
    assert not (tmp_path / "a.csv").exists()
