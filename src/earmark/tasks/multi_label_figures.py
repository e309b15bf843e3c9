"""Metrics of multi-label models.

Shapes: N clips, C labels, R bootstrap sets of clips.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy

from earmark.stats.uncertainty import (
    REPLICATES,
    Interval,
    Units,
    binary_calibration_error,
    binary_loss,
    percentile_interval,
)
from earmark.tasks.figures import CardTable, Headline, against_baseline, figure, units_to_judge
from earmark.tasks.pooling import sigmoid
from earmark.text import counted

THRESHOLD = 0.5  # threshold of a label for which none was fitted
_MOST_WORK = 2e9  # largest product of clips, labels and bootstrap sets; it limits the number of sets
_FEWEST_SETS = 100  # with fewer sets there is no interval


@dataclass(frozen=True)
class LabelFigures:
    """Metrics of one label; a metric is ``None`` if it is undefined.

    ``precision`` is undefined if the label was never predicted, the other metrics if no clip has the label.

    Attributes:
        label: name of the label.
        average_precision: area under the precision-recall curve, summed over the steps of recall.
        roc_auc: how often a clip with the label has a higher probability than a clip without it.
        precision, recall, f1: metrics of the predictions at ``threshold``.
        support: number of clips with the label.
        threshold: lowest probability at which the label is predicted; infinite if it never is.
    """

    label: str
    average_precision: float | None
    roc_auc: float | None
    precision: float | None
    recall: float | None
    f1: float | None
    support: int
    threshold: float


@dataclass(frozen=True)
class MultiLabelMetrics:
    """Metrics of the predictions of C labels for N clips.

    Attributes:
        num_clips: N.
        mean_average_precision: mean over the labels that have clips ("mAP", macro).
        macro_f1: mean F1 over the labels that have clips.
        micro_f1: F1 of all predictions together.
        exact_match: fraction of clips whose predicted labels are exactly the true ones.
        loss: mean binary cross-entropy, in nats.
        calibration_error: calibration error of the probabilities of all clips and labels.
        mean_prevalence: mean fraction of clips with a label, over the labels that have clips, which is about the mean
            average precision of random scores.
        majority_match: fraction of clips with the most frequent set of labels, which is the exact match of always
            predicting that set.
        per_label: one row for each label, in the order of the labels.
        intervals: 95 % bootstrap intervals of ``mean_average_precision`` and ``macro_f1``; empty if they would take
            minutes.
        intervals_over: the units that the bootstrap draws.
    """

    num_clips: int
    mean_average_precision: float
    macro_f1: float
    micro_f1: float
    exact_match: float
    loss: float
    calibration_error: float
    mean_prevalence: float
    majority_match: float
    per_label: list[LabelFigures]
    intervals: dict[str, Interval]
    intervals_over: str = "clips"

    @property
    def headline(self) -> Headline:
        """Mean average precision, with the mean prevalence as its baseline."""
        return Headline("mean_average_precision", "mAP", self.mean_average_precision, self.mean_prevalence)

    @property
    def chance_average_precision(self) -> float:
        """Expected mean average precision of random scores.

        For N clips, R of them with the label, it is ``(H + (R - 1) / (N - 1) * (N - H)) / N``, with H the N-th harmonic
        number (Bestgen 2015, "Exact expected average precision of the random baseline"). It is above the prevalence
        R / N, and far above it if R is small.
        """
        clips = self.num_clips
        harmonic = float((1 / np.arange(1, clips + 1)).sum())
        others = max(1, clips - 1)
        supports = [row.support for row in self.per_label if row.support]
        return _mean([(harmonic + (n - 1) / others * (clips - harmonic)) / clips for n in supports])

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON, ``None`` for undefined metrics and the threshold of a label never predicted."""
        per_label = {
            row.label: {
                **{name: value for name, value in vars(row).items() if name not in ("label", "threshold")},
                "threshold": row.threshold if np.isfinite(row.threshold) else None,
            }
            for row in self.per_label
        }
        plain = {name: value for name, value in vars(self).items() if name not in ("per_label", "intervals")}
        plain["expected_calibration_error"] = plain.pop("calibration_error")
        return {
            **plain,
            **{f"{name}_interval_95": [of.low, of.high] for name, of in self.intervals.items()},
            "labels_without_clips": [row.label for row in self.per_label if not row.support],
            "per_label": per_label,
            "labels": [row.label for row in self.per_label],
        }

    def summary_lines(self) -> list[str]:
        """Return the most important metrics as lines of text."""
        lines = [
            f"mAP {self.mean_average_precision:.4f} on {counted(self.num_clips, 'clip')} (mean prevalence: "
            f"{self.mean_prevalence:.4f}), macro-F1 {self.macro_f1:.4f}, micro-F1 {self.micro_f1:.4f}",
            f"all labels of a clip right {self.exact_match:.4f} (always predicting the most frequent set: "
            f"{self.majority_match:.4f}), loss {self.loss:.4f}, calibration error {self.calibration_error:.4f}",
        ]
        if self.intervals:
            named = {"mean_average_precision": "mAP", "macro_f1": "macro-F1"}
            of = [f"{named[name]} {one.low:.4f} to {one.high:.4f}" for name, one in self.intervals.items()]
            lines.append(f"95 % intervals over {self.intervals_over}: {', '.join(of)}")
        return lines

    def finding(self) -> str | None:
        """Return a sentence if the mean average precision does not clearly beat random scores."""
        head = replace(self.headline, baseline=self.chance_average_precision)
        # clips that are drawn twice raise the average precision, so the interval is shifted but its width is right
        return against_baseline(self, head, "the mAP of random scores", only_width=True)

    def card_table(self) -> CardTable:
        """Return the metrics for a model card."""
        return CardTable(
            figures={
                "mAP": self.mean_average_precision,
                "Mean prevalence": self.mean_prevalence,
                "Macro F1": self.macro_f1,
                "All labels right": self.exact_match,
            },
            explained="The mean prevalence is the mean fraction of clips with a label, about the mAP of random scores.",
            hub={"map": ("mAP", self.mean_average_precision), "f1": ("Macro F1", self.macro_f1)},
            heads=["Label", "Average precision", "Precision", "Recall", "F1", "Clips"],
            rows=[
                [
                    row.label,
                    *map(figure, (row.average_precision, row.precision, row.recall, row.f1)),
                    f"{row.support:,}",
                ]
                for row in self.per_label
            ],
        )


