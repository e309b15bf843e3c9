"""Prepare audio and spectrograms of the clips on a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from earmark.audio.excerpts import excerpt
from earmark.clips.clip import ClipTable
from earmark.progress import Progress


def heard(
    name: str,
    table: ClipTable,
    rows: Sequence[int],
    says: Callable[[int], Mapping[str, object]],
    trained_on: np.ndarray | None = None,
) -> list[dict[str, object]]:
    """Return clips for a page: audio, spectrogram and text.

    Args:
        name: name of the split.
        table: clips of the split.
        rows: clips to show.
        says: returns the JSON values to show with a row.
        trained_on: which clips of the table the model was trained on, bool (N,); ``None`` if that is unknown.
    """
    examples = []
    with Progress(f"examples for the report ({name})", len(rows)) as progress:
        for row in rows:
            sound = excerpt(table[row], spectrogram=True)
            examples.append(
                {
                    "path": table[row].source,
                    **says(row),
                    "uri": sound.uri,
                    "whole": sound.whole,
                    "spectrogram": sound.spectrogram and sound.spectrogram.to_dict(),
                    **({"trained_on": True} if trained_on is not None and trained_on[row] else {}),
                }
            )
            progress.update(1)
    return examples
