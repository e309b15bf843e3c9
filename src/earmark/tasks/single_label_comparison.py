"""Compare single-label models on the same clips.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from earmark.stats.paired import Compared, Estimate, Paired, hits_test
from earmark.stats.uncertainty import (
    REPLICATES,
    Units,
    bootstrap_intervals,
    figures_of_draws,
    percentile_interval,
)


def compare_classes(
    targets: np.ndarray, predictions: Sequence[np.ndarray], num_classes: int, units: Units | None = None
) -> Compared:
    """Compare single-label models with the first one; see :func:`compare`.

    Args:
        targets: class indices, int (N,), N >= 1.
        predictions: predictions of each model, int (N,).
        num_classes: C.
        units: groups to draw and test as a whole; ``None`` for single clips.
    """
    units = units or Units(len(targets))
    figures: list[dict[str, Estimate]] = []
    of_labels: list[Mapping[str, np.ndarray]] = []
    for of in predictions:
        confusion = np.zeros((num_classes, num_classes), np.int64)
        np.add.at(confusion, (targets, of), 1)
        hits, support = np.diag(confusion), confusion.sum(axis=1)
        with np.errstate(invalid="ignore"):
            f1 = np.where(support > 0, 2 * hits / (support + confusion.sum(axis=0)), np.nan)
        values = {"accuracy": float(hits.sum() / len(targets)), "macro_f1": float(np.nanmean(f1))}
        within = bootstrap_intervals(confusion, units, targets * num_classes + of)
        figures.append({name: Estimate(value, within.get(name)) for name, value in values.items()})
        of_labels.append({"f1": f1})
    pairs = [compare(targets, predictions[0], of, num_classes, units) for of in predictions[1:]]
    return Compared(figures, pairs, of_labels)


def compare(
    targets: np.ndarray,
    first: np.ndarray,
    second: np.ndarray,
    num_classes: int,
    units: Units | None = None,
) -> Paired:
    """Compare two models by accuracy and by the mean F1 over the classes that have clips.

    :func:`hits_test` tests the clips that only one model predicts correctly. A paired bootstrap gives intervals:
    clips, or whole groups, are drawn with replacement, the same ones for both models.

    Args:
        targets: class indices, int (N,), N >= 1.
        first: predictions of the first model, int (N,).
        second: predictions of the second model, int (N,).
        num_classes: C.
        units: groups to draw and test as a whole; ``None`` for single clips.
    """
    units = units or Units(len(targets))
    only_first, only_second, p = hits_test(first == targets, second == targets, units)
    # the metrics depend only on how often each combination (target, prediction, prediction) occurs
    predicted = np.stack([targets, first, second])
    cells, cell_numbers, counts = np.unique(predicted, axis=1, return_inverse=True, return_counts=True)
    drawn = units.draws_of_cells(cell_numbers.ravel(), len(counts), REPLICATES)
    found = {}
    for number, draws in (("drawn", drawn), ("here", counts[None])):
        one = figures_of_draws(draws, cells[0], cells[1], num_classes)
        other = figures_of_draws(draws, cells[0], cells[2], num_classes)
        found[number] = {name: other[name] - one[name] for name in one}
    differences = {
        name: Estimate(float(found["here"][name][0]), percentile_interval(found["drawn"][name]))
        for name in found["here"]
    }
    return Paired(only_first, only_second, only_second > only_first, p, differences)
