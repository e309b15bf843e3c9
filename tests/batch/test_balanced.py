"""Classes equally often, in length buckets, over processes and from the middle of an epoch."""

from __future__ import annotations

import numpy as np
import pytest

from earmark.batch.balanced import BalancedSampler
from earmark.batch.dataset import rows_and_labels

CLASSES = np.array([0] * 70 + [1] * 23 + [3] * 7)  # class 2 has no clips
LENGTHS = np.random.default_rng(0).integers(100, 1000, len(CLASSES))
EDGES = np.array([300, 600, 1000])


def sampler(step_size: int = 10, **settings: int) -> BalancedSampler:
    return BalancedSampler(LENGTHS, EDGES, step_size, classes=CLASSES, **settings)


def epoch(of: BalancedSampler, number: int = 0) -> list[int]:
    of.set_epoch(number)
    rows = list(of)
    assert len(rows) == len(of)
    return rows


@pytest.mark.parametrize("edges", [EDGES, EDGES[-1:]])
def test_each_class_comes_equally_often(edges: np.ndarray) -> None:
    of = BalancedSampler(LENGTHS, edges, 10, classes=CLASSES)
    for number in range(3):
        indices = np.array(epoch(of, number))
        rows = indices % 100
        assert len(rows) == 100
        assert len(set(indices)) == 100, "each time that a clip comes is told from the others"
        assert set(indices[rows == 99] // 200) == set(range((rows == 99).sum()))
        assert rows_and_labels(indices, CLASSES)[0].tolist() == rows.tolist()
        assert rows_and_labels(indices, CLASSES)[1].tolist() == CLASSES[rows].tolist()
        counts = np.bincount(CLASSES[rows], minlength=4)
        assert counts[2] == 0
        assert sorted(counts[[0, 1, 3]]) == [33, 33, 34]
        often = np.bincount(rows, minlength=100)
        assert set(often[CLASSES == 3]) <= {4, 5}, "33 or 34 draws of 7 clips"
        assert set(often[CLASSES == 1]) == {1, 2}
        assert set(often[CLASSES == 0]) == {0, 1}


def test_over_epochs_every_clip_comes_up() -> None:
    of = sampler()
    heard = {row % 100 for number in range(15) for row in epoch(of, number)}
    assert heard == set(range(100))


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    assert epoch(sampler(), 1) == epoch(sampler(), 1)
    assert epoch(sampler(), 1) != epoch(sampler(), 2)
    assert epoch(sampler(seed=1), 1) != epoch(sampler(), 1)


def test_steps_are_of_like_length() -> None:
    rows = (np.array(epoch(sampler())) % 100).tolist()
    buckets = np.searchsorted(EDGES, LENGTHS)
    steps = [rows[i : i + 10] for i in range(0, 100, 10)]
    assert sum(len(set(buckets[step])) > 1 for step in steps) <= len(EDGES) - 1


def test_a_step_is_the_same_on_any_number_of_processes() -> None:
    one, four = epoch(sampler(12)), epoch(sampler(12, share_size=12))
    assert four[:100] == one
    assert len(four) % 12 == 0
    rows, labels = rows_and_labels(four[100:], CLASSES)
    assert (labels == -100).all()
    assert set(rows) <= {row % 100 for row in four[:100]}
