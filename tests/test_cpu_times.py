from __future__ import annotations

import re

import pytest

pytest_plugins = ["pytester"]

TESTS = """
import subprocess, sys, time
import pytest
from tests.cpu_times import counted_as

SPEND = "import time\\nwhile time.process_time() < {}: pass"

def spend(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass

@pytest.fixture(scope="module")
def deeper():
    spend(0.2)

@pytest.fixture(scope="module")
def shared(deeper):
    spend(0.25)
    yield
    spend(0.25)

@pytest.fixture
def own():
    yield
    spend(0.2)

def test_cheap(shared):
    with counted_as("gallery: some_run"):
        spend(0.2)

def test_dear(own, shared): spend(0.2)

def test_child(): subprocess.run([sys.executable, "-c", SPEND.format(0.4)])

@pytest.mark.slow
def test_long(): spend(0.35)
"""
ALL_SLOW = ("--slow", "--cpu-limit", "0.3")


def seconds(result: pytest.RunResult) -> dict[str, tuple[float, float]]:
    """Own and children's CPU seconds by the last word of a line."""
    rows = [re.fullmatch(r" +([\d.]+) +([\d.]+) .*[: ](\w+)", line) for line in result.outlines]
    return {row[3]: (float(row[1]), float(row[2])) for row in rows if row}


@pytest.fixture
def suite(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> pytest.Pytester:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # a second to import them
    pytester.makepyfile(test_some=TESTS)
    return pytester


def run(suite: pytest.Pytester, *words: str) -> pytest.RunResult:
    return suite.runpytest_inprocess("-p", "tests.cpu_times", *words)


def above_limit(result: pytest.RunResult) -> list[str]:
    return [line.split(": took")[0] for line in result.outlines if "Make it cheaper" in line]


def test_slow_tests_run_only_when_asked_for(suite: pytest.Pytester) -> None:
    result = run(suite)
    result.assert_outcomes(passed=3, deselected=1)
    assert (result.ret, above_limit(result)) == (0, [])


def test_a_test_above_the_limit_fails_the_run(suite: pytest.Pytester) -> None:
    result = run(suite, *ALL_SLOW)
    result.assert_outcomes(passed=4)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    assert above_limit(result) == ["test_some.py::test_dear", "test_some.py::test_child"]

    spent = seconds(result)
    assert sum(spent["test_cheap"]) < 0.15  # the shared fixtures count for no test
    assert spent["test_dear"][0] == pytest.approx(0.4, abs=0.15)
    assert spent["deeper"][0] == pytest.approx(0.2, abs=0.1)
    assert spent["some_run"][0] == pytest.approx(0.2, abs=0.1)
    assert spent["shared"][0] == pytest.approx(0.5, abs=0.15)  # made and removed
    assert spent["test_child"][0] < 0.15 < 0.35 < spent["test_child"][1]


def test_a_shared_fixture_that_fails(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_some=TESTS.replace("spend(0.25)", "assert False", 1))
    result = run(suite, "-k", "cheap or dear")
    result.assert_outcomes(errors=2, deselected=2)
    assert sum(seconds(result)["test_dear"]) < 0.15


def test_workers_report_together(suite: pytest.Pytester) -> None:
    result = run(suite, "-p", "xdist", "-n", "1", *ALL_SLOW)
    result.assert_outcomes(passed=4)
    assert (result.ret, len(above_limit(result))) == (pytest.ExitCode.TESTS_FAILED, 2)
    assert {"test_dear", "test_long", "shared"} <= seconds(result).keys()


def test_only_the_slowest_are_printed(suite: pytest.Pytester) -> None:
    suite.makepyfile(test_some="import pytest\n@pytest.mark.parametrize('n', range(30))\ndef test_one(n): pass")
    assert sum("test_one" in line for line in run(suite).outlines) == 10
