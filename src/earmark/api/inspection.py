"""Inspect data from Python (``earmark.inspect``)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from earmark.api.read_arguments import Source, splits_and_settings
from earmark.api.startup import prepare_process

if TYPE_CHECKING:
    from earmark.api.clip_table import Clips
    from earmark.audit.inspect_clips import Inspection


def inspect(
    data: Source | Clips | None = None, *, output_dir: str | os.PathLike[str] | None = None, **settings: object
) -> Inspection:
    """Find problems in recordings and labels before training. This decodes every recording.

    Args:
        data: a folder of recordings, a manifest, a list of these, or clips of :func:`earmark.load_clips`.
        output_dir: folder for ``inspect.html``, ``inspect.json`` and ``findings.csv``; ``None`` to write nothing.
        **settings: the flags of ``earmark inspect``, without the dashes.

    Returns:
        The findings, the worst first; a notebook shows them as a table.

    Raises:
        UsageError: an unknown setting or a wrong value.
        DataError: the source cannot be read as a table of clips.
    """
    prepare_process()
    loaded, values = splits_and_settings(data, settings, output_dir)
    from earmark.api.settings import inspect_settings
    from earmark.audit.inspect_clips import inspect as inspect_tables

    return inspect_tables(inspect_settings(values), loaded=loaded)
