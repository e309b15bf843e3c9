"""The data named by the settings, in order of precedence."""

from __future__ import annotations

from pathlib import Path

from earmark.clips.columns import Columns
from earmark.clips.split_names import SplitNames
from earmark.errors import UsageError
from earmark.settings.data_flags import DataArguments, paths_in
from earmark.sources.source import GivenData, HubAccess, Request
from earmark.sources.superb_ks import is_superb_ks
from earmark.tasks import find_task

# setting -> split of its manifests
MANIFEST_FLAGS = {"train_file": "train", "eval_file": "validation", "test_file": "test"}


def split_names(options: DataArguments) -> SplitNames:
    """Return the names of the splits."""
    return SplitNames(options.train_split_name, options.eval_split_name, options.test_split_name)


def request_from(options: DataArguments, *, seed: int, hub: HubAccess, needs_labels: bool) -> Request:
    """Return how to read the data.

    Args:
        options: names of columns and splits.
        seed: seed for random cuts of silence.
        hub: access to the hub.
        needs_labels: whether a clip without a label is an error.
    """
    columns = Columns(
        options.audio_column_name,
        options.label_column_name,
        options.group_column,
        options.fold_column,
        find_task(options.task),
        options.label_separator,
        needs_labels,
        skip_missing_labels=options.on_missing_label == "skip",
        start=options.start_column_name,
        end=options.end_column_name,
        audio_dir=options.audio_dir,
        label_is_asked=options.is_set("label_column_name"),
    )
    held_out = [flag for flag, split in MANIFEST_FLAGS.items() if split != "train"]
    return Request(
        columns,
        split_names(options),
        config=options.dataset_config_name,
        revision=options.dataset_revision,
        hub=hub,
        silence_percentage=options.silence_percentage,
        seed=seed,
        uses_folds=bool(options.has_folds),
        own_tables=tuple(MANIFEST_FLAGS[flag] for flag in held_out if getattr(options, flag)),
    )


def given_data(options: DataArguments, request: Request) -> list[GivenData]:
    """Return the data named by the settings: the data set, the folders, then the manifests.

    Raises:
        UsageError: no data is named, or both a data set on the hub and a folder.
    """
    name, folders = options.dataset_name, paths_in(options.data_dir)
    found = []
    if name:
        if folders and not is_superb_ks(name, request.config):
            raise UsageError(
                f"--dataset_name {name} and --data_dir {folders[0]} name two sources of recordings. Use one of them "
                "(both only for --dataset_name superb --dataset_config_name ks)"
            )
        place = folders.pop(0) if folders else name
        is_local = place != name or Path(name).is_dir()
        found.append(GivenData(place, request, Path(place) if is_local else None, dataset=name))
    found += [GivenData(folder, request, Path(folder)) for folder in folders]
    found += [
        GivenData(path, request, split=split)
        for flag, split in MANIFEST_FLAGS.items()
        for path in paths_in(getattr(options, flag))
    ]
    if not found:
        raise UsageError(
            "no recordings. Add --data_dir FOLDER, --train_file MANIFEST (and --eval_file), or --dataset_name NAME"
        )
    return found
