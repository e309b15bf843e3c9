"""Tables that the package ``datasets`` reads: hub data sets, snapshots of them, ``save_to_disk`` folders, Parquet.

Recordings are never decoded by ``datasets`` (``Audio(decode=False)``), so neither torchcodec nor FFmpeg is needed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from earmark.audio.arrow_audio import rate_column, recordings
from earmark.clips.clip import ClipTable, Splits
from earmark.clips.columns import Columns, find_columns, name_finder
from earmark.clips.split_columns import splits_of_manifest
from earmark.clips.split_names import NO_SPLIT, SPLIT_NAMES, SplitNames
from earmark.errors import DataError, NetworkError, first_line
from earmark.extras import require
from earmark.sources.folders import load_folder
from earmark.sources.tables.build_clips import clips_of
from earmark.sources.tables.sheet import Sheet

logger = logging.getLogger(__name__)

_TIMEOUT_S = 10.0
_NO_LABEL = (None, -1, "")  # what hub data sets put where the labels of a test split are kept back


@dataclass(frozen=True)
class HubSource:
    """Which data set of the hub.

    Attributes:
        name: its name, or a folder that holds a snapshot of it.
        config: its configuration; ``None`` for the only one.
        revision: branch, tag or commit.
        token: for private and gated data sets.
        cache_dir: where downloads and converted tables go; ``None`` for the usual place.
    """

    name: str
    config: str | None = None
    revision: str | None = None
    token: str | None = None
    cache_dir: str | None = None


def load_hub(source: HubSource, columns: Columns, names: SplitNames) -> Splits:
    """Download a data set (or take it from the cache) and list its clips.

    ``HF_ENDPOINT`` and ``HF_HUB_OFFLINE`` are honoured.

    Raises:
        NetworkError: the hub cannot be reached, or broke off.
        DataError: no such data set, configuration, split or column; or it comes as a script.
        MissingExtraError: the package ``datasets`` is not installed.
    """
    datasets = require("datasets")
    _check_reachable(source)
    arguments = {"revision": source.revision, "token": source.token, "cache_dir": source.cache_dir}
    with _translated_errors(source.name):
        builder = datasets.load_dataset_builder(source.name, source.config, **arguments)
        if "audiofolder" in type(builder).__module__:
            return load_folder(_download_snapshot(source), names, columns)
        logger.info("%s: loading it with datasets", source.name)
        tables = datasets.load_dataset(source.name, source.config, **arguments)
    title = f"{source.name} {source.config}" if source.config else source.name
    return _splits(tables, title, os.curdir, columns, names)


def load_snapshot(source: HubSource, columns: Columns, names: SplitNames) -> Splits:
    """List the clips of a local snapshot with data files (Parquet) in the layout of the hub.

    Raises:
        DataError: no such configuration, split or column, or the files cannot be read.
        MissingExtraError: the package ``datasets`` is not installed.
    """
    datasets = require("datasets")
    with _translated_errors(source.name):
        tables = datasets.load_dataset(source.name, source.config, cache_dir=source.cache_dir)
    return _splits(tables, source.name, source.name, columns, names)


def load_saved(folder: Path, columns: Columns, names: SplitNames) -> Splits:
    """List the clips of a folder written by ``save_to_disk``.

    Raises:
        DataError: no such split or column, or the files cannot be read.
        MissingExtraError: the package ``datasets`` is not installed.
    """
    datasets = require("datasets")
    with _translated_errors(str(folder)):
        tables = datasets.load_from_disk(str(folder))
    if isinstance(tables, datasets.Dataset):
        return splits_of_manifest(clip_table(tables, str(folder), str(folder), columns), "train", names)
    return _splits(tables, str(folder), str(folder), columns, names)


def load_parquet(path: Path, columns: Columns) -> ClipTable:
    """List the clips of one Parquet file, whose recordings are paths or embedded bytes.

    Raises:
        DataError: not Parquet, no rows, a column that is missing, or a row without recording or usable label.
        MissingExtraError: the package ``datasets`` is not installed.
    """
    datasets = require("datasets")
    with _translated_errors(str(path)):
        table = datasets.Dataset.from_parquet(str(path))
    return clip_table(table, str(path), str(path.parent), columns)


def _splits(tables: Any, title: str, folder: str, columns: Columns, names: SplitNames) -> Splits:
    splits = Splits()
    there = {name.casefold(): name for name in tables}
    for split in SPLIT_NAMES:
        wanted = names.of(split)
        found = next((there[name.casefold()] for name in wanted if name.casefold() in there), None)
        if found is None:
            if getattr(names, split) not in (split, NO_SPLIT):
                raise DataError(f"{title}: no split {getattr(names, split)!r}; its splits are {', '.join(tables)}")
            continue
        origin = f"{title} {found}"
        if split == "test" and _labels_are_kept_back(tables[found], columns, origin):
            splits.notes.append(f"{origin}: passed over, its labels are kept back")
            continue
        setattr(splits, split, clip_table(tables[found], origin, folder, columns))
    if splits.train is None and splits.validation is None and splits.test is None:
        raise DataError(
            f"{title}: no split called train, validation or test; its splits are {', '.join(tables)}: name them with "
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


def clip_table(dataset: Any, origin: str, folder: str, columns: Columns) -> ClipTable:
    """List the clips of a ``datasets.Dataset`` without reading its recordings.

    Args:
        dataset: the table.
        origin: what messages call it.
        folder: where relative paths in it start.
        columns: columns asked for.

    Raises:
        DataError: no rows, a column that is missing, or a row without recording or usable label.
    """
    datasets = require("datasets")
    if not len(dataset):
        raise DataError(f"{origin}: has no rows")
    find = name_finder(dataset.column_names)
    label = columns.label if find(columns.label) else Columns.label
    found = find_columns(dataset.column_names, replace(columns, label=label, needs_labels=False), origin)
    column = found.audio
    if isinstance(dataset.features[column], datasets.Audio):
        dataset = dataset.cast_column(column, datasets.Audio(decode=False))
    used = found.used()
    dataset = dataset.select_columns(
        [name for name, kind in dataset.features.items() if name in used or _is_plain(kind, datasets)]
    )
    inner = {name: getattr(kind, "feature", kind) for name, kind in dataset.features.items()}  # of a list: its items
    others = dataset.remove_columns(column).with_format(None)
    cells = {name: [] if name == column else list(others[name]) for name in dataset.column_names}
    rate = rate_column(list(others.column_names))
    audio = dataset.select_columns([column]).with_format("arrow")
    cells[column] = recordings(audio, column, cells[rate] if rate else None, origin)
    names = {name: kind.names for name, kind in inner.items() if isinstance(kind, datasets.ClassLabel)}
    sheet = Sheet(origin, folder, cells, range(1, len(dataset) + 1), class_names=names)
    return clips_of(sheet, columns)


def _is_plain(kind: Any, datasets: Any) -> bool:
    """Return whether the cells of a column are text, numbers or classes: other recordings and vectors fill memory."""
    is_value = isinstance(kind, datasets.Value) and "binary" not in kind.dtype
    return is_value or isinstance(kind, datasets.ClassLabel)


def _check_reachable(source: HubSource) -> None:
    """Ask the hub for the data set's name once, since ``datasets`` retries a dead line for half a minute."""
    import huggingface_hub as hub
    from huggingface_hub import errors

    if hub.constants.is_offline_mode():
        return
    try:
        hub.HfApi(token=source.token).dataset_info(source.name, revision=source.revision, timeout=_TIMEOUT_S)
    except errors.GatedRepoError as exc:
        raise DataError(
            f"{source.name}: the data set asks for consent: accept its terms on its page, then log in (hf auth login) "
            "or give --token"
        ) from exc
    except errors.RevisionNotFoundError as exc:
        raise DataError(f"{source.name}: no revision {source.revision!r}") from exc
    except (errors.RepositoryNotFoundError, errors.HFValidationError) as exc:
        raise DataError(
            f"{source.name}: no such folder here and no such data set on the hub (or it is private: --token)"
        ) from exc
    except (OSError, errors.HTTPError) as exc:
        raise _network_error(source.name, exc) from exc


