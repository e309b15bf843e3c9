"""What the report says of a split of several labels a clip.

Shapes: N clips, C labels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from earmark.report.curves import binary_reliability, label_histograms, precision_recall
from earmark.report.examples import choose_of_labels, heard
from earmark.report.slices import slices
from earmark.runs.judged import Judged
from earmark.scoring.decide import summary_line
from earmark.stats.uncertainty import share_interval

_PAIRS = 20


def labels_of_split(name: str, judged: Judged, durations_s: np.ndarray, group_column: str | None) -> dict[str, Any]:
    """JSON values for ``multi_label.html``.

    Args:
        name: of the split.
        judged: its N clips.
        durations_s: their lengths in seconds, float (N,).
        group_column: what their groups are called.
    """
    probabilities = judged.task.scores(judged.logits.astype(np.float64))
    there, answered = judged.targets > 0.5, judged.decision.present(probabilities, judged.labels)
    right = (there == answered).all(axis=1)
    thresholds = judged.decision.thresholds(judged.labels, unless_fitted=0.5)
    pairs = confused_pairs(there, answered)
    beside = [(int(i), int(j)) for i, j, *_ in pairs]
    chosen = choose_of_labels(probabilities, there, answered, thresholds, beside)
    place = {row: number for number, row in enumerate(chosen.rows())}
    columns, notes = slices(judged.table, right, durations_s, group_column)
    exact = share_interval(right, judged.units)
    return {
        "figures": judged.metrics.to_dict(),
        "exact_match_interval": [exact.low, exact.high],
        "extra": {**judged.extra, **judged.custom},
        "decision": summary_line(judged.decision, judged.decided) if judged.decided else "",
        "labels": list(judged.labels),
        "of_label": [_of_label(probabilities[:, i], there[:, i], answered[:, i]) for i in range(len(judged.labels))],
        "groups": {f"{i},{kind}": [place[row] for row in rows] for (i, kind), rows in chosen.groups.items()},
        "pairs": pairs,
        "mistakes": [place[row] for row in chosen.mistakes],
        "wrong_clips": int((~right).sum()),
        "examples": heard(
            name,
            judged.table,
            chosen.rows(),
            lambda row: {"said": said_of(probabilities[row], there[row], answered[row])},
            judged.trained_on,
        ),
        "reliability": binary_reliability(probabilities.ravel(), there.ravel()),
        "scores": label_histograms(probabilities.ravel(), there.ravel()),
        "slices": columns,
        "notes": notes,
        "predictions": f"predictions_{name}.csv",
    }


def _of_label(probability: np.ndarray, there: np.ndarray, answered: np.ndarray) -> dict[str, Any]:
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


def said_of(probabilities: np.ndarray, there: np.ndarray, answered: np.ndarray) -> list[list[Any]]:
    """Of the labels that are in a clip or answered ``[label, probability, there, answered]``, the likeliest first.

    Args:
        probabilities: of each, float (C,).
        there: which labels are there, bool (C,).
        answered: which are answered, bool (C,).
    """
    named = [i for i in np.argsort(-probabilities, kind="stable") if there[i] or answered[i]]
    return [[int(i), round(float(probabilities[i]), 4), int(there[i]), int(answered[i])] for i in named]
