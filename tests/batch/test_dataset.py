from __future__ import annotations

import numpy as np
import torch
from torch.utils.data import DataLoader

from earmark.batch.dataset import TrainingClips, one_batch


class Ramps:
    """Clip i counts up from 1000 i."""

    def __init__(self, lengths: list[int]) -> None:
        self.num_samples = np.array(lengths)
        self.scales = np.full(len(lengths), 0.5, dtype=np.float32)

    def read_batch(self, indices, starts, counts, width) -> np.ndarray:
        batch = np.zeros((len(indices), width), dtype=np.int16)
        for row, index, start, count in zip(batch, indices, starts, counts, strict=True):
            assert start + count <= self.num_samples[index]
            row[:count] = 1000 * index + np.arange(start, start + count)
        return batch


def clips(lengths: list[int], **settings) -> TrainingClips:
    labels = np.arange(len(lengths))
    return TrainingClips(Ramps(lengths), labels, **{"min_samples": 1, "max_samples": 100, **settings})


def test_a_batch_is_as_long_as_its_longest_clip() -> None:
    batch = clips([5, 9, 7]).__getitems__([0, 2])
    assert batch["samples"].tolist() == [[0, 1, 2, 3, 4, 0, 0], [2000, 2001, 2002, 2003, 2004, 2005, 2006]]
    assert batch["num_samples"].tolist() == [5, 7]
    assert batch["labels"].tolist() == [0, 2]
    assert batch["scales"].tolist() == [0.5, 0.5]


def test_a_batch_of_equal_clips_says_nothing_of_padding() -> None:
    assert "num_samples" not in clips([5, 5, 7]).__getitems__([0, 1])


def test_a_batch_takes_the_length_of_its_bucket() -> None:
    data = clips([5, 9, 7])
    data.edges = np.array([8, 12])
    assert data.__getitems__([0, 2])["samples"].shape == (2, 8)
    assert data.__getitems__([0, 1])["samples"].shape == (2, 12)
    assert data.__getitems__([1])["num_samples"].tolist() == [9]


def test_short_clips_count_as_the_shortest_the_model_takes() -> None:
    batch = clips([5, 9], min_samples=7).__getitems__([0, 1])
    assert batch["num_samples"].tolist() == [7, 9]
    assert batch["samples"][0].tolist() == [0, 1, 2, 3, 4, 0, 0, 0, 0]


def test_long_clips_give_another_stretch_each_time_all_of_them_in_the_end() -> None:
    data = clips([20, 4], max_samples=18)
    assert data.crops

    def first_in(epoch: int) -> int:
        data.set_epoch(epoch)
        return int(data.__getitems__([0])["samples"][0, 0])

    firsts = {first_in(epoch) for epoch in range(50)}
    assert firsts == {0, 1, 2}
    assert data.__getitems__([0])["samples"].shape == (1, 18)
    assert not clips([20, 4], max_samples=20).crops


def test_through_a_data_loader_with_a_worker() -> None:
    loader = DataLoader(clips([4] * 10), batch_size=4, num_workers=1, collate_fn=one_batch)
    assert torch.cat([batch["labels"] for batch in loader]).tolist() == list(range(10))
