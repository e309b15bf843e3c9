"""Classes equally often where it is used: from samples, from what a frozen body made of them, in the second epoch."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import torch

from earmark.cli.main import main
from tests.tiny import overrides
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips


@pytest.mark.parametrize("stop_at", [2, 7])
def test_a_run_goes_on_with_the_clips_not_yet_drawn(stop_at: int, tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(22)))
    settings = {"sampler": "balanced", "save_strategy": "steps", "save_steps": stop_at, "save_total_limit": None}
    whole = make_trainer(build(), clips, tmp_path / "out", **settings)
    whole.train()
    resumed = make_trainer(build(), clips, tmp_path / "out", **{**settings, "save_strategy": "no"})
    resumed.train(resume_from_checkpoint=str(tmp_path / "out" / f"checkpoint-{stop_at}"))
    for (name, value), other in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        torch.testing.assert_close(other, value, rtol=0, atol=1e-6, msg=name)


def test_a_frozen_body_learns_from_classes_equally_often(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips", [0.3] * 10)
    for extra in range(5):  # "low" has ten clips, "high" five
        (folder / "train" / "low" / f"again_{extra}.wav").write_bytes(
            (folder / "train" / "low" / "000.wav").read_bytes()
        )
    trainer = make_trainer(build("sew", "encoder"), usable(folder), tmp_path / "out", sampler="balanced")
    with ExitStack() as stack:
        trainer.keep_frozen(stack, tmp_path / "frozen", small_only=False)
        sampler = trainer.train_sampler()
        heard = np.bincount(trainer.train_dataset.labels[np.array(list(sampler)) % 15])
        assert sorted(heard) == [7, 8]
        trainer.train()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--class_weights", "hgih=2"], "no class 'hgih'"),
        (["--class_weights", "high=0"], "Give a number above 0"),
        (["--class_weights", "balanced", "--sampler", "balanced"], "balance classes twice"),
        (["--sampler", "balanced", "--train_sampling_strategy", "sequential"], "contradict"),
        (["--focal_gamma", "-1"], "--focal_gamma -1"),
        (["--label_smoothing_factor", "1"], "--label_smoothing_factor 1"),
        (["--sampler", "even"], "--sampler"),
    ],
)
def test_settings_that_cannot_be(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_clips(tmp_path / "clips", [0.2] * 6)
    tiny = ["--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--device", "cpu"]
    assert main(["train", "--data_dir", str(folder), *tiny, *words, "--output_dir", str(tmp_path / "run")]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("earmark: error: ")
    assert says in last
