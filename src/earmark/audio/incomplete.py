"""Recordings that can be read although they are damaged, collected for one warning per folder."""

from __future__ import annotations

import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping

from earmark.audio.samples import CANCELLED
from earmark.clips.clip import Clip
from earmark.text import agreeing, and_more, counted

logger = logging.getLogger(__name__)

_FAULTS = 3  # faults listed per recording


class Incomplete:
    """Recordings with faults that are not logged yet. Safe to share between threads."""

    def __init__(self) -> None:
        self._faults: dict[str, dict[str, None]] = {}  # by path or name
        self._logged: set[str] = set()
        # Re-entrant, because the garbage collector may close an iterator, which logs, while this thread holds the lock.
        self._lock = threading.RLock()

    def note(self, clip: Clip, faults: Iterable[str]) -> None:
        """Record faults of a clip's recording. A fault that is already recorded is ignored."""
        for fault in faults:
            self._add(clip.path or clip.source, fault)

    def add(self, faults: Mapping[str, str]) -> None:
        """Record faults of recordings, by their path."""
        for name, said in faults.items():
            self._add(name, said)

    def take(self) -> dict[str, str]:
        """Return the recordings added since the last call with their faults, and forget them."""
        with self._lock:
            faults, self._faults = self._faults, {}
        return {name: and_more(list(said), _FAULTS) for name, said in faults.items()}

    def _add(self, name: str, fault: str) -> None:
        with self._lock:
            self._faults.setdefault(name, {})[fault] = None

    def log(self, *, again: bool = False) -> None:
        """Log one warning for each folder with damaged recordings found since the last call.

        Args:
            again: also log recordings that were logged before, for a new command.
        """
        found = {name: faults for name, faults in self.take().items() if again or name not in self._logged}
        self._logged.update(found)
        folders: dict[str, list[str]] = defaultdict(list)
        for name, faults in sorted(found.items()):
            folders[os.path.dirname(name)].append(f"{os.path.basename(name)} ({faults})")
        for folder, named in folders.items():
            logger.warning(
                "%s%s %s read as far as possible, with faults: %s",
                f"{folder}: " if folder else "",
                counted(len(named), "recording"),
                agreeing(len(named), "were"),
                and_more(named),
            )


INCOMPLETE = Incomplete()


def log_notes(*, again: bool = False) -> None:
    """Log warnings about recordings that were read: faults, and channels that cancel out.

    Args:
        again: also log recordings that were logged before, for a new command.
    """
    INCOMPLETE.log(again=again)
    CANCELLED.log(again=again)
