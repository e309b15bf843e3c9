"""Progress of long work: a bar on a terminal, a plain line now and then elsewhere, on rank 0 only."""

from __future__ import annotations

import logging
import os
import sys
import time
from types import TracebackType

logger = logging.getLogger(__name__)

_LINE_EVERY_S = 10.0


def is_main_process() -> bool:
    """Whether this process is the one that speaks (rank 0 of a launcher, or no launcher)."""
    return int(os.environ.get("RANK", "0")) == 0


class Progress:
    """Counts clips and tells how fast they go and how long the rest takes.

    Args:
        what: a word or two on the work, e.g. ``"training"``.
        total: clips to do; ``None`` when unknown.
        quiet: show nothing, only count.
        unit: what is counted, if not clips.
    """

    def __init__(self, what: str, total: int | None, *, quiet: bool = False, unit: str = "clips") -> None:
        self.what = what
        self.unit = unit
        self.total = total
        self.done = 0
        self._start = self._last_line = time.monotonic()
        self._bar = None
        self._speaks = is_main_process() and not quiet
        if self._speaks and sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, desc=what, unit=f" {unit}", dynamic_ncols=True, smoothing=0.1, leave=False)

    def update(self, clips: int, note: str = "") -> None:
        """Count ``clips`` more as done; ``note`` (a loss, say) is shown behind the figures."""
        self.done += clips
        if self._bar is not None:
            self._bar.update(clips)
            if note:
                self._bar.set_postfix_str(note)
        elif self._speaks and time.monotonic() - self._last_line >= _LINE_EVERY_S:
            self._last_line = time.monotonic()
            logger.info("%s", self._line(note))

    def to(self, done: int, total: int) -> None:
        """Set the count; fits callbacks of the form ``progress(done, total)``."""
        self.total = total
        self.update(done - self.done)

    def write(self, line: str) -> None:
        """Show a line without breaking the bar."""
        if self._bar is not None:
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
        rate = self.done / max(time.monotonic() - self._start, 1e-9)  # clips/s
        text = f"{self.what}: {self.done:,}"
        if self.total:
            left_s = (self.total - self.done) / rate if rate > 0 else float("inf")
            text += f" of {self.total:,} {self.unit}, {rate:,.0f} {self.unit}/s, {format_seconds(left_s)} left"
        else:
            text += f" {self.unit}, {rate:,.0f} {self.unit}/s"
        return f"{text}, {note}" if note else text


def format_seconds(seconds: float) -> str:
    """``45 s``, ``3:05``, ``2:10:00``."""
    if seconds < 60 or seconds == float("inf"):
        return f"{seconds:.0f} s"
    minutes, s = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{s:02d}" if hours else f"{minutes}:{s:02d}"