def _network_error(name: str, exc: Exception) -> NetworkError:
    import huggingface_hub as hub

    if hub.constants.is_offline_mode():
        fault = "it is not in the cache and HF_HUB_OFFLINE forbids the network"
    else:
        fault = f"network fault: {hub.constants.ENDPOINT} cannot be reached or broke off ({str(exc).splitlines()[0]})"
    return NetworkError(
        f"{name}: {fault}. Without a network give a local copy with --data_dir FOLDER or --train_file MANIFEST; what "
        "was downloaded before is used with HF_HUB_OFFLINE=1"
    )


def _download_snapshot(source: HubSource) -> str:
    """Fetch a data set of plain audio files, which ``datasets`` itself reads only with torchcodec."""
    import huggingface_hub as hub

    folder: str = hub.snapshot_download(
        source.name,
        repo_type="dataset",
        revision=source.revision,
        token=source.token,
        cache_dir=os.path.join(source.cache_dir, "hub") if source.cache_dir else None,
    )
    return folder


@contextmanager
def _translated_errors(name: str) -> Iterator[None]:
    """Turn what ``datasets`` raises into a ``DataError`` or ``NetworkError``."""
    import datasets
    from datasets import exceptions
    from huggingface_hub import errors

    log = logging.getLogger("datasets")
    level = log.level
    log.setLevel(logging.CRITICAL)  # it logs a traceback of what it also raises
    shows_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # they would be lines of another program in a log
    try:
        yield
    except (errors.HTTPError, ConnectionError) as exc:
        raise _network_error(name, exc) from exc
    except exceptions.DatasetGenerationError as exc:
        cause = exc.__cause__ or exc
        raise DataError(f"{name}: its files cannot be read ({first_line(cause)})") from exc
    except RuntimeError as exc:
        if "scripts are no longer supported" not in str(exc):
            raise
        raise DataError(
            f"{name}: comes as a Python script, which `datasets` no longer runs; use a version of it in Parquet "
            "(--dataset_revision refs/convert/parquet, where it has one) or a local copy with --data_dir. For superb "
            "ks: --dataset_name superb --dataset_config_name ks --data_dir SPEECH_COMMANDS_ARCHIVE"
        ) from exc
    except ValueError as exc:
        said = " ".join(str(exc).split())
        if "BuilderConfig" not in said and "Config name" not in said:
            raise DataError(f"{name}: cannot be read ({said:.300})") from exc
        raise DataError(f"{name}: {said:.300}. Fix --dataset_config_name") from exc
    except OSError as exc:  # of which "no such data set" and "no data files" are kinds
        raise DataError(f"{name}: {first_line(exc)}") from exc
    finally:
        log.setLevel(level)
        if shows_bars:
            datasets.enable_progress_bars()
