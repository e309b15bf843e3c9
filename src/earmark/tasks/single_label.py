"""One class for each clip: probabilities that add up to 1."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from earmark.tasks.class_task import MACRO_F1, ClassTask, class_metrics
from earmark.tasks.pooling import log_pool, log_softmax, softmax
from earmark.tasks.reported_task import ShownMetric
from earmark.tasks.task import ALL_FIGURES, FigureOptions, Label, LabelText, LinearProblem, LossSettings

if TYPE_CHECKING:
    import torch

    from earmark.stats.paired import Compared
    from earmark.tasks.calibration import WindowLogits
    from earmark.tasks.decision import Decision, LabelledScores, Prediction, WantedThresholds
    from earmark.tasks.figures import Figures
    from earmark.tasks.linear_fits import FittedHead
    from earmark.tasks.report_section import ComparedClips, ComparedRun, ScoredClips, Section, Side

_TINY = float(np.finfo(np.float32).tiny)


class SingleLabel(ClassTask):
    """One class for each clip."""

    name = "single_label"
    in_words = "one label a clip"
    problem_type = "single_label_classification"
    row_columns = ("score", "correct")
    score_function = "softmax"
    shown_metrics = (
        ShownMetric("accuracy", "Accuracy", curve="accuracy", trivial="majority rate"),
        MACRO_F1,
        ShownMetric("majority_class_rate", "Majority rate"),
    )
    report_template = "report.html"
    better = "is right"
    metrics = class_metrics("accuracy", "balanced_accuracy", "macro_f1", "top_3_accuracy", "top_5_accuracy")

    def read_label(self, text: LabelText) -> Label | None:
        """Return the name of the class."""
        return text.one_class()

    def targets(self, labels: Sequence[Label], classes: Sequence[str]) -> np.ndarray:
        """Return class indices, int64 (N,)."""
        index = {name: i for i, name in enumerate(classes)}
        return np.array([index[label[0] if isinstance(label, tuple) else str(label)] for label in labels], np.int64)

    def class_weights(
        self, given: Mapping[str, float] | None, labels: Sequence[str], targets: np.ndarray, *, even: bool
    ) -> np.ndarray:
        """Return class weights whose mean over the training clips is 1."""
        from earmark.tasks.single_label_loss import class_weights

        return class_weights(given, labels, np.bincount(targets, minlength=len(labels)), even=even)

    def loss(self, how: LossSettings) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return the cross-entropy."""
        from earmark.tasks.single_label_loss import ClassLoss

        return ClassLoss(how)

    def fit_linear(self, to: LinearProblem) -> tuple[np.ndarray, np.ndarray, FittedHead]:
        """Fit a multinomial logistic regression."""
        from earmark.tasks.linear_fits import fit_classes

        return fit_classes(to.embeddings, to.targets, balanced=to.balanced, seed=to.seed)

    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return probabilities that add up to 1."""
        return softmax(logits)

    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the logarithms of probabilities."""
        return np.log(np.maximum(scores, _TINY)).astype(np.float32)

    def pooled(self, logits: np.ndarray, starts: np.ndarray | None = None) -> np.ndarray:
        """Return the logarithms of the mean probabilities, without underflow; see the base class."""
        if len(logits) == (1 if starts is None else len(starts)):
            return super().pooled(logits, starts)
        return log_pool(log_softmax(logits), starts).astype(np.float32)

    def scores_in_graph(self, logits: torch.Tensor) -> torch.Tensor:
        """Return the softmax."""
        return logits.softmax(dim=-1)

    def predictions(self, logits: np.ndarray, thresholds: np.ndarray | float | None = None) -> np.ndarray:
        """Return the most likely classes, int64 (N,)."""
        best: np.ndarray = logits.argmax(axis=1)
        return best

    def differs(self, given: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Return for which clips the most likely class differs."""
        return np.asarray(given.argmax(axis=1) != expected.argmax(axis=1))

    def figures(
        self, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str], how: FigureOptions = ALL_FIGURES
    ) -> Figures:
        """Return :class:`earmark.tasks.single_label_figures.Metrics`."""
        from earmark.tasks.single_label_figures import compute_metrics

        return compute_metrics(logits, targets, labels, how.units)

    def example(self, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return a clip of each class."""
        return np.arange(len(labels)), np.eye(len(labels), dtype=np.float32)

    def why_not_fitted(self, asked: Sequence[str]) -> str | None:
        """Return ``None``: a temperature and all thresholds can be fitted."""
        return None

    def fit_temperature(self, windows: WindowLogits, targets: np.ndarray) -> float:
        """Return the temperature with the lowest cross-entropy."""
        from earmark.tasks.single_label_fitting import fit_class_temperature

        return fit_class_temperature(windows, targets)

    def fit_thresholds(
        self, clips: LabelledScores, wanted: WantedThresholds, decision: Decision
    ) -> tuple[Decision, list[str]]:
        """Fit the thresholds that were asked for: one for all classes, one for each class, or both."""
        from earmark.tasks.single_label_fitting import fit_class_thresholds

        return fit_class_thresholds(clips, wanted, decision)

    def decided(self, scores: np.ndarray, labels: Sequence[str], decision: Decision) -> np.ndarray:
        """Return class indices, int64 (N,)."""
        return decision.predictions(scores, labels)

    def decision_figures(self, clips: LabelledScores, predictions: np.ndarray, decision: Decision) -> dict[str, object]:
        """Return calibration error and loss; with thresholds also coverage, precision and accuracy."""
        from earmark.tasks.single_label_fitting import class_decision_figures

        return class_decision_figures(clips, predictions, decision)

    def top(self, scores: np.ndarray, labels: Sequence[str], top_k: int, decision: Decision) -> list[Prediction]:
        """Return the most likely classes; the reject label replaces the first one if it is below its threshold."""
        top = super().top(scores, labels, top_k, decision)
        if decision.rejects and top[0]["score"] < decision.thresholds(labels)[int(scores.argmax())]:
            top[0] = {"label": decision.reject_label, "score": top[0]["score"], "below_threshold": top[0]["label"]}
        return top

    def prediction_rows(
        self, sources: Sequence[str], clips: LabelledScores, decision: Decision
    ) -> tuple[list[str], Iterator[list[object]]]:
        """Return rows with the most likely class and all probabilities; with thresholds also the decision, last."""
        labels, rejects = clips.labels, decision.rejects
        rows: Iterator[list[object]] = (
            [
                source,
                labels[target],
                labels[guess],
                f"{row[guess]:.6g}",
                int(target == guess),
                *(f"{value:.6g}" for value in row),
                *([decision.top(row, labels)[0]["label"]] if rejects else []),
            ]
            for source, target, guess, row in zip(
                sources, clips.targets, clips.scores.argmax(axis=1), clips.scores, strict=True
            )
        )
        return [*self.columns(labels), *(["answer"] if rejects else [])], rows

    def score_columns(self, columns: Sequence[str]) -> list[str]:
        """Return the column with the probability of the most likely class."""
        return ["score"]

    def read_rows(
        self, targets: Sequence[str], predictions: Sequence[str], scores: np.ndarray, labels: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return true and predicted class names (N,), and the probability of each prediction (N,)."""
        return np.array(targets, object), np.array(predictions, object), scores[:, 0]

    def purpose(self, labels: Sequence[str], listed: str) -> str:
        """Return the number of classes, and the classes."""
        return f"It predicts one of {len(labels)} classes: {listed}."

    def limits(self, rejects: str | None) -> str:
        """Return a sentence that says when the model predicts a class, and when it predicts the reject label."""
        if rejects is None:
            return (
                "It predicts one of its classes for any recording, including recordings unlike anything it was trained "
                "on."
            )
        return (
            f"earmark predicts `{rejects}` below the thresholds in `decision.json`. They were fitted on clips like the "
            "training clips, so other sounds may still be predicted as one of the classes. Programs that do not "
            "read the file predict one of its classes for any recording."
        )

    def section(self, clips: ScoredClips) -> Section:
        """Return confusion matrix, calibration and mistakes."""
        from earmark.tasks.single_label_section import class_section

        return class_section(clips)

    def target_text(self, target: object, labels: Sequence[str]) -> str:
        """Return the name of the class."""
        return repr(target)

    def as_numbers(
        self, read: Sequence[tuple[np.ndarray, np.ndarray]], labels: list[str]
    ) -> tuple[list[str], list[tuple[np.ndarray, np.ndarray]]]:
        """Return all classes that occur, and targets and predictions as their indices."""
        labels = sorted({label for targets, predictions in read for label in (*targets, *predictions)})
        index = {label: i for i, label in enumerate(labels)}

        def indices(names: np.ndarray) -> np.ndarray:
            return np.array([index[name] for name in names])

        return labels, [(indices(targets), indices(predictions)) for targets, predictions in read]

    def compare(self, clips: ComparedClips) -> tuple[Compared, dict[str, float]]:
        """Compare accuracy and macro-F1."""
        from earmark.tasks.single_label_comparison import compare_classes

        majority = float(np.bincount(clips.targets).max() / len(clips.targets))
        compared = compare_classes(clips.targets, clips.predictions, len(clips.labels), clips.units)
        return compared, {"accuracy": majority}

    def support(self, targets: np.ndarray, labels: Sequence[str]) -> list[int]:
        """Return the number of clips of each class."""
        counts: list[int] = np.bincount(targets, minlength=len(labels)).tolist()
        return counts

    def side(self, targets: np.ndarray, labels: Sequence[str], better: ComparedRun, worse: ComparedRun) -> Side:
        """Return the clips that only the better run predicts correctly."""
        from earmark.tasks.single_label_section import class_side

        return class_side(targets, labels, better, worse)
