"""The training command that the page shows: the new labels together with the clips of the model's own run."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from earmark.runs.folder import RunFolder
from earmark.settings.data import DataArguments, path_settings, paths_in
from earmark.settings.files import saved_config
from earmark.settings.flags import Scope, flags_of, names_with
from earmark.settings.labelling import LabelOptions


def train_command(options: LabelOptions, labels: Path) -> tuple[str, str]:
    """Return the beginning of a training command, and what has to be done before it.

    Args:
        options: the model and whether labels are checked.
        labels: the manifest with the new labels.

    Returns:
        The command, and a sentence about the columns of ``labels``; empty if they need no change.
    """
    settings: dict[str, Any] = {}
    config = RunFolder(Path(str(options.model_name_or_path)).expanduser()).config
    # Checked labels are of all clips, and clips set aside must not come back from their first source.
    if config.is_file() and not options.check:
        flags, saved = flags_of(DataArguments), saved_config(config)
        names = names_with(Scope.SPLITS, DataArguments)
        settings = {name: saved[name] for name in names if saved.get(name) not in (None, flags[name].default)}
    words = ["earmark", "train"]
    for name, value in settings.items():
        if name in path_settings():
            paths = [path for path in paths_in(value) if name != "train_file" or not _same_file(path, labels)]
            words += [word for path in paths for word in (f"--{name}", path)]
        else:
            words += [f"--{name}", str(value).lower() if isinstance(value, bool) else str(value)]
    return shlex.join([*words, "--train_file", str(labels)]), _columns_to_change(settings, labels)


def _same_file(path: str, other: Path) -> bool:
    return Path(path).resolve() == other.resolve()


def _columns_to_change(settings: dict[str, Any], labels: Path) -> str:
    """What to do so that the new manifest has the columns of the clips it is combined with."""
    changes = []
    for name, ours in (("audio_column_name", "path"), ("label_column_name", "label")):
        if settings.get(name, ours) != ours:
            changes.append(f"rename the column {ours} to {settings[name]}")
    if "group_column" in settings:
        changes.append(f"add a column {settings['group_column']}")
    if not changes:
        return ""
    return f"First change {labels.name} to the columns of the earlier clips: {', '.join(changes)}."
