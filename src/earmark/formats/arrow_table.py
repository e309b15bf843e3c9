"""Tables of the package ``datasets``: read cells without decoding recordings.

``datasets`` never decodes recordings here (``Audio(decode=False)``), so neither torchcodec nor FFmpeg is needed.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from earmark.errors import DataError, first_line
from earmark.extras import require
from earmark.formats.arrow_audio import rate_column, recordings
from earmark.formats.column_names import name_finder
from earmark.formats.format import Wanted
from earmark.formats.sheet import Sheet


def dataset_sheet(dataset: Any, origin: str, folder: str, wanted: Wanted) -> Sheet:
    """Return the cells of a ``datasets.Dataset`` without reading its recordings.

    Skips columns of other recordings and of vectors, which would fill the memory.

    Args:
        dataset: the table.
        origin: its name in messages.
        folder: folder that relative paths start from.
        wanted: columns to use.

    Raises:
        DataError: the table has no rows, or has samples without their rate.
    """
    datasets = require("datasets")
    if not len(dataset):
        raise DataError(f"{origin}: has no rows. Add some")
    find = name_finder(dataset.column_names)
    column = next(filter(None, map(find, wanted.audio)), None)
    used = {column, *map(find, wanted.others)}
    kept = [name for name, kind in dataset.features.items() if name in used or _is_plain(kind, datasets)]
    if column is not None and isinstance(dataset.features[column], datasets.Audio):
        dataset = dataset.cast_column(column, datasets.Audio(decode=False))
    dataset = dataset.select_columns(kept)
    inner = {
        name: getattr(kind, "feature", kind) for name, kind in dataset.features.items()
    }  # lists: type of the items
    others = dataset.with_format(None) if column is None else dataset.remove_columns(column).with_format(None)
    cells = {name: [] if name == column else list(others[name]) for name in dataset.column_names}
    if column is not None:
        rate = rate_column(list(others.column_names))
        audio = dataset.select_columns([column]).with_format("arrow")
        cells[column] = recordings(audio, column, cells[rate] if rate else None, origin)
    names = {name: kind.names for name, kind in inner.items() if isinstance(kind, datasets.ClassLabel)}
    return Sheet(origin, folder, cells, range(1, len(dataset) + 1), class_names=names)


def _is_plain(kind: Any, datasets: Any) -> bool:
    """Return whether a column has text, numbers or classes; other recordings and vectors would fill the memory."""
    is_value = isinstance(kind, datasets.Value) and "binary" not in kind.dtype
    return is_value or isinstance(kind, datasets.ClassLabel)


@contextmanager
def dataset_errors(name: str) -> Iterator[None]:
    """Convert errors of ``datasets`` to ``DataError``, and silence its tracebacks and progress bars."""
    import datasets
    from datasets import exceptions

    log = logging.getLogger("datasets")
    level = log.level
    log.setLevel(logging.CRITICAL)  # datasets logs the tracebacks of errors that it also raises
    shows_bars = not datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()  # the bars would mix with earmark's output
    try:
        yield
    except exceptions.DatasetGenerationError as exc:
        raise DataError(f"{name}: {_file_fault(first_line(exc.__cause__ or exc))}") from exc
    except ValueError as exc:
        said = " ".join(str(exc).split())
        has_no_rows = "corresponds to no data" in said
        rest = "has no rows. Add some" if has_no_rows else f"cannot be read ({said:.300}). Save it again"
        raise DataError(f"{name}: {rest}") from exc
    except OSError as exc:  # includes "no such data set" and "no data files"
        raise DataError(f"{name}: {first_line(exc)}") from exc
    finally:
        log.setLevel(level)
        if shows_bars:
            datasets.enable_progress_bars()


def _file_fault(said: str) -> str:
    """Return what is wrong with the files of a data set, given the message of pyarrow."""
    if "BatchSize must be greater than 0" in said:
        return "has no rows, or contains a Parquet file without rows. Add rows, or remove that file"
    if repeated := re.search(r"Multiple matches for FieldRef\.Name\((.+?)\) in ", said):
        return f"has two columns named {repeated.group(1)!r}. Rename one of them"
    return f"its files cannot be read ({said}). Download or save it again"
