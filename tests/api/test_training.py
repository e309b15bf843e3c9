"""``earmark.train`` from recordings to a run, with everything that only Python can pass."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from transformers import TrainerCallback

import earmark
from earmark.errors import DataError, InputTypeError, ModelError, OutputError, UsageError
from tests.api.small import SMALL, Listening, hiss, mean_logit
from tests.browser import needs_browser

pytest.importorskip("tensorboard")


def test_a_run_has_what_its_folder_has(run: earmark.Run) -> None:
    assert run.metrics == json.loads((run.folder / "metrics.json").read_text())
    assert run.labels == ["high", "low"]
    assert run.settings["model_type"] == "tc_resnet"
    assert run.history[-1]["step"] == 6
    rows = run.predictions("validation")
    assert len(rows) == 6
    assert {row["label"] for row in rows} == {"high", "low"}
    assert all(row["p(high)"] + row["p(low)"] == pytest.approx(1, abs=1e-4) for row in rows)
    assert rows[0]["correct"] in (True, False)
    assert "accuracy" in run._repr_html_()
    with pytest.raises(DataError, match="use one with predictions: validation"):
        run.predictions("test")


def test_the_classifier_of_a_run_labels_its_recordings(run: earmark.Run, recordings: Path) -> None:
    classifier = run.classifier(device="cpu")
    path = recordings / "validation/low/validation_0.wav"
    (answer,) = classifier.predict(path)
    row = next(row for row in run.predictions() if row["path"].endswith("low/validation_0.wav"))
    assert answer["label"] == row["predicted"]
    assert answer["score"] == pytest.approx(row["score"], abs=1e-4)


def test_the_report_shows_itself_up_to_a_size(run: earmark.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = run.report._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert shown.count("<") == 2  # the page is escaped inside the attribute
    assert Path(run.report) == run.folder / "report.html"
    monkeypatch.setattr("earmark.api.report_view._MOST_BYTES", 10)
    assert "too large for a notebook" in run.report._repr_html_()


@needs_browser
def test_the_report_works_inside_the_frame(run: earmark.Run, tmp_path: Path, browser: Any) -> None:
    page_file = tmp_path / "notebook.html"
    page_file.write_text(f"<!doctype html><body>{run.report._repr_html_()}", encoding="utf-8")
    page = browser.new_page()
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(page_file.as_uri())
    frame = page.frame_locator("iframe")
    frame.locator("h1").wait_for()
    assert frame.locator("h1").inner_text() == run.folder.name
    assert frame.locator("canvas").count() > 0  # made by its script
    page.close()
    assert errors == []


def test_callbacks_hear_of_steps_and_of_custom_metrics(run: earmark.Run, listening: Listening) -> None:
    assert listening.steps == 6  # 12 clips, batches of 4, 2 epochs
    assert len(listening.evaluations) == 2
    for figures in listening.evaluations:
        assert figures["eval_doubled"] == 2 * figures["eval_agreement"] == 2 * figures["eval_accuracy"]


def test_a_metric_function_chooses_the_best_model(run: earmark.Run, listening: Listening) -> None:
    values = [figures["eval_mean_logit"] for figures in listening.evaluations]
    kept = run.metrics["validation"]["custom_metrics"]
    assert kept["mean_logit"] == pytest.approx(min(values), abs=1e-5)
    assert kept["agreement"] == run.metrics["validation"]["accuracy"]
    best = run.metrics["train"]["best_checkpoint"]
    assert best == f"checkpoint-{3 * (1 + int(np.argmin(values)))}"


def test_an_augmentation_function_is_named_on_the_card_and_in_the_checkpoint(run: earmark.Run) -> None:
    assert "functions hiss" in (run.folder / "README.md").read_text()


def test_tensorboard_writes_where_logging_dir_says(run: earmark.Run, recordings: Path) -> None:
    assert list((recordings.parent / "events").glob("events.out*"))
    assert not (run.folder / "runs").exists()
    assert "TENSORBOARD_LOGGING_DIR" not in os.environ


def test_a_second_training_in_the_process_gives_the_same(recordings: Path, tmp_path: Path) -> None:
    logger = logging.getLogger("earmark")
    before = dict(os.environ), list(logger.handlers), logger.level, logger.propagate
    runs = [
        earmark.train(recordings, model="tc_resnet", output_dir=tmp_path / name, augmentations=[hiss], **SMALL)
        for name in ("one", "two")
    ]
    losses = [[entry["loss"] for entry in run.history if "loss" in entry] for run in runs]
    assert losses[0] == losses[1]
    assert runs[0].metrics["validation"] == runs[1].metrics["validation"]
    assert before == (dict(os.environ), list(logger.handlers), logger.level, logger.propagate)


def test_an_augmentation_function_changes_what_is_learned(recordings: Path, tmp_path: Path) -> None:
    def silent(samples: np.ndarray) -> np.ndarray:
        return 0 * samples

    losses = []
    for functions in ([], [silent]):
        where = tmp_path / str(len(functions))
        one = earmark.train(recordings, model="tc_resnet", output_dir=where, augmentations=functions, **SMALL)
        losses.append([entry["loss"] for entry in one.history if "loss" in entry])
    assert losses[0] != losses[1]


def test_resuming_with_other_augmentation_functions_is_told(
    recordings: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Stop(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            control.should_training_stop = control.should_save = True

    where = {"output_dir": tmp_path / "run", "model": "tc_resnet", **SMALL}
    earmark.train(recordings, augmentations=[hiss], callbacks=[Stop], **where)
    with caplog.at_level(logging.WARNING, "earmark"):
        earmark.train(recordings, resume=True, **where)
    assert "augmentation functions hiss -> none" in caplog.text


def test_several_seeds_give_several_runs(recordings: Path, tmp_path: Path) -> None:
    listening = Listening()
    both = earmark.train(
        earmark.load_clips(recordings),
        model="tc_resnet",
        output_dir=tmp_path / "seeds",
        seeds=[1, 2],
        callbacks=[listening],
        **{**SMALL, "num_train_epochs": 1},
    )
    assert [run.folder.name for run in both.runs] == ["seed_1", "seed_2"]
    assert both.metrics["mean_and_deviation"]["accuracy"]["runs"] == 2
    assert listening.steps == 6
    shown = both._repr_html_()
    assert shown.count("<tr>") == 5  # names, mean, deviation and two runs
    for value in (both.metrics["mean_and_deviation"]["accuracy"]["mean"], both.metrics["runs"][1]["macro_f1"]):
        assert f"<td>{value:.4f}</td>" in shown
    assert "<td>seed_2</td><td>validation</td><td>6</td>" in shown
    with pytest.raises(ModelError, match="holds several runs"):
        both.classifier()
    for changed, said in (
        ({"augmentations": [hiss]}, "augmentation functions none there, hiss here"),
        ({"metrics": [mean_logit]}, "metric functions none there, mean_logit here"),
    ):
        with pytest.raises(OutputError, match=said):
            earmark.train(
                earmark.load_clips(recordings),
                model="tc_resnet",
                output_dir=tmp_path / "seeds",
                seeds=[1, 2],
                **{**SMALL, "num_train_epochs": 1, **changed},
            )


def test_a_run_starts_from_another(run: earmark.Run, recordings: Path, tmp_path: Path) -> None:
    once = {name: value for name, value in SMALL.items() if name != "config_overrides"}
    second = earmark.train(recordings, model=run, output_dir=tmp_path / "second", **{**once, "num_train_epochs": 1})
    assert second.settings["model_name_or_path"] == str(run.folder)


def test_what_is_loaded_is_the_run_that_was_trained(run: earmark.Run, tmp_path: Path) -> None:
    assert earmark.load_run(str(run.folder)) == run
    assert run.runs == [run]
    with pytest.raises(DataError, match=rf"no such folder; did you mean {run.folder.as_posix()}\?"):
        earmark.load_run(f"{run.folder}x")
    with pytest.raises(DataError, match="not a run folder"):
        earmark.load_run(tmp_path)


def no_callback() -> None: ...


@pytest.mark.parametrize(
    ("parts", "error", "said"),
    [
        ({"callbacks": [no_callback]}, InputTypeError, "is not a transformers.TrainerCallback"),
        ({"callbacks": Listening()}, InputTypeError, "is not a list. Pass a list, for a single item too"),
        ({"metrics": mean_logit}, InputTypeError, "is not a list"),
        ({"metrics": "accuracy"}, InputTypeError, "metrics: 'accuracy' is not a list"),
        ({"augmentations": abs}, InputTypeError, "augmentations: <built-in function abs> is not a list"),
        ({"metrics": [lambda logits: 0.0]}, UsageError, "has no name"),
        ({"metrics": [3]}, InputTypeError, "metrics: 3 is an int"),
        ({"metrics": {"f": lambda truth: 0.0}}, UsageError, "metric f: earmark has no value for the parameter truth"),
        ({"metrics": {"accuracy": mean_logit}}, UsageError, "metric accuracy: earmark has a metric with this name"),
        ({"metrics": {"f": lambda logits: "x"}}, UsageError, "metric f: returned str"),
        ({"metrics": {"f": lambda logits: 1 / 0}}, UsageError, "metric f: the function failed (ZeroDivisionError"),
        ({"metrics": [mean_logit], "metric_for_best_model": "mean_logit"}, UsageError, "is a higher value better?"),
        ({"metrics": [mean_logit], "metric_for_best_model": "mean"}, UsageError, "is a higher value better?"),
        ({"augmentations": [3]}, InputTypeError, "augmentations: 3 is an int"),
        ({"augmentations": [lambda samples, room: samples]}, UsageError, "earmark has no value for the parameter room"),
        ({"augmentations": [lambda samples: samples[1:]]}, UsageError, "Return as many samples as it is given"),
        ({"augmentations": [lambda samples: np.nan * samples]}, UsageError, "returned NaN or infinity"),
        ({"augmentations": [lambda samples: 1 / 0]}, UsageError, "the function failed (ZeroDivisionError"),
        ({"num_processes": 2}, UsageError, "trains in the process that calls it"),
    ],
)
def test_what_cannot_work_is_one_line(
    parts: dict[str, Any], error: type[Exception], said: str, recordings: Path, tmp_path: Path
) -> None:
    with pytest.raises(error) as caught:
        earmark.train(recordings, model="tc_resnet", output_dir=tmp_path / "run", **{**SMALL, **parts})
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run" / "run_config.yaml").exists()


def test_few_shot_refuses_what_it_would_ignore(run: earmark.Run, recordings: Path, tmp_path: Path) -> None:
    for name, value in (("callbacks", [Listening()]), ("augmentations", [hiss])):
        with pytest.raises(UsageError, match=f"trains no epochs, so {name} have no effect"):
            earmark.train(recordings, model=run, output_dir=tmp_path, few_shot=True, device="cpu", **{name: value})


def test_functions_reach_worker_processes(recordings: Path, tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("workers that are spawned import the function instead")
    workers = {**SMALL, "num_train_epochs": 1, "dataloader_num_workers": 1}
    where = {"model": "tc_resnet", "augmentations": [hiss]}
    one = earmark.train(recordings, output_dir=tmp_path / "workers", **where, **workers)
    other = earmark.train(
        recordings, output_dir=tmp_path / "alone", **where, **{**workers, "dataloader_num_workers": 0}
    )
    losses = [[entry["loss"] for entry in run.history if "loss" in entry] for run in (one, other)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
