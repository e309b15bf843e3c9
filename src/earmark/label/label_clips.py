"""The recordings to label, and their names in ``labels.csv``."""

from __future__ import annotations

import os
import re
from dataclasses import fields
from pathlib import Path

from earmark.clips.clip import Clip, ClipTable
from earmark.clips.columns import Columns
from earmark.clips.split_names import SplitNames
from earmark.errors import AudioError, DataError, UsageError
from earmark.formats.format_registry import readable_suffixes
from earmark.predict.inputs import check_inputs, find_recordings
from earmark.settings.labelling_flags import LabelOptions
from earmark.sources.manifests import load_manifest
from earmark.sources.source import Request
from earmark.sources.source_registry import load_data_dir
from earmark.tasks import SINGLE_LABEL, Task


def clips_to_label(
    options: LabelOptions, task: Task = SINGLE_LABEL, separator: str = ","
) -> tuple[ClipTable, list[str]]:
    """Return the clips, and lines for the log about how they were read.

    Args:
        options: settings with the recordings.
        task: task of the model; decides how existing labels are read.
        separator: text between several labels in a cell.

    Raises:
        DataError: there are no recordings, or no labels with ``check``.
        UsageError: a manifest is given without ``check``.
    """
    check_inputs(options.inputs)
    if not options.check:
        tables = [name for name in options.inputs if Path(name).suffix.casefold() in readable_suffixes()]
        if tables:
            raise UsageError(f"{tables[0]}: a manifest has labels. Add --check to find wrong ones")
        names = find_recordings(options.inputs)
        return ClipTable([Clip(source=name, path=name) for name in names], ", ".join(options.inputs)), []
    place = Path(options.inputs[0])
    try:
        table, notes = _labelled(place, options, task, separator)
    except DataError as exc:
        known = {field.name for field in fields(options)}
        missing = [name for name in dict.fromkeys(re.findall(r"--(\w+)", str(exc))) if name not in known]
        if not missing:
            raise
        raise DataError(
            f"{exc}. Note: earmark label does not have {', '.join(f'--{name}' for name in missing)}. Use a table "
            "with one row per recording and its class"
        ) from exc
    if any(clip.path is None for clip in table):
        raise DataError(
            f"{place}: the recordings are inside the table. Use --check with a folder or a manifest that names files"
        )
    return table, notes


def _labelled(place: Path, options: LabelOptions, task: Task, separator: str) -> tuple[ClipTable, list[str]]:
    """Return the clips of a labelled folder or table, and how it was read if that is not obvious."""
    columns = Columns(
        audio=options.audio_column_name,
        label=options.label_column_name,
        task=task,
        separator=separator,
        skip_missing_labels=options.on_missing_label == "skip",
        start=options.start_column_name,
        end=options.end_column_name,
        audio_dir=options.audio_dir,
        label_is_asked=options.is_set("label_column_name"),
    )
    if place.is_dir():
        names = SplitNames(options.train_split_name, options.eval_split_name, options.test_split_name)
        splits = load_data_dir(str(place), Request(columns, names))
        tables = [table for table in (splits.train, splits.validation, splits.test) if table is not None]
        table, notes = ClipTable([clip for table in tables for clip in table], str(place)), splits.notes
    else:
        table, notes = load_manifest(place, columns), []
        tables = [table]
    reasons = dict.fromkeys(reason for table in tables for reason in table.reasons)
    return table, [*(reason.text for reason in reasons if not reason.is_obvious), *notes]


def path_in(folder: Path, clip: Clip) -> str:
    """Return the path of a clip in a manifest in ``folder``: unchanged if absolute, else relative to the folder.

    Raises:
        AudioError: no manifest can contain the path.
    """
    assert clip.path is not None  # the clip comes from a folder or manifest, not from a table with embedded audio
    name = clip.path
    if not os.path.isabs(name):
        name = os.path.relpath(name, folder)
        if not name.startswith(os.pardir):
            name = os.path.join(os.curdir, name)  # "~x.wav" would be read as a home folder
    try:
        name.encode()
    except UnicodeEncodeError as exc:
        raise AudioError(clip.source, "its name is not UTF-8, so no manifest can contain it. Rename it") from exc
    if "://" in name:
        raise AudioError(clip.source, "its path contains ://, which a manifest reads as a web address. Rename it")
    return name
