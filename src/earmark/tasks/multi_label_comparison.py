"""Compare models of several labels on the same clips.

Shapes: N clips, C labels, K models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from earmark.stats.paired import Compared, Estimate, Paired, estimate, hits_test
from earmark.stats.uncertainty import Units, share_interval
from earmark.tasks.multi_label_figures import bootstrap, figures_of_labels, means_of_labels


def compare_labels(
    there: np.ndarray, models: Sequence[tuple[np.ndarray, np.ndarray]], units: Units | None = None
) -> Compared:
    """Compare models of several labels with the first one.

    :func:`earmark.stats.paired.hits_test` tests the clips for which only one of two models has all labels right. A
    paired bootstrap gives intervals of mean average precision and macro-F1, and of each label's metrics: clips, or
    whole groups, are drawn with replacement, the same ones for all models.

    Args:
        there: the true labels, bool (N, C).
        models: probabilities float (N, C) and predictions bool (N, C) of each model.
        units: groups to draw and test as a whole; ``None`` for single clips.
    """
    units = units or Units(len(there))
    drawn = bootstrap(models, there, units)
    of_labels = [figures_of_labels(*model, there) for model in models]
    means, drawn_means = [means_of_labels(of) for of in of_labels], [means_of_labels(of) for of in drawn]
    right = [(predicted == there).all(axis=1) for _, predicted in models]
    figures, pairs = [], []
    for k, hits in enumerate(right):
        of_run = {name: estimate(of, drawn_means[k].get(name)) for name, of in means[k].items()}
        figures.append({**of_run, "exact_match": Estimate(float(hits.mean()), share_interval(hits, units))})
        if not k:
            continue
        only_first, only_second, p = hits_test(right[0], hits, units)
        differences = {
            name: estimate(of - means[0][name], _less(drawn_means[k], drawn_means[0], name))
            for name, of in means[k].items()
        }
        each = {
            name: _of_each(of - of_labels[0][name], _less(drawn[k], drawn[0], name))
            for name, of in of_labels[k].items()
        }
        pairs.append(Paired(only_first, only_second, only_second > only_first, p, differences, each))
    return Compared(figures, pairs, list(of_labels))


def _less(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray], name: str) -> np.ndarray | None:
    return one[name] - other[name] if name in one else None


def _of_each(values: np.ndarray, drawn: np.ndarray | None) -> list[Estimate | None]:
    """Return estimates from values (C,) and bootstrap draws (R, C); some draws may lack a label."""
    return [
        None if np.isnan(value) else estimate(value, None if drawn is None else drawn[~np.isnan(drawn[:, i]), i])
        for i, value in enumerate(values)
    ]