def compute_multi_label(
    logits: np.ndarray,
    targets: np.ndarray,
    labels: Sequence[str],
    thresholds: np.ndarray | None = None,
    units: Units | None = None,
    *,
    intervals: bool = True,
) -> MultiLabelMetrics:
    """Return all metrics of one split.

    Args:
        logits: float (N, C), N >= 1.
        targets: the true labels, 0 or 1, (N, C).
        labels: C names.
        thresholds: lowest probability at which each label is predicted, float (C,); ``None`` for 0.5.
        units: groups that intervals treat as a whole; ``None`` for single clips.
        intervals: whether to compute intervals, which takes most of the time.

    Raises:
        DataError: no clips, or none with any label.
        ModelError: logits that are NaN or infinite.
    """
    units = units_to_judge(logits, len(targets), units)
    probabilities = sigmoid(logits.astype(np.float64))
    thresholds = np.full(len(labels), THRESHOLD) if thresholds is None else thresholds
    there, predicted = targets > 0.5, probabilities >= thresholds
    per_label = [
        _of_label(label, probabilities[:, i], there[:, i], predicted[:, i], float(thresholds[i]))
        for i, label in enumerate(labels)
    ]
    support = there.sum(axis=0)
    present = support > 0
    hits = int((there & predicted).sum())
    sets = Counter(row.tobytes() for row in there)
    return MultiLabelMetrics(
        num_clips=len(targets),
        mean_average_precision=_mean([row.average_precision for row in per_label]),
        macro_f1=_mean([row.f1 for row in per_label]),
        micro_f1=2 * hits / max(1, int(there.sum() + predicted.sum())),
        exact_match=float((there == predicted).all(axis=1).mean()),
        loss=binary_loss(probabilities, there),
        calibration_error=binary_calibration_error(probabilities.ravel(), there.ravel()),
        mean_prevalence=float(support[present].mean() / len(targets)) if present.any() else 0.0,
        majority_match=sets.most_common(1)[0][1] / len(targets),
        per_label=per_label,
        intervals=_intervals(probabilities, there, predicted, units) if intervals else {},
        intervals_over=units.in_words,
    )


def _of_label(
    label: str, probability: np.ndarray, there: np.ndarray, predicted: np.ndarray, threshold: float
) -> LabelFigures:
    support, given, hits = int(there.sum()), int(predicted.sum()), int((there & predicted).sum())
    ones = np.ones((len(there), 1))
    return LabelFigures(
        label=label,
        average_precision=float(_Ranked(probability, there).average_precision(ones)[0]) if support else None,
        roc_auc=_roc_auc(probability, there) if 0 < support < len(there) else None,
        precision=hits / given if given else None,
        recall=hits / support if support else None,
        f1=2 * hits / (support + given) if support else None,
        support=support,
        threshold=threshold,
    )


