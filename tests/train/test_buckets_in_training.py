"""Length buckets where they are used: whole epochs, few shapes, and a run that goes on where it was stopped."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils.data import SequentialSampler

from earmark.batch.buckets import padded_share
from earmark.batch.dataset import TrainingClips
from earmark.store.usable import UsableClips
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips

NUM_CLIPS = 22  # five full batches of 4, and one of 2


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, UsableClips]:
    return usable(write_clips(tmp_path_factory.mktemp("mixed"), mixed_lengths_s(NUM_CLIPS)))


class Recorded:
    """Rows and width of every batch that training took."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.rows: list[list[int]] = []
        self.widths: list[int] = []
        self.num_samples: list[list[int] | None] = []
        read = TrainingClips.__getitems__

        def recorded(clips: TrainingClips, indices: Sequence[int]) -> dict[str, torch.Tensor]:
            batch = read(clips, indices)
            self.rows.append([int(i) for i in indices])
            self.widths.append(batch["samples"].shape[1])
            self.num_samples.append(batch["num_samples"].tolist() if "num_samples" in batch else None)
            return batch

        monkeypatch.setattr(TrainingClips, "__getitems__", recorded)

    def epochs(self) -> list[list[list[int]]]:
        """Batches, epoch by epoch."""
        per_epoch = -(-NUM_CLIPS // 4)
        return [self.rows[i : i + per_epoch] for i in range(0, len(self.rows), per_epoch)]


def flat(batches: Sequence[Sequence[int]]) -> list[int]:
    return [row for batch in batches for row in batch]


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    return Recorded(monkeypatch)


def test_every_epoch_trains_on_every_clip_once_in_few_shapes(
    mixed: dict[str, UsableClips], recorded: Recorded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        trainer = make_trainer(build(), mixed, tmp_path, bucket_waste=0.2, num_train_epochs=3)
    clips = trainer.train_dataset
    lengths = mixed["train"].waveforms.num_samples
    assert 2 <= len(clips.edges) <= 6
    padding = padded_share(lengths, clips.edges)
    assert padding <= 0.2
    assert f"length buckets: {len(clips.edges)}, of " in caplog.text
    assert f"padding is {100 * padding:.1f} % of the samples" in caplog.text
    trainer.train()
    epochs = recorded.epochs()
    assert len(epochs) == 3
    assert [sorted(flat(batches)) for batches in epochs] == [list(range(NUM_CLIPS))] * 3
    assert [[len(batch) for batch in batches] for batches in epochs] == [[4, 4, 4, 4, 4, 2]] * 3
    assert len({tuple(flat(batches)) for batches in epochs}) == 3  # in another order each time
    buckets = np.searchsorted(clips.edges, lengths)
    for batches in epochs:  # what is left of a bucket goes with the next longer ones, nothing else is mixed
        assert sum(len(set(buckets[batch])) > 1 for batch in batches) < len(clips.edges)
    assert set(recorded.widths) <= set(clips.edges.tolist())
    assert len(set(recorded.widths)) > 1
    for rows, width, num_samples in zip(recorded.rows, recorded.widths, recorded.num_samples, strict=True):
        longest = lengths[rows].max()
        assert width == clips.edges[clips.edges >= longest][0]
        assert num_samples == lengths[rows].tolist() or (num_samples is None and (lengths[rows] == width).all())
    assert trainer.clock.clips == 3 * NUM_CLIPS


def test_clips_longer_than_the_model_takes_are_in_the_last_bucket(recorded: Recorded, tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", mixed_lengths_s(NUM_CLIPS, longest_s=1.0)))
    trainer = make_trainer(build(length_s=0.3), clips, tmp_path / "out", bucket_waste=0.3)
    trainer.train()
    assert [sorted(flat(batches)) for batches in recorded.epochs()] == [list(range(NUM_CLIPS))] * 2
    assert trainer.train_dataset.edges[-1] == 4800
    assert max(recorded.widths) == 4800
    assert set(recorded.widths) <= set(trainer.train_dataset.edges.tolist())


def test_padding_trains_as_no_padding(mixed: dict[str, UsableClips], tmp_path: Path) -> None:
    """One batch of all clips gives the same gradient in buckets as padded to the longest."""
    learned = []
    for waste in (0.1, 0.5, 1.0):
        trainer = make_trainer(
            build(), mixed, tmp_path, bucket_waste=waste, per_device_train_batch_size=32, learning_rate=1e-2
        )
        trainer.train()
        learned.append(trainer.state.log_history[-2]["loss"])
    np.testing.assert_allclose(learned, learned[0], atol=1e-5)


@pytest.mark.parametrize(
    ("stop_at", "accumulation"),
    [(7, 1), (2, 2), *(pytest.param(*one, marks=pytest.mark.slow) for one in ((2, 1), (3, 2)))],
)
def test_a_run_goes_on_with_the_clips_not_yet_seen(
    stop_at: int, accumulation: int, mixed: dict[str, UsableClips], recorded: Recorded, tmp_path: Path
) -> None:
    settings = {
        "save_strategy": "steps",
        "save_steps": stop_at,
        "save_total_limit": None,
        "num_train_epochs": 3,
        "gradient_accumulation_steps": accumulation,
        "seed": 3,
    }
    whole = make_trainer(build(), mixed, tmp_path, **settings)
    whole.train()
    uninterrupted = list(recorded.rows)
    recorded.rows.clear()
    checkpoint = tmp_path / f"checkpoint-{stop_at}"
    resumed = make_trainer(build(), mixed, tmp_path, **{**settings, "save_strategy": "no"})
    resumed.train(resume_from_checkpoint=str(checkpoint))
    seen = stop_at * accumulation
    assert recorded.rows == uninterrupted[seen:]
    for (name, value), other in zip(whole.model.state_dict().items(), resumed.model.state_dict().values(), strict=True):
        torch.testing.assert_close(other, value, rtol=0, atol=1e-6, msg=name)


def test_order_depends_on_the_seed_alone(mixed: dict[str, UsableClips], recorded: Recorded, tmp_path: Path) -> None:
    orders = []
    for seed in (1, 1, 2):
        recorded.rows.clear()
        torch.manual_seed(len(orders))
        make_trainer(build(), mixed, tmp_path, seed=seed, num_train_epochs=1).train()
        orders.append(list(recorded.rows))
    assert orders[0] == orders[1]
    assert orders[0] != orders[2]


def test_where_there_are_no_buckets(
    mixed: dict[str, UsableClips], recorded: Recorded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    even = usable(write_clips(tmp_path / "even", [0.3] * 6))
    trainers = {
        "waste of 1": make_trainer(build(), mixed, tmp_path, bucket_waste=1.0),
        "one length": make_trainer(build(), even, tmp_path),
        "cut to one length": make_trainer(build(length_s=0.05), mixed, tmp_path),
        "whisper": make_trainer(build("whisper"), mixed, tmp_path),
        "ast": make_trainer(build("audio-spectrogram-transformer"), mixed, tmp_path),
        "another sampler": make_trainer(build(), mixed, tmp_path, train_sampling_strategy="sequential"),
    }
    with caplog.at_level(logging.INFO):
        for name, trainer in trainers.items():
            sampler = trainer.train_sampler()
            assert isinstance(sampler, SequentialSampler) or sampler.bucket.max() == 0, name
            assert (trainer.train_dataset.edges is None) == (name != "another sampler"), name
    trainers["waste of 1"].train()
    assert [sorted(flat(batches)) for batches in recorded.epochs()] == [list(range(NUM_CLIPS))] * 2
    lengths = mixed["train"].waveforms.num_samples
    assert recorded.widths == [int(lengths[rows].max()) for rows in recorded.rows]
    assert make_trainer(build(), mixed, tmp_path).train_sampler().bucket.max() > 0
