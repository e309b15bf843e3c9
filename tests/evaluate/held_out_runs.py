"""Runs that record which clips they used, and what is scored of other data."""

from __future__ import annotations

from pathlib import Path

import soundfile

from earmark.clips.clip import ClipTable, Splits
from earmark.evaluate.held_out import HeldOut, find_held_out
from earmark.runs.split_record import recording_split, write_record
from earmark.settings.data_flags import DataArguments
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.sources.background import recordings_of_splits
from earmark.store.usable import keep_usable
from tests.tiny import RATE_HZ, tone

LABELS = ("low", "high")


def write(path: Path, seed: int, label: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone({"low": 300.0, "high": 2500.0}[label] * (1 + 0.01 * seed), 0.1, seed=seed), RATE_HZ)


def record(run: Path, splits: Splits, **options: object) -> Path:
    """Write the record of a run that was trained with these splits, as training does."""
    tables = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    there = {name: table for name, table in tables.items() if table is not None}
    usable, _ = keep_usable(there, RATE_HZ, DataArguments(**options))  # type: ignore[arg-type]
    run.mkdir(parents=True, exist_ok=True)
    rows = [
        (name, content, clip.source)
        for name, clips in usable.items()
        for clip, content in zip(clips.table, clips.contents.tolist(), strict=True)
    ]
    rows += [
        (recording_split(split), content, path)
        for split, content, path in recordings_of_splits(there, DataArguments(**options))  # type: ignore[arg-type]
    ]
    write_record(run / "splits.csv", rows)
    return run


def chosen(run: Path, **settings: object) -> HeldOut:
    return find_held_out(EvaluateOptions(model_name_or_path=str(run), **settings))  # type: ignore[arg-type]


def names(table: ClipTable | None) -> set[str]:
    assert table is not None
    return {"/".join(Path(clip.source).parts[-2:]) for clip in table}
