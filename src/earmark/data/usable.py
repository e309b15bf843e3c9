"""Keep the clips that can be used, and stop or list where some cannot."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from earmark.data.clips import ClipTable
from earmark.data.reading import decoder_threads
from earmark.data.scan import BadClip, drop_bad, scan_clips
from earmark.errors import DataError
from earmark.progress import Progress

logger = logging.getLogger(__name__)

_LISTED = 20  # unreadable clips named in a message; bad_audio.csv has all of them


@dataclass(frozen=True)
class UsableClips:
    """The readable clips of a split and their durations, float64 (len(table),), in seconds."""

    table: ClipTable
    durations_s: np.ndarray


def keep_usable(
    tables: Mapping[str, ClipTable], sampling_rate_hz: int, on_bad_audio: str, num_workers: int | None
) -> tuple[dict[str, UsableClips], list[tuple[str, BadClip]]]:
    """Decode every clip of every split once.

    Args:
        tables: clips, by the name of their split.
        sampling_rate_hz: rate they will be used at.
        on_bad_audio: ``fail`` or ``skip``.
        num_workers: decoder threads; ``None`` for one a core.

    Returns:
        ``(usable, bad)``: what can be used, by split, and ``(split, clip)`` for each clip left out.

    Raises:
        DataError: clips that cannot be used, all of them listed, under ``fail``; or none is left of a split.
    """
    usable: dict[str, UsableClips] = {}
    bad: list[tuple[str, BadClip]] = []
    total = sum(len(table) for table in tables.values())
    with Progress("checking the recordings", total) as progress:
        for name, table in tables.items():
            before = progress.done

            def count(done: int, _: int, before: int = before) -> None:
                progress.to(before + done, total)

            result = scan_clips(table, sampling_rate_hz, num_workers=decoder_threads(num_workers), progress=count)
            usable[name] = UsableClips(drop_bad(table, result), result.durations_s[~np.isnan(result.durations_s)])
            bad += [(name, clip) for clip in result.bad]
    if bad:
        _stop_or_say(bad, on_bad_audio)
        for name, clips in usable.items():
            if not len(clips.table):
                raise DataError(f"{tables[name].origin}: none of its {len(tables[name])} recordings can be used")
    return usable, bad


def _stop_or_say(bad: list[tuple[str, BadClip]], on_bad_audio: str) -> None:
    lines = [f"  {clip.source}: {clip.reason}" for _, clip in bad[:_LISTED]]
    if len(bad) > _LISTED:
        lines.append(f"  and {len(bad) - _LISTED:,} more")
    listing = "\n".join(lines)
    count = f"{len(bad):,} recording{'s' if len(bad) > 1 else ''} that cannot be used"
    if on_bad_audio == "fail":
        raise DataError(f"{count}; mend or remove, or leave out with --on_bad_audio skip:\n{listing}")
    logger.warning("left out %s, listed in bad_audio.csv:\n%s", count, listing)
