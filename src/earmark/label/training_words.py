"""The training command shown on the page, which trains on the new labels and on the clips of the model's run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from earmark.errors import UsageError
from earmark.runs.folder import RunFolder
from earmark.settings.config_files import saved_config
from earmark.settings.data_flags import DataArguments, path_settings, paths_in
from earmark.settings.flags import Scope, declared_flags, names_with
from earmark.settings.labelling_flags import LabelOptions
from earmark.settings.model_flags import ModelArguments
from earmark.tasks import Task


def label_separator(options: LabelOptions) -> str:
    """Return the separator of labels in a cell: from the user, else from the model's run.

    Raises:
        UsageError: the new labels and the run's labels have different separators, but would be read together.
    """
    read = _saved(options).get("label_separator")
    given = options.label_separator
    if given and read and given != read and not options.check:
        raise UsageError(
            f"--label_separator {given}: {options.model_name_or_path} was trained on labels separated by {read!r}, "
            "and the new labels are added to them. Remove the flag."
        )
    return given or str(read or ",")


def train_command(options: LabelOptions, labels: Path, task: Task, separator: str) -> tuple[str, str]:
    """Return the training command to show on the page, and a note about columns to change before it.

    The command trains a new run with the model, clips and settings of the labelling model's run and the new labels.

    Args:
        options: settings with the model and whether labels are checked.
        labels: manifest with the new labels.
        task: task of the model.
        separator: text between several labels in a cell of the manifest.

    Returns:
        The command, and a sentence about columns of ``labels`` to change; empty if there are none.
    """
    saved = _saved(options)
    # Checked labels include all clips, and clips set aside must not come back from their first source.
    settings = {} if options.check else _changed(saved, DataArguments, names_with(Scope.SPLITS, DataArguments))
    words = ["earmark", "train", *([] if task.has_one_class else ["--task", task.name])]
    if task.has_several and separator != ",":
        settings = {**settings, "label_separator": separator}
    for name, value in settings.items():
        if name in path_settings():
            paths = [path for path in paths_in(value) if name != "train_file" or not _same_file(path, labels)]
            words += [word for path in paths for word in (f"--{name}", path)]
        else:
            words += _flag(name, value)
    words += ["--train_file", str(labels)]
    for name, value in _model_settings(options, saved).items():
        words += _flag(name, value)
    words += ["--output_dir", _new_folder(str(options.model_name_or_path))]
    return shlex.join(words), _columns_to_change(settings, labels)


def _saved(options: LabelOptions) -> Mapping[str, object]:
    """Return the settings of the model's run; empty if it is not a run."""
    config = RunFolder(Path(str(options.model_name_or_path)).expanduser()).config
    return saved_config(config) if config.is_file() else {}


def _changed(saved: Mapping[str, Any], cls: type, names: Iterable[str]) -> dict[str, Any]:
    """Return the settings of a run that differ from the defaults."""
    flags = declared_flags(cls)
    return {name: saved[name] for name in names if saved.get(name) not in (None, flags[name].default)}


def _flag(name: str, value: object) -> list[str]:
    return [f"--{name}"] if value is True else [f"--{name}", str(value).lower() if value is False else str(value)]


def _model_settings(options: LabelOptions, saved: Mapping[str, object]) -> dict[str, object]:
    """Return the settings that select the run's model, or the labelling model itself without a run."""
    public = [name for name, one in declared_flags(ModelArguments).items() if Scope.SECRET not in one.scope]
    model = _changed(saved, ModelArguments, public)
    if not {"model_name_or_path", "model_type"} & model.keys():
        model = {"model_name_or_path": str(options.model_name_or_path)}
    return {**model, **_changed(saved, DataArguments, ["max_length_seconds"])}


def _new_folder(model: str) -> str:
    """Return a folder that does not exist yet: next to the run, or in ``runs`` for a model on the hub."""
    run = Path(model).expanduser()
    base = str(run) if run.is_dir() else str(Path("runs") / run.name)
    number = 2
    while os.path.lexists(f"{base}-{number}"):
        number += 1
    return f"{base}-{number}"


def _same_file(path: str, other: Path) -> bool:
    return Path(path).resolve() == other.resolve()


def _columns_to_change(settings: dict[str, object], labels: Path) -> str:
    """Return what to change so that the new manifest has the columns of the clips it is combined with."""
    changes = []
    for name, ours in (("audio_column_name", "path"), ("label_column_name", "label")):
        if settings.get(name, ours) != ours:
            changes.append(f"rename the column {ours} to {settings[name]}")
    if "group_column" in settings:
        changes.append(f"add a column {settings['group_column']}")
    if not changes:
        return ""
    return f"First change {labels.name} to match the columns of the earlier clips: {', '.join(changes)}."
