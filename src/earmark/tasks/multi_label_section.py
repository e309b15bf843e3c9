"""What a report says about several labels.

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
_OF_RIGHT = 3
_OF_PAIR = 3  # of two labels
_OF_LABEL = 4  # false alarms, and misses, of one of several labels


def label_section(clips: ScoredClips) -> Section:
    """Return the values for ``multi_label.html``."""
    probabilities = sigmoid(clips.logits.astype(np.float64))
    there, answered = clips.targets > 0.5, clips.decision.present(probabilities, clips.labels)
    right = (there == answered).all(axis=1)
    thresholds = clips.decision.thresholds(clips.labels, unless_fitted=0.5)
    pairs = confused_pairs(there, answered)
    beside = [(int(i), int(j)) for i, j, *_ in pairs]
    chosen = choose_of_labels(probabilities, there, answered, thresholds, beside)
    place = {row: number for number, row in enumerate(chosen.rows())}
    exact = share_interval(right, clips.units)
    values = {
        "exact_match_interval": [exact.low, exact.high],
        "of_label": [_of_label(probabilities[:, i], there[:, i], answered[:, i]) for i in range(len(clips.labels))],
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
        lambda row: {"said": labels_in_words(probabilities[row], there[row], answered[row])},
        right,
    )


def _of_label(probability: np.ndarray, there: np.ndarray, answered: np.ndarray) -> dict[str, object]:
    return {
        "precision_recall": precision_recall(probability, there),
        "reliability": binary_reliability(probability, there),
        "scores": label_histograms(probability, there),
        "alarm": int((answered & ~there).sum()),
        "miss": int((there & ~answered).sum()),
        "right": int((there == answered).sum()),
    }


def confused_pairs(there: np.ndarray, answered: np.ndarray) -> list[list[float]]:
    """Labels that are answered wrongly where another label is, more often than elsewhere.

    Args:
        there: which labels are there, bool (N, C).
        answered: which are answered, bool (N, C).

    Returns:
        ``[[i, j, clips, of, elsewhere], ...]``: of ``of`` clips with label ``i`` and without ``j``, ``clips`` are
        answered with ``j``; of the clips with neither the share ``elsewhere``. At most 20, those first that have the
        most clips beyond that share.
    """
    alarm = (answered & ~there).astype(np.float64)
    clips, of = there.T.astype(np.float64) @ alarm, there.T.astype(np.float64) @ ~there
    neither = np.maximum((~there).sum(axis=0) - of, 1)
    elsewhere = (alarm.sum(axis=0) - clips) / neither
    beyond = clips - of * elsewhere  # 0 on the diagonal, where `of` and `clips` are
    order = np.argsort(-beyond, axis=None, kind="stable")[:_PAIRS]
    pairs = [(int(i), int(j)) for i, j in zip(*np.unravel_index(order, beyond.shape), strict=True)]
    return [
        [i, j, int(clips[i, j]), int(of[i, j]), round(float(elsewhere[i, j]), 4)]
        for i, j in pairs
        if beyond[i, j] > 1e-9
    ]


def labels_in_words(probabilities: np.ndarray, there: np.ndarray, answered: np.ndarray) -> list[list[object]]:
    """Of the labels that are in a clip or answered ``[label, probability, there, answered]``, the likeliest first.

    Args:
        probabilities: of each, float (C,).
        there: which labels are there, bool (C,).
        answered: which are answered, bool (C,).
    """
    named = [i for i in np.argsort(-probabilities, kind="stable") if there[i] or answered[i]]
    return [[int(i), round(float(probabilities[i]), 4), int(there[i]), int(answered[i])] for i in named]


def label_side(targets: np.ndarray, labels: Sequence[str], better: ComparedRun, worse: ComparedRun) -> Side:
    """Return the clips that ``better`` does better than ``worse``."""
    wrong, fewer = ((run.answers != targets).sum(axis=1) for run in (worse, better))
    # of clips with the same count those first whose probabilities are further from what is so
    far, near = (np.abs(run.scores - targets).sum(axis=1) for run in (worse, better))
    rows = np.flatnonzero(wrong > fewer)
    order = np.lexsort((near[rows] - far[rows], fewer[rows] - wrong[rows]))

    def says(row: int) -> dict[str, object]:
        return {
            "label": [labels[i] for i in np.flatnonzero(targets[row]).tolist()],
            "said": [
                [run.name, labels_in_words(run.scores[row], targets[row], run.answers[row])] for run in (better, worse)
            ],
        }

    title = f"in which {better.name} has fewer labels wrong than {worse.name}"
    return Side(title, "those first that differ by the most labels", rows[order], says)


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
    mistakes = first_rows(wrong.any(axis=1), -surest, MISTAKES)
    alarm, miss, labels = answered & ~there, there & ~answered, range(probabilities.shape[1])
    groups = {(i, "alarm"): first_rows(alarm[:, i], -probabilities[:, i], _OF_LABEL) for i in labels}
    groups |= {(i, "miss"): first_rows(miss[:, i], probabilities[:, i], _OF_LABEL) for i in labels}
    groups |= {(i, str(j)): first_rows(there[:, i] & alarm[:, j], -probabilities[:, j], _OF_PAIR) for i, j in pairs}
    unsure = np.abs(probabilities - thresholds)
    groups |= {(i, "right"): first_rows(~wrong[:, i], unsure[:, i], _OF_RIGHT) for i in labels}
    return ChosenOfLabels(mistakes, fill(groups, mistakes))
