"""``--report_to``: what trackers log, what happens if one fails, and that nothing is logged without the flag.

mlflow, wandb and swanlab are not among this project's dependencies; their tests run where they are installed.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback, TrainerControl, TrainerState
from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK, TensorBoardCallback

import earmark
from earmark.cli.main import main, run_example
from earmark.errors import DataError, Stopped, UsageError
from earmark.train.trackers import Event, Tracker, ended_trackers
from tests.tiny import overrides, save_model, write_tones
from tests.train.small import build, make_trainer, usable

TINY = ["--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--device", "cpu", "--report", "false"]
SECRET = "hf_" + "a" * 20


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_tones(tmp_path_factory.mktemp("tones"), per_class=4, seconds=0.2)
    (folder / "validation").rename(folder / "test")
    write_tones(folder, per_class=4, seconds=0.2, seed=1)
    return folder


def words(tones: Path, output: Path, tracker: str, *more: str) -> list[str]:
    given = [*TINY, "--data_dir", str(tones), "--do_train", "--do_eval", "--per_device_train_batch_size", "4"]
    given += ["--max_steps", "4", "--eval_strategy", "steps", "--eval_steps", "2", "--logging_steps", "1"]
    given += ["--token", SECRET, "--hub_token", SECRET, "--run_name", "first"]
    return [*given, "--report_to", tracker, "--output_dir", str(output), *more]


def metrics_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "metrics.json").read_text())
    return found


def events(folder: Path) -> Any:
    event_accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    (path,) = folder.rglob("events.out.tfevents*")
    return event_accumulator.EventAccumulator(str(path)).Reload()


def test_tensorboard_gets_all_figures_and_settings_and_no_token(tones: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert run_example(words(tones, run, "tensorboard", "--max_length_seconds", "0.2", "--precision", "fp32")) == 0
    found, metrics = events(run), metrics_of(run)
    tags = found.Tags()["scalars"]
    assert {"train/loss", "train/learning_rate", "train/grad_norm", "eval/loss", "eval/runtime"} <= set(tags)
    assert [point.step for point in found.Scalars("train/loss")] == [1, 2, 3, 4]
    assert [point.step for point in found.Scalars("eval/accuracy")] == [
        2,
        4,
        4,
    ]  # the last is of the model that is kept
    for split, name in (("validation", "eval"), ("test", "test")):
        last = found.Scalars(f"{name}/accuracy")[-1].value
        assert last == pytest.approx(metrics[split]["accuracy"], abs=1e-6)
    speed = found.Scalars("train/train_samples_per_second")[-1].value
    assert speed == pytest.approx(metrics["train"]["samples_per_second"], rel=1e-3)
    text = found.Tensors("args/text_summary")[0].tensor_proto.string_val[0].decode()
    settings = json.loads(text)
    assert (settings["data_dir"], settings["max_length_seconds"]) == (str(tones), 0.2)
    assert (settings["precision"], settings["max_steps"], settings["freeze"]) == ("fp32", 4, None)
    for path in run.rglob("*"):
        assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path


def test_the_precision_is_the_one_that_is_used(tones: Path, tmp_path: Path) -> None:
    """Trainer's own ``bf16`` is off where earmark casts the weights."""
    assert run_example(words(tones, tmp_path / "run", "tensorboard", "--precision", "bf16")) == 0
    text = events(tmp_path / "run").Tensors("args/text_summary")[0].tensor_proto.string_val[0].decode()
    settings = json.loads(text)
    assert (settings["precision"], settings["bf16"], settings["fp16"]) == ("bf16", True, False)


def test_few_shot_reports_its_figures(tones: Path, tmp_path: Path) -> None:
    base = save_model(tmp_path / "base", 1.0)
    given = ["--model_name_or_path", str(base), "--data_dir", str(tones), "--few_shot", "--device", "cpu"]
    assert main(["train", *given, "--report_to", "tensorboard", "--output_dir", str(tmp_path / "run")]) == 0
    last = events(tmp_path / "run").Scalars("eval/accuracy")[-1].value
    assert last == pytest.approx(metrics_of(tmp_path / "run")["validation"]["accuracy"], abs=1e-6)