def _roc_auc(probability: np.ndarray, there: np.ndarray) -> float:
    """Return how often a clip with the label has a higher probability than one without; equal ones count half."""
    _, place, counts = np.unique(probability, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[place]  # from 1 up; equal probabilities share their mean rank
    num_with = int(there.sum())
    return float((ranks[there].sum() - num_with * (num_with + 1) / 2) / (num_with * (len(there) - num_with)))


class _Ranked:
    """The clips of one label, most probable first, to compute its average precision for any weights of the clips."""

    def __init__(self, probability: np.ndarray, there: np.ndarray) -> None:
        order = np.argsort(-probability, kind="stable")
        falling, with_label = probability[order], there[order]
        # Clips with equal probability pass a threshold together. A step ends with such a group if any of its clips has
        # the label, and starts after the previous step. Precision counts only at the ends of steps.
        equal = np.cumsum(np.append(0, falling[1:] < falling[:-1]))
        steps = np.unique(equal[with_label])
        step = np.searchsorted(steps, equal)
        csr_array, shape = scipy.sparse.csr_array, (len(steps), len(there))
        reached = step < len(steps)
        self._seen = csr_array((np.ones(int(reached.sum())), (step[reached], order[reached])), shape=shape)
        self._hits = csr_array((np.ones(int(with_label.sum())), (step[with_label], order[with_label])), shape=shape)

    def average_precision(self, weights: np.ndarray) -> np.ndarray:
        """Return the average precision for weights (N, R), float64 (R,); NaN if no clip with the label has weight."""
        hits = self._hits @ weights  # (steps, R)
        found, seen = np.cumsum(hits, axis=0), np.cumsum(self._seen @ weights, axis=0)
        with np.errstate(invalid="ignore"):
            value: np.ndarray = (hits * found / np.maximum(seen, 1e-12)).sum(axis=0) / found[-1]
        return value


def _intervals(
    probabilities: np.ndarray, there: np.ndarray, predicted: np.ndarray, units: Units
) -> dict[str, Interval]:
    (drawn,) = bootstrap([(probabilities, predicted)], there, units)
    return {name: percentile_interval(of) for name, of in means_of_labels(drawn).items()}


def bootstrap(
    models: Sequence[tuple[np.ndarray, np.ndarray]], there: np.ndarray, units: Units | None = None
) -> list[dict[str, np.ndarray]]:
    """Return the metrics of models on clips or groups drawn with replacement, the same ones for all (Efron 1979).

    Args:
        models: probabilities float (N, C) and predictions bool (N, C) of each model.
        there: the true labels, bool (N, C).
        units: the groups to draw; ``None`` to draw clips.

    Returns:
        For each model ``average_precision`` and ``f1`` of the labels, float64 (R, C), NaN if no drawn clip has the
        label. Empty if the bootstrap would take minutes, or no clip has a label.
    """
    sets = int(min(REPLICATES, _MOST_WORK / max(1, there.size)))
    if sets < _FEWEST_SETS or not there.any():
        return [{} for _ in models]
    figures = [_Drawn(probabilities, predicted, there) for probabilities, predicted in models]
    values = [[one.of(weights.T) for one in figures] for weights in (units or Units(len(there))).draws(sets)]
    return [
        {name: np.concatenate([of_models[k][name] for of_models in values]) for name in values[0][k]}
        for k in range(len(models))
    ]


def figures_of_labels(probabilities: np.ndarray, predicted: np.ndarray, there: np.ndarray) -> dict[str, np.ndarray]:
    """Return ``average_precision`` and ``f1`` of each label, float64 (C,); NaN if no clip has the label.

    Args:
        probabilities: float (N, C).
        predicted: the predicted labels, bool (N, C).
        there: the true labels, bool (N, C).
    """
    if not there.any():
        return {name: np.full(there.shape[1], np.nan) for name in ("average_precision", "f1")}
    here = _Drawn(probabilities, predicted, there).of(np.ones((len(there), 1)))
    return {name: of[0] for name, of in here.items()}


def means_of_labels(of_labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return ``mean_average_precision`` and ``macro_f1``: means of metrics (..., C) over the labels that have clips."""
    named = {"average_precision": "mean_average_precision", "f1": "macro_f1"}
    means = {}
    for name, of in of_labels.items():
        known = ~np.isnan(of)
        means[named[name]] = np.where(known, of, 0.0).sum(axis=-1) / np.maximum(known.sum(axis=-1), 1)
    return means


class _Drawn:
    """The parts of a model's metrics that do not depend on the weights of the clips."""

    def __init__(self, probabilities: np.ndarray, predicted: np.ndarray, there: np.ndarray) -> None:
        self._present = np.asarray(there.any(axis=0))
        probabilities, predicted = probabilities[:, self._present], predicted[:, self._present]
        there = there[:, self._present]
        self._there = there.astype(float)
        self._ranked = [_Ranked(probabilities[:, i], there[:, i]) for i in range(there.shape[1])]
        self._hits, self._total = (there & predicted).astype(float), self._there + predicted

    def of(self, weights: np.ndarray) -> dict[str, np.ndarray]:
        """Return the metrics for weights (N, R), without the draws in which no clip has a label."""
        drawn = weights.T @ self._there > 0  # (R, labels)
        # contiguous, because each product below would copy the whole matrix otherwise
        weights, drawn = np.ascontiguousarray(weights[:, drawn.any(axis=1)]), drawn[drawn.any(axis=1)]
        precisions = np.stack([one.average_precision(weights) for one in self._ranked], axis=1)
        f1 = np.where(drawn, 2 * (weights.T @ self._hits) / np.maximum(weights.T @ self._total, 1e-12), np.nan)
        return {"average_precision": self._of_all(precisions), "f1": self._of_all(f1)}

    def _of_all(self, values: np.ndarray) -> np.ndarray:
        """Return values (R, labels with clips) as (R, C)."""
        whole = np.full((len(values), len(self._present)), np.nan)
        whole[:, self._present] = values
        return whole


def _mean(values: Sequence[float | None]) -> float:
    there = [value for value in values if value is not None]
    return float(np.mean(there)) if there else 0.0
