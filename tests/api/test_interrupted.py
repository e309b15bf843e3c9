"""Ctrl-C while ``earmark.train`` runs: a checkpoint, an error that says how to resume, and a run that resumes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import earmark
from tests.api.small import SMALL
from tests.patience import PATIENCE_S, wait_until

SRC = Path(__file__).parents[2] / "src"


def train(recordings: Path, folder: Path, **more: object) -> earmark.Run:
    settings = {**SMALL, "num_train_epochs": 4, "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1}
    return earmark.train(recordings, model="tc_resnet", output_dir=folder, **{**settings, **more})  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for other processes")
def test_ctrl_c_leaves_a_run_that_resumes(recordings: Path, tmp_path: Path) -> None:
    folder, waits, shown = tmp_path / "run", tmp_path / "waits", tmp_path / "shown.txt"
    with shown.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, __file__, str(recordings), str(folder), str(waits)],
            env={**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{SRC.parent}", "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    wait_until(lambda: waits.exists() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0, shown.read_text()
    last = shown.read_text().splitlines()[-1]
    assert last == (
        "Stopped: stopped by SIGINT after step 2 of 12, saved. Call earmark.train again with the same arguments and "
        "resume=True to continue. True"
    )
    run = train(recordings, folder, resume=True)
    whole = train(recordings, tmp_path / "whole")
    assert [entry["step"] for entry in run.history if "loss" in entry] == list(range(1, 13))
    assert run.metrics["validation"]["loss"] == pytest.approx(whole.metrics["validation"]["loss"], rel=1e-4)


def interrupted(recordings: str, folder: str, waits: str) -> None:
    """Train; wait for the signal in the second step, so that it comes at the same place on any machine."""
    import time

    from transformers import TrainerCallback

    class Waits(TrainerCallback):
        def on_step_begin(self, args: object, state: object, control: object, **kwargs: object) -> None:
            if state.global_step == 1:  # type: ignore[attr-defined]
                Path(waits).touch()
                handler = signal.getsignal(signal.SIGINT).__self__  # type: ignore[union-attr]
                while handler.signal is None:
                    time.sleep(0.01)

    before = signal.getsignal(signal.SIGINT)
    try:
        train(Path(recordings), Path(folder), callbacks=[Waits])
    except earmark.EarmarkError as exc:
        print(f"{type(exc).__name__}: {exc} {signal.getsignal(signal.SIGINT) is before}")


if __name__ == "__main__":
    interrupted(*sys.argv[1:])
