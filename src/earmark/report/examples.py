"""Which clips of a split a page has room for, and their sound and picture.

Of single labels a few of each cell of the confusion matrix and the surest mistakes; of several labels a few mistakes of
each; of numbers the largest errors and some from the lowest to the highest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from earmark.audio.excerpts import excerpt
from earmark.clips.clip import ClipTable
from earmark.progress import Progress

MISTAKES = 24
ROOM = 216  # clips of cells; with the mistakes 240 excerpts of at most 3 s, about 35 kB each with spectrogram
_OF_WRONG, _OF_RIGHT = 6, 3
_OF_PAIR = 3  # of two labels
_OF_LABEL = 4  # false alarms, and misses, of one of several labels


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
    cells = sorted(rows_of, key=lambda cell: (cell[0] == cell[1], -len(rows_of[cell]), cell))
    first = {cell: rows_of[cell][: _OF_RIGHT if cell[0] == cell[1] else _OF_WRONG] for cell in cells}
    return Chosen(mistakes, fill(first, mistakes))


_Cell = TypeVar("_Cell", bound=Hashable)


def fill(rows_of: Mapping[_Cell, Sequence[int]], there: Sequence[int]) -> dict[_Cell, list[int]]:
    """Clips of each cell, one more of each in turn, while there is room.

    Args:
        rows_of: those wanted of each, the best first; cells that matter most first.
        there: clips that the page has anyway.
    """
    chosen: dict[_Cell, list[int]] = defaultdict(list)
    have, room = set(there), ROOM
    for turn in range(max(map(len, rows_of.values()), default=0)):
        for cell, rows in rows_of.items():
            if turn >= len(rows):
                continue
            row = rows[turn]
            if row not in have:
                if not room:
                    continue
                have.add(row)
                room -= 1
            chosen[cell].append(row)
    return dict(chosen)


@dataclass(frozen=True)
class ChosenOfLabels:
    """Rows of a split of several labels that a page shows.

    Attributes:
        mistakes: clips with a wrong label or without a right one, the surest first.
        groups: by label and kind: ``alarm`` (answered and not there) and ``miss`` (the other way round), the surest
            first; ``right``, the least sure first; another label that is answered wrongly where this one is, by its
            number, the surest first.
    """

    mistakes: list[int]
    groups: dict[tuple[int, str], list[int]]

    def rows(self) -> list[int]:
        """All of them, each once, in order."""
        return sorted({*self.mistakes, *(row for rows in self.groups.values() for row in rows)})


def choose_of_labels(
    probabilities: np.ndarray,
    there: np.ndarray,
    answered: np.ndarray,
    thresholds: np.ndarray,
    pairs: Sequence[tuple[int, int]] = (),
) -> ChosenOfLabels:
    """Choose clips to show.

    Args:
        probabilities: float (N, C).
        there: which labels are there, bool (N, C).
        answered: which are answered, bool (N, C).
        thresholds: probability from which on each is, float (C,).
        pairs: labels that are there, and others that are answered wrongly beside them.
    """
    wrong = answered != there
    surest = np.where(wrong, np.abs(probabilities - there), 0.0).max(axis=1)  # how far from what is so
    mistakes = _first(wrong.any(axis=1), -surest, MISTAKES)
    alarm, miss, labels = answered & ~there, there & ~answered, range(probabilities.shape[1])
    groups = {(i, "alarm"): _first(alarm[:, i], -probabilities[:, i], _OF_LABEL) for i in labels}
    groups |= {(i, "miss"): _first(miss[:, i], probabilities[:, i], _OF_LABEL) for i in labels}
    groups |= {(i, str(j)): _first(there[:, i] & alarm[:, j], -probabilities[:, j], _OF_PAIR) for i, j in pairs}
    unsure = np.abs(probabilities - thresholds)
    groups |= {(i, "right"): _first(~wrong[:, i], unsure[:, i], _OF_RIGHT) for i in labels}
    return ChosenOfLabels(mistakes, fill(groups, mistakes))


def _first(chosen: np.ndarray, keys: np.ndarray, most: int) -> list[int]:
    """The rows among those chosen, bool (N,), that have the lowest keys, float (N,)."""
    rows = np.flatnonzero(chosen)
    found: list[int] = rows[np.argsort(keys[rows], kind="stable")[:most]].tolist()
    return found


def choose_of_numbers(numbers: np.ndarray, errors: np.ndarray) -> tuple[list[int], list[int]]:
    """Clips of a regression to show.

    Args:
        numbers: what the answers should be, float (N,).
        errors: how far off they are, float (N,).

    Returns:
        ``(mistakes, others)``: the largest errors, the largest first; clips evenly spread from the lowest number to the
        highest, in the order of the table.
    """
    sizes = np.abs(errors)
    mistakes = _first(sizes > 0, -sizes, MISTAKES)
    rest = np.setdiff1d(np.argsort(numbers, kind="stable"), mistakes, assume_unique=True)
    spread = np.unique(np.linspace(0, len(rest) - 1, min(ROOM, len(rest))).round().astype(int))
    return mistakes, sorted(rest[spread].tolist())


def heard(
    name: str,
    table: ClipTable,
    rows: Sequence[int],
    says: Callable[[int], Mapping[str, Any]],
    trained_on: np.ndarray | None = None,
) -> list[dict[str, Any]]:
    """Clips for the page: sound, picture and what is said of each.

    Args:
        name: of the split.
        table: its clips.
        rows: those to show.
        says: what is said of a row.
        trained_on: which clips of the table the model was trained on, bool (N,); ``None`` where that is not known.
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
