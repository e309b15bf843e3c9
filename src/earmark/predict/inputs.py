"""The recordings given to a command, and its progress."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from earmark.audio.decode import AUDIO_SUFFIXES, duration_s
from earmark.clips.clip import Clip
from earmark.errors import DataError
from earmark.io.nearby_names import path_suggestion
from earmark.progress import Progress
from earmark.sources.listing import list_recordings
from earmark.text import counted

logger = logging.getLogger(__name__)

_MANY = 200  # above this number, progress counts recordings, because seconds need the header of every recording


def check_inputs(inputs: Sequence[str], *, any_missing: bool = True) -> None:
    """Reject files and folders that do not exist, before slow work.

    Args:
        inputs: files and folders.
        any_missing: whether to reject every missing input. If False, a missing recording is accepted if another input
            exists.

    Raises:
        DataError: the first missing input, with a similar name in its folder.
    """
    missing = [name for name in inputs if _is_missing(name)]
    if not any_missing and len(missing) < len(inputs):
        missing = [name for name in missing if Path(name).suffix.lower() not in AUDIO_SUFFIXES]
    if missing:
        raise DataError(f"{missing[0]}: no such file or folder{path_suggestion(Path(missing[0]), listed=False)}")


def _is_missing(name: str) -> bool:
    try:
        os.stat(name)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except (OSError, ValueError):  # opening the recording gives a better error
        return False
    return False


def find_recordings(inputs: Sequence[str]) -> dict[str, str]:
    """Return every given file and every recording in given folders, in the given order; folders are sorted.

    A recording that is given twice, as a file and in its folder or by two paths, is used once, under its first path.
    Skipped files are logged (:mod:`earmark.sources.listing`).

    Returns:
        Path as given or found -> its name within the given folder.

    Raises:
        DataError: no inputs, a folder without audio files, or a missing input. A missing recording among existing ones
            is not an error here; the list of unreadable recordings names it.
    """
    check_inputs(inputs, any_missing=False)
    found: dict[str, str] = {}
    first: dict[str, str] = {}  # absolute path -> path by which it was first found
    twice = 0
    for name in inputs:
        inside = {name: os.path.basename(name)}
        if Path(name).is_dir():
            listed = list_recordings(Path(name))
            if not listed.paths:
                skipped = listed.skipped.files_note(name)
                what = f"no audio files in this folder{f'. {skipped}' if skipped else ''}"
                raise DataError(f"{name}: {what}. Choose another folder")
            listed.log_skipped()
            inside = {path: path[len(listed.prefix) :] for path in listed.paths}
        for path, within in inside.items():
            if first.setdefault(os.path.abspath(path), path) != path or path in found:
                twice += 1
            else:
                found[path] = within
    if not found:
        raise DataError("no recordings. Add files or folders")
    if twice:
        logger.info("%s given more than once, used once", counted(twice, "recording"))
    return found


class ScoringProgress:
    """Progress in seconds of audio for a few recordings, in recordings for many."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self.durations_s = [duration_s(clip) for clip in clips[:_MANY]]  # length of the first recordings only
        self._seconds = self.durations_s if len(clips) <= _MANY else None
        total = len(clips) if self._seconds is None else round(sum(self._seconds))
        self._bar = Progress("predicting", total, unit="clips" if self._seconds is None else "s of audio")
        self._before_s = 0.0  # length of the finished recordings
        self._number = 0

    def reach(self, end_s: float) -> None:
        """Show that the current recording is scored up to ``end_s``."""
        if self._seconds is not None:
            self._bar.update(max(0, round(self._before_s + end_s) - self._bar.done))

    def finish(self) -> None:
        """Show that the current recording is finished."""
        if self._seconds is None:
            self._bar.update(1)
            return
        self._before_s += self._seconds[self._number]
        self._number += 1
        self.reach(0.0)

    def __enter__(self) -> ScoringProgress:
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()
