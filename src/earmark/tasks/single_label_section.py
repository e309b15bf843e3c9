"""Report section of a single-label split.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earmark.stats.curves import class_histograms, reliability, score_histograms
from earmark.tasks.pooling import softmax
from earmark.tasks.report_section import MISTAKES, ComparedRun, ScoredClips, Section, Side, fill

_OF_WRONG, _OF_RIGHT = 6, 3
_MOST_LIKELY = 3  # classes named for a clip


def class_section(clips: ScoredClips) -> Section:
    """Return the values for ``report.html``."""
    probabilities, labels, targets = softmax(clips.logits), clips.labels, clips.targets
    chosen = choose(probabilities, targets)
    place = {row: number for number, row in enumerate(chosen.rows())}
    figures = dict(clips.figures)
    confusion = np.array(figures.pop("confusion_matrix"))
    cells = zip(*np.nonzero(confusion), strict=True)

    def says(row: int) -> dict[str, object]:
        best = np.argsort(-probabilities[row], kind="stable")[:_MOST_LIKELY]
        predictions = [[labels[i], round(float(probabilities[row, i]), 4)] for i in best]
        return {"label": labels[targets[row]], "predictions": predictions}

    values = {
        "figures": figures,
        "confusion": [[int(i), int(j), int(confusion[i, j])] for i, j in cells],
        "cells": {f"{i},{j}": [place[row] for row in found] for (i, j), found in chosen.cells.items()},
        "mistakes": [place[row] for row in chosen.mistakes],
        "reliability": reliability(probabilities, targets),
        "scores": score_histograms(probabilities, targets),
        "class_scores": class_histograms(probabilities, targets),
    }
    return Section(values, chosen.rows(), says, probabilities.argmax(axis=1) == targets)


def class_side(targets: np.ndarray, labels: Sequence[str], better: ComparedRun, worse: ComparedRun) -> Side:
    """Return the clips that only ``better`` predicts correctly."""
    rows = np.flatnonzero((better.predictions == targets) & (worse.predictions != targets))

    def says(row: int) -> dict[str, object]:
        prediction = [labels[worse.predictions[row]], round(float(worse.scores[row]), 4)]
        return {"label": labels[targets[row]], "predictions": [prediction]}

    title = f"that only {better.name} predicts correctly"
    note = f"true class, prediction of {worse.name} and its probability, most confident first"
    return Side(title, note, rows[np.argsort(-worse.scores[rows], kind="stable")], says)


@dataclass(frozen=True)
class Chosen:
    """Rows of a split that a page shows.

    Attributes:
        mistakes: wrong predictions, the most confident first.
        cells: rows by true and predicted class: wrong predictions with the most confident first, right ones with the
            least confident first.
    """

    mistakes: list[int]
    cells: dict[tuple[int, int], list[int]]

    def rows(self) -> list[int]:
        """Return all rows once, in ascending order."""
        return sorted({*self.mistakes, *(row for rows in self.cells.values() for row in rows)})


def choose(probabilities: np.ndarray, targets: np.ndarray) -> Chosen:
    """Choose clips to show.

    Args:
        probabilities: float (N, C).
        targets: int (N,), class indices.
    """
    predictions, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = predictions != targets
    wanted_rows: dict[tuple[int, int], list[int]] = defaultdict(list)
    # mistakes from the most to the least confident, then right predictions from the least to the most confident
    order = np.lexsort((np.where(wrong, -confidence, confidence), ~wrong))
    for row in order.tolist():
        wanted_rows[int(targets[row]), int(predictions[row])].append(row)
    mistakes = [row for row in order[:MISTAKES].tolist() if wrong[row]]
    cells = sorted(wanted_rows, key=lambda cell: (cell[0] == cell[1], -len(wanted_rows[cell]), cell))
    first = {cell: wanted_rows[cell][: _OF_RIGHT if cell[0] == cell[1] else _OF_WRONG] for cell in cells}
    return Chosen(mistakes, fill(first, mistakes))
