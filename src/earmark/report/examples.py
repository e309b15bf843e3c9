"""Which clips of a split a page has room for: a few of each cell of the confusion matrix, the surest mistakes."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import numpy as np

MISTAKES = 24
_CELLS = 216  # clips of cells; with the mistakes 240 excerpts of at most 3 s, about 35 kB each with spectrogram
_OF_WRONG, _OF_RIGHT = 6, 3


@dataclass(frozen=True)
class Chosen:
    """Rows of a split that a page shows.

    Attributes:
        mistakes: wrong answers, the most confident first.
        cells: by true and predicted class: of mistakes the most confident first, of right answers the least confident.
    """

    mistakes: list[int]
    cells: dict[tuple[int, int], list[int]]

    def rows(self) -> list[int]:
        """All of them, each once, in order."""
        return sorted({*self.mistakes, *(row for rows in self.cells.values() for row in rows)})


def choose(probabilities: np.ndarray, targets: np.ndarray) -> Chosen:
    """Choose clips to show.

    Args:
        probabilities: float (N, C).
        targets: int (N,), class indices.
    """
    answers, confidence = probabilities.argmax(axis=1), probabilities.max(axis=1)
    wrong = answers != targets
    rows_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    # the surest mistake first, then down; behind them right answers from the least sure up
    order = np.lexsort((np.where(wrong, -confidence, confidence), ~wrong))
    for row in order.tolist():
        rows_of[int(targets[row]), int(answers[row])].append(row)
    mistakes = [row for row in order[:MISTAKES].tolist() if wrong[row]]
    return Chosen(mistakes, _fill(rows_of, set(mistakes)))


def _fill(rows_of: dict[tuple[int, int], list[int]], there: set[int]) -> dict[tuple[int, int], list[int]]:
    """Clips of each cell, one more of each in turn, cells of mistakes and large cells first, while there is room."""
    cells = sorted(rows_of, key=lambda cell: (cell[0] == cell[1], -len(rows_of[cell]), cell))
    chosen: dict[tuple[int, int], list[int]] = defaultdict(list)
    room = _CELLS
    for turn in range(_OF_WRONG):
        for cell in cells:
            most = _OF_RIGHT if cell[0] == cell[1] else _OF_WRONG
            if turn >= min(most, len(rows_of[cell])):
                continue
            row = rows_of[cell][turn]
            if row in there:
                chosen[cell].append(row)  # on the page already
            elif room:
                chosen[cell].append(row)
                room -= 1
    return dict(chosen)
