"""Silence and background clips, which each run cuts from recordings again, stay held out, too."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path

import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable
from earmark.runs.split_settings import read_split_settings, write_split_settings
from earmark.settings.data_flags import DataArguments
from earmark.sources.load_clips import load_splits
from tests.cli.test_seed_command import write_archive
from tests.evaluate.held_out_runs import LABELS, chosen, record, write
from tests.tiny import RATE_HZ, tone


def test_silence_of_speech_commands_is_cut_as_the_run_cut_it(tmp_path) -> None:
    archive = write_archive(tmp_path / "archive")
    soundfile.write(archive / "_background_noise_" / "hum.wav", tone(50, 20.0), RATE_HZ)  # a fifth is held out
    data = {"dataset_name": "superb", "dataset_config_name": "ks", "data_dir": str(archive)}
    splits = load_splits(DataArguments(**data, silence_percentage=20), seed=7)  # type: ignore[arg-type]
    splits.test = None
    run = record(tmp_path / "run", splits)
    (run / "run_config.yaml").write_text("seed: 7\nsilence_percentage: 20.0\n")
    wanted = [(clip.source, clip.offset_s) for clip in splits.validation or []]
    assert [(clip.source, clip.offset_s) for clip in chosen(run, **data).table] == wanted
    other = [(clip.source, clip.offset_s) for clip in chosen(run, **data, seed=8).table]
    assert other != wanted
    # an export of the run knows the settings too, but no names of files
    with (run / "run_config.yaml").open("a") as stream:
        stream.write(f"data_dir: {archive}\n")
    exported = tmp_path / "exported"
    exported.mkdir()
    shutil.copy(run / "splits.csv", exported)
    write_split_settings(run, exported)
    assert [(clip.source, clip.offset_s) for clip in chosen(exported, **data).table] == wanted
    assert read_split_settings(exported) == {"seed": 7, "silence_percentage": 20.0}


@pytest.fixture
def noise(tmp_path: Path) -> Path:
    for i in range(6):
        (tmp_path / "noise").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "noise" / f"{i}.wav", tone(60.0 + i, 12.0, seed=500 + i), RATE_HZ)
    return tmp_path / "noise"


def background(table: ClipTable) -> list[Clip]:
    return [clip for clip in table if clip.label == "background"]


def test_background_clips_are_found_again_in_data_that_has_grown(grown, noise, tmp_path, caplog) -> None:
    settings = {"data_dir": str(grown), "background_dir": str(noise)}
    splits = load_splits(DataArguments(**settings), seed=1)  # type: ignore[arg-type]
    run = record(tmp_path / "run", splits, background_dir=str(noise))
    held = background(splits.validation or ClipTable([], ""))
    assert held
    assert background(chosen(run, **settings).table) == held
    for i in range(2):
        write(grown / "high" / f"more_{i}.wav", 400 + i, "high")
    found = background(chosen(run, **settings).table)
    assert found
    assert {clip.path for clip in found} <= {clip.path for clip in held}
    # no part of a recording that the run has used is new to it, however many clips are cut
    unseen = chosen(run, **settings, split="unseen", background_ratio=3.0).table
    assert {Path(clip.source).name for clip in unseen} == {"more_0.wav", "more_1.wav"}
    # other recordings under the same names
    for i in range(6):
        soundfile.write(noise / f"{i}.wav", tone(60.0 + i, 12.0, seed=900 + i), RATE_HZ)
    with caplog.at_level(logging.WARNING):
        assert not background(chosen(run, **settings).table)
    assert "held out no clip of background" in caplog.text
    assert (
        "so this class is not scored. Evaluate with the data of the training run, including the recordings of"
        in caplog.text
    )


def test_background_recordings_that_were_trained_on_are_not_cut_for_other_data(folder, noise, tmp_path, caplog) -> None:
    settings = {"data_dir": str(folder), "background_dir": str(noise)}
    splits = load_splits(DataArguments(**settings), seed=1)  # type: ignore[arg-type]
    run = record(tmp_path / "run", splits, background_dir=str(noise))
    trained_on = {clip.path for clip in background(splits.train or ClipTable([], ""))}
    assert 0 < len(trained_on) < 6
    rows = []
    for label in LABELS:
        for i in range(8):
            write(tmp_path / "fresh" / f"{label}_{i}.wav", 600 + i, label)
            rows.append(f"fresh/{label}_{i}.wav,{label}\n")
    (tmp_path / "fresh.csv").write_text("path,label\n" + "".join(rows))
    fresh = {"test_file": str(tmp_path / "fresh.csv"), "split": "test"}
    moved = noise.rename(tmp_path / "moved")
    with caplog.at_level(logging.WARNING):
        found = chosen(run, **fresh, background_dir=str(moved))
    scored = {clip.path for clip in background(found.table)}
    assert scored
    assert not {Path(path).name for path in scored} & {Path(path).name for path in trained_on}
    assert (
        "cut from --background_dir, because the model was trained on other parts of the same recordings" in caplog.text
    )
    for path in moved.iterdir():
        if path.name not in {Path(path).name for path in trained_on}:
            path.unlink()
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        assert not background(chosen(run, **fresh, background_dir=str(moved)).table)
    assert ", so background is not scored. Add background recordings that are new to the run" in caplog.text
