"""Metrics of single-label models, always with the majority-class rate for comparison.

:mod:`earmark.tasks.multi_label_figures` and :mod:`earmark.tasks.regression_figures` hold the metrics of other tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from earmark.stats.uncertainty import Interval, Units, bootstrap_intervals, calibration_error
from earmark.tasks.figures import BARELY, CardTable, Headline, against_baseline, figure, units_to_judge
from earmark.tasks.pooling import softmax
from earmark.text import counted, every

_TOP_K = (3, 5)


@dataclass(frozen=True)
class ClassFigures:
    """Metrics of one class.

    ``precision`` is ``None`` if the class is never predicted, ``recall`` and ``f1`` if it has no clips.
    """

    label: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True)
class Metrics:
    """Metrics of the classification of N clips into C classes.

    Attributes:
        num_clips: N.
        accuracy: fraction of clips whose most likely class is the right one.
        balanced_accuracy: mean recall over the classes that have clips.
        macro_f1: mean F1 over the classes that have clips.
        loss: mean cross-entropy, in nats.
        top_k_accuracy: fraction of clips whose class is among the k most likely, by k (3 and 5, if C is larger).
        majority_class: the most frequent class of these clips.
        majority_class_rate: its fraction of the clips, which is the accuracy of always predicting it.
        predicted_classes: number of different classes that were predicted.
        per_class: one row for each class, in the order of the labels.
        confusion: number of clips by true class (row) and predicted class (column), int64 (C, C).
        intervals: 95 % intervals of :func:`~earmark.stats.uncertainty.bootstrap_intervals`, by name.
        calibration_error: expected calibration error of the most likely class.
        intervals_over: the units that the bootstrap draws.
    """

    num_clips: int
    accuracy: float
    balanced_accuracy: float
    macro_f1: float
    loss: float
    top_k_accuracy: dict[int, float]
    majority_class: str
    majority_class_rate: float
    predicted_classes: int
    per_class: list[ClassFigures]
    confusion: np.ndarray
    intervals: dict[str, Interval]
    calibration_error: float
    intervals_over: str = "clips"

    @property
    def balanced_majority_rate(self) -> float:
        """Balanced accuracy of always predicting one class: 1 over the number of classes that have clips."""
        return 1 / sum(row.support > 0 for row in self.per_class)

    @property
    def headline(self) -> Headline:
        """Accuracy, with the majority-class rate as its baseline."""
        return Headline("accuracy", "Accuracy", self.accuracy, self.majority_class_rate)

    def to_dict(self) -> dict[str, object]:
        """Return plain values for JSON, ``None`` for undefined metrics."""
        return {
            "num_clips": self.num_clips,
            "accuracy": self.accuracy,
            "majority_class_rate": self.majority_class_rate,
            "majority_class": self.majority_class,
            "balanced_accuracy": self.balanced_accuracy,
            "macro_f1": self.macro_f1,
            "loss": self.loss,
            "expected_calibration_error": self.calibration_error,
            **{f"{name}_interval_95": [of.low, of.high] for name, of in self.intervals.items()},
            "intervals_over": self.intervals_over,
            **{f"top_{k}_accuracy": value for k, value in self.top_k_accuracy.items()},
            "predicted_classes": self.predicted_classes,
            "classes_without_clips": [row.label for row in self.per_class if not row.support],
            "per_class": {
                row.label: {"precision": row.precision, "recall": row.recall, "f1": row.f1, "support": row.support}
                for row in self.per_class
            },
            "labels": [row.label for row in self.per_class],
            "confusion_matrix": self.confusion.tolist(),
        }

    def summary_lines(self) -> list[str]:
        """Return the most important metrics as lines of text."""
        top = "".join(f", top-{k} {value:.4f}" for k, value in self.top_k_accuracy.items())
        return [
            f"accuracy {self.accuracy:.4f} on {counted(self.num_clips, 'clip')} "
            f"(always predicting {self.majority_class!r}: {self.majority_class_rate:.4f})",
            f"balanced accuracy {self.balanced_accuracy:.4f}, macro-F1 {self.macro_f1:.4f}, loss {self.loss:.4f}{top}",
            f"95 % {'intervals' if len(self.intervals) > 1 else 'interval'} over {self.intervals_over}: "
            + ", ".join(
                f"{name.replace('_f1', '-F1')} {of.low:.4f} to {of.high:.4f}" for name, of in self.intervals.items()
            )
            + f"; calibration error {self.calibration_error:.4f}",
        ]

    def card_table(self) -> CardTable:
        """Return the metrics for a model card."""
        return CardTable(
            figures={
                "Accuracy": self.accuracy,
                "Majority rate": self.majority_class_rate,
                "Balanced accuracy": self.balanced_accuracy,
                "Macro F1": self.macro_f1,
            },
            explained="The majority rate is the accuracy of always predicting the most frequent class.",
            hub={"accuracy": ("Accuracy", self.accuracy), "f1": ("Macro F1", self.macro_f1)},
            heads=["Class", "Precision", "Recall", "F1", "Clips"],
            rows=[
                [row.label, *map(figure, (row.precision, row.recall, row.f1)), f"{row.support:,}"]
                for row in self.per_class
            ],
        )

    def finding(self) -> str | None:
        """Return a sentence if the accuracy does not clearly beat the majority-class rate."""
        if self.majority_class_rate == 1.0:
            return None  # with clips of one class only, no accuracy can beat the rate
        if self.predicted_classes == 1 and len(self.per_class) > 1:
            return (
                f"The model predicts the same class for {every(self.num_clips, 'clip')}: its accuracy of "
                f"{self.accuracy:.4f} means nothing, because it has learned nothing about the audio."
            )
        if _lowest_balanced_accuracy(self) > self.balanced_majority_rate and not _barely(self):
            return None  # it separates the classes, even if it loses accuracy on the most frequent one
        rate = f"the rate of always predicting {self.majority_class!r}"
        finding = against_baseline(self, self.headline, rate)
        if finding is None and _barely(self):
            return f"Accuracy {self.accuracy:.4f} hardly beats {self.majority_class_rate:.4f}, {rate}."
        return finding


def compute_metrics(
    logits: np.ndarray, targets: np.ndarray, labels: Sequence[str], units: Units | None = None
) -> Metrics:
    """Return all metrics of one split.

    Args:
        logits: float (N, C), N >= 1.
        targets: class indices, int (N,).
        labels: C class names.
        units: groups that intervals treat as a whole; ``None`` for single clips.

    Raises:
        DataError, ModelError: see :func:`earmark.tasks.figures.units_to_judge`.
    """
    units = units_to_judge(logits, len(targets), units)
    predicted = logits.argmax(axis=1)
    cells = targets * len(labels) + predicted
    confusion = np.bincount(cells, minlength=len(labels) ** 2).reshape(len(labels), len(labels))
    per_class = _per_class(confusion, labels)
    intervals = bootstrap_intervals(confusion, units, cells)
    present = [row for row in per_class if row.support]
    majority = max(present, key=lambda row: row.support)
    return Metrics(
        num_clips=len(targets),
        accuracy=float((predicted == targets).mean()),
        balanced_accuracy=float(np.mean([row.recall for row in present])),
        macro_f1=float(np.mean([row.f1 for row in present])),
        loss=_cross_entropy(logits, targets),
        top_k_accuracy={k: _top_k_accuracy(logits, targets, k) for k in _TOP_K if k < len(labels)},
        majority_class=majority.label,
        majority_class_rate=majority.support / len(targets),
        predicted_classes=len(np.unique(predicted)),
        per_class=per_class,
        confusion=confusion,
        intervals=intervals,
        intervals_over=units.in_words if "macro_f1" in intervals else counted(len(targets), "clip"),
        calibration_error=calibration_error(softmax(logits.astype(np.float64)), targets),
    )


def _per_class(confusion: np.ndarray, labels: Sequence[str]) -> list[ClassFigures]:
    """Return the metrics of each class of a confusion matrix, int (C, C) with targets as rows."""
    rows = []
    for i, label in enumerate(labels):
        hits, support, predicted = int(confusion[i, i]), int(confusion[i].sum()), int(confusion[:, i].sum())
        rows.append(
            ClassFigures(
                label=label,
                precision=hits / predicted if predicted else None,
                recall=hits / support if support else None,
                # a class that has clips and was never predicted has an F1 of 0, although its precision is undefined
                f1=2 * hits / (support + predicted) if support else None,
                support=support,
            )
        )
    return rows


def _top_k_accuracy(logits: np.ndarray, targets: np.ndarray, k: int) -> float:
    """Return the fraction of clips whose class has one of the ``k`` highest logits; of equal logits, the last wins."""
    highest = np.argsort(logits, axis=1, kind="stable")[:, -k:]  # (N, k)
    return float((highest == targets[:, None]).any(axis=1).mean())


def _cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    wide = logits.astype(np.float64)
    shifted = wide - wide.max(axis=1, keepdims=True)
    log_total = np.log(np.exp(shifted).sum(axis=1))
    return float((log_total - shifted[np.arange(len(targets)), targets]).mean())


def _barely(metrics: Metrics) -> bool:
    near = metrics.majority_class_rate < metrics.accuracy < metrics.majority_class_rate + BARELY
    return near and metrics.balanced_accuracy < 1.5 * metrics.balanced_majority_rate


def _lowest_balanced_accuracy(metrics: Metrics) -> float:
    """Return the lower end of the 95 % interval of the balanced accuracy (normal approximation).

    The variance of each recall assumes one more correct and one more wrong clip, so that it is not 0 for a class with a
    few clips that are all correct.
    """
    variance, present = 0.0, [row for row in metrics.per_class if row.support]
    for row in present:
        assert row.recall is not None, "a class with clips has a recall"
        share = (row.recall * row.support + 1) / (row.support + 2)
        variance += share * (1 - share) / row.support
    return metrics.balanced_accuracy - 1.96 * math.sqrt(variance) / len(present)
