"""Report section of a split with several labels.

Shapes: N clips, C labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earmark.stats.curves import binary_reliability, label_histograms, precision_recall
from earmark.stats.uncertainty import share_interval
from earmark.tasks.pooling import sigmoid
from earmark.tasks.report_section import MISTAKES, ComparedRun, ScoredClips, Section, Side, fill, first_rows

_PAIRS = 20
_OF_RIGHT = 3  # maximum number of correct clips shown for a label
_OF_PAIR = 3  # maximum number of clips shown for a confused pair
_OF_LABEL = 4  # maximum number of false alarms, and of misses, shown for a label


def label_section(clips: ScoredClips) -> Section:
    """Return the values for ``multi_label.html``."""
    probabilities = sigmoid(clips.logits.astype(np.float64))
    there, predicted = clips.targets > 0.5, clips.decision.present(probabilities, clips.labels)
    right = (there == predicted).all(axis=1)
    thresholds = clips.decision.thresholds(clips.labels, unless_fitted=0.5)
    pairs = confused_pairs(there, predicted)
    beside = [(int(i), int(j)) for i, j, *_ in pairs]
    chosen = choose_of_labels(probabilities, there, predicted, thresholds, beside)
    place = {row: number for number, row in enumerate(chosen.rows())}
    exact = share_interval(right, clips.units)
    values = {
        "exact_match_interval": [exact.low, exact.high],
        "of_label": [_of_label(probabilities[:, i], there[:, i], predicted[:, i]) for i in range(len(clips.labels))],
        "groups": {f"{i},{kind}": [place[row] for row in rows] for (i, kind), rows in chosen.groups.items()},
        "pairs": pairs,
        "mistakes": [place[row] for row in chosen.mistakes],
        "wrong_clips": int((~right).sum()),
        "reliability": binary_reliability(probabilities.ravel(), there.ravel()),
        "scores": label_histograms(probabilities.ravel(), there.ravel()),
    }
    return Section(
        values,
        chosen.rows(),
        lambda row: {"said": labels_in_words(probabilities[row], there[row], predicted[row])},
        right,
    )


def _of_label(probability: np.ndarray, there: np.ndarray, predicted: np.ndarray) -> dict[str, object]:
    return {
        "precision_recall": precision_recall(probability, there),
        "reliability": binary_reliability(probability, there),
        "scores": label_histograms(probability, there),
        "alarm": int((predicted & ~there).sum()),
        "miss": int((there & ~predicted).sum()),
        "right": int((there == predicted).sum()),
    }


def confused_pairs(there: np.ndarray, predicted: np.ndarray) -> list[list[float]]:
    """Return pairs of labels i, j where the model wrongly predicts j for clips with i more often than for other clips.

    Args:
        there: the true labels, bool (N, C).
        predicted: the predicted labels, bool (N, C).

    Returns:
        ``[[i, j, clips, of, elsewhere], ...]``: the model predicts ``j`` for ``clips`` of the ``of`` clips that have
        label ``i`` and not ``j``, and for the fraction ``elsewhere`` of the clips with neither label. There are at most
        20 pairs, sorted by the number of clips beyond that fraction.
    """
    alarm = (predicted & ~there).astype(np.float64)
    clips, of = there.T.astype(np.float64) @ alarm, there.T.astype(np.float64) @ ~there
    neither = np.maximum((~there).sum(axis=0) - of, 1)
    elsewhere = (alarm.sum(axis=0) - clips) / neither
    beyond = clips - of * elsewhere  # 0 on the diagonal, because `of` and `clips` are 0 there
    order = np.argsort(-beyond, axis=None, kind="stable")[:_PAIRS]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, beyond.shape), strict=True)]
    return [
        [i, j, int(clips[i, j]), int(of[i, j]), round(float(elsewhere[i, j]), 4)]
        for i, j in pairs
        if beyond[i, j] > 1e-9
    ]


def labels_in_words(probabilities: np.ndarray, there: np.ndarray, predicted: np.ndarray) -> list[list[object]]:
    """Return ``[label, probability, there, predicted]`` of each true or predicted label of a clip, likeliest first.

    Args:
        probabilities: probability of each label, float (C,).
        there: the true labels, bool (C,).
        predicted: the predicted labels, bool (C,).
    """
    named = [i for i in np.argsort(-probabilities, kind="stable") if there[i] or predicted[i]]
    return [[int(i), round(float(probabilities[i]), 4), int(there[i]), int(predicted[i])] for i in named]


def label_side(targets: np.ndarray, labels: Sequence[str], better: ComparedRun, worse: ComparedRun) -> Side:
    """Return the clips that ``better`` predicts better than ``worse``."""
    wrong, fewer = ((run.predictions != targets).sum(axis=1) for run in (worse, better))
    # order among equal counts: by how much further the worse run's probabilities are from the truth
    far, near = (np.abs(run.scores - targets).sum(axis=1) for run in (worse, better))
    rows = np.flatnonzero(wrong > fewer)
    order = np.lexsort((near[rows] - far[rows], fewer[rows] - wrong[rows]))

    def says(row: int) -> dict[str, object]:
        return {
            "label": [labels[i] for i in np.flatnonzero(targets[row]).tolist()],
            "said": [
                [run.name, labels_in_words(run.scores[row], targets[row], run.predictions[row])]
                for run in (better, worse)
            ],
        }

    title = f"in which {better.name} has fewer wrong labels than {worse.name}"
    return Side(title, "the largest differences first", rows[order], says)


@dataclass(frozen=True)
class ChosenOfLabels:
    """Rows of a split with several labels that a page shows.

    Attributes:
        mistakes: clips with a wrong or a missing label, the most confident first.
        groups: rows by label and kind. Kinds are ``alarm`` (wrongly predicted) and ``miss`` (wrongly not predicted),
            the most confident first; ``right``, the least confident first; and the index of another label that is
            wrongly predicted for clips with this one, the most confident first.
    """

    mistakes: list[int]
    groups: dict[tuple[int, str], list[int]]

    def rows(self) -> list[int]:
        """Return all rows once, in ascending order."""
        return sorted({*self.mistakes, *(row for rows in self.groups.values() for row in rows)})


def choose_of_labels(
    probabilities: np.ndarray,
    there: np.ndarray,
    predicted: np.ndarray,
    thresholds: np.ndarray,
    pairs: Sequence[tuple[int, int]] = (),
) -> ChosenOfLabels:
    """Choose clips to show.

    Args:
        probabilities: float (N, C).
        there: the true labels, bool (N, C).
        predicted: the predicted labels, bool (N, C).
        thresholds: lowest probability at which each label is predicted, float (C,).
        pairs: confused pairs: a true label, and a label that is wrongly predicted for clips with it.
    """
    wrong = predicted != there
    surest = np.where(wrong, np.abs(probabilities - there), 0.0).max(axis=1)  # confidence of the worst mistake
    mistakes = first_rows(wrong.any(axis=1), -surest, MISTAKES)
    alarm, miss, labels = predicted & ~there, there & ~predicted, range(probabilities.shape[1])
    groups = {(i, "alarm"): first_rows(alarm[:, i], -probabilities[:, i], _OF_LABEL) for i in labels}
    groups |= {(i, "miss"): first_rows(miss[:, i], probabilities[:, i], _OF_LABEL) for i in labels}
    groups |= {(i, str(j)): first_rows(there[:, i] & alarm[:, j], -probabilities[:, j], _OF_PAIR) for i, j in pairs}
    unsure = np.abs(probabilities - thresholds)
    groups |= {(i, "right"): first_rows(~wrong[:, i], unsure[:, i], _OF_RIGHT) for i in labels}
    return ChosenOfLabels(mistakes, fill(groups, mistakes))
