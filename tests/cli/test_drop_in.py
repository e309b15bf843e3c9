"""What scripts around Transformers' audio classification example rely on: its command lines and its result files."""

from __future__ import annotations

import json
import runpy
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers
from transformers import Trainer, TrainingArguments

from earmark.cli.main import main, run_example
from earmark.runs.folder import RunFolder, prepare_output_dir
from tests.tiny import ARCHITECTURES, RATE_HZ, overrides, save_model, tone, write_tones

ROOT = Path(__file__).parents[2]
TINY = ["--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--device", "cpu", "--report", "false"]
QUICK = ["--per_device_train_batch_size", "4", "--learning_rate", "1e-3"]

# A public test of Ascend, word for word but for its folders, which are in the working directory here.
ASCEND = shlex.split(
    "--model_name_or_path TINY --dataset_name DIR --audio_column_name audio --label_column_name label "
    "--max_length_seconds 1 --max_train_samples 2 --remove_unused_columns False --do_train --max_steps 1 "
    "--per_device_train_batch_size 1 --output_dir OUT"
)
# model saved by Transformers: its class, its feature extractor, and what makes the extractor fit a tiny model
SAVED = {
    "wav2vec2 without a head": ("Wav2Vec2Model", "Wav2Vec2FeatureExtractor", {}),
    "wav2vec2": ("Wav2Vec2ForSequenceClassification", "Wav2Vec2FeatureExtractor", {}),
    "hubert": ("HubertForSequenceClassification", "Wav2Vec2FeatureExtractor", {}),
    "audio-spectrogram-transformer": (
        "ASTForAudioClassification", "ASTFeatureExtractor", {"num_mel_bins": 32, "max_length": 256},
    ),
    "whisper": ("WhisperForAudioClassification", "WhisperFeatureExtractor", {"feature_size": 20, "chunk_length": 3}),
}  # fmt: skip


def write_with_transformers(folder: Path, kind: str) -> None:
    """A tiny model as Transformers saves it, with a stray ``trainer_state.json`` of another run."""
    model_class, extractor_class, settings = SAVED[kind]
    model = getattr(transformers, model_class)
    torch.manual_seed(0)
    model(model.config_class(**ARCHITECTURES[kind.split()[0]])).save_pretrained(folder)
    getattr(transformers, extractor_class)(**settings).save_pretrained(folder)
    (folder / "trainer_state.json").write_text('{"global_step": 5}')


def write_silence(folder: Path) -> None:
    for name in ("train/a/x.wav", "train/b/y.wav", "train/c/w.wav", "validation/b/z.wav", "validation/c/v.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(folder / name, np.zeros(RATE_HZ, np.float32), RATE_HZ)


def read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda name: pytest.fail(name))
    return found


def check_agreement(run: Path, *, evaluated: bool = True) -> None:
    """See that the result files of a run have the metrics of its ``metrics.json``."""
    folder = RunFolder(run)
    train, metrics = read(folder.train_results), read(folder.metrics)
    assert train["epoch"] == metrics["train"]["epochs"]
    assert train["train_runtime"] == pytest.approx(metrics["train"]["training_s"], abs=1e-4)
    assert train["train_samples_per_second"] == pytest.approx(metrics["train"]["samples_per_second"], abs=1e-3)
    assert folder.eval_results.exists() == evaluated
    found = read(folder.eval_results) if evaluated else {}
    for name, value in metrics["validation"].items():
        if evaluated and isinstance(value, (int, float)) and name != "clips_trained_on":
            assert found[f"eval_{name}"] == value
    assert read(folder.all_results) == {**train, **found}
    state = read(folder.trainer_state)
    assert state["global_step"] == metrics["train"]["steps"]
    assert state["log_history"] == read_list(folder.history)


