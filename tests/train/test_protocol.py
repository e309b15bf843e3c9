"""Folds and seeds from the command line: one run each, metrics combined, nothing done twice."""

from __future__ import annotations

import json
import re
import shutil
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from earmark.cli.main import main
from earmark.errors import OutputError
from earmark.evaluate.held_out import find_held_out
from earmark.runs.folder import RunFolder
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.train import stopping
from earmark.train.sweep import changed_settings
from tests.gallery import Gallery, GalleryRun
from tests.train.small import alike

TINY = ["--model_type", "tc_resnet", "--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}']
QUICK = ["--max_steps", "4", "--per_device_train_batch_size", "4", "--eval_strategy", "no", "--save_strategy", "no"]
QUIET = ["--disable_tqdm", "True", "--device", "cpu", "--report", "false"]


@pytest.fixture(scope="module")
def folds(gallery: Gallery) -> GalleryRun:
    """A cross-validation of two folds that is finished."""
    return gallery["single_label tc_resnet folds"]


@pytest.fixture(scope="module")
def recordings(folds: GalleryRun) -> Path:
    """24 clips of two classes, three folds and six speakers, each in one fold."""
    return folds.data


@pytest.fixture
def manifest(recordings: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(recordings, tmp_path / "data")) / "all.csv"


def words(manifest: Path, output: Path, *more: str) -> list[str]:
    given = ["train", "--train_file", str(manifest), "--output_dir", str(output), *TINY, *QUICK, *QUIET]
    return [*given, *more]


def results(output: Path) -> dict[str, Any]:
    return json.loads((output / "cross_validation.json").read_text())  # type: ignore[no-any-return]


def refused(capsys: pytest.CaptureFixture[str], command: list[str]) -> str:
    capsys.readouterr()
    assert main(command) == 2
    err = capsys.readouterr().err
    assert "Traceback" not in err
    (line,) = (line for line in err.splitlines() if line.startswith("earmark: error: "))
    assert err.splitlines()[-1] == line
    return line


def test_official_folds(recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("EARMARK_STORE", str(tmp_path / "store"))
    command = words(recordings / "all.csv", tmp_path / "run", "--fold_column", "fold", "--group_column", "speaker")
    assert main(command) == 0
    printed = capsys.readouterr().out
    assert "*****" not in printed
    found = results(tmp_path / "run")
    assert [row["run"] for row in found["runs"]] == ["fold_1", "fold_2", "fold_3"]
    assert found["unfinished"] == []
    for figure in ("accuracy", "macro_f1"):
        values = []
        for fold in "123":
            metrics = json.loads((tmp_path / "run" / f"fold_{fold}" / "metrics.json").read_text())
            assert metrics["test"]["num_clips"] == 8
            values.append(metrics["test"][figure])
        spread = found["mean_and_deviation"][figure]
        assert spread["mean"] == pytest.approx(statistics.mean(values))
        assert spread["deviation"] == pytest.approx(statistics.stdev(values))
        assert f"{spread['mean']:.4f} ± {spread['deviation']:.4f}" in printed
    tested = [
        line.split(",")[0]
        for fold in "123"
        for line in (tmp_path / "run" / f"fold_{fold}" / "predictions_test.csv").read_text().splitlines()[1:]
    ]
    assert sorted(tested) == sorted(f"{i}.wav" for i in range(24))
    capsys.readouterr()
    assert main(["results", str(tmp_path / "run")]) == 0
    row = capsys.readouterr().out.splitlines()[-1]
    assert f"{found['mean_and_deviation']['accuracy']['mean']:.4f}" in row
    assert "| run " in row
    assert "| test, mean of 3 runs |" in row
    stores = [path for path in (tmp_path / "store").iterdir() if (path / "store.json").is_file()]
    assert len(stores) == 1  # decoded once, not once a fold

    # the settings of one fold repeat it, and evaluation finds its test clips
    one = tmp_path / "run" / "fold_2"
    again = ["train", "--config", str(one / "run_config.yaml"), "--output_dir", str(tmp_path / "again"), *QUIET]
    assert main(again) == 0
    first, second = (json.loads((folder / "metrics.json").read_text()) for folder in (one, tmp_path / "again"))
    assert first["test"] == second["test"]
    assert main(["evaluate", str(one), "--config", str(one / "run_config.yaml"), "--split", "test", *QUIET[2:]]) == 0
    scored = json.loads((one / "evaluation_test" / "metrics.json").read_text())
    assert scored["test"]["confusion_matrix"] == first["test"]["confusion_matrix"]
    # without any of them, too: each fold has written down which clips were in which of its splits
    for split in ("test", "validation"):
        given = EvaluateOptions(model_name_or_path=str(one), train_file=str(recordings / "all.csv"), split=split)
        told = [line.split(",")[0] for line in (one / f"predictions_{split}.csv").read_text().splitlines()[1:]]
        assert [clip.source for clip in find_held_out(given).table] == told


def test_a_fold_of_one_class_is_named(manifest: Path, tmp_path: Path, capsys) -> None:
    header, *rows = manifest.read_text().splitlines()
    cells = [row.split(",") for row in rows]
    for row in cells:  # of the third fold, one class goes elsewhere
        row[2] = "2" if row[1] == "low" and row[2] == "3" else row[2]
    manifest.write_text("\n".join([header, *map(",".join, cells)]) + "\n")
    assert main(words(manifest, tmp_path / "run", "--fold_column", "fold")) == 0
    out, err = capsys.readouterr()
    said = "all clips have one class in {}, so macro-F1 and majority-class rate have no meaning for them"
    (before,) = [line for line in err.splitlines() if "all clips have one class" in line]
    assert before.startswith(said.format("fold 3"))
    (after,) = [line for line in out.splitlines() if "all clips have one class" in line]
    assert after.startswith(said.format("fold_3"))


def written(output: Path) -> dict[str, int]:
    """When the weights of each fold were written."""
    weights = output.glob("fold_*/model.safetensors")
    return {path.parent.name: path.stat().st_mtime_ns for path in weights}


def test_what_is_finished_is_not_done_again(folds: GalleryRun, tmp_path: Path, capsys) -> None:
    output = folds.copy(tmp_path / "run")
    command, first, before = folds.command(output), written(output), results(output)
    shutil.rmtree(output / "fold_2")
    capsys.readouterr()
    assert main(command) == 0
    said = capsys.readouterr().err
    assert "run 1 of 2, fold_1: finished already" in said
    assert "run 2 of 2, fold_2\n" in said
    now = written(output)
    assert [fold for fold in ("fold_1", "fold_2") if now[fold] != first[fold]] == ["fold_2"]
    assert results(output) == alike(before)

    found = results(output)
    assert "other settings (max_steps 2 there, 9 here)" in refused(capsys, [*command, "--max_steps", "9"])
    seeds = [*command[: command.index("--folds")], *command[command.index("--folds") + 2 :], "--seeds", "0"]
    assert "folds 2 there, None here" in refused(capsys, seeds)
    assert results(output) == found


def test_runs_of_other_labels_are_kept_or_replaced(manifest: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "run"
    command = words(manifest, output, "--folds", "2")
    assert main(command) == 0
    before, first = results(output), written(output)
    manifest.write_text(manifest.read_text().replace("0.wav,low", "0.wav,high"))
    assert "holds runs of other clips, labels or folds" in refused(capsys, command)
    assert results(output) == before
    (output / "fold_old").mkdir()
    shutil.copy(output / "fold_1" / "run_config.yaml", output / "fold_old")  # of an earlier protocol
    assert main([*command, "--overwrite_output_dir"]) == 0
    assert not list((output / "fold_old").iterdir())
    assert results(output)["clips"] != before["clips"]
    assert all(time_ns > first[fold] for fold, time_ns in written(output).items())


def test_a_stopped_fold_goes_on_to_the_same_weights(
    recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ["--folds", "2", "--max_steps", "4"]
    command = words(recordings / "all.csv", tmp_path / "run", *more)

    def told(self: Any, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == 1 and args.output_dir.endswith("fold_2"):
            self.signal = "SIGTERM"

    with monkeypatch.context() as patched:
        patched.setattr(stopping.StopOnSignal, "on_step_begin", told)
        assert main(command) == 75
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == "earmark: fold_2 stopped by SIGTERM after step 2 of 4, saved. Run the same command to continue."
    found = results(tmp_path / "run")
    assert [row["run"] for row in found["runs"]] == ["fold_1"]
    assert found["unfinished"] == ["fold_2"]
    assert found["mean_and_deviation"]["accuracy"]["deviation"] is None

    assert main(command) == 0
    assert "resuming from" in capsys.readouterr().err
    assert main(words(recordings / "all.csv", tmp_path / "whole", *more)) == 0
    for fold in "12":
        stopped, whole = (
            load_file(folder / f"fold_{fold}" / "model.safetensors")
            for folder in (tmp_path / "run", tmp_path / "whole")
        )
        assert all(torch.equal(value, whole[name]) for name, value in stopped.items())
    assert results(tmp_path / "run") == results(tmp_path / "whole")


def test_seeds_and_folds_with_seeds(recordings: Path, tmp_path: Path, capsys) -> None:
    assert main(words(recordings / "all.csv", tmp_path / "seeds", "--seeds", "0,7")) == 0
    found = results(tmp_path / "seeds")
    assert [(row["run"], row["seed"], row["split"]) for row in found["runs"]] == [
        ("seed_0", 0, "validation"), ("seed_7", 7, "validation")
    ]  # fmt: skip
    assert found["kept"] == "last"
    assert "best model" not in capsys.readouterr().out
    chosen = ("--seeds", "0", "--eval_strategy", "epoch", "--save_strategy", "epoch")
    assert main(words(recordings / "all.csv", tmp_path / "chosen", *chosen)) == 0
    assert results(tmp_path / "chosen")["kept"] == "best"
    assert "selected the best model of each run" in capsys.readouterr().out
    one, two = (load_file(tmp_path / "seeds" / name / "model.safetensors") for name in ("seed_0", "seed_7"))
    assert not all(torch.equal(value, two[name]) for name, value in one.items())

    assert main(words(recordings / "all.csv", tmp_path / "both", "--seeds", "0,7", "--folds", "2")) == 0
    found = results(tmp_path / "both")
    names = ["seed_0/fold_1", "seed_0/fold_2", "seed_7/fold_1", "seed_7/fold_2"]
    assert [row["run"] for row in found["runs"]] == names
    accuracy = [row["accuracy"] for row in found["runs"]]
    means = [statistics.mean(accuracy[:2]), statistics.mean(accuracy[2:])]
    assert found["means_of_seeds"]["accuracy"]["mean"] == pytest.approx(statistics.mean(means))
    assert found["means_of_seeds"]["accuracy"]["deviation"] == pytest.approx(statistics.stdev(means))
    assert found["mean_and_deviation"]["accuracy"]["runs"] == 4

    # one fold, several seeds
    assert (
        main(words(recordings / "all.csv", tmp_path / "fold", "--seeds", "3", "--fold_column", "fold", "--fold", "2"))
        == 0
    )
    assert [row["run"] for row in results(tmp_path / "fold")["runs"]] == ["seed_3/fold_2"]


def test_tensorboard_gets_a_folder_for_each_run(recordings: Path, tmp_path: Path) -> None:
    more = ["--folds", "2", "--report_to", "tensorboard", "--logging_dir", str(tmp_path / "events")]
    assert main(words(recordings / "all.csv", tmp_path / "run", *more)) == 0
    assert sorted({path.parent.name for path in (tmp_path / "events").rglob("events.out*")}) == ["fold_1", "fold_2"]


def test_what_cannot_work_is_known_before_the_first_run(manifest: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "run"
    text = manifest.read_text()
    cases = [
        (text.replace(",low,1,s0", ",low,,s0"), ["--fold_column", "fold"], "no value in the column 'fold'"),
        (text.replace(",low,1,s0", ",only,1,s0"), ["--fold_column", "fold"], "fold 1 has all clips of 'only'"),
        (text.replace(",1,s", ",a/b,s"), ["--fold_column", "fold"], "'a/b' cannot be the name of a folder"),
        (text.replace("s5", ""), ["--folds", "3", "--group_column", "speaker"], "no value in the column 'speaker'"),
        (text, ["--folds", "7", "--group_column", "speaker"], "6 groups cannot be divided into 7 folds"),
        (text, ["--fold_column", "split"], "no column 'split'"),
        (text, ["--folds", "3", "--eval_file", str(manifest)], "--folds 3 with --eval_file"),
        (text, ["--folds", "3", "--resume_from_checkpoint", "True"], "--resume_from_checkpoint: only for a single run"),
        (text, ["--folds", "3", "--push_to_hub", "True"], "--push_to_hub: only for a single run"),
        (text, ["--seeds", "0,x"], "--seeds 0,x: expected whole numbers"),
        (re.sub(r"high,([23])", r"High,\1", text), ["--folds", "2"], "letter case"),
    ]
    for table, flags, said in cases:
        manifest.write_text(table)
        assert said in refused(capsys, words(manifest, output, *flags))
        assert not list(output.glob("*"))


def test_settings_that_an_earlier_version_did_not_have_are_not_changes() -> None:
    now = {"seed": 1, "keep_head": False, "device": "cpu", "max_steps": 5}
    assert changed_settings({"seed": 0, "device": "npu", "max_steps": 5}, now) == ["seed 0 there, 1 here"]
    assert changed_settings({**now, "keep_head": None}, now) == ["keep_head None there, False here"]


@pytest.mark.parametrize(
    ("name", "before", "now"),
    [
        ("model_name_or_path", "facebook/wav2vec2-base", "openai/whisper-tiny"),
        ("model_revision", "main", "v2"),
        ("config_name", None, "other"),
        ("feature_extractor_name", None, "other"),
        ("data_dir", "a", "b"),
        ("label_column_name", "species", "label"),
        ("target_precision", None, 0.9),
        ("learning_rate", 1e-3, 1e-4),
    ],
)
def test_models_and_clips_that_changed_are_named(name: str, before: Any, now: Any) -> None:
    assert changed_settings({name: before}, {name: now}) == [f"{name} {before} there, {now} here"]


@pytest.mark.parametrize("name", ["device", "output_dir", "store_dir", "cache_dir", "run_name", "report_to", "resume"])
def test_what_decides_nothing_may_change(name: str) -> None:
    assert changed_settings({name: "a"}, {name: "b"}) == []


def test_runs_of_others_are_not_taken_over(folds: GalleryRun, tmp_path: Path, capsys) -> None:
    output = tmp_path / "run"
    shutil.copytree(folds.folder / "fold_1", output / "fold_1")
    metrics = RunFolder(output / "fold_1").metrics.read_bytes()
    assert "this run does not belong to a cross-validation in" in refused(capsys, folds.command(output))
    plain = Path(shutil.copytree(folds.folder / "fold_1", tmp_path / "plain"))
    line = refused(capsys, folds.command(plain))
    assert "plain: holds a single run. Name another --output_dir" in line
    assert RunFolder(output / "fold_1").metrics.read_bytes() == metrics


def test_one_run_does_not_go_on_in_the_folder_of_several(
    folds: GalleryRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = folds.copy(tmp_path / "run")
    settings = RunFolder(run).config.read_bytes()
    line = refused(capsys, words(folds.data / "all.csv", run, "--resume"))
    assert "holds a cross-validation or runs of several seeds" in line
    assert RunFolder(run).config.read_bytes() == settings
    RunFolder(run).cross_validation.write_text(json.dumps({**results(run), "unfinished": ["fold_2"]}))
    assert main(["results", str(run)]) == 2
    assert "fold_2 not finished" in capsys.readouterr().err
    assert main(folds.command(run)) == 0  # what belongs to it goes on


def test_a_run_that_ended_before_its_report_is_gone_on_with(
    recordings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = words(recordings / "all.csv", tmp_path / "run", "--folds", "2", "--report", "true")
    with monkeypatch.context() as patched:

        def ends(path: Path, *_: object) -> Path:
            raise OutputError(f"{path}: the disk is full")

        patched.setattr("earmark.train.report.write_report", ends)
        assert "the disk is full" in refused(capsys, command)
    assert results(tmp_path / "run")["unfinished"] == ["fold_1", "fold_2"]
    assert main(command) == 0
    assert RunFolder(tmp_path / "run" / "fold_1").report.is_file()


def test_a_first_run_that_never_began_does_not_hold_its_settings(recordings: Path, tmp_path: Path, capsys) -> None:
    output = tmp_path / "run"
    command = words(recordings / "all.csv", output, "--folds", "2")
    at = command.index("--model_type")
    wrong = [*command[:at], "--model_name_or_path", str(tmp_path / "gone"), *command[at + 2 :]]
    assert main(wrong) == 2
    assert "gone" in capsys.readouterr().err
    assert main(command) == 0
    assert results(output)["unfinished"] == []
