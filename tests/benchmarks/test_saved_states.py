"""``benchmarks/saved_states.py`` and the busy processes of ``benchmarks/kill.py``, on real checkpoints."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback

from earmark.store.usable import UsableClips
from tests.train.small import build, make_trainer, usable, write_clips

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
STEPS = 4


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, UsableClips]:
    return usable(write_clips(tmp_path_factory.mktemp("clips"), [0.3] * 8))


@pytest.fixture(scope="module")
def states() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("saved_states")


@pytest.fixture(scope="module")
def undisturbed(states: Any, clips: dict[str, UsableClips], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(states, clips, tmp_path_factory.mktemp("undisturbed"))


class Disturb(TrainerCallback):
    """Changes the smallest bit of one number, or draws a random number, after one step."""

    def __init__(self, what: str, step: int) -> None:
        self.what = what
        self.step = step

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step != self.step:
            return
        if self.what == "random":
            torch.rand(1)
            return
        bias = kwargs["model"].classifier.bias
        value = bias.data if self.what == "weights" else kwargs["optimizer"].state[bias]["exp_avg"]
        value[0] = torch.nextafter(value[0], value[0] + 1)


def record(states: Any, clips: dict[str, UsableClips], folder: Path, *disturbed: TrainerCallback) -> Path:
    """Train and keep every state, although the run itself keeps one checkpoint; returns their folder."""
    settings = {"max_steps": STEPS, "save_strategy": "steps", "save_steps": 1, "save_total_limit": 1}
    trainer = make_trainer(build("tc_resnet"), clips, folder / "run", **settings)
    with states.StateRecorder(folder / "run", folder / "states") as recorder:

        class Wait(TrainerCallback):
            """Gives the recorder time: steps of this model are shorter than it takes to look."""

            def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
                recorder.keep_new()

        for callback in (*disturbed, Wait()):
            trainer.add_callback(callback)
        trainer.train()
    return folder / "states"


def test_equal_runs_have_no_difference(
    states: Any, clips: dict[str, UsableClips], undisturbed: Path, tmp_path: Path
) -> None:
    again = record(states, clips, tmp_path)
    assert len(list((tmp_path / "run").glob("checkpoint-*"))) == 1
    assert states.first_difference(undisturbed, again) == (STEPS, None)


@pytest.mark.parametrize(
    ("what", "file", "entry"),
    [
        ("weights", "model.safetensors", "classifier.bias"),
        ("random", "rng_state.pth", "cpu"),
        ("optimizer", "optimizer.pt", "state/"),
    ],
)
def test_the_first_step_and_tensor_that_differ_are_found(
    what: str,
    file: str,
    entry: str,
    states: Any,
    clips: dict[str, UsableClips],
    undisturbed: Path,
    tmp_path: Path,
) -> None:
    other = record(states, clips, tmp_path, Disturb(what, 3))
    compared, difference = states.first_difference(undisturbed, other)
    assert compared == STEPS
    assert (difference.step, difference.file) == (3, file)
    assert difference.entry.startswith(entry)
    assert " values, by at most " in difference.what


def test_busy_processes_end_with_the_block(states: Any) -> None:
    kill = importlib.import_module("kill")
    with pytest.raises(RuntimeError, match="broken off"), kill.busy_processes(2) as busy:  # noqa: PT012
        assert [process.poll() for process in busy] == [None, None]
        raise RuntimeError("broken off")
    assert [process.returncode for process in busy] == [-9, -9]
