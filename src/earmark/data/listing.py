"""Audio files below a folder."""

from __future__ import annotations

import os
from pathlib import Path

from earmark.data.decode import AUDIO_SUFFIXES


def list_audio(folder: str | os.PathLike[str]) -> list[Path]:
    """Files with an audio suffix in ``folder`` and below, sorted; hidden files and folders are passed over."""
    found: list[Path] = []
    for place, folders, files in os.walk(folder, followlinks=False):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [
            Path(place, name)
            for name in files
            if not name.startswith(".") and os.path.splitext(name)[1].casefold() in AUDIO_SUFFIXES
        ]
    return sorted(found)
