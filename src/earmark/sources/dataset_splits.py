"""Splits and clips of tables of the package ``datasets``, and clear messages for its errors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from earmark.clips.clip import ClipTable, Splits
from earmark.clips.columns import Columns, find_columns
from earmark.clips.split_columns import splits_of_manifest
from earmark.clips.split_names import NO_SPLIT, SPLIT_NAMES, SplitNames
from earmark.errors import DataError, NetworkError
from earmark.formats.arrow_table import dataset_errors, dataset_sheet
from earmark.sources.tables.build_clips import list_clips

_NO_LABEL = (None, -1, "")  # placeholders in test splits without published labels


def dataset_clips(dataset: object, origin: str, folder: str, columns: Columns) -> ClipTable:
    """Return the clips of a ``datasets.Dataset`` without reading its recordings.

    Args:
        dataset: the table.
        origin: its name in messages.
        folder: folder that relative paths start from.
        columns: columns asked for.

    Raises:
        DataError: the table has no rows, a column is missing, or a row has no recording or usable label.
    """
    return list_clips(dataset_sheet(dataset, origin, folder, columns.wanted), columns)


def dataset_splits(tables: Any, title: str, folder: str, columns: Columns, names: SplitNames) -> Splits:
    """Return the clips of a ``datasets.DatasetDict``, split by split.

    Args:
        tables: a data set for each split, by its name.
        title: name in messages.
        folder: folder that relative paths start from.
        columns: columns asked for.
        names: names of the splits.

    Raises:
        DataError: no known split, or see :func:`dataset_clips`.
    """
    splits = Splits()
    there = {name.casefold(): name for name in tables}
    for split in SPLIT_NAMES:
        wanted = names.of(split)
        found = next((there[name.casefold()] for name in wanted if name.casefold() in there), None)
        if found is None:
            if getattr(names, split) not in (split, NO_SPLIT):
                raise DataError(f"{title}: no split {getattr(names, split)!r}. Choose one of {', '.join(tables)}")
            continue
        origin = f"{title} {found}"
        if split == "test" and _labels_are_kept_back(tables[found], columns, origin):
            splits.notes.append(f"{origin}: not used, because its labels are not published")
            continue
        setattr(splits, split, dataset_clips(tables[found], origin, folder, columns))
    if splits.train is None and splits.validation is None and splits.test is None:
        raise DataError(
            f"{title}: no split called train, validation or test; its splits are {', '.join(tables)}. Name them with "
            "--train_split_name, --eval_split_name and --test_split_name"
        )
    if splits.train is not None and splits.validation is None and splits.test is None and not splits.notes:
        return splits_of_manifest(splits.train, "train", names)
    return splits


def _labels_are_kept_back(dataset: Any, columns: Columns, origin: str) -> bool:
    found = find_columns(dataset.column_names, columns, origin)
    if found.label is None:
        return False
    values = dataset.select_columns([found.label])
    return len(values) > 0 and all(row[found.label] in _NO_LABEL for row in values)


@contextmanager
def hub_errors(name: str) -> Iterator[None]:
    """Convert errors of ``datasets`` and ``huggingface_hub`` to ``DataError`` or ``NetworkError``."""
    from huggingface_hub import errors

    with dataset_errors(name):
        try:
            yield
        except (errors.HTTPError, ConnectionError) as exc:
            raise network_error(name, exc) from exc
        except RuntimeError as exc:
            if "scripts are no longer supported" not in str(exc):
                raise
            raise DataError(
                f"{name}: is a Python script, which `datasets` no longer runs. Use its Parquet version "
                "(--dataset_revision refs/convert/parquet, if it has one) or a local copy with --data_dir. For "
                "superb ks: --dataset_name superb --dataset_config_name ks --data_dir SPEECH_COMMANDS_ARCHIVE"
            ) from exc
        except ValueError as exc:
            said = " ".join(str(exc).split())
            if "BuilderConfig" not in said and "Config name" not in said:
                raise
            raise DataError(f"{name}: {said:.300}. Fix --dataset_config_name") from exc


def network_error(name: str, exc: Exception) -> NetworkError:
    """Return the error for a hub that cannot be reached."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        fault = "it is not in the cache and HF_HUB_OFFLINE forbids the network"
    else:
        fault = f"network error: {constants.ENDPOINT} is unreachable ({str(exc).splitlines()[0]})"
    return NetworkError(
        f"{name}: {fault}. Without a network, use a local copy with --data_dir FOLDER or --train_file MANIFEST, or set "
        "HF_HUB_OFFLINE=1 to use data that was downloaded before"
    )
