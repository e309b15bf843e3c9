from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from earmark.batch.buckets import BucketSampler, bucket_edges, padded_share


def speech_lengths(count: int) -> np.ndarray:
    seconds = np.random.default_rng(0).lognormal(np.log(2.0), 0.8, count).clip(0.5, 16)
    return (seconds * 16_000).astype(np.int64)


@pytest.mark.parametrize("waste", [0.3, 0.1, 0.06])
def test_padding_stays_below_the_bound_with_few_shapes(waste: float) -> None:
    lengths = speech_lengths(5_000)
    edges = bucket_edges(lengths, waste)
    assert padded_share(lengths, edges) <= waste
    assert len(edges) <= 32
    assert padded_share(lengths, edges[-1:]) > 0.6  # what it saves
    # the fewest: leaving any edge out breaks the bound
    for i in range(len(edges) - 1):
        assert padded_share(lengths, np.delete(edges, i)) > waste


def test_one_length_and_no_bound_are_one_bucket() -> None:
    assert bucket_edges(np.array([7, 7, 7]), 0.0).tolist() == [7]
    assert bucket_edges(speech_lengths(100), 1.0).tolist() == [speech_lengths(100).max()]
    assert bucket_edges(np.array([5, 9]), 0.0).tolist() == [5, 9]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=60), st.integers(1, 9), st.integers(1, 3), st.integers(0, 3))
def test_every_epoch_has_every_clip_once(lengths: list[int], batch: int, ranks: int, epoch: int) -> None:
    num_samples = np.array(lengths)
    sampler = BucketSampler(num_samples, bucket_edges(num_samples, 0.1), batch * ranks, seed=1)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert sorted(order) == list(range(len(lengths)))
    assert order == list(sampler)


def test_batches_are_of_one_bucket_and_ranks_step_together() -> None:
    lengths = speech_lengths(2_000)
    edges = bucket_edges(lengths, 0.1)
    bucket = np.searchsorted(edges, lengths)
    order = np.array(list(BucketSampler(lengths, edges, 16, seed=0)))
    steps = order[: len(order) // 16 * 16].reshape(-1, 16)
    mixed = [len(set(bucket[step])) > 1 for step in steps]
    assert sum(mixed) <= len(edges)  # at most where one bucket's rest meets the next
    assert padded_share(lengths, edges) < 0.1
    done = sum(len(step) * edges[bucket[step].max()] for step in steps)
    assert lengths[steps.ravel()].sum() / done > 0.88


def test_epochs_and_seeds_differ() -> None:
    lengths = speech_lengths(300)
    edges = bucket_edges(lengths, 0.1)

    def order(seed: int, epoch: int) -> list[int]:
        sampler = BucketSampler(lengths, edges, 8, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    assert order(0, 0) != order(0, 1) != order(1, 1)


def test_long_batches_do_not_come_in_order_of_length() -> None:
    lengths = speech_lengths(4_000)
    order = list(BucketSampler(lengths, bucket_edges(lengths, 0.1), 16, seed=0))
    means = [lengths[order[i : i + 16]].mean() for i in range(0, len(order) - 16, 16)]
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.2


def test_a_clip_longer_than_all_buckets_goes_into_the_last() -> None:
    sampler = BucketSampler(np.array([5, 50]), np.array([5, 9]), 1)
    assert sampler.bucket.tolist() == [0, 1]


def test_a_bucket_without_clips_is_passed_over() -> None:
    sampler = BucketSampler(np.array([5, 5, 30, 30]), np.array([5, 9, 30]), 2)
    assert sorted(sampler) == [0, 1, 2, 3]
