"""Rates and the time left, with a clock that the tests set."""

from __future__ import annotations

import logging
import sys
from types import SimpleNamespace

import pytest

from earmark.progress import Progress, RecentRate, is_notebook


class Clock:
    """A clock that a test moves forward."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def rate_after(*steps: tuple[float, float]) -> RecentRate:
    """Of steps given as (seconds, units)."""
    clock = Clock()
    rate = RecentRate(clock)
    done = 0.0
    for seconds, units in steps:
        clock.now_s += seconds
        done += units
        rate.update(done)
    return rate


def test_nothing_is_estimated_before_there_is_evidence() -> None:
    assert rate_after().per_s is None
    assert rate_after((60, 32)).per_s is None
    assert rate_after((60, 32), (5, 32)).per_s is None
    assert rate_after((60, 32), (0.5, 32), (0.5, 32)).per_s is None
    assert rate_after((60, 32), (5, 32), (5, 32)).per_s == pytest.approx(6.4)
    assert rate_after((60, 32), (5, 0), (5, 0)).per_s is None


def test_the_slow_first_step_is_not_counted() -> None:
    rate = rate_after((120, 32), *[(0.1, 32)] * 50)
    assert rate.per_s == pytest.approx(320, rel=0.01)


def test_slow_steps_are_forgotten_after_half_a_minute() -> None:
    rate = rate_after((1, 32), *[(5, 32)] * 6, *[(0.1, 32)] * 400)
    assert rate.per_s == pytest.approx(320, rel=0.05)


def test_an_estimate_exists_where_an_update_takes_minutes() -> None:
    assert rate_after((200, 100), (200, 100), (200, 100)).per_s == pytest.approx(0.5)


def test_memory_is_bounded() -> None:
    assert len(rate_after(*[(0.001, 1)] * 50_000)._points) < 300
    assert rate_after(*[(0.001, 1)] * 50_000).per_s == pytest.approx(1000, rel=0.01)


def test_pauses_are_left_out() -> None:
    clock = Clock()
    rate = RecentRate(clock)
    for step in range(1, 40):
        clock.now_s += 1
        rate.update(10 * step)
        if step % 5 == 0:
            rate.pause()
            clock.now_s += 600
            rate.resume()
    assert rate.per_s == pytest.approx(10)


def test_lines_name_no_time_left_too_early(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: False)
    clock = Clock()
    with caplog.at_level(logging.INFO, "earmark"):
        progress = Progress("training", 1000, clock=clock)
        clock.now_s += 11
        progress.update(10, "loss 2.0")
        for _ in range(20):
            clock.now_s += 1
            progress.update(10)
    assert [record.getMessage() for record in caplog.records] == [
        "training: 10 of 1,000 clips, loss 2.0",
        "training: 110 of 1,000 clips, 10 clips/s, 1:29 left",
        "training: 210 of 1,000 clips, 10 clips/s, 1:19 left",
    ]


def test_the_bar_shows_the_same_estimate(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    clock = Clock()
    progress = Progress("training", 1000, clock=clock)
    clock.now_s += 500
    for _ in range(11):
        progress.update(10, "loss 2.0")
        clock.now_s += 1
    assert progress._bar is not None
    progress._bar.refresh()
    err = capsys.readouterr().err
    progress.close()
    assert "10 clips/s, 1:29 left, loss 2.0" in err
    assert "110/1000" in err


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """IPython as in the kernel of a notebook, without ipywidgets."""
    shell = SimpleNamespace(config={"IPKernelApp": {}})
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))


def test_a_notebook_gets_a_bar_and_lines_without_any_logging(
    notebook: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert is_notebook()
    with Progress("training", 10, keep=True) as progress:
        progress.update(4)
        with Progress("validation", 2) as inner:  # in the line of the other bar
            inner.update(2)
        progress.write("epoch 1.00: validation accuracy 0.5000")
        progress.update(6)
    shown = capsys.readouterr().out
    assert "training: 100%" in shown.splitlines()[-1]
    assert "validation:" in shown
    assert "\x1b[A" not in shown
    assert "epoch 1.00: validation accuracy 0.5000\n" in shown


def test_a_line_is_shown_once_if_logging_is_set_up(
    notebook: None, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "earmark"), Progress("training", 10) as progress:
        progress.write("epoch 1.00")
    assert "epoch 1.00" not in capsys.readouterr().out
    assert caplog.messages == ["epoch 1.00"]


def test_elsewhere_there_is_no_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "IPython", raising=False)
    assert not is_notebook()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: None))
    assert not is_notebook()
