"""A real run, and what every command says about clips that it was trained on."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import clip_content
from earmark.cli.main import main
from earmark.clips.clip import Clip, ClipTable
from earmark.export.recordings import find_recordings
from earmark.runs.predictions import read_predictions
from earmark.runs.split_record import find_record
from earmark.runs.split_settings import read_split_settings
from earmark.store.known_contents import read_contents
from tests.rows import rows_in
from tests.tiny import RATE_HZ, tone

TRAIN = ["--model_type", "tc_resnet", "--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}']
TRAIN += ["--max_steps", "4", "--per_device_train_batch_size", "4", "--eval_strategy", "no", "--save_strategy", "no"]
QUIET = ["--device", "cpu", "--precision", "fp32", "--disable_tqdm", "True"]


def write(path: Path, seed: int, frequency_hz: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(frequency_hz * (1 + 0.01 * seed), 0.1, seed=seed), RATE_HZ)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 clips of two classes; a file is there twice, and another one under both labels."""
    folder = tmp_path_factory.mktemp("data") / "clips"
    for label, frequency_hz in (("low", 300.0), ("high", 2500.0)):
        for i in range(17):
            write(folder / label / f"{i:02}.wav", i, frequency_hz)
    shutil.copy(folder / "low" / "03.wav", folder / "low" / "copy.wav")
    shutil.copy(folder / "low" / "05.wav", folder / "high" / "copy.wav")
    return folder


