"""Mistakes that ``earmark predict`` reports before it loads a model, each in a process that would show torch."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from earmark.errors import DataError, UsageError
from earmark.predict.inputs import check_inputs
from earmark.settings.prediction_flags import PredictOptions

_RUN = """
import sys
from earmark.cli.main import main
code = main(sys.argv[1:])
print("torch" in sys.modules)
raise SystemExit(code)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "new_recordings").mkdir()
    (tmp_path / "new_recordings" / "a.wav").write_bytes(b"not audio")
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text('{"id2label": {"0": "no", "1": "yes"}}')
    return tmp_path


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["new_recording", "--output", "a.csv"], "new_recording: no such file or folder; did you mean new_recordings?"),
        (["new_recordings/b.wav"], "b.wav: no such file or folder; did you mean new_recordings/a.wav?"),
        (["new_recordings", "--threshold", "70"], "--threshold 70: expected above 0 and at most 1"),
        (
            ["new_recordings", "--threshold", "0.3", "--release_threshold", "0.5"],
            "--release_threshold 0.5: expected at",
        ),
        (["new_recordings", "--smooth_windows", "2"], "--smooth_windows 2: expected an odd number"),
        (["new_recordings", "--merge_gap_seconds", "-1"], "--merge_gap_seconds -1: expected 0 or more"),
        (
            ["new_recordings", "--only_labels", "yess"],
            "--only_labels yess: the model has no such class; did you mean yes?",
        ),
        (
            ["new_recordings", "--format", "raven", "--output", "sel.csv"],
            "--output sel.csv: --format raven writes a folder",
        ),
    ],
)
def test_mistakes_are_reported_before_torch_is_imported(folder: Path, words: list[str], said: str) -> None:
    rules = [] if "--format" in words or "--output" in words else ["--rows", "segments"]
    done = subprocess.run(
        [sys.executable, "-c", _RUN, "predict", "model", *words, *rules], capture_output=True, text=True, cwd=folder
    )
    assert said in done.stderr
    assert (done.returncode, done.stdout) == (2, "False\n")
    assert sorted(path.name for path in folder.iterdir()) == ["model", "new_recordings"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["embed", "model", "new_recording", "--output", "e.npy"], "did you mean new_recordings?"),
        (["label", "new_recording", "--model", "model"], "did you mean new_recordings?"),
        (["predict", "./modle", "new_recordings"], "modle: no such folder; did you mean model?"),
    ],
)
def test_other_commands_look_for_their_inputs_first(folder: Path, words: list[str], said: str) -> None:
    done = subprocess.run([sys.executable, "-c", _RUN, *words], capture_output=True, text=True, cwd=folder)
    assert said in done.stderr
    assert (done.returncode, done.stdout) == (2, "False\n")


def test_a_missing_recording_among_others_is_listed_and_a_missing_folder_is_refused(folder: Path) -> None:
    there = str(folder / "new_recordings")
    check_inputs([there, str(folder / "gone.wav")], any_missing=False)
    for missing in ("new_recording", "gone.wav"):
        with pytest.raises(DataError, match=f"{missing}: no such file or folder"):
            check_inputs([there, str(folder / missing)])
    with pytest.raises(DataError, match=r"did you mean .*new_recordings"):
        check_inputs([there, str(folder / "new_recording")], any_missing=False)


def test_a_folder_of_tables_is_not_named_like_a_table(folder: Path) -> None:
    def options(output: Path, **more: str) -> PredictOptions:
        return PredictOptions(model_name_or_path="m", inputs=["a.wav"], output=str(output), **more)

    for name in ("sel.csv", "sel.tsv", "sel.JSON"):
        with pytest.raises(UsageError, match=r"Name a folder, or a file that ends in \.txt for one recording$"):
            options(folder / name, format="audacity")
    assert not options(folder / "sel", format="audacity").one_file
    assert options(folder / "sel.txt", format="audacity").one_file
    (folder / "old.csv").mkdir()  # of an earlier job, to be resumed
    assert not options(folder / "old.csv", format="raven").one_file
