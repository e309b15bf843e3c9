"""The recipe this project began with, word for word, on a small archive; several processes; an interrupt."""

from __future__ import annotations

import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from earmark.cli.main import main, run_example
from earmark.models.build_model import ModelSource, build_for_training
from tests.gallery import Gallery
from tests.tiny import RATE_HZ, overrides, tone, write_tones

ROOT = Path(__file__).parents[2]
TINY = ["--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--device", "cpu"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
COMMANDS = ("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go")

# the recipe's flags from --model_name_or_path on; fewer epochs, smaller batches
RECIPE = shlex.split("""
    --model_name_or_path facebook/wav2vec2-base --dataset_name superb --dataset_config_name ks
    --output_dir ./output --overwrite_output_dir --remove_unused_columns False --do_train --do_eval
    --learning_rate 3e-5 --max_length_seconds 1 --attention_mask False --warmup_ratio 0.1 --num_train_epochs 1
    --per_device_train_batch_size 8 --gradient_accumulation_steps 4 --per_device_eval_batch_size 32
    --dataloader_num_workers 2 --logging_strategy steps --logging_steps 10 --evaluation_strategy epoch
    --save_strategy epoch --load_best_model_at_end True --metric_for_best_model accuracy --save_total_limit 3
    --seed 0
""")
APEX = shlex.split("--fp16 --fp16_opt_level O1 --half_precision_backend apex --loss_scale 16")


def write_archive(root: Path) -> Path:
    """Speech Commands in small: a folder a word, background recordings, two lists of files."""
    lists: dict[str, list[str]] = {"validation_list.txt": [], "testing_list.txt": []}
    for i, word in enumerate((*COMMANDS, "bed", "cat")):
        (root / word).mkdir(parents=True)
        for speaker in range(6):
            name = f"{speaker:08x}_nohash_0.wav"
            soundfile.write(root / word / name, tone(200 + 150 * i, 0.1, seed=speaker), RATE_HZ)
            if speaker < 2:
                lists[("validation_list.txt", "testing_list.txt")[speaker]].append(f"{word}/{name}\n")
    (root / "_background_noise_").mkdir()
    for name in ("hum.wav", "rain.wav"):
        soundfile.write(root / "_background_noise_" / name, tone(50, 4.0), RATE_HZ)
    for name, lines in lists.items():
        (root / name).write_text("".join(lines))
    return root


def write_metric(folder: Path) -> Path:
    """A metric as the ``evaluate`` library keeps them: a folder with a script of its name."""
    folder.mkdir()
    (folder / f"{folder.name}.py").write_text(
        "import datasets\nimport evaluate\n\n\n"
        "class Share(evaluate.Metric):\n"
        "    def _info(self):\n"
        "        whole = datasets.Value('int32')\n"
        "        features = datasets.Features({'predictions': whole, 'references': whole})\n"
        "        return evaluate.MetricInfo(description='', citation='', features=features)\n\n"
        "    def _compute(self, predictions, references):\n"
        "        return {'share': sum(map(int.__eq__, predictions, references)) / len(references)}\n"
    )
    return folder


@pytest.mark.parametrize("precision", [[], APEX], ids=["recipe", "apex"])
def test_the_recipe_with_local_weights_and_a_local_archive(
    precision: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARMARK_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    pretrained = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    build_for_training(pretrained, ["a", "b"], 1.0, 1.0).save("wav2vec2-base")
    archive = write_archive(tmp_path / "speech_commands_v0.01")
    metric = write_metric(tmp_path / "share")
    words = [*RECIPE, *precision, "--data_dir", str(archive), "--metric", str(metric), "--use_cpu"]
    assert run_example(words) == 0
    err = capsys.readouterr().err
    assert "facebook/wav2vec2-base: using the folder ./wav2vec2-base" in err
    assert "--evaluation_strategy is read as --eval_strategy" in err
    assert "--warmup_ratio is read as --warmup_steps 0.1" in err
    if precision:
        for flag in ("--fp16_opt_level O1", "--half_precision_backend apex", "--loss_scale 16"):
            assert f"{flag} is not used" in err
        assert "--fp16 has no gradient scaler on a CPU" in err
    labels = json.loads(Path("output/labels.json").read_text())
    assert sorted(labels) == sorted([*COMMANDS, "_silence_", "_unknown_"])
    metrics = json.loads(Path("output/metrics.json").read_text())
    assert metrics["train"]["global_batch_size"] == 32
    assert metrics["train"]["best_checkpoint"]
    assert metrics["validation"]["num_clips"] == 12
    assert metrics["test"]["metric_folder"] == {"share": metrics["test"]["accuracy"]}
    results = json.loads(Path("output/all_results.json").read_text())
    assert results["eval_share"] == results["eval_accuracy"] == metrics["validation"]["accuracy"]
    capsys.readouterr()
    assert run_example([*words, "--max_steps", "1"]) == 0  # --overwrite_output_dir replaces the run
    assert main(["results", "output"]) == 0
    assert "| wav2vec2     | wav2vec2-base " in capsys.readouterr().out


@pytest.mark.slow
def test_two_processes_judge_every_clip_once(tmp_path: Path) -> None:
    tones = write_tones(tmp_path / "tones", per_class=7, seconds=0.2)
    soundfile.write(tones / "validation" / "low" / "odd.wav", tone(310, 0.15), RATE_HZ)  # 7 clips, for 2 processes
    run = tmp_path / "run"
    words = ["--data_dir", str(tones), *TINY, "--num_train_epochs", "2", "--per_device_train_batch_size", "2"]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    done = subprocess.run(
        [*launcher, "-m", "earmark", "train", *words, "--learning_rate", "1e-2", "--output_dir", str(run)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("| Architecture") == 1
    assert done.stderr.count("data: 14 training clips, 7 validation clips") == 1
    with (run / "predictions_validation.csv").open(newline="") as stream:
        paths = [row["path"] for row in csv.DictReader(stream)]
    assert sorted(paths) == sorted(map(str, (tones / "validation").rglob("*.wav")))
    assert main(["evaluate", str(run), "--data_dir", str(tones), "--device", "cpu"]) == 0
    alone = json.loads((run / "evaluation_validation" / "metrics.json").read_text())["validation"]
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["train"]["global_batch_size"] == 4
    assert metrics["train"]["clips"] == 28
    assert metrics["validation"]["num_clips"] == 7
    assert metrics["validation"]["confusion_matrix"] == alone["confusion_matrix"]
    assert metrics["validation"]["loss"] == pytest.approx(alone["loss"], abs=1e-5)


@pytest.mark.slow
def test_signals_that_come_together_are_one_wish_to_stop(tmp_path: Path) -> None:
    tones = write_tones(tmp_path / "tones", per_class=4, seconds=0.1)
    words = ["--data_dir", str(tones), *TINY, "--num_train_epochs", "100000", "--eval_strategy", "no"]
    words += ["--save_strategy", "no", "--output_dir", str(tmp_path / "run")]
    command = [sys.executable, "-m", "earmark", "train", *words]
    with subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("training: "):
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGINT)
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == 75
    assert rest.splitlines()[-1].startswith("earmark: stopped by SIG")
    assert "Traceback" not in rest


def test_predictions_as_json_lines_in_the_order_asked(gallery: Gallery, tmp_path: Path) -> None:
    tones, output = write_tones(tmp_path / "tones", per_class=4, seconds=0.1), tmp_path / "labels.jsonl"
    run = gallery["single_label wav2vec2"].folder
    wanted = sorted((tones / "train").rglob("*.wav"), reverse=True)
    lengths = np.random.default_rng(0).uniform(0.05, 0.4, len(wanted))
    for path, seconds in zip(wanted, lengths, strict=True):  # of mixed length, so that batches are cut otherwise
        soundfile.write(path, tone(300, float(seconds)), RATE_HZ)
    (wanted[1]).write_bytes(b"")
    words = ["predict", str(run), *map(str, wanted), "--output", str(output), "--batch_size", "2", "--device", "cpu"]
    assert main(words) == 0
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["path"] for row in rows] == [str(path) for path in wanted]
    assert "empty" in rows[1]["error"]
    assert all(row["predictions"][0]["label"] in ("low", "high") for row in rows[:1] + rows[2:])