def run_command(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[str, str]:
    capsys.readouterr()
    assert main([str(word) for word in words]) == 0
    out, err = capsys.readouterr()
    return out, err


@pytest.fixture(scope="module")
def run(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--data_dir", str(data), "--seed", "1", "--validation_fraction", "0.2", "--report", "false"]
    assert main([*words, *TRAIN, *QUIET, "--output_dir", str(folder)]) == 0
    return folder


def paths(predictions: Path) -> list[str]:
    return [clip.source for clip in read_predictions(predictions).clips]


def split_of(run: Path) -> dict[str, str]:
    return {row["clip"]: row["split"] for row in rows_in(run / "splits.csv")}


@pytest.fixture(scope="module")
def mixed(run: Path, data: Path) -> Path:
    """A manifest of four clips that the run was trained on, and two that it held out."""
    splits = split_of(run)
    trained = [path for path, split in splits.items() if split == "train" and "copy" not in Path(path).name]
    held = [
        path for path, split in splits.items() if split == "validation" and not re.search("copy|03|05", Path(path).name)
    ]
    path = data.parent / "mixed.csv"
    rows = [f"{name},{Path(name).parent.name}" for name in (*trained[:2], *held[:1], *trained[-2:], *held[-1:])]
    path.write_text("path,label\n" + "\n".join(rows) + "\n")
    return path


def test_a_run_lists_every_clip_with_its_split(run: Path, data: Path) -> None:
    splits = split_of(run)
    assert sorted(splits) == sorted(str(path) for path in data.rglob("*.wav"))
    held = sorted(path for path, split in splits.items() if split == "validation")
    assert held == sorted(paths(run / "predictions_validation.csv"))
    assert set(splits.values()) == {"train", "validation"}


def test_evaluate_scores_what_was_held_out_and_nothing_else(run: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    moved = Path(shutil.copytree(data, tmp_path / "moved"))
    record = find_record(run)
    assert record is not None
    for number, place in enumerate((data, moved)):
        output = tmp_path / f"scores_{number}"
        _, err = run_command(capsys, "evaluate", run, "--data_dir", place, "--device", "cpu", "--report", "false",
                             "--output_dir", output)  # fmt: skip
        assert "that the run held out (by content, " in err
        scored = paths(output / "predictions_validation.csv")
        contents, _ = read_contents(ClipTable([Clip(path, path=path) for path in scored], "scored"), num_threads=1)
        assert not record.trained_on(contents).any()
        assert set(contents.tolist()) <= set(record.of_split("validation").tolist())
        copies = record.trained_on(record.of_split("validation"))
        assert len(scored) == len(copies) - copies.sum() > 0
        metrics = json.loads((output / "metrics.json").read_text())["validation"]
        assert metrics["clips_trained_on"] == 0
        assert "trained_on" not in rows_in(output / "predictions_validation.csv")[0]


def test_clips_that_were_trained_on_are_counted_and_marked(run: Path, mixed: Path, tmp_path: Path, capsys: Any) -> None:
    warning = "the training split of this run has 4 of the 6 clips (equal samples), so these scores are too high"
    first, second = tmp_path / "first", Path(shutil.copytree(run, tmp_path / "second"))
    out, _ = run_command(capsys, "evaluate", run, "--eval_file", mixed, "--device", "cpu", "--output_dir", first)
    assert f"warning: {warning}" in out
    assert json.loads((first / "metrics.json").read_text())["validation"]["clips_trained_on"] == 4
    marks = ["1", "1", "0", "1", "1", "0"]
    assert [row["trained_on"] for row in rows_in(first / "predictions_validation.csv")] == marks
    page = (first / "report.html").read_text()
    assert warning in page
    assert page.count('"trained_on":true') == 4
    # and by a comparison, of the run that was trained on them alone
    (second / "splits.csv").unlink()
    words = ("evaluate", second, "--eval_file", mixed, "--device", "cpu", "--report", "false")
    _, err = run_command(capsys, *words)
    assert "has no record of its training clips" in err
    out, _ = run_command(capsys, "report", first, second / "evaluation_validation", "--output", tmp_path / "both.html")
    assert "warning: first was trained on 4 of these 6 clips" in out
    assert "evaluation_validation was trained on" not in out
    assert "was trained on 4 of these 6 clips" in (tmp_path / "both.html").read_text()


def test_calibrate_takes_what_was_held_out_and_warns_of_the_rest(
    run: Path, data: Path, mixed: Path, tmp_path: Path, capsys: Any
) -> None:
    model = Path(shutil.copytree(run, tmp_path / "model"))
    out, _ = run_command(capsys, "calibrate", model, "--data_dir", data, "--device", "cpu")
    fitted = json.loads((model / "decision.json").read_text())["fitted"]
    assert fitted["clips_trained_on"] == 0
    assert fitted["clips"] == int((~find_record(run).trained_on(find_record(run).of_split("validation"))).sum())  # type: ignore[union-attr]
    assert "warning" not in out
    out, _ = run_command(capsys, "calibrate", model, "--eval_file", mixed, "--device", "cpu")
    assert "warning: the training split of this run has 4 of the 6 clips" in out
    assert json.loads((model / "decision.json").read_text())["fitted"]["clips_trained_on"] == 4


def test_label_offers_clips_that_were_trained_on_last(
    run: Path, data: Path, mixed: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = tmp_path / "pool"
    pool.mkdir()
    for number, row in enumerate(rows_in(mixed)):
        shutil.copy(row["path"], pool / f"unlabelled_{number}.wav")
    for order in ("diverse", "uncertain", "confident", "random"):
        words = ("label", pool, "--model", run, "--output_dir", tmp_path / order, "--page", "false", "--device", "cpu")
        words = (*words, "--order", order)
        _, err = run_command(capsys, *words)
        assert "the model was trained on 4 of 6 recordings, so these come last" in err
        proposals = rows_in(tmp_path / order / "proposals.csv")
        assert [row["trained_on"] for row in proposals] == ["0", "0", "1", "1", "1", "1"]
        assert ["the model was trained on this clip" in row["why"] for row in proposals] == [False] * 2 + [True] * 4
    with monkeypatch.context() as patched:  # a later start decodes nothing
        patched.setattr("earmark.store.known_contents.clip_content", lambda clip: pytest.fail(f"decoded {clip.source}"))
        _, err = run_command(capsys, *words)
        assert "6 recordings, scored by this model at an earlier start" in err
        assert rows_in(tmp_path / "random" / "proposals.csv") == proposals
    words = ("label", mixed, "--check", "--model", run, "--output_dir", tmp_path / "check", "--page", "false")
    _, err = run_command(capsys, *words, "--device", "cpu")
    assert "the model was trained on 4 of 6 recordings, so it is sure even of their wrong labels" in err
    assert sorted(row["trained_on"] for row in rows_in(tmp_path / "check" / "proposals.csv")) == ["0"] * 2 + ["1"] * 4


def test_an_export_is_checked_on_clips_that_were_not_trained_on(run: Path, data: Path, tmp_path: Path, caplog) -> None:
    record = find_record(run)
    assert record is not None
    chosen = find_recordings(str(data), RATE_HZ, ["high", "low"], 4, record)
    held = int((~record.trained_on(record.of_split("validation"))).sum())
    assert len(chosen.waveforms) == min(4, held)
    names = [path for path, split in split_of(run).items() if split == "validation"]
    wanted = [soundfile.read(name, dtype="float32")[0] for name in names]
    assert all(any(np.array_equal(wave, one) for one in wanted) for wave in chosen.waveforms)
    trained = tmp_path / "trained" / "low"
    trained.mkdir(parents=True)
    for name, split in split_of(run).items():
        if split == "train":
            shutil.copy(name, trained / f"{Path(name).parent.name}_{Path(name).name}")
    caplog.clear()
    assert len(find_recordings(str(trained.parent), RATE_HZ, ["high", "low"], 4, record).waveforms) == 4
    assert "the run was trained on all of" in caplog.text


def test_an_export_decodes_no_more_recordings_than_it_needs(run: Path, tmp_path: Path, monkeypatch: Any) -> None:
    paths_there = sorted(split_of(run))
    pool = tmp_path / "pool"
    pool.mkdir()
    for number in range(40):
        write(pool / f"{number:02}.wav", 500 + number, 700.0)
    for number, name in enumerate([name for name in paths_there if split_of(run)[name] == "train"][:3]):
        shutil.copy(name, pool / f"{number * 10:02}_trained.wav")
    decoded: list[str] = []

    def watched(clip: Clip) -> int:
        decoded.append(clip.source)
        return clip_content(clip)

    monkeypatch.setattr("earmark.store.known_contents.clip_content", watched)
    found = find_recordings(str(pool), RATE_HZ, ["high", "low"], 4, find_record(run))
    assert len(found.waveforms) == 4
    assert 4 <= len(decoded) <= 8  # of 43
    assert len(set(decoded)) == len(decoded)
    everything = find_recordings(str(pool), RATE_HZ, ["high", "low"], 100, find_record(run))
    assert len(everything.waveforms) == 40


def test_an_export_knows_what_its_run_held_out(run: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    exported = tmp_path / "exported"
    run_command(capsys, "export", run, "--format", "pt2", "--output", exported)
    assert {row["clip"] for row in rows_in(exported / "splits.csv")} == {""}  # names stay with the run
    settings, of_run = read_split_settings(exported), read_split_settings(run)
    assert settings == {name: of_run[name] for name in settings}
    assert {"seed", "background_ratio", "on_bad_audio"} <= settings.keys()
    for model, output in ((run, tmp_path / "a"), (exported, tmp_path / "b")):
        run_command(capsys, "evaluate", model, "--data_dir", data, "--device", "cpu", "--report", "false",
                    "--output_dir", output)  # fmt: skip
    assert paths(tmp_path / "a" / "predictions_validation.csv") == paths(tmp_path / "b" / "predictions_validation.csv")


def test_a_run_knows_what_its_checkpoint_was_trained_on(run: Path, data: Path, tmp_path: Path, capsys: Any) -> None:
    words = ["train", "--model_name_or_path", run, "--data_dir", data, "--seed", "2", "--report", "false"]
    out, err = run_command(capsys, *words, *TRAIN[4:], *QUIET, "--output_dir", tmp_path / "next")
    metrics = json.loads((tmp_path / "next" / "metrics.json").read_text())["validation"]
    first, second = find_record(run), find_record(tmp_path / "next")
    assert first is not None
    assert second is not None
    count = int(first.trained_on(second.of_split("validation")).sum())
    assert count > 0
    assert f"data: {run} was trained on {count} of" in err
    assert metrics["clips_trained_on"] >= count
    counts = f"{metrics['clips_trained_on']} of the {metrics['num_clips']} clips"
    assert f"warning: validation: the training split of this run has {counts}" in out
    assert set(second.trained.tolist()) >= set(first.trained.tolist())
