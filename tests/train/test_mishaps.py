"""What goes wrong within a step: losses that are not numbers, memory that runs out."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from earmark.clips.clip import ClipTable
from earmark.errors import DataError, DeviceError
from earmark.store.usable import UsableClips
from earmark.train.checkpoints import checkpoints_in
from earmark.train.loss_guard import LossGuard
from earmark.train.trainer import AudioTrainer
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, UsableClips]:
    return usable(write_clips(tmp_path / "clips", mixed_lengths_s(12)))


def spoil(trainer: AudioTrainer, row: int) -> None:
    """Make the loss of every batch with this clip NaN."""
    forward = trainer.audio.model.forward

    def spoilt(*args: object, **inputs: object) -> object:
        if row in trainer.rows.tolist():
            inputs = {name: v * float("nan") if v.is_floating_point() else v for name, v in inputs.items()}  # type: ignore[attr-defined]
        return forward(*args, **inputs)

    trainer.audio.model.forward = spoilt


def test_the_clips_of_the_first_bad_batch_are_found_later() -> None:
    guard = LossGuard(ClipTable([], "none"))
    for i, loss in enumerate([1.0, 2.0, float("inf"), float("nan")]):
        guard.add(torch.tensor(loss), torch.tensor([2 * i, 2 * i + 1]), step=i)
    assert guard.rows_of_first_bad() == [4, 5]
    assert guard.rows_of_first_bad() is None
    guard.add(torch.tensor(1.0), torch.tensor([0]), step=4)
    assert guard.rows_of_first_bad() is None


@pytest.mark.parametrize("logging_steps", [1, 1000])
def test_training_stops_at_a_bad_loss_and_names_its_clips(
    logging_steps: int, clips: dict[str, UsableClips], tmp_path: Path
) -> None:
    settings = {"save_strategy": "steps", "save_steps": 2, "logging_steps": logging_steps}
    trainer = make_trainer(build("tc_resnet"), clips, tmp_path / "run", **settings)
    spoil(trainer, 5)
    with pytest.raises(DataError, match="the loss of these clips is NaN or infinite") as error:
        trainer.train()
    assert clips["train"].table[5].source in str(error.value)
    assert str(error.value).count(".wav") == 4
    for checkpoint in checkpoints_in(tmp_path / "run"):  # none is of a model that has become NaN
        optimizer = torch.load(checkpoint / "optimizer.pt", weights_only=True)
        assert all(state["exp_avg"].isfinite().all() for state in optimizer["state"].values())


def test_a_bad_batch_can_be_skipped(
    clips: dict[str, UsableClips], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trainer = make_trainer(build("tc_resnet"), clips, tmp_path / "run", on_nan_loss="skip", num_train_epochs=2)
    spoil(trainer, 5)
    with caplog.at_level(logging.WARNING, "earmark"):
        trainer.train()
    assert len([line for line in caplog.messages if "the batch is skipped" in line]) == 2  # once an epoch
    state = trainer.audio.model.state_dict()
    assert any("running_mean" in name for name in state)
    assert all(value.isfinite().all() for value in state.values())


def out_of_memory_above(trainer: AudioTrainer, batch: int) -> list[int]:
    """Make larger batches fail as a full card does; gives the sizes that were tried."""
    forward, tried = trainer.audio.model.forward, []

    def limited(*args: object, **inputs: object) -> object:
        tried.append(len(trainer.rows))
        if len(trainer.rows) > batch:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(*args, **inputs)

    trainer.audio.model.forward = limited
    return tried


def test_memory_that_runs_out_names_length_batch_and_setting(clips: dict[str, UsableClips], tmp_path: Path) -> None:
    trainer = make_trainer(build("wav2vec2"), clips, tmp_path / "run")
    out_of_memory_above(trainer, 3)
    with pytest.raises(DeviceError) as error:
        trainer.train()
    assert "out of memory on cpu at step 1, with 4 clips of up to 0." in str(error.value)
    assert "--auto_find_batch_size" in str(error.value)


def test_a_batch_size_that_fits_is_found_with_length_buckets(clips: dict[str, UsableClips], tmp_path: Path) -> None:
    settings = {"auto_find_batch_size": True, "per_device_train_batch_size": 8, "num_train_epochs": 1}
    trainer = make_trainer(build("wav2vec2"), clips, tmp_path / "run", **settings)
    assert trainer.train_dataset.edges is not None
    tried = out_of_memory_above(trainer, 4)
    trainer.train()
    fitting = [size for size in tried if size <= 4]
    assert max(tried) == 8
    assert sum(fitting) == 12  # every clip once
    assert trainer.state.global_step == len(fitting)


def test_another_error_of_a_step_stays_what_it_is(clips: dict[str, UsableClips], tmp_path: Path) -> None:
    trainer = make_trainer(build("tc_resnet"), clips, tmp_path / "run")

    def broken(**inputs: object) -> object:
        raise RuntimeError("shape mismatch")

    trainer.audio.model.forward = broken
    with pytest.raises(RuntimeError, match="shape mismatch"):
        trainer.train()
