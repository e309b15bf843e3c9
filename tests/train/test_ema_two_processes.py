"""The average of the weights on two processes: the same on both, and restored to the bit.

The file is also what torchrun runs: see :func:`work`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.train.small import build, make_trainer, usable, write_clips
from tests.train.test_two_processes import start


@pytest.mark.slow
def test_ranks_have_one_average_and_a_resumed_run_the_same(tmp_path: Path) -> None:
    """TC-ResNet: its batch norms have running means of their own on each rank."""
    write_clips(tmp_path / "clips", [0.2] * 16)
    start([__file__, str(tmp_path)], tmp_path / "store")
    told = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in (0, 1)]
    assert told[0] == told[1]
    assert told[0]["whole"] == told[0]["resumed"]


def work(folder: Path) -> None:
    """On each rank: train, go on from the first checkpoint, and write down what came of both."""
    clips = usable(folder / "clips")
    often = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": False}
    settings = {**often, "save_total_limit": None, "per_device_train_batch_size": 4, "ema": 0.9}

    def run(checkpoint: str | None) -> list[Any]:
        trainer = make_trainer(
            build("tc_resnet", length_s=0.2, stem_channels=8, channels=[8, 8]), clips, folder / "run", **settings
        )
        trainer.train(resume_from_checkpoint=checkpoint)
        losses = [entry["eval_loss"] for entry in trainer.state.log_history if "eval_loss" in entry]
        weights = [value.detach().flatten().double() for value in trainer.audio.model.state_dict().values()]
        return [losses, torch.cat(weights).tolist()]

    told = {"whole": run(None), "resumed": run(str(folder / "run" / "checkpoint-2"))}
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(told))


if __name__ == "__main__":
    work(Path(sys.argv[1]))
