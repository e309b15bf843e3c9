"""Leave out background clips whose recordings the run trained on, and warn about classes that an evaluation loses."""

from __future__ import annotations

import logging
import os
from collections import Counter

import numpy as np

from earmark.audio.content import are_among
from earmark.clips.clip import ClipTable
from earmark.runs.split_record import SplitRecord
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.sources.background import background_recordings, contents_of_beginnings
from earmark.text import counted

logger = logging.getLogger(__name__)


def cut_from_used(table: ClipTable, record: SplitRecord, options: EvaluateOptions, *splits: str) -> np.ndarray:
    """Return which clips come from a recording of ``background_dir`` that the run used in ``splits``, bool (N,)."""
    used = record.recordings(*splits)
    paths = background_recordings(options) if len(used) else []
    contents = np.array(contents_of_beginnings(paths, options), np.uint64)
    known = {os.path.abspath(path) for path, is_used in zip(paths, are_among(contents, used), strict=True) if is_used}
    return np.array([clip.path is not None and os.path.abspath(clip.path) in known for clip in table], bool)


def without_trained_recordings(table: ClipTable, record: SplitRecord, options: EvaluateOptions) -> ClipTable:
    """Remove clips cut from background recordings that the model was trained on, and warn."""
    trained_on = cut_from_used(table, record, options, "train")
    if not trained_on.any():
        return table
    kept = table.keep(np.flatnonzero(~trained_on).tolist())
    lost = _classes(table).keys() - _classes(kept).keys()
    logger.warning(
        "%s: skipped %s cut from --background_dir, because the model was trained on other parts of the same "
        "recordings%s. Add background recordings that are new to the run to score more clips.",
        table.origin,
        counted(len(table) - len(kept), "clip"),
        f", so {', '.join(sorted(lost))} is not scored" if lost else "",
    )
    return kept


def warn_of_lost_classes(table: ClipTable, rows: np.ndarray, record: SplitRecord, options: EvaluateOptions) -> None:
    """Warn if a class of the data has no clip in ``rows`` of ``table``, the clips to score."""
    scored = _classes(table.keep(rows.tolist()))
    lost = [f"{name} ({counted(count, 'clip')})" for name, count in _classes(table).items() if name not in scored]
    if not lost:
        return
    logger.warning(
        "%s: the run (%s) held out no clip of %s, so this class is not scored. Evaluate with the data of the training "
        "run%s.",
        table.origin,
        record.path,
        " and of ".join(lost),
        ", including the recordings of --background_dir" if options.background_dir else "",
    )


def _classes(table: ClipTable) -> Counter[str]:
    return Counter(name for clip in table for name in clip.classes or ("clips without a label",))
