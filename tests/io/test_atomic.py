"""Files are whole or not there, and what keeps one from being written is told."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from earmark.errors import OutputError
from earmark.io import atomic
from earmark.io.atomic import writing, writing_bytes
from earmark.io.csv_rows import csv_row
from earmark.settings.config_files import save_config
from tests.small_files import no_file_longer_than


def test_a_file_is_there_when_it_is_complete(tmp_path: Path) -> None:
    with writing(tmp_path / "a.csv") as stream:
        stream.write("h\udce9\n")  # of a name that is not UTF-8
        assert not (tmp_path / "a.csv").exists()
    with writing_bytes(tmp_path / "b") as binary:
        binary.write(b"12")
    assert (tmp_path / "a.csv").read_bytes() == b"h\xe9\n"
    assert (tmp_path / "b").read_bytes() == b"12"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b"]


def test_what_does_not_fit_leaves_the_earlier_file(tmp_path: Path) -> None:
    path = tmp_path / "run_config.yaml"
    save_config({"seed": 1}, path)
    with (
        pytest.raises(OutputError, match=rf"^{path}: cannot be written \(File too large\)$"),
        no_file_longer_than(100),
    ):
        save_config({"seed": 2, "data_dir": "a" * 200}, path)
    assert path.read_text() == "seed: 1\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_place_where_nothing_can_be_removed_either(tmp_path: Path) -> None:
    """As on a read-only disk: tidying up fails as writing did, and the reason is that of writing."""
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(OutputError, match=r"x\.html: cannot be written \(Not a directory\)$"),
        writing(tmp_path / "file" / "x.html"),
    ):
        pass


def test_replace_waits_for_a_program_that_has_the_file_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, where a virus scanner opens new files for a moment."""
    refusals = [PermissionError(13, "in use"), PermissionError(13, "in use")]

    def refuse_twice(source: Path, target: Path) -> None:
        if refusals:
            raise refusals.pop()
        source.rename(target)

    monkeypatch.setattr(atomic.os, "replace", refuse_twice)
    monkeypatch.setattr(atomic, "_BETWEEN_TRIES_S", 0.0)
    (tmp_path / "part").write_bytes(b"1")
    with pytest.raises(PermissionError):  # elsewhere it is an error at once
        atomic.replace(tmp_path / "part", tmp_path / "whole")
    monkeypatch.setattr(atomic, "_TRIES", 3)
    atomic.replace(tmp_path / "part", tmp_path / "whole")
    assert (tmp_path / "whole").read_bytes() == b"1"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", ",", '"', "\t"])
def test_a_csv_row_is_one_row_whatever_is_in_it(end: str) -> None:
    cells = [f"a{end}b", "", "c"]
    text = csv_row([*cells, None, 0.5, 3])
    assert text.endswith("\n")
    assert not text.endswith("\r\n")
    assert list(csv.reader(io.StringIO(text + csv_row(["next"]), newline=""))) == [[*cells, "", "0.5", "3"], ["next"]]


def test_no_other_code_writes_csv_rows_that_a_carriage_return_splits() -> None:
    source = Path(atomic.__file__).parents[1]
    wrong = [path for path in source.rglob("*.py") if 'lineterminator="\\n"' in path.read_text(encoding="utf-8")]
    assert wrong == []


def test_a_file_of_other_code_replaces_the_earlier_one_when_it_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"earlier")

    def fail() -> None:
        with atomic.replacing(path) as part:
            part.write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"earlier"
    assert list(tmp_path.iterdir()) == [path]
    with atomic.replacing(path) as part:
        assert part == atomic.unfinished(path)
        part.write_bytes(b"whole")
        assert path.read_bytes() == b"earlier"
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]