def test_nothing_is_reported_without_the_flag(tones: Path, tmp_path: Path) -> None:
    trainer = make_trainer(build(length_s=0.2), usable(tones), tmp_path / "run")
    assert trainer.args.report_to == []
    assert trainer.trackers == []
    kinds = {type(callback) for callback in trainer.callback_handler.callbacks}
    assert not kinds & set(INTEGRATION_TO_CALLBACK.values())


class _Failing(TrainerCallback):
    """A tracker whose server is away from some event on."""

    def __init__(self, event: str) -> None:
        self.calls: list[str] = []
        setattr(self, event, self._fail)

    def _fail(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append("failed")
        raise ConnectionError("no route to host\nmore lines")

    def on_train_end(self, *args: Any, **kwargs: Any) -> None:
        self.calls.append("ended")


def told(tmp_path: Path) -> tuple[Any, TrainerState, TrainerControl]:
    from earmark.train.arguments import EarmarkTrainingArguments

    return EarmarkTrainingArguments(str(tmp_path), use_cpu=True), TrainerState(), TrainerControl()


def test_a_tracker_that_cannot_start_is_one_line(tmp_path: Path) -> None:
    tracker = Tracker("mlflow", _Failing("on_train_begin"), dict)
    with pytest.raises(UsageError, match=r"^--report_to mlflow: mlflow cannot start \(no route to host\)\. Fix that"):
        tracker.on_train_begin(*told(tmp_path))


def test_a_tracker_that_fails_later_does_not_stop_training(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    callback = _Failing("on_log")
    tracker = Tracker("mlflow", callback, dict)
    tracker.on_train_begin(*told(tmp_path))
    with caplog.at_level(logging.WARNING, "earmark"):
        tracker.on_log(*told(tmp_path), logs={"loss": 1.0})
        tracker.on_log(*told(tmp_path), logs={"loss": 1.0})
    assert callback.calls == ["failed"]
    (line,) = caplog.messages
    assert line.startswith("--report_to mlflow: mlflow failed (no route to host), so it gets no further metrics")


@pytest.mark.parametrize(("stopped", "ended"), [(True, ["ended"]), (False, [])])
def test_a_stopped_run_ends_at_once_and_a_whole_one_after_its_last_figures(
    stopped: bool, ended: list[str], tmp_path: Path
) -> None:
    callback = _Failing("on_push_begin")
    tracker = Tracker("mlflow", callback, dict, lambda: stopped)
    tracker.on_train_begin(*told(tmp_path))
    tracker.on_train_end(*told(tmp_path))
    assert callback.calls == ended


class _Package:
    """What earmark uses of mlflow, swanlab and wandb."""

    def __init__(self, run: object = None) -> None:
        self.run = run
        self.ends: list[Any] = []

    def active_run(self) -> object:
        return self.run

    get_run = active_run

    def end_run(self, *state: Any, **more: Any) -> None:
        self.run = None
        self.ends.append((*state, *more.values()))

    finish = end_run


class _Opening(TrainerCallback):
    """Transformers' callback of such a tracker; a notebook's own run is used."""

    def __init__(self, package: _Package) -> None:
        self._swanlab = package
        self.package = package

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        self.package.run = self.package.run or object()


@pytest.mark.parametrize(
    ("name", "failed", "stopped"),
    [("mlflow", ("FAILED",), ("FINISHED",)), ("swanlab", ("crashed", "no sound"), ()), ("wandb", (1,), (None,))],
)
def test_an_error_ends_the_run_as_failed_and_a_stop_as_finished(
    name: str, failed: tuple[Any, ...], stopped: tuple[Any, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:

    def end_by(error: BaseException, run: object = None) -> _Package:
        package = _Package(run)
        monkeypatch.setitem(sys.modules, name, package)
        tracker = Tracker(name, _Opening(package), dict)
        args, state, control = told(tmp_path)
        tracker.on_train_begin(args, state, control)
        with pytest.raises(type(error)), ended_trackers([tracker], lambda: Event((args, state, control), {})):
            raise error
        return package

    assert end_by(DataError("no sound")).ends == [failed]
    assert end_by(KeyboardInterrupt("no sound")).ends == [failed]
    assert end_by(Stopped("at step 3")).ends == [stopped]
    assert end_by(DataError("no sound"), run="of a notebook").run == "of a notebook"


class _Stumbling(TrainerCallback):
    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        raise ZeroDivisionError


def test_an_error_in_training_ends_every_tracker(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = []
    monkeypatch.setattr(TensorBoardCallback, "on_train_end", lambda *args, **kwargs: ended.append("ended"))
    settings = {"model": "tc_resnet", "device": "cpu", "report": False, "max_steps": 4, "report_to": "tensorboard"}
    with pytest.raises(ZeroDivisionError):
        earmark.train(tones, output_dir=tmp_path / "run", callbacks=[_Stumbling()], **settings)
    assert ended == ["ended"]


@pytest.mark.filterwarnings("ignore")  # of its own
def test_mlflow(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    address = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.set_tracking_uri(address)
    for name in ("a", "b"):
        assert run_example(words(tones, tmp_path / name, "mlflow")) == 0
    runs = mlflow.MlflowClient(address).search_runs(["0"])
    assert [(run.info.run_name, run.info.status) for run in runs] == [("first", "FINISHED")] * 2
    newest = runs[0].data
    assert newest.metrics["eval_accuracy"] == metrics_of(tmp_path / "b")["validation"]["accuracy"]
    assert newest.metrics["test_loss"] == metrics_of(tmp_path / "b")["test"]["loss"]
    assert (newest.params["data_dir"], newest.params["model_type"]) == (str(tones), "wav2vec2")
    assert SECRET not in str(newest.params)


@pytest.mark.filterwarnings("ignore")
def test_each_training_is_a_run_of_wandb(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb")
    monkeypatch.chdir(tmp_path)
    for name, value in (("MODE", "offline"), ("SILENT", "true"), ("DIR", str(tmp_path))):
        monkeypatch.setenv(f"WANDB_{name}", value)
    assert run_example(words(tones, tmp_path / "a", "wandb")) == 0
    assert wandb.run is None
    with wandb.init(project="mine", mode="offline") as mine:  # a notebook's own run stays open
        assert run_example(words(tones, tmp_path / "b", "wandb")) == 0
        assert wandb.run is mine
        assert mine.summary["eval/accuracy"] == metrics_of(tmp_path / "b")["validation"]["accuracy"]
        assert mine.summary["test/accuracy"] == metrics_of(tmp_path / "b")["test"]["accuracy"]
        assert mine.summary["train_samples_per_second"] > 0
        assert mine.config["data_dir"] == str(tones)
        assert SECRET not in str(dict(mine.config))
    assert len(list(tmp_path.glob("wandb/offline-run-*"))) == 2
    settings = {"model": "tc_resnet", "device": "cpu", "report": False, "max_steps": 4, "report_to": "wandb"}
    with pytest.raises(ZeroDivisionError):
        earmark.train(tones, output_dir=tmp_path / "c", callbacks=[_Stumbling()], **settings)
    assert wandb.run is None


@pytest.mark.filterwarnings("ignore")
def test_each_training_is_a_run_of_swanlab(tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("swanlab")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SWANLAB_MODE", "offline")
    for name in ("a", "b"):
        assert run_example(words(tones, tmp_path / name, "swanlab")) == 0
    configs = [path.read_text() for path in tmp_path.glob("swanlog/run-*/files/config.yaml")]
    assert len(configs) == 2
    assert all(str(tones) in config and SECRET not in config for config in configs)
