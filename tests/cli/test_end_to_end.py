"""The commands on generated recordings: train, evaluate, predict, results."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.cli.main import main, run_example
from earmark.runs.folder import RunFolder
from tests.cli.refusals import QUICK, TINY, Refusal
from tests.gallery import Gallery, GalleryRun
from tests.rows import rows_in
from tests.tiny import RATE_HZ, tone
from tests.train.small import alike


@pytest.fixture(scope="module")
def trained(gallery: Gallery) -> GalleryRun:
    return gallery["single_label tc_resnet"]


@pytest.fixture
def run(trained: GalleryRun, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return trained.copy(tmp_path / "run")


def test_a_run_folder_is_complete(trained: GalleryRun) -> None:
    folder = RunFolder(trained.folder)
    for path in (folder.config, folder.labels, folder.environment, folder.metrics, folder.results_row, folder.card):
        assert path.is_file(), path
    for name in ("model.safetensors", "config.json", "preprocessor_config.json"):
        assert (trained.folder / name).is_file()
    metrics = json.loads(folder.metrics.read_text())
    assert metrics["train"]["steps"] == 8
    rows = rows_in(folder.predictions("validation"))
    assert len(rows) == metrics["validation"]["num_clips"] == 8
    assert sum(int(row["correct"]) for row in rows) / 8 == metrics["validation"]["accuracy"]


def test_evaluate_gives_the_figures_of_training(
    run: Path, trained: GalleryRun, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", str(run), *trained.data_flags, "--device", "cpu"]) == 0
    assert "validation: accuracy" in capsys.readouterr().out
    again = json.loads((run / "evaluation_validation" / "metrics.json").read_text())["validation"]
    judged = json.loads((run / "metrics.json").read_text())["validation"]
    assert again["accuracy"] == judged["accuracy"]
    assert again["loss"] == pytest.approx(judged["loss"], abs=1e-5)
    assert main(["results", str(run), str(run / "evaluation_validation")]) == 0
    table = capsys.readouterr().out.strip().splitlines()
    assert len(table) == 4
    assert table[2] == table[3]


def test_predict_writes_rows_in_order(trained: GalleryRun, tmp_path: Path) -> None:
    broken = tmp_path / "broken.wav"
    broken.write_bytes(b"")
    output, tones = tmp_path / "labels.csv", trained.data
    inputs = [broken, tones / "validation" / "low", tones / "validation" / "high" / "validation_0.wav"]
    words = ["predict", trained.folder, *inputs, "--output", output, "--top_k", "5", "--device", "cpu"]
    assert main([str(word) for word in words]) == 0
    with output.open(newline="") as stream:
        rows = list(csv.reader(stream))
    assert rows[0] == ["path", "label", "score", "label_2", "score_2"]
    assert rows[1] == [str(broken), "", "", "", ""]
    names = [*sorted(map(str, inputs[1].iterdir())), str(inputs[2])]
    judged = {row["path"]: row["predicted"] for row in rows_in(trained.folder / "predictions_validation.csv")}
    assert [row[:2] for row in rows[2:]] == [[name, judged[name]] for name in names]
    assert str(broken) in Path(f"{output}.bad_audio.csv").read_text()


def test_the_saved_settings_repeat_the_run(trained: GalleryRun, tmp_path: Path) -> None:
    words = ["--config", str(trained.folder / "run_config.yaml"), "--output_dir", str(tmp_path / "again")]
    assert main(["train", *words, "--device", "cpu"]) == 0
    first, second = (json.loads((run / "metrics.json").read_text()) for run in (trained.folder, tmp_path / "again"))
    assert first["validation"] == alike(second["validation"])


def test_a_run_is_resumed_or_refused_or_replaced(run: Path, refusal: Refusal) -> None:
    words = ["train", "--config", str(run / "run_config.yaml"), "--output_dir", str(run), "--device", "cpu"]
    assert "holds a run already" in refusal(*words)
    assert main([*words, "--resume_from_checkpoint", "True", "--max_steps", "9"]) == 0
    assert json.loads((run / "metrics.json").read_text())["train"]["steps"] == 9
    assert main([*words, "--overwrite_output_dir", *QUICK]) == 0
    assert not list(run.glob("checkpoint-*"))


def test_recordings_of_any_rate_length_and_channels(tmp_path: Path) -> None:
    for label, frequency_hz in (("low, very", 300.0), ('hi"gh', 2500.0)):
        place = tmp_path / "my tapes ü" / label
        place.mkdir(parents=True)
        for i, (rate_hz, seconds) in enumerate([(8000, 0.2), (44100, 0.4), (16000, 0.0), (48000, 1.2)]):
            wave = tone(frequency_hz, seconds, seed=i, rate_hz=rate_hz)
            soundfile.write(place / f"{i}.wav", np.stack([wave, wave], axis=1), rate_hz, subtype="PCM_24")
        (place / "3.wav").rename(place / os.fsdecode(b"caf\xe9.wav"))  # not UTF-8, as old tapes have it
    words = ["--data_dir", str(tmp_path / "my tapes ü"), *TINY, *QUICK, "--output_dir", str(tmp_path / "a run")]
    assert main(["train", *words]) == 0
    assert json.loads((tmp_path / "a run" / "labels.json").read_text()) == ['hi"gh', "low, very"]


def test_an_old_command_line_and_a_json_file(gallery: Gallery, tones: Path, tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("wav2vec2-base").mkdir()
    for name in ("config.json", "model.safetensors", "preprocessor_config.json"):
        shutil.copy(gallery["single_label wav2vec2"].folder / name, "wav2vec2-base")
    settings = {
        "model_name_or_path": "facebook/wav2vec2-base", "data_dir": str(tones), "remove_unused_columns": False,
        "do_train": True, "do_eval": True, "learning_rate": 3e-5, "max_length_seconds": 1, "attention_mask": False,
        "warmup_ratio": 0.1, "max_steps": 2, "per_device_train_batch_size": 4, "gradient_accumulation_steps": 4,
        "evaluation_strategy": "no", "save_strategy": "no", "fp16": True, "fp16_opt_level": "O1", "use_cpu": True,
        "half_precision_backend": "apex", "loss_scale": 16, "overwrite_output_dir": True, "output_dir": "output",
    }  # fmt: skip
    Path("arguments.json").write_text(json.dumps(settings))
    capsys.readouterr()
    assert run_example(["arguments.json"]) == 0
    err = capsys.readouterr().err
    for note in (
        "half_precision_backend",
        "loss_scale",
        "fp16_opt_level",
        "warmup_ratio",
        "no gradient scaler on a CPU",
    ):
        assert note in err
    assert "using the folder ./wav2vec2-base" in err
    assert RunFolder(Path("output")).metrics.is_file()


def test_training_on_all_clips_without_validation(tmp_path: Path, refusal: Refusal, capsys) -> None:
    for label, pitch_hz in (("low", 300), ("high", 2500)):
        (tmp_path / "two" / label).mkdir(parents=True)
        soundfile.write(tmp_path / "two" / label / "1.wav", tone(pitch_hz, 0.3), RATE_HZ)
    words = ["--data_dir", str(tmp_path / "two"), "--model_type", "tc_resnet", "--output_dir", str(tmp_path / "run")]
    message = refusal("train", *words, *QUICK)  # a class with one clip cannot give it away
    assert "no validation clips can be set aside: every class has a single clip" in message
    assert message.endswith("or train without validation (--eval_strategy no --validation_fraction 0)")
    assert main(["train", *words, *QUICK, "--validation_fraction", "0", "--device", "cpu"]) == 0
    assert set(json.loads(RunFolder(tmp_path / "run").metrics.read_text())) == {"train"}
    assert main(["predict", str(tmp_path / "run"), str(tmp_path / "two" / "low" / "1.wav")]) == 0
    assert "1.wav" in capsys.readouterr().out
    assert main(["results", str(tmp_path / "run")]) == 0  # how fast it trained; there is no other metric
    (row,) = [line for line in capsys.readouterr().out.splitlines() if "tc_resnet" in line]
    *_, speed, accuracy, majority, split = (cell.strip() for cell in row.strip("|").split("|"))
    assert (float(speed.replace(",", "")) > 0, accuracy, majority, split) == (True, "", "", "none")
