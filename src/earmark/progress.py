"""Show the progress of long work on rank 0: a bar on a terminal, a log line every 10 s elsewhere."""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from earmark.distributed.launched import is_main_process
from earmark.text import format_seconds

logger = logging.getLogger(__name__)

_LINE_EVERY_S = 10.0
_WINDOW_S = 30.0  # the rate is measured over the last 30 s
_EVIDENCE_S = 2.0  # shortest time over which a rate is shown
_POINTS = 200  # maximum number of updates kept in the window


def is_notebook() -> bool:
    """Return whether this process is a notebook's kernel, which can show bars without a terminal."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return shell is not None and "IPKernelApp" in shell.config


def bar_class() -> Any:
    """Return tqdm's bar class: a widget in a notebook with ipywidgets, else text."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tqdm warns once if ipywidgets is not installed
        from tqdm.auto import tqdm
    return tqdm


class RecentRate:
    """Measure the current rate of work.

    The first update ends the warm-up (choosing kernels, allocating memory, opening files) and is not counted. After
    that, the rate covers the last 30 s, or the last two updates if they are further apart.

    Args:
        clock: returns monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._points: deque[tuple[float, float]] = deque()  # (seconds, units done), oldest first
        self._spacing_s = _WINDOW_S / _POINTS
        self._paused_s = 0.0
        self._pause_began_s: float | None = None

    def pause(self) -> None:
        """Exclude the time until :meth:`resume`."""
        self._pause_began_s = self._clock()

    def resume(self) -> None:
        """Count time again."""
        if self._pause_began_s is not None:
            self._paused_s += self._clock() - self._pause_began_s
            self._pause_began_s = None

    def update(self, done: float) -> None:
        """Record that ``done`` units are done in total."""
        now = self._clock() - self._paused_s
        points = self._points
        # Merge points in quick succession, except the two oldest: otherwise there would never be a second one.
        if len(points) > 2 and points[-1][0] - points[-2][0] < self._spacing_s:
            points.pop()
        points.append((now, done))
        while len(points) > 3 and now - points[1][0] >= _WINDOW_S:
            points.popleft()

    @property
    def per_s(self) -> float | None:
        """Units per second; ``None`` while there are too few updates."""
        if len(self._points) < 3:
            return None
        (began_s, before), (now_s, done) = self._points[0], self._points[-1]
        if now_s - began_s < _EVIDENCE_S or done <= before:
            return None
        return (done - before) / (now_s - began_s)


class Progress:
    """Count processed clips, and show the rate and the time left.

    Args:
        what: name of the work, such as ``"training"``.
        total: clips to process; ``None`` if unknown.
        quiet: only count, and show nothing.
        unit: name of the things that are counted.
        keep: leave the finished bar in the output of a notebook.
        clock: returns monotonic seconds.
    """

    def __init__(
        self,
        what: str,
        total: int | None,
        *,
        quiet: bool = False,
        unit: str = "clips",
        keep: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.what = what
        self.unit = unit
        self.total = total
        self.done = 0
        self._clock = clock
        self._last_line = clock()
        self._rate = RecentRate(clock)
        self._bar: Any = None
        self._speaks = is_main_process() and not quiet
        notebook = is_notebook()
        if self._speaks and (notebook or sys.stderr.isatty()):
            # earmark computes the time left, because tqdm's includes the warm-up
            left = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
            form = left if total else "{desc}: {n_fmt} {unit} [{elapsed}{postfix}]"
            # a notebook has one line for text bars: it cannot move the cursor up
            place = {"leave": keep, "position": 0, "file": sys.stdout} if notebook else {"leave": False}
            self._bar = bar_class()(total=total, desc=what, unit=unit, dynamic_ncols=True, bar_format=form, **place)

    def update(self, clips: int, note: str = "") -> None:
        """Count ``clips`` more as done; ``note``, such as a loss, is shown after the rate."""
        self.done += clips
        self._rate.update(self.done)
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(filter(None, [*self._speed(), note])), refresh=False)
            self._bar.update(clips)
        elif self._speaks and self._clock() - self._last_line >= _LINE_EVERY_S:
            self._last_line = self._clock()
            logger.info("%s", self._line(note))

    def to(self, done: int, total: int) -> None:
        """Set the count; usable as a callback ``progress(done, total)``."""
        self.total = total
        self.update(done - self.done)

    def pause(self) -> None:
        """Exclude other work, such as validation, from the rate until :meth:`resume`."""
        self._rate.pause()

    def resume(self) -> None:
        """Count time again."""
        self._rate.resume()

    def write(self, line: str) -> None:
        """Show a line above the bar: a log line, or the line itself if logging is not set up."""
        if self._bar is not None and not logger.isEnabledFor(logging.INFO):
            self._bar.write(line)
        elif self._bar is not None:
            self._bar.clear()
            logger.info("%s", line)
            self._bar.refresh()
        elif self._speaks:
            logger.info("%s", line)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def _line(self, note: str) -> str:
        done = (
            f"{self.what}: {self.done:,} of {self.total:,} {self.unit}" if self.total else f"{self.what}: {self.done:,}"
        )
        done += "" if self.total else f" {self.unit}"
        return ", ".join(filter(None, [done, *self._speed(), note]))

    def _speed(self) -> list[str]:
        """Return the rate and the time left, as far as they are known."""
        rate = self._rate.per_s
        if rate is None:
            return []
        shown = f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"
        words = [f"{shown} {self.unit}/s"]
        if self.total:
            words.append(f"{format_seconds(max(0, self.total - self.done) / rate)} left")
        return words
