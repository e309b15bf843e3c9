"""Several labels for each clip, or none: a probability for each label."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from earmark.label_lists import join_labels, split_labels
from earmark.tasks.class_task import MACRO_F1, ClassTask, class_metrics
from earmark.tasks.pooling import sigmoid
from earmark.tasks.reported_task import ShownMetric
from earmark.tasks.task import ALL_FIGURES, FigureOptions, Label, LabelText, LinearProblem, LossSettings
from earmark.text import counted

if TYPE_CHECKING:
    import torch

    from earmark.stats.paired import Compared
    from earmark.tasks.calibration import WindowLogits
    from earmark.tasks.decision import Decision, LabelledScores, Prediction, WantedThresholds
    from earmark.tasks.figures import Figures
    from earmark.tasks.linear_fits import FittedHead
    from earmark.tasks.report_section import ComparedClips, ComparedRun, ScoredClips, Section, Side

_TINY = float(np.finfo(np.float32).tiny)
_HALF = 0.5
_A_TIE = 1e-4
_SURE = 1 - float(np.finfo(np.float32).epsneg)


class MultiLabel(ClassTask):
    """Several labels for each clip, or none."""

    name = "multi_label"
    in_words = "several labels a clip"
    problem_type = "multi_label_classification"
    has_several = True
    score_function = "sigmoid"
    shown_metrics = (
        ShownMetric("mean_average_precision", "mAP", curve="mAP", trivial="mean prevalence"),
        MACRO_F1,
        ShownMetric("exact_match", "All labels right"),
        ShownMetric("mean_prevalence", "Mean prevalence"),
    )
    report_template = "multi_label.html"
    better = "has all right"
    tested_clips = "clips with all labels right"
    metrics = class_metrics("mean_average_precision", "macro_f1", "micro_f1", "exact_match")
    no_label = "has no labels"
    no_label_hint = "a clip without labels has an empty list or text"

    def read_label(self, text: LabelText) -> Label | None:
        """Return the names of all labels."""
        return text.classes()

    def targets(self, labels: Sequence[Label], classes: Sequence[str]) -> np.ndarray:
        """Return which labels each clip has, float32 (N, C): 1 or 0."""
        index = {name: i for i, name in enumerate(classes)}
        there = np.zeros((len(labels), len(classes)), np.float32)
        for row, label in enumerate(labels):
            there[row, [index[name] for name in (label if isinstance(label, tuple) else (str(label),))]] = 1
        return there

    def class_weights(
        self, given: Mapping[str, float] | None, labels: Sequence[str], targets: np.ndarray, *, even: bool
    ) -> np.ndarray:
        """Return the weight of a clip with each label, relative to a clip without it."""
        from earmark.tasks.multi_label_loss import label_weights

        return label_weights(given, labels, targets)

    def loss(self, how: LossSettings) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return the binary cross-entropy."""
        from earmark.tasks.multi_label_loss import LabelsLoss

        return LabelsLoss(how)

    def fit_linear(self, to: LinearProblem) -> tuple[np.ndarray, np.ndarray, FittedHead]:
        """Fit a logistic regression for each label."""
        from earmark.tasks.linear_fits import fit_labels, warn_of_labels_everywhere

        warn_of_labels_everywhere(to.targets, to.labels)
        weights = self.class_weights(None, to.labels, to.targets, even=False) if to.balanced else None
        return fit_labels(to.embeddings, to.targets, to.folds(), positive_weights=weights)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the probability of each label."""
        return sigmoid(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the log odds of each label."""
        inside = np.clip(scores.astype(np.float64), _TINY, _SURE)
        return (np.log(inside) - np.log1p(-inside)).astype(np.float32)

    def scores_in_graph(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the sigmoid of the logits."""
        return logits.sigmoid()

    def predictions(self, logits: np.ndarray, thresholds: np.ndarray | float | None = None) -> np.ndarray:
        """Return which labels reach their threshold, by default 0.5, int64 (N, C): 1 or 0."""
        return (self.scores(logits) >= (_HALF if thresholds is None else thresholds)).astype(np.int64)

    def differs(self, given: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Return for which clips the predicted labels differ, ignoring probabilities very close to 0.5."""
        clear = np.abs(expected - _HALF) > _A_TIE
        differ: np.ndarray = (clear & ((given >= _HALF) != (expected >= _HALF))).any(axis=1)
        return differ

    def figures(
        self, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str], how: FigureOptions = ALL_FIGURES
    ) -> Figures:
        """Return :class:`earmark.tasks.multi_label_figures.MultiLabelMetrics`."""
        from earmark.tasks.multi_label_figures import compute_multi_label

        return compute_multi_label(logits, targets, labels, how.thresholds, how.units, intervals=how.intervals)

    def example(self, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return a clip with each label."""
        there = np.eye(len(labels), dtype=np.float32)
        return there, there

    def why_not_fitted(self, asked: Sequence[str]) -> str | None:
        """Return why a multi-label model has no reject label; ``None`` if the user asked for none."""
        rejecting = [name for name in asked if name.startswith("reject_")]
        if not rejecting:
            return None
        return (
            f"--{rejecting[0]}: a model of several labels predicts none if no label reaches its threshold, so it needs "
            "no reject label. Use --target_precision to fit the thresholds."
        )

    def fit_temperature(self, windows: WindowLogits, targets: np.ndarray) -> float:
        """Return the temperature with the lowest binary cross-entropy."""
        from earmark.tasks.multi_label_fitting import fit_label_temperature

        return fit_label_temperature(windows, targets)

    def fit_thresholds(
        self, clips: LabelledScores, wanted: WantedThresholds, decision: Decision
    ) -> tuple[Decision, list[str]]:
        """Fit the threshold of each label."""
        from earmark.tasks.multi_label_fitting import fit_thresholds_of_labels

        thresholds, notes = fit_thresholds_of_labels(clips, wanted.target_precision)
        return replace(decision, class_thresholds=thresholds), notes

    def thresholds(self, decision: Decision, labels: Sequence[str]) -> np.ndarray | None:
        """Return the lowest probability at which each label is predicted."""
        return decision.thresholds(labels, unless_fitted=_HALF)

    def decided(self, scores: np.ndarray, labels: Sequence[str], decision: Decision) -> np.ndarray:
        """Return which labels are predicted, bool (N, C)."""
        return decision.present(scores, labels)

    def decision_figures(self, clips: LabelledScores, predictions: np.ndarray, decision: Decision) -> dict[str, object]:
        """Return calibration error, loss, and precision and recall of all predictions together."""
        from earmark.tasks.multi_label_fitting import label_figures

        return label_figures(clips, predictions)

    def top(self, scores: np.ndarray, labels: Sequence[str], top_k: int, decision: Decision) -> list[Prediction]:
        """Return the most likely labels, followed by all others that are predicted."""
        order, there = np.argsort(-scores, kind="stable"), decision.present(scores, labels)
        named = [*order[:top_k], *(i for i in order[top_k:] if there[i])]
        return [{"label": labels[i], "score": float(scores[i]), "present": bool(there[i])} for i in named]

    def prediction_rows(
        self, sources: Sequence[str], clips: LabelledScores, decision: Decision
    ) -> tuple[list[str], Iterator[list[object]]]:
        """Return rows with the true labels, the predicted labels and the probability of each label."""
        labels = clips.labels
        predicted = decision.present(clips.scores, labels)
        rows: Iterator[list[object]] = (
            [
                source,
                join_labels(_named(labels, target > 0)),
                join_labels(_named(labels, given)),
                int((given == (target > 0)).all()),
                *(f"{value:.6g}" for value in row),
            ]
            for source, target, given, row in zip(sources, clips.targets, predicted, clips.scores, strict=True)
        )
        return self.columns(labels), rows

    def score_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the columns of the probabilities."""
        return [column for column in columns if column.startswith("p(") and column.endswith(")")]

    def read_rows(
        self, targets: Sequence[str], predictions: Sequence[str], scores: np.ndarray, labels: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the true and the predicted labels, bool (N, C), and the probabilities."""
        return _there(targets, labels), _there(predictions, labels), scores

    def purpose(self, labels: Sequence[str], listed: str) -> str:
        """Return the number of labels, and the labels."""
        return f"It predicts which of {len(labels)} labels apply to a recording: {listed}."

    def limits(self, rejects: str | None) -> str:
        """Return a sentence which says that any recording may get labels."""
        return "It may predict labels for recordings unlike anything it was trained on."

    def section(self, clips: ScoredClips) -> Section:
        """Return the metrics of each label, confused pairs and mistakes."""
        from earmark.tasks.multi_label_section import label_section

        return label_section(clips)

    def counted_labels(self, count: int) -> str:
        """Return the number of labels, in words."""
        return counted(count, "label")

    def target_text(self, target: Any, labels: Sequence[str]) -> str:
        """Return the names of the true labels."""
        return repr(join_labels(_named(labels, target)))

    def compare(self, clips: ComparedClips) -> tuple[Compared, dict[str, float]]:
        """Compare mean average precision and macro-F1."""
        from earmark.tasks.multi_label_comparison import compare_labels

        shares = clips.targets.mean(axis=0)
        prevalence = float(shares[shares > 0].mean()) if shares.any() else 0.0
        return compare_labels(clips.targets, clips.runs, clips.units), {"mean_average_precision": prevalence}

    def support(self, targets: np.ndarray, labels: Sequence[str]) -> list[int]:
        """Return the number of clips with each label."""
        return [int(count) for count in targets.sum(axis=0)]

    def side(self, targets: np.ndarray, labels: Sequence[str], better: ComparedRun, worse: ComparedRun) -> Side:
        """Return the clips in which the better run has fewer labels wrong."""
        from earmark.tasks.multi_label_section import label_side

        return label_side(targets, labels, better, worse)


def _named(labels: Sequence[str], there: np.ndarray) -> list[str]:
    return [label for label, is_there in zip(labels, there, strict=True) if is_there]


def _there(cells: Sequence[str], labels: Sequence[str]) -> np.ndarray:
    """Return which labels the cells name, bool (N, C)."""
    number = {label: i for i, label in enumerate(labels)}
    there = np.zeros((len(cells), len(labels)), bool)
    for row, cell in enumerate(cells):
        there[row, [number[name] for name in split_labels(cell)]] = True
    return there
