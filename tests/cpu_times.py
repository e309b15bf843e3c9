"""A plugin of pytest: slow tests run with ``--slow`` only, and others must be cheap.

It measures the CPU seconds of each test, in its own process and in child processes, prints the ten slowest, and fails
the run if a test that is not marked ``slow`` takes more than ``--cpu-limit``. Fixtures that tests share are measured
separately, because the order of the tests decides which of them makes a fixture.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

LIMIT_S = 8.0
LISTED = 10


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("earmark")
    group.addoption("--slow", action="store_true", help="run the tests marked slow, too")
    group.addoption(
        "--cpu-limit", type=float, default=LIMIT_S, metavar="SECONDS", help="of CPU, for a test that is not marked slow"
    )


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "slow: takes long or starts several processes (run with --slow only)")
    _MEASURES.append(_Measure())
    config.pluginmanager.register(_MEASURES[-1], "cpu-times-measure")
    if not hasattr(config, "workerinput"):  # of xdist: only the process that starts the workers reports
        config.pluginmanager.register(_Report(config.getoption("--cpu-limit")), "cpu-times-report")


def pytest_unconfigure() -> None:
    _MEASURES.pop()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    if slow:
        config.hook.pytest_deselected(items=slow)
        items[:] = [item for item in items if not item.get_closest_marker("slow")]


@dataclass(frozen=True)
class Cpu:
    """CPU seconds of this process, and of the child processes that it waited for."""

    own_s: float = 0.0
    children_s: float = 0.0

    @staticmethod
    def so_far() -> Cpu:
        now = os.times()
        return Cpu(now.user + now.system, now.children_user + now.children_system)

    @property
    def total_s(self) -> float:
        return self.own_s + self.children_s

    def __add__(self, other: Cpu) -> Cpu:
        return Cpu(self.own_s + other.own_s, self.children_s + other.children_s)

    def __sub__(self, other: Cpu) -> Cpu:
        return Cpu(self.own_s - other.own_s, self.children_s - other.children_s)


@dataclass
class _Running:
    """A shared fixture that is being made or removed, with what it has spent on other shared fixtures."""

    name: str
    start: Cpu
    others: Cpu = Cpu()


class _Measure:
    """Attaches to the last report of each test what the test and the shared fixtures around it have cost."""

    def __init__(self) -> None:
        self.start = Cpu()
        self.running: list[_Running] = []
        self.shared: list[tuple[str, Cpu]] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logstart(self) -> None:
        self.shared = []
        self.start = Cpu.so_far()

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> Generator[None, Any, Any]:
        if fixturedef.scope == "function":
            return (yield)
        name = f"{request.node.nodeid or 'session'}: fixture {fixturedef.argname}"
        # finalizers run in reverse: these two before and after those of the fixture itself
        fixturedef.addfinalizer(lambda: self.end(name))
        self.begin(name)
        try:
            return (yield)
        finally:
            self.end(name)
            fixturedef.addfinalizer(lambda: self.begin(name))

    def begin(self, name: str) -> None:
        self.running.append(_Running(name, Cpu.so_far()))

    def end(self, name: str) -> None:
        if not self.running or self.running[-1].name != name:
            return
        ended = self.running.pop()
        spent = Cpu.so_far() - ended.start
        self.shared.append((name, spent - ended.others))
        if self.running:
            self.running[-1].others += spent

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, call: pytest.CallInfo[None]) -> Generator[None, Any, Any]:
        report = yield
        if call.when == "teardown":
            spent = Cpu.so_far() - self.start
            for _, shared in self.shared:
                spent -= shared
            # plain numbers and text: xdist sends the report to another process
            report.cpu_s = (spent.own_s, spent.children_s)
            report.cpu_s_of_shared = [(name, cpu.own_s, cpu.children_s) for name, cpu in self.shared]
        return report


_MEASURES: list[_Measure] = []  # more than one only while pytest runs inside pytest


@contextmanager
def counted_as(name: str) -> Iterator[None]:
    """Count what runs inside as a shared fixture of this name, and not for the test that needs it first."""
    measure = _MEASURES[-1]
    measure.begin(name)
    try:
        yield
    finally:
        measure.end(name)


class _Report:
    """Prints the slowest tests and shared fixtures, and fails the run because of tests above the limit."""

    def __init__(self, limit_s: float) -> None:
        self.limit_s = limit_s
        self.tests: dict[str, Cpu] = {}
        self.shared: dict[str, Cpu] = {}
        self.above: list[str] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        if not hasattr(report, "cpu_s"):
            return
        spent = Cpu(*report.cpu_s)
        self.tests[report.nodeid] = spent
        if spent.total_s > self.limit_s and "slow" not in report.keywords:
            self.above.append(report.nodeid)
        for name, own_s, children_s in report.cpu_s_of_shared:
            self.shared[name] = self.shared.get(name, Cpu()) + Cpu(own_s, children_s)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        if self.above and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any, config: pytest.Config) -> None:
        if not self.tests:
            return
        in_tests, in_shared = (sum((cpu.total_s for cpu in one.values()), 0.0) for one in (self.tests, self.shared))
        terminalreporter.section(f"CPU time: {in_tests:.0f} s in tests, {in_shared:.0f} s in shared fixtures")
        terminalreporter.write_line("own s  children s")
        slowest = sorted((self.tests | self.shared).items(), key=lambda row: row[1].total_s, reverse=True)
        for name, cpu in slowest[:LISTED]:
            terminalreporter.write_line(f"{cpu.own_s:5.1f}  {cpu.children_s:10.1f}  {name}")
        for name in self.above:
            took = f"took {self.tests[name].total_s:.1f} s of CPU, more than {self.limit_s:g}"
            terminalreporter.write_line(f"{name}: {took}. Make it cheaper, or mark it slow.", red=True)
        seed = getattr(config.option, "randomly_seed", None)
        if isinstance(seed, int):
            terminalreporter.write_line(f"--randomly-seed={seed} runs the tests in this order again")
