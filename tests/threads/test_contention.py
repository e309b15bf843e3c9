"""The decision about threads, on simulated cores: it converges, does not oscillate, and comes back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from earmark.threads.contention import Contention
from earmark.threads.machine_load import Usage

STEP_S = 0.25


@dataclass
class Cores:
    """Cores that a fair scheduler shares between spinning threads of ours and threads of others."""

    count: int
    contention: Contention
    shows_others: bool = True
    shows_delay: bool = True
    threads: list[int] = field(default_factory=list)  # after each measurement
    sleeps: list[bool] = field(default_factory=list)

    def run(self, seconds: float, others: float | Callable[[float], float]) -> None:
        """Let time pass while others want ``others`` cores."""
        for step in range(round(seconds / STEP_S)):
            wanted = others(step * STEP_S) if callable(others) else others
            own = self.contention.threads
            share = min(1.0, self.count / (own + wanted))
            usage = Usage(
                STEP_S,
                own=own * share,
                others=wanted * share if self.shows_others else None,
                delay=own * (1 - share) if self.shows_delay else None,
            )
            self.contention.update(usage)
            self.threads.append(self.contention.threads)
            self.sleeps.append(self.contention.sleeps)

    def changes(self) -> int:
        """How often the number of threads has changed."""
        return sum(a != b for a, b in zip(self.threads, self.threads[1:], strict=False))


def cores(count: int, *, fixed: bool = False, **options: bool) -> Cores:
    return Cores(count, Contention(most_threads=count, cores=count, fixed=fixed), **options)


@pytest.mark.parametrize("count", [2, 4, 8, 64])
def test_a_quiet_machine_is_left_alone(count: int) -> None:
    machine = cores(count)
    machine.run(600, 0.0)
    machine.run(600, lambda at_s: 0.3 if at_s % 5 < 0.5 else 0.0)
    assert set(machine.threads) == {count}
    assert not any(machine.sleeps)


@pytest.mark.parametrize(("count", "others", "threads"), [(2, 1, 1), (4, 1, 3), (8, 3, 5), (8, 7, 2), (64, 16, 48)])
def test_others_get_their_cores(count: int, others: int, threads: int) -> None:
    machine = cores(count)
    machine.run(60, others)
    assert machine.threads[-1] == threads
    assert machine.threads[-120:] == [threads] * 120, "no oscillation"


def test_it_is_fast_to_give_way_and_comes_back() -> None:
    machine = cores(2)
    machine.run(5, 0)
    machine.run(1, 1)
    assert machine.contention.threads == 1
    assert machine.contention.sleeps, "at once, for the step that is under way"
    machine.run(30, 1)
    assert not machine.contention.sleeps, "threads that have a core each may spin"
    machine.run(3, 0)
    assert machine.contention.threads == 2
    assert not machine.contention.is_contended
    assert machine.changes() == 2


@pytest.mark.parametrize("others", [1, 3, 10, 100])
def test_never_below_one_thread(others: int) -> None:
    machine = cores(2)
    machine.run(300, others)
    assert set(machine.threads[4:]) == {1}


def test_work_that_comes_and_goes_costs_few_changes() -> None:
    machine = cores(2)
    machine.run(600, lambda at_s: 1.0 if at_s % 6 < 3 else 0.0)
    assert machine.changes() <= 40, "600 s of 100 bursts"
    machine.run(80, 0)
    assert machine.contention.threads == 2, "and it still comes back"


def test_two_that_adapt_share_the_cores() -> None:
    first, second = (Contention(most_threads=8, cores=8) for _ in range(2))
    for _ in range(400):
        own, other = first.threads, second.threads
        share = min(1.0, 8 / (own + other))
        first.update(Usage(STEP_S, own * share, other * share, own * (1 - share)))
        second.update(Usage(STEP_S, other * share, own * share, other * (1 - share)))
    assert first.threads + second.threads <= 8
    assert min(first.threads, second.threads) >= 2


def test_a_fixed_number_stays_and_only_waiting_changes() -> None:
    machine = cores(2, fixed=True)
    machine.run(120, 1)
    assert set(machine.threads) == {2}
    assert sum(machine.sleeps) > 0.9 * len(machine.sleeps), "spinning is tried, but seldom"
    machine.run(60, 0)
    assert not machine.contention.sleeps


def test_waiting_for_our_own_threads_is_no_contention() -> None:
    contention = Contention(most_threads=2, cores=2)
    for _ in range(100):
        contention.update(Usage(STEP_S, own=1.9, others=0.1, delay=2.0))
    assert not contention.is_contended


def test_without_delays() -> None:
    machine = cores(2, shows_delay=False)
    machine.run(10, 1)
    assert machine.contention.threads == 1
    machine.run(10, 0)
    assert machine.contention.threads == 2


def test_others_without_work_of_ours_change_nothing() -> None:
    contention = Contention(most_threads=2, cores=2)
    for _ in range(100):
        contention.update(Usage(STEP_S, own=0.0, others=2.0, delay=None))
        contention.update(Usage(STEP_S, own=0.0, others=2.0, delay=0.0))
    assert not contention.is_contended


def test_without_the_use_of_others() -> None:
    machine = cores(4, shows_others=False)
    machine.run(10, 2)
    assert machine.contention.threads == 2
    machine.run(300, 2)
    assert machine.threads.count(2) > 0.9 * len(machine.threads), "more threads are tried, but seldom"
    machine.run(200, 0)
    assert machine.contention.threads == 4
