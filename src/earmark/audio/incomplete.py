"""Recordings that are read although something is wrong with them, collected for one warning a folder."""

from __future__ import annotations

import logging
import os
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping

from earmark.audio.samples import CANCELLED
from earmark.clips.clip import Clip
from earmark.text import and_more, counted

logger = logging.getLogger(__name__)

_FAULTS = 3  # of one recording that are named


class Incomplete:
    """Recordings with faults, until they are logged. Threads may share it."""

    def __init__(self) -> None:
        self._faults: dict[str, dict[str, None]] = {}  # by path or name
        self._logged: set[str] = set()
        # Re-entrant: the garbage collector may close an iterator, which logs, while this thread holds the lock.
        self._lock = threading.RLock()

    def note(self, clip: Clip, faults: Iterable[str]) -> None:
        """Remember what is wrong with a clip's recording, each recording once."""
        for fault in faults:
            self._add(clip.path or clip.source, fault)

    def add(self, faults: Mapping[str, str]) -> None:
        """Remember what is wrong with recordings, by their path."""
        for name, said in faults.items():
            self._add(name, said)

    def take(self) -> dict[str, str]:
        """Return the recordings since the last call with what is wrong with them, and forget them."""
        with self._lock:
            faults, self._faults = self._faults, {}
        return {name: and_more(list(said), _FAULTS) for name, said in faults.items()}

    def _add(self, name: str, fault: str) -> None:
        with self._lock:
            self._faults.setdefault(name, {})[fault] = None

    def log(self, *, again: bool = False) -> None:
        """Log one warning for each folder with recordings since the last call.

        Args:
            again: also for recordings that were logged before, as for another command.
        """
        found = {name: faults for name, faults in self.take().items() if again or name not in self._logged}
        self._logged.update(found)
        folders: dict[str, list[str]] = defaultdict(list)
        for name, faults in sorted(found.items()):
            folders[os.path.dirname(name)].append(f"{os.path.basename(name)} ({faults})")
        for folder, named in folders.items():
            logger.warning(
                "%s%s read as far as possible, with faults: %s",
                f"{folder}: " if folder else "",
                counted(len(named), "recording"),
                and_more(named),
            )


INCOMPLETE = Incomplete()


def log_notes(*, again: bool = False) -> None:
    """Log what was noted about recordings while reading: faults, and channels that cancel.

    Args:
        again: also for recordings that were logged before, as for another command.
    """
    INCOMPLETE.log(again=again)
    CANCELLED.log(again=again)
