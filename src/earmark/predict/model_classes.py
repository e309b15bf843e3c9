"""Read the class names of a local model without loading it, and without importing torch or Transformers."""

from __future__ import annotations

import json

from earmark.errors import ModelError
from earmark.export.description import is_export, read_description
from earmark.models.checkpoint import local_folder


def classes_of_folder(name_or_path: str) -> list[str] | None:
    """Return the class names in the configuration of a model or export.

    Args:
        name_or_path: model as given to a command.

    Returns:
        The names; ``None`` if this is not a local folder, or its configuration lacks them or is damaged. Loading the
        model then reports the problem.

    Raises:
        ModelError: the folder does not exist.
    """
    folder = local_folder(name_or_path)
    if folder is None:
        return None
    try:
        if is_export(folder):
            return read_description(folder).labels
        names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
        return [str(name) for name in names.values()] or None
    except (ModelError, OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
