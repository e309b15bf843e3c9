"""What a command may not overwrite or cannot write to is one line, and stays as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

from earmark.cli.main import main, run_example
from tests.cli.refusals import QUICK, TINY, Refusal, one_line, train, unknown_class


def test_output_folders(tones: Path, trained: Path, model: Path, tmp_path: Path, refusal: Refusal) -> None:
    before = {path.name: path.read_bytes() for path in trained.iterdir()}
    one_line(refusal(*train("--data_dir", tones, to=trained)), trained, "holds a run already", "--overwrite_output_dir")
    (tmp_path / "file").write_text("mine")
    one_line(refusal(*train("--data_dir", tones, to=tmp_path / "file")), tmp_path / "file", "a file is in the way")
    below = tmp_path / "file" / "run"
    one_line(refusal(*train("--data_dir", tones, to=below)), below, "cannot write")
    for place in (model, trained):  # the model to start from is never removed, even with the flag
        words = ["--data_dir", tones, "--model_name_or_path", place, *QUICK, "--output_dir", place, "--device", "cpu"]
        one_line(refusal("train", *words, "--overwrite_output_dir"), place, "--output_dir")
    assert (model / "model.safetensors").is_file()
    assert {path.name: path.read_bytes() for path in trained.iterdir()} == before


def test_a_run_is_only_replaced_when_the_new_one_can_start(trained, tones, tmp_path, refusal) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    refusal(*train("--data_dir", tmp_path / "gone", to=run), "--overwrite_output_dir")
    refusal(*train("--data_dir", tones, to=run), "--overwrite_output_dir", "--metric", "nowhere")
    assert {path.name for path in run.iterdir()} == {path.name for path in trained.iterdir()}


def test_a_checkpoint_that_cannot_be_gone_on_with(tones: Path, tmp_path: Path, refusal: Refusal, capsys) -> None:
    run = tmp_path / "run"
    words = ["--data_dir", str(tones), "--per_device_train_batch_size", "4", "--output_dir", str(run)]
    assert main(["train", *words, *TINY, "--num_train_epochs", "2"]) == 0
    newest = run / "checkpoint-6"
    other = ["--model_type", "tc_resnet", "--device", "cpu", "--resume"]
    one_line(refusal("train", *words, *other), newest, "belongs to another model")
    more = [*TINY, "--num_train_epochs", "3", "--resume_from_checkpoint"]
    (newest / "optimizer.pt").write_bytes(b"half")
    one_line(refusal("train", *words, *more, newest), newest, "optimizer.pt has 4 of")
    (newest / "complete.json").unlink()  # as other programs write them: found out when it is loaded
    one_line(refusal("train", *words, *more, newest), newest, "cannot be resumed")
    capsys.readouterr()
    assert main(["train", *words, *more, "True"]) == 0  # the one before is taken
    said = capsys.readouterr().err
    assert f"{newest}: skipped" in said
    assert f"resuming from {run / 'checkpoint-3'}" in said


def test_evaluation_into_a_run_leaves_its_figures(trained: Path, tones: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(trained, tmp_path / "run"))
    before = (run / "metrics.json").read_bytes()
    words = ["--do_eval", "--data_dir", str(tones), "--model_name_or_path", str(run), "--output_dir", str(run)]
    assert run_example([*words, "--use_cpu"]) == 0
    assert (run / "metrics.json").read_bytes() == before
    assert (run / "evaluation_validation" / "metrics.json").is_file()


def test_evaluate(trained: Path, tones: Path, data: Path, tmp_path: Path, refusal: Refusal) -> None:
    cpu = ["--device", "cpu", "--output_dir", tmp_path / "scores"]
    one_line(refusal("evaluate"), "earmark evaluate MODEL")
    one_line(refusal("evaluate", trained, *cpu), "no recordings")
    one_line(refusal("evaluate", tmp_path / "gone", "--data_dir", tones, *cpu), tmp_path / "gone")
    one_line(refusal("evaluate", trained, "--data_dir", tones, "--split", "test", *cpu), "no test clips", "validation")
    unknown_class(data)
    one_line(refusal("evaluate", trained, "--data_dir", data, *cpu), data, "'odd'", "'high', 'low'")
    (tmp_path / "scores").write_text("")
    one_line(refusal("evaluate", trained, "--data_dir", tones, *cpu), tmp_path / "scores", "cannot write")


def test_predict(trained: Path, tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    (tmp_path / "empty").mkdir()
    cpu = ["--device", "cpu"]
    one_line(refusal("predict", trained), "earmark predict MODEL")
    one_line(refusal("predict", trained, tmp_path / "empty", *cpu), tmp_path / "empty", "no audio files")
    (tmp_path / "file").write_text("mine")
    inside = tmp_path / "file" / "x.csv"
    one_line(refusal("predict", trained, tones, "--output", inside, *cpu), inside, "cannot be written")
    one_line(refusal("predict", trained, tones, "--output", tmp_path / "x.doc"), tmp_path / "x.doc", ".jsonl")
    one_line(refusal("predict", trained, tones, "--num_workers", "-1"), "--num_workers -1")
    one_line(refusal("predict", trained, tmp_path / "gone.wav", *cpu), "gone.wav: no such file or folder")
    (tmp_path / "x.csv").write_text("mine")
    one_line(refusal("predict", trained, tones, "--output", tmp_path / "x.csv", *cpu), tmp_path / "x.csv", "exists")
    assert (tmp_path / "x.csv").read_text() == "mine"


def test_results(tones: Path, tmp_path: Path, refusal: Refusal) -> None:
    one_line(refusal("results"), "earmark results RUN")
    one_line(refusal("results", tmp_path / "gone"), tmp_path / "gone", "no such folder")
    one_line(refusal("results", tones), tones, "not a finished run")
