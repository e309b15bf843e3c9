"""Report section of a regression.

Shapes: N clips.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from earmark.stats.curves import errors_histogram
from earmark.tasks.regression_comparison import error_gaps
from earmark.tasks.report_section import ERROR, MISTAKES, ROOM, ComparedRun, ScoredClips, Section, Side, first_rows
from earmark.text import five_digits

MOST_POINTS = 2000


def number_section(clips: ScoredClips, predictions: np.ndarray) -> Section:
    """Return the values for ``regression.html``, from ``predictions`` float (N,)."""
    numbers, predictions = clips.targets.astype(np.float64), predictions.astype(np.float64)
    errors = predictions - numbers
    mistakes, others = choose_of_numbers(numbers, errors)
    rows = sorted([*mistakes, *others])
    place = {row: number for number, row in enumerate(rows)}
    asked = clips.labels[0] if clips.labels else "number"

    def says(row: int) -> dict[str, float]:
        return {
            "number": five_digits(numbers[row]),
            "prediction": five_digits(predictions[row]),
            "error": five_digits(errors[row]),
        }

    values = {
        "asked": asked,
        "points": [
            [five_digits(numbers[row]), five_digits(predictions[row]), place.get(row, -1)]
            for row in _drawn(rows, errors)
        ],
        "errors": errors_histogram(errors),
        "mean_error": five_digits(errors.mean()),
        "mistakes": [place[row] for row in mistakes],
    }
    return Section(values, rows, says, np.abs(errors), ERROR, {asked: [float(one) for one in numbers]})


def _drawn(rows: list[int], errors: np.ndarray) -> list[int]:
    """Return the rows for the scatter plot: a random sample, then the playable clips, which are drawn on top."""
    rest = np.setdiff1d(np.arange(len(errors)), rows)
    room = max(0, MOST_POINTS - len(rows))
    if len(rest) > room:
        rest = np.sort(np.random.default_rng(0).choice(rest, room, replace=False))
    return [*rest.tolist(), *rows]


def choose_of_numbers(numbers: np.ndarray, errors: np.ndarray) -> tuple[list[int], list[int]]:
    """Choose clips of a regression to show.

    Args:
        numbers: the true numbers, float (N,).
        errors: errors of the predictions, float (N,).

    Returns:
        ``(mistakes, others)``: rows with the largest errors, the largest first; and rows spread evenly from the lowest
        number to the highest, in the order of the table.
    """
    sizes = np.abs(errors)
    mistakes = first_rows(sizes > 0, -sizes, MISTAKES)
    rest = np.setdiff1d(np.argsort(numbers, kind="stable"), mistakes, assume_unique=True)
    spread = np.unique(np.linspace(0, len(rest) - 1, min(ROOM, len(rest))).round().astype(int))
    return mistakes, sorted(rest[spread].tolist())


def number_side(targets: np.ndarray, labels: Sequence[str], better: ComparedRun, worse: ComparedRun) -> Side:
    """Return the clips that ``better`` predicts better than ``worse``."""
    gaps = error_gaps(targets, better.predictions, worse.predictions)
    rows = np.flatnonzero(gaps > 0)

    def says(row: int) -> dict[str, object]:
        predictions = [[run.name, float(run.predictions[row])] for run in (better, worse)]
        return {"number": float(targets[row]), "predictions": predictions}

    title = f"for which {better.name} has a smaller error than {worse.name}"
    return Side(title, "the largest differences first", rows[np.argsort(-gaps[rows], kind="stable")], says)


def gap_values(targets: np.ndarray, first: np.ndarray, other: np.ndarray) -> dict[str, object]:
    """Return a histogram of how the absolute errors of two runs differ, from their predictions (N,)."""
    gaps = error_gaps(targets, first, other)
    return {**errors_histogram(gaps), "median": float(np.median(gaps)), "alike": int((gaps == 0).sum())}
