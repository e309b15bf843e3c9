"""Everything about the data that must be known before a model is built: splits, labels, durations, what is broken."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from earmark.data.clips import ClipTable, Splits
from earmark.data.scan import BadClip, check_tables, drop_bad, scan_clips
from earmark.data.sources import load_splits
from earmark.errors import DataError
from earmark.progress import Progress

logger = logging.getLogger(__name__)

_LISTED = 20  # unreadable clips named in a message; bad_audio.csv has all of them


@dataclass
class PreparedData:
    """Readable clips, split by split.

    Attributes:
        splits: what is left after unreadable clips were dropped.
        labels: class names of the training split, sorted; index = class.
        longest_s: duration of the longest training clip, in seconds.
        bad: ``(split, clip)`` for every clip left out.
    """

    splits: Splits
    labels: list[str]
    longest_s: float
    bad: list[tuple[str, BadClip]] = field(default_factory=list)


def prepare_data(options: Any, sampling_rate_hz: int, *, seed: int, num_threads: int) -> PreparedData:
    """Load the splits, decode every clip once, and stop or skip where one cannot be read.

    Args:
        options: a ``DataArguments``.
        sampling_rate_hz: rate the model takes.
        seed: for the splits and subsets that are made.
        num_threads: decoder threads.

    Raises:
        DataError: no training clips, labels that cannot be learned, or unreadable clips under ``on_bad_audio=fail``.
    """
    splits = load_splits(options, seed=seed)
    for note in splits.notes:
        logger.info("%s", note)
    if splits.train is None:
        raise DataError(
            "no training clips: give --data_dir FOLDER, --train_file MANIFEST or --dataset_name NAME"
        )
    check_tables(splits)
    labels = splits.train.labels()
    readable, durations_s, bad = scan_splits(splits, sampling_rate_hz, num_threads)
    if bad:
        _stop_or_skip(bad, options.on_bad_audio)
        check_tables(readable)
    return PreparedData(readable, labels, float(durations_s["train"].max()), bad)


def scan_splits(
    splits: Splits, sampling_rate_hz: int, num_threads: int
) -> tuple[Splits, dict[str, np.ndarray], list[tuple[str, BadClip]]]:
    """Decode every clip of every split once.

    Returns:
        ``(readable, durations_s, bad)``: the splits without unreadable clips, the durations of the readable ones in
        seconds by split, and ``(split, clip)`` for each unreadable one.
    """
    tables = {name: getattr(splits, name) for name in ("train", "validation", "test")}
    readable = Splits(notes=splits.notes)
    durations_s: dict[str, np.ndarray] = {}
    bad: list[tuple[str, BadClip]] = []
    total = sum(len(table) for table in tables.values() if table is not None)
    with Progress("checking the recordings", total) as progress:
        for name, table in tables.items():
            if table is None:
                continue
            before = progress.done
            result = scan_clips(
                table,
                sampling_rate_hz,
                num_workers=num_threads,
                progress=lambda done, _, before=before: progress.to(before + done, total),
            )
            setattr(readable, name, drop_bad(table, result))
            durations_s[name] = result.durations_s[~np.isnan(result.durations_s)]
            bad += [(name, clip) for clip in result.bad]
    return readable, durations_s, bad


def _stop_or_skip(bad: list[tuple[str, BadClip]], on_bad_audio: str) -> None:
    lines = [f"  {clip.source}: {clip.reason}" for _, clip in bad[:_LISTED]]
    if len(bad) > _LISTED:
        lines.append(f"  and {len(bad) - _LISTED} more")
    listing = "\n".join(lines)
    if on_bad_audio == "fail":
        raise DataError(
            f"{len(bad)} recordings cannot be used; mend or remove them, or leave them out with --on_bad_audio skip:\n"
            f"{listing}"
        )
    logger.warning("left out %d recordings that cannot be used (listed in bad_audio.csv):\n%s", len(bad), listing)


def table_of(splits: Splits, name: str) -> ClipTable | None:
    """The split called ``train``, ``validation`` or ``test``."""
    return {"train": splits.train, "validation": splits.validation, "test": splits.test}[name]
