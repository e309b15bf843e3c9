"""Compute a metric from a local folder of the ``evaluate`` library, without a network."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np

from earmark.errors import UsageError, first_line
from earmark.extras import require

logger = logging.getLogger(__name__)


def run_metric_folder(folder: str, predictions: np.ndarray, references: np.ndarray) -> dict[str, float]:
    """Compute a local metric.

    Args:
        folder: folder with a script of the same name, such as ``accuracy/accuracy.py``.
        predictions: class indices int (N,).
        references: class indices int (N,).

    Returns:
        The scalar values of the metric, by name.

    Raises:
        UsageError: the script does not exist, or the metric failed.
        MissingExtraError: the ``evaluate`` package is not installed.
    """
    script = Path(folder) / f"{Path(folder).resolve().name}.py"
    if not script.is_file():
        raise UsageError(
            f"--metric {folder}: the folder has no {script.name}. Name the folder of a metric, for example ./accuracy."
        )
    evaluate = require("evaluate")
    try:
        metric = evaluate.load(str(script), download_config=_offline())
        result = metric.compute(predictions=predictions.tolist(), references=references.tolist())
    except Exception as exc:  # a metric script can raise anything
        raise UsageError(
            f"--metric {folder}: the metric failed ({type(exc).__name__}: {first_line(exc)}). Fix its script."
        ) from exc
    if not isinstance(result, dict):
        raise UsageError(
            f"--metric {folder}: the metric returned {type(result).__name__}. Return a dict of numbers from it."
        )
    metrics: dict[str, float] = {}
    for name, value in result.items():
        if isinstance(value, (int, float, np.number)) and math.isfinite(value):
            metrics[name] = float(value)
        else:
            logger.warning("--metric %s: %s is left out, because it is not a finite number: %s", folder, name, value)
    return metrics


def _offline() -> object:
    """Return settings that keep ``evaluate`` from asking the hub about a local script."""
    datasets = require("datasets")
    return datasets.DownloadConfig(local_files_only=True)
