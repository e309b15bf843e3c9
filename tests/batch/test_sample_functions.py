"""Augmentation functions of the caller: what they get, and random numbers of seed, epoch and row alone."""

from __future__ import annotations

import random

import numpy as np
import torch

from earmark.batch.augment import AugmentedClips, describe
from earmark.batch.sample_functions import SampleFunction, sample_functions
from earmark.settings.augmentation_flags import AugmentArguments
from earmark.train.augmentation import _NO_KIND
from tests.batch.test_augment import Held, TrainingClips, tone

RATE_HZ = 16_000


def with_rng(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return samples + rng.standard_normal(len(samples))


def with_globals(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    assert sample_rate == RATE_HZ
    return samples * random.random() + np.random.rand() + torch.rand(1).item()


def clips(*functions: object, kinds: str | None = None, seed: int = 3) -> AugmentedClips:
    waves = [tone(300 + 100 * i, 0.1, seed=i) for i in range(4)]
    plain = TrainingClips(Held(waves), np.arange(4), min_samples=400, max_samples=4000, seed=seed)  # type: ignore[arg-type]
    settings = AugmentArguments(augment=kinds).augmentation() or _NO_KIND
    return AugmentedClips(plain, settings, RATE_HZ, functions=sample_functions(functions))  # type: ignore[arg-type]


def of_rows(table: AugmentedClips, rows: list[int]) -> np.ndarray:
    return table.__getitems__(rows)["samples"].numpy()


def test_what_a_clip_gets_depends_on_seed_epoch_and_row_alone() -> None:
    plain = of_rows(clips(), [0, 1, 2, 3])
    for function in (with_rng, with_globals):
        table, again = clips(function), clips(function)
        together = of_rows(table, [0, 1, 2, 3])
        random.seed(5)
        np.random.seed(5)
        torch.manual_seed(5)
        assert np.array_equal(together[[2, 0]], of_rows(again, [2, 0]))
        if function is with_rng:
            added = together - plain
            assert not np.allclose(added[0], added[1], atol=1e-3)
        else:
            assert len(set(np.median(together - plain, axis=1).round(3))) > 1
        assert not np.array_equal(together, of_rows(clips(function, seed=4), [0, 1, 2, 3]))
        table.set_epoch(1)
        assert not np.array_equal(together, of_rows(table, [0, 1, 2, 3]))


def test_two_functions_draw_apart_and_work_one_behind_the_other() -> None:
    def negated(samples: np.ndarray) -> np.ndarray:
        return -samples

    plain = of_rows(clips(), [0])
    one = of_rows(clips(with_rng), [0]) - plain
    two = of_rows(clips(with_rng, with_rng), [0]) - plain - one
    assert not np.allclose(one, two)
    assert np.array_equal(of_rows(clips(with_rng, negated), [0]), -of_rows(clips(with_rng), [0]))


def test_functions_work_behind_the_built_in_kinds_and_change_nothing_about_them() -> None:
    def unchanged(samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        rng.random(7)
        return samples

    kinds = "gain:1,shift:1,speed:1"
    assert np.array_equal(of_rows(clips(unchanged, kinds=kinds), [0, 1]), of_rows(clips(kinds=kinds), [0, 1]))


def test_global_generators_are_as_before() -> None:
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    of_rows(clips(with_globals), [0, 1])
    assert before == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_parameters_are_found_by_name() -> None:
    class Louder:
        def __call__(self, samples: np.ndarray, sampling_rate: int = 0, *, factor: float = 2.0) -> np.ndarray:
            return samples * factor if sampling_rate == RATE_HZ else samples

    function = SampleFunction.of(Louder())
    assert (function.name, function.rate_name, function.takes_rng) == ("Louder", "sampling_rate", False)
    assert function(np.ones(3, np.float32), RATE_HZ, (1, 2)).tolist() == [2, 2, 2]
    assert function(np.ones(3), RATE_HZ, (1, 2)).dtype == np.float32
    assert "functions Louder, with_rng" in describe(clips(Louder(), with_rng))
