"""Report unusable recordings as they are found, and stop early if the command fails anyway.

The rules under ``--on_bad_audio fail``:

1. If the recordings are larger than 256 MB in total, all are opened before any is decoded, which is much faster. All
   recordings that cannot be opened are listed at once.
2. A recording that can be opened may still be damaged. After the first damaged recording, at most one more hour of
   audio is decoded and at most 20 recordings are collected.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Sequence

from earmark.audio.decode import duration_s, own_rate_hz, stream_at_own_rate
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import AudioError, DataError
from earmark.progress import Progress
from earmark.store.scan import BadClip
from earmark.text import counted
from earmark.threads.ordered_map import map_in_threads

logger = logging.getLogger(__name__)

MOST_BAD = 20  # enough unusable recordings to see what they have in common
LONGEST_AFTER_S = 3600.0  # seconds of audio decoded after the first unusable recording
OPENED_FIRST_BYTES = 256_000_000  # smaller data is decoded within seconds, so opening it first would save little

_REPORTED = 5  # recordings logged one by one; the summary counts all of them
_LISTED = 50  # recordings named in the summary at the end
_CHUNK = 64  # recordings a thread opens at a time


class BadAudioWatch:
    """Watcher for one pass over all recordings.

    Args:
        on_bad_audio: ``fail`` or ``skip``.
        tables: all clips to be read.
        write: prints a line.
    """

    def __init__(
        self, on_bad_audio: str, tables: Iterable[ClipTable], write: Callable[[str], None] = logger.warning
    ) -> None:
        self.write = write
        self.bad: list[BadClip] = []
        self._fails = on_bad_audio == "fail"
        self._tables = list(tables)
        self._were_opened = False
        self._clips = self._clips_read = 0
        self._seconds_after = 0.0

    def before_decoding(self, num_workers: int) -> None:
        """Open every recording once, only under ``fail``.

        Raises:
            DataError: recordings cannot be opened; all of them are listed.
        """
        if not self._fails or self._were_opened:
            return
        self._were_opened = True
        clips = list({clip.path: clip for table in self._tables for clip in table if clip.path is not None}.values())
        if sum(map(_size, clips)) < OPENED_FIRST_BYTES:
            return
        bad = [fault for fault in _opened(clips, num_workers) if fault is not None]
        if bad:
            raise refusal(bad, "Run again afterwards to check the rest of each recording")

    def skip(self, count: int) -> None:
        """Count clips that an earlier run has read."""
        self._clips_read += count

    def met(self, bad: Sequence[BadClip], read: Sequence[Clip] = ()) -> None:
        """Record clips that were read, in order.

        Args:
            bad: clips that cannot be used.
            read: all clips that were read since the last call.

        Raises:
            DataError: under ``fail``, when enough bad clips were found.
        """
        for clip in bad:
            self.bad.append(clip)
            if len(self.bad) <= _REPORTED:
                self.write(f"{clip.source}: cannot be used: {clip.reason}")
            if len(self.bad) == _REPORTED:
                self.write("more unusable recordings are listed at the end")
        self._clips_read += len(read)
        if not self._fails or not self.bad:
            return
        self._seconds_after += sum(map(duration_s, read))
        total = sum(map(len, self._tables))
        if (len(self.bad) >= MOST_BAD or self._seconds_after >= LONGEST_AFTER_S) and self._clips_read < total:
            raise refusal(
                self.bad, f"Reading stopped after {self._clips_read:,} of {total:,} clips, so there may be more"
            )


def refusal(bad: Sequence[BadClip], more: str = "") -> DataError:
    """Return the error that lists unusable recordings. ``more`` is a sentence after the advice."""
    them = "it" if len(bad) == 1 else "them"
    advice = f"Fix or remove {them}, or leave {them} out with --on_bad_audio skip"
    head = f"{counted(len(bad), 'recording')} cannot be used. {advice}{f'. {more}' if more else ''}"
    return DataError(f"{head}:\n{listing(bad)}")


def listing(bad: Sequence[BadClip]) -> str:
    """Return a line for each of the first recordings, and the number of others."""
    lines = [f"  {clip.source}: {clip.reason}" for clip in bad[:_LISTED]]
    if len(bad) > _LISTED:
        lines.append(f"  and {len(bad) - _LISTED:,} more")
    return "\n".join(lines)


def _size(clip: Clip) -> int:
    try:
        return os.path.getsize(str(clip.path))
    except (OSError, ValueError):
        return 0


def _opened(clips: Sequence[Clip], num_workers: int) -> list[BadClip | None]:
    def open_chunk(start: int) -> list[BadClip | None]:
        return [_fault_at_start(clips[row], row) for row in range(start, min(start + _CHUNK, len(clips)))]

    found: list[BadClip | None] = []
    with Progress("opening the recordings", len(clips)) as progress:
        for chunk in map_in_threads(open_chunk, range(0, len(clips), _CHUNK), num_workers, "open"):
            found += chunk
            progress.update(len(chunk))
    return found


def _fault_at_start(clip: Clip, row: int) -> BadClip | None:
    """Return why a recording cannot be opened. If libsndfile reads it, checking its header is enough."""
    whole = Clip(source=clip.source, path=clip.path)
    if own_rate_hz(whole) > 0:
        return None
    try:
        for _ in stream_at_own_rate(whole):
            break
    except AudioError as exc:
        return BadClip(row, clip.source, exc.reason)
    return None