def read_list(path: Path) -> list[Any]:
    found: list[Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("kind", SAVED)
def test_the_command_line_of_ascend(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_with_transformers(tmp_path / "TINY", kind)
    write_silence(tmp_path / "DIR")
    monkeypatch.setattr(sys, "argv", ["run_audio_classification.py", *ASCEND])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(ROOT / "run_audio_classification.py"), run_name="__main__")
    assert ended.value.code == 0
    train = read(Path("OUT/train_results.json"))
    assert (train["train_samples"], train["epoch"]) == (2, 0.5)
    assert train["train_loss"] == pytest.approx(np.log(3), abs=0.2)  # of three classes and a head of small weights
    assert read(Path("OUT/trainer_state.json"))["global_step"] == 1
    config = read(Path("OUT/config.json"))
    assert config["id2label"] == {"0": "a", "1": "b", "2": "c"}  # of the whole split, as in the example
    assert Path("OUT/model.safetensors").is_file()
    assert not Path("OUT/eval_results.json").exists()  # of --do_eval
    assert read(Path("TINY/trainer_state.json")) == {"global_step": 5}


class _Clips(torch.utils.data.Dataset):  # type: ignore[type-arg]
    def __len__(self) -> int:
        return 2

    def __getitem__(self, row: int) -> dict[str, Any]:
        return {"input_values": np.zeros(RATE_HZ // 10, np.float32), "labels": row}


def blocks_in(out: str) -> dict[str, list[str]]:
    """Names in the blocks that ``Trainer.log_metrics`` prints, by title."""
    found: dict[str, list[str]] = {}
    for line in out.splitlines():
        if line.startswith("***** "):
            names = found.setdefault(line, [])
        elif line.startswith("  ") and " = " in line and found:
            names.append(line.split()[0])
    return found


def test_the_keys_are_those_of_transformers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of the installed version, whose Trainer writes its files here as its example does."""
    write_with_transformers(tmp_path / "tiny", "wav2vec2")
    model = transformers.Wav2Vec2ForSequenceClassification.from_pretrained(tmp_path / "tiny")
    args = TrainingArguments(str(tmp_path / "theirs"), max_steps=1, use_cpu=True, report_to="none", disable_tqdm=True)
    score = lambda found: {"accuracy": 1.0}  # noqa: E731
    trainer = Trainer(model, args, train_dataset=_Clips(), eval_dataset=_Clips(), compute_metrics=score)
    metrics = {"train": trainer.train().metrics, "eval": trainer.evaluate()}
    trainer.save_state()
    capsys.readouterr()
    for split, values in metrics.items():
        trainer.log_metrics(split, values)
        trainer.save_metrics(split, values)
    theirs = blocks_in(capsys.readouterr().out)
    tones = write_tones(tmp_path / "tones", per_class=4, seconds=0.2)
    words = [*TINY, *QUICK, "--data_dir", str(tones), "--do_train", "--do_eval", "--max_steps", "2"]
    assert run_example([*words, "--output_dir", str(tmp_path / "ours")]) == 0
    ours = blocks_in(capsys.readouterr().out)
    assert list(ours) == list(theirs) == ["***** train metrics *****", "***** eval metrics *****"]
    for title, names in ours.items():
        assert set(names) >= set(theirs[title])
        assert names == sorted(set(names))
    for name in ("train_results.json", "eval_results.json", "all_results.json", "trainer_state.json"):
        assert read(tmp_path / "theirs" / name).keys() <= read(tmp_path / "ours" / name).keys(), name
    check_agreement(tmp_path / "ours")
    found = read(tmp_path / "ours" / "all_results.json")
    assert (found["train_samples"], found["eval_samples"]) == (8, 4)
    assert found["train_steps_per_second"] == pytest.approx(2 / found["train_runtime"], rel=0.01)
    assert found["eval_samples_per_second"] == pytest.approx(4 / found["eval_runtime"], rel=0.1)
    transformers.TrainerState.load_from_json(str(tmp_path / "ours" / "trainer_state.json"))


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"), per_class=4, seconds=0.2)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("base"), 1.0)


@pytest.mark.parametrize("how", ["--overwrite_output_dir", "--resume"])
def test_no_results_of_an_earlier_model_stay(how: str, tones: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*TINY, *QUICK, "--data_dir", str(tones), "--output_dir", str(run), "--do_train"]
    assert run_example([*words, "--do_eval", "--max_steps", "1"]) == 0
    check_agreement(run)
    assert run_example([*words, "--eval_strategy", "no", "--max_steps", "2", how]) == 0
    check_agreement(run, evaluated=False)
    assert "eval_accuracy" not in read(run / "all_results.json")
    prepare_output_dir(RunFolder(run), overwrite=True, resume=False)
    assert list(run.iterdir()) == []  # every file of a run is known as one


def test_early_stopping_and_a_resumed_run(tones: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [*TINY, *QUICK[:2], "--data_dir", str(tones), "--output_dir", str(run), "--do_train", "--do_eval"]
    words += ["--learning_rate", "0", "--num_train_epochs", "6"]
    assert run_example([*words, "--early_stopping_patience", "2"]) == 0
    check_agreement(run)
    first = read(run / "train_results.json")
    assert first["epoch"] == 3.0  # no epoch was better than the first
    assert run_example([*words, "--early_stopping_patience", "2", "--resume"]) == 0
    assert read(run / "train_results.json") == first  # nothing was left to train
    assert run_example([*words, "--early_stopping_patience", "0", "--resume"]) == 0
    check_agreement(run)
    rest = read(run / "train_results.json")
    assert rest["epoch"] == 6.0
    assert rest["train_steps_per_second"] == pytest.approx(6 / rest["train_runtime"], rel=0.01)


def test_few_shot_has_no_loss(tones: Path, base: Path, tmp_path: Path) -> None:
    words = ["--model_name_or_path", str(base), "--data_dir", str(tones), "--few_shot", "--do_train", "--do_eval"]
    assert run_example([*words, "--device", "cpu", "--output_dir", str(tmp_path / "run")]) == 0
    check_agreement(tmp_path / "run")
    train = read(tmp_path / "run" / "train_results.json")
    assert (train["train_samples"], train["epoch"]) == (8, 0.0)
    assert "train_loss" not in train


@pytest.mark.parametrize(("task", "metric"), [("regression", "mae"), ("multi_label", "mean_average_precision")])
def test_other_tasks(task: str, metric: str, tmp_path: Path) -> None:
    labels = {"regression": ["1.5", "2.5", "4"], "multi_label": ["low", "low,high", "high"]}[task]
    for split in ("train", "eval"):
        rows = [f'{split}{i}.wav,"{labels[i % 3]}"' for i in range(6)]
        for i in range(6):
            soundfile.write(tmp_path / f"{split}{i}.wav", tone(300 + 200 * i, 0.2, seed=i), RATE_HZ)
        (tmp_path / f"{split}.csv").write_text("\n".join(["audio,label", *rows]))
    words = [*TINY, *QUICK, "--train_file", str(tmp_path / "train.csv"), "--eval_file", str(tmp_path / "eval.csv")]
    words += ["--task", task, "--do_train", "--do_eval", "--max_steps", "2", "--output_dir", str(tmp_path / "run")]
    assert run_example(words) == 0
    check_agreement(tmp_path / "run")
    assert {f"eval_{metric}", "eval_loss"} <= read(tmp_path / "run" / "eval_results.json").keys()


def test_an_evaluation_alone(tones: Path, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "out"
    words = ["--model_name_or_path", str(base), "--data_dir", str(tones), "--do_eval", "--output_dir", str(output)]
    assert run_example([*words, "--device", "cpu"]) == 0
    assert list(blocks_in(capsys.readouterr().out)) == ["***** eval metrics *****"]
    found = read(output / "eval_results.json")
    assert read(output / "all_results.json") == found
    assert found["eval_accuracy"] == read(output / "metrics.json")["validation"]["accuracy"]
    assert "epoch" not in found
    assert not (output / "train_results.json").exists()


def test_an_evaluation_into_its_own_run(tones: Path, tmp_path: Path) -> None:
    """Two commands, as many scripts have them: train, then evaluate what was trained, in one output folder."""
    run = tmp_path / "run"
    words = [*QUICK, "--data_dir", str(tones), "--output_dir", str(run), "--device", "cpu"]
    assert run_example([*TINY, *words, "--do_train", "--max_steps", "2", "--eval_strategy", "no"]) == 0
    train = read(run / "train_results.json")
    again = ["--model_name_or_path", str(run), *words, "--do_eval"]
    assert run_example(again) == 0
    evaluated = read(run / "eval_results.json")
    assert evaluated["eval_accuracy"] == read(run / "metrics.json")["validation"]["accuracy"]
    assert read(run / "all_results.json") == {**train, **evaluated}
    assert read(run / "evaluation_validation" / "eval_results.json") == evaluated
    other = save_model(tmp_path / "other", 1.0)
    assert run_example(["--model_name_or_path", str(other), *words, "--do_eval"]) == 0  # another model's
    assert read(run / "eval_results.json") == evaluated


def test_a_run_is_no_checkpoint(tones: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Although its ``trainer_state.json`` looks like one of a checkpoint."""
    run = tmp_path / "run"
    words = [*TINY, *QUICK, "--data_dir", str(tones), "--max_steps", "2"]
    assert main(["train", *words, "--output_dir", str(run)]) == 0
    capsys.readouterr()
    more = ["--resume_from_checkpoint", str(run), "--output_dir", str(tmp_path / "more")]
    assert main(["train", *words, *more]) == 2
    assert f"--resume_from_checkpoint {run}: a run folder, not a checkpoint" in capsys.readouterr().err
