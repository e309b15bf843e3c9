"""Which thread settings earmark chooses, and that those of the user win."""

from __future__ import annotations

import pytest

from earmark.errors import UsageError
from earmark.threads.cores import Cores
from earmark.threads.variables import plan, prepare, rank_variables

FOUR = Cores(8, 4)


def prepared(environment: dict[str, str]) -> dict[str, str]:
    """What :func:`prepare` adds or changes."""
    before = dict(environment)
    prepare(environment, FOUR)
    return {name: value for name, value in environment.items() if before.get(name) != value}


def test_the_cores_that_may_be_used() -> None:
    chosen = plan({}, FOUR)
    assert (chosen.threads, chosen.is_set, chosen.adapts_waiting) == (4, False, True)
    assert chosen.reason == "4 cores (8 logical CPUs)"
    assert prepared({}) == {
        "OMP_NUM_THREADS": "4",
        "EARMARK_CHOSE_OMP_NUM_THREADS": "4",
        "KMP_BLOCKTIME": "1",
        "EARMARK_CHOSE_KMP_BLOCKTIME": "1",
    }


@pytest.mark.parametrize("name", ["OMP_NUM_THREADS", "MKL_NUM_THREADS"])
def test_a_number_of_the_user_wins(name: str) -> None:
    chosen = plan({name: "3"}, FOUR)
    assert (chosen.threads, chosen.is_set, chosen.reason) == (None, True, f"{name}=3")
    assert chosen.adapts_waiting, "how threads wait changes no result"
    assert not any(name.endswith("NUM_THREADS") for name in prepared({name: "3"}))


@pytest.mark.parametrize("name", ["OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME", "KMP_LIBRARY"])
def test_a_way_to_wait_of_the_user_wins(name: str) -> None:
    chosen = plan({name: "x"}, FOUR)
    assert not chosen.adapts_waiting
    assert chosen.waiting_reason == f"{name}=x"
    assert chosen.threads == 4
    environment = {name: "x"}
    prepare(environment, FOUR)
    assert environment[name] == "x"


def test_the_switch() -> None:
    chosen = plan({"EARMARK_THREADS": "3", "OMP_NUM_THREADS": "8"}, FOUR)
    assert (chosen.threads, chosen.is_set, chosen.reason) == (3, True, "EARMARK_THREADS=3")
    assert prepared({"EARMARK_THREADS": "3", "OMP_NUM_THREADS": "8"})["OMP_NUM_THREADS"] == "3"
    off = plan({"EARMARK_THREADS": "off"}, FOUR)
    assert (off.threads, off.adapts_waiting) == (None, False)
    assert prepared({"EARMARK_THREADS": "off"}) == {}
    assert plan({"EARMARK_THREADS": "auto"}, FOUR) == plan({}, FOUR) == plan({"EARMARK_THREADS": ""}, FOUR)


@pytest.mark.parametrize("value", ["0", "-1", "two", "1.5"])
def test_the_switch_has_a_wrong_value(value: str) -> None:
    with pytest.raises(UsageError, match=rf"EARMARK_THREADS={value}: not a number of threads\. Set it to auto, off"):
        prepare({"EARMARK_THREADS": value}, FOUR)


def test_a_child_does_not_take_our_choice_for_the_users() -> None:
    environment: dict[str, str] = {}
    prepare(environment, FOUR)
    assert plan(environment, Cores(2, 2)).threads == 2
    assert plan(environment, FOUR).adapts_waiting
    environment["OMP_NUM_THREADS"] = "1"  # of the user, for the child
    assert plan(environment, FOUR).is_set


def test_ranks_share_the_cores() -> None:
    assert rank_variables(2, {}, FOUR)["OMP_NUM_THREADS"] == "2"
    assert rank_variables(8, {}, FOUR)["OMP_NUM_THREADS"] == "1"
    environment: dict[str, str] = {}
    prepare(environment, FOUR)
    assert rank_variables(2, environment, FOUR)["OMP_NUM_THREADS"] == "2"
    assert rank_variables(2, {"OMP_NUM_THREADS": "3"}, FOUR) == {}
    assert rank_variables(2, {"EARMARK_THREADS": "3"}, FOUR) == {}
    assert rank_variables(2, {"EARMARK_THREADS": "off", "OMP_NUM_THREADS": "3"}, FOUR) == {}
    off_in_a_child = {**environment, "EARMARK_THREADS": "off"}
    assert rank_variables(2, off_in_a_child, FOUR)["OMP_NUM_THREADS"] == "2", "earmark's own value is not the user's"
    ranks = {**environment, **rank_variables(2, environment, FOUR), "LOCAL_WORLD_SIZE": "2"}
    assert plan(ranks, FOUR).threads == 2
    assert "shared by 2 processes" in plan(ranks, FOUR).reason


def test_one_thread_of_torchrun_is_not_the_users() -> None:
    rank = {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "none", "LOCAL_WORLD_SIZE": "2"}
    assert plan(rank, FOUR, launcher={}).threads == 2
    assert plan(rank, FOUR, launcher={"OMP_NUM_THREADS": "1"}).is_set
    assert plan(rank, FOUR, launcher=None).is_set, "where it cannot be told, it is the user's"
    assert plan({"OMP_NUM_THREADS": "1"}, FOUR, launcher={}).is_set
