"""Run folders: what is refused, what is replaced, what is never touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from earmark.errors import DataError, OutputError
from earmark.io.atomic import writing
from earmark.runs.folder import RunFolder, prepare_output_dir, read_json, write_json


def a_run(path: Path) -> RunFolder:
    folder = RunFolder(path)
    path.mkdir()
    for name in ("run_config.yaml", "model.safetensors", "config.json", "README.md", "metrics.json"):
        (path / name).write_text("{}")
    (path / "checkpoint-10").mkdir()
    return folder


def test_a_run_is_not_replaced_unasked(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    with pytest.raises(OutputError, match="holds a run already"):
        prepare_output_dir(folder, overwrite=False, resume=False)
    assert (folder.path / "checkpoint-10").is_dir()
    prepare_output_dir(folder, overwrite=False, resume=True)
    assert (folder.path / "checkpoint-10").is_dir()


def test_replacing_a_run_leaves_everything_else_alone(tmp_path: Path) -> None:
    folder = a_run(tmp_path / "run")
    mine = ["notes.txt", "model_card_mine.safetensors", "runs/other_run/model.safetensors", "checkpoint-notes/a"]
    for name in mine:
        (folder.path / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.path / name).write_text("mine")
    events = folder.path / "runs" / "Jan01" / "events.out.tfevents.1"
    events.parent.mkdir()
    events.write_text("")
    prepare_output_dir(folder, overwrite=True, resume=False)
    assert all((folder.path / name).read_text() == "mine" for name in mine)
    assert not events.exists()
    assert not folder.is_run()
    assert not (folder.path / "model.safetensors").exists()


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_pretrained_folder_is_never_written_into(tmp_path: Path, overwrite: bool) -> None:
    for name in ("config.json", "model.safetensors", "README.md"):
        (tmp_path / name).write_text("theirs")
    with pytest.raises(OutputError, match="not a run of earmark"):
        prepare_output_dir(RunFolder(tmp_path), overwrite=overwrite, resume=False)
    assert (tmp_path / "model.safetensors").read_text() == "theirs"


@pytest.mark.parametrize("name", ["README.md", "config.json", "labels.json", "metrics.json", "checkpoint-5"])
def test_a_folder_with_somebodys_files_is_left_alone(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("theirs")
    (tmp_path / "notes.txt").write_text("harmless")
    with pytest.raises(OutputError, match=f"holds {name}"):
        prepare_output_dir(RunFolder(tmp_path), overwrite=True, resume=False)
    assert (tmp_path / name).read_text() == "theirs"


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(OutputError, match="a file is in the way"):
        prepare_output_dir(RunFolder(tmp_path / "run"), overwrite=True, resume=False)


def test_a_file_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        write_json(path, {"accuracy": float("nan")})

    def half() -> None:
        with writing(path) as stream:
            stream.write("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert read_json(path) == {"accuracy": 0.5}
    assert [entry.name for entry in tmp_path.iterdir()] == ["metrics.json"]
    with pytest.raises(OutputError, match=r"nowhere/a\.json"):
        write_json(tmp_path / "nowhere" / "a.json", {})


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.json").write_text("{")
    with pytest.raises(DataError, match=r"metrics\.json: the file is damaged"):
        read_json(tmp_path / "metrics.json")
    with pytest.raises(DataError, match="not a finished run"):
        read_json(tmp_path / "results_row.json")
    with pytest.raises(DataError, match="no such folder"):
        read_json(tmp_path / "none" / "results_row.json")
