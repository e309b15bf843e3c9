"""The contract of a task: everything that differs between one class, several labels and a number.

A new task is one file with a subclass of :class:`Task`, and its line in :mod:`earmark.tasks.task_registry`.
``tests/tasks/test_toy_task.py`` is an example. Nothing else asks which task it is.

Shapes: N clips, W windows of a clip, C classes; C is 1 in a regression.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Protocol

import numpy as np

from earmark.tasks.pooling import pool
from earmark.tasks.reported_task import ReportedTask

if TYPE_CHECKING:
    import torch

    from earmark.stats.uncertainty import Units
    from earmark.tasks.calibration import WindowLogits
    from earmark.tasks.decision import Decision, LabelledScores, Prediction, WantedThresholds
    from earmark.tasks.figures import Figures
    from earmark.tasks.linear_fits import FittedHead

# a class name, the names of all labels of a clip (none is possible), or a number
Label = str | tuple[str, ...] | float
NO_LABEL = -100  # torch's own, of a row that only fills up a batch: its loss is 0, and Trainer does not count it


class LabelText(Protocol):
    """What a cell, or the name of a folder, says about a clip; a task takes it as one of these.

    Each raises an error that the table reports with the row if the text is of another kind.
    """

    def one_class(self) -> str | None:
        """Return the name of one class; ``None`` if it is missing."""

    def classes(self) -> tuple[str, ...]:
        """Return the names of several classes, of which there may be none."""

    def number(self) -> float:
        """Return a finite number."""


@dataclass(frozen=True)
class FigureOptions:
    """How figures are computed.

    Attributes:
        thresholds: of :meth:`Task.thresholds`, float (C,); ``None`` for the default.
        units: what intervals are over; ``None`` for clips.
        intervals: whether intervals that take most of the time are wanted.
    """

    thresholds: np.ndarray | None = None
    units: Units | None = None
    intervals: bool = True


ALL_FIGURES = FigureOptions()


@dataclass(frozen=True)
class LossSettings:
    """How a loss is taken.

    Attributes:
        label_smoothing: fraction of each target that is spread over all classes, from 0 to below 1.
        focal_gamma: exponent of the focal loss, 0 or more; 0 for none.
        class_weights: of :meth:`Task.class_weights`, float32 (C,); ``None`` for 1 each.
        unit: mean and deviation of the numbers of a regression: logits are in their unit, targets in deviations.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    class_weights: torch.Tensor | None = None
    unit: tuple[float, float] | None = None


@dataclass(frozen=True)
class LinearProblem:
    """What a linear head is fitted to.

    Attributes:
        embeddings: of N clips, float64 (N, D).
        targets: of :meth:`Task.targets`.
        labels: C class names.
        folds: returns the fold of each clip.
        balanced: whether every class counts the same, however many clips it has.
        seed: of what is drawn.
    """

    embeddings: np.ndarray
    targets: np.ndarray
    labels: Sequence[str]
    folds: Callable[[], Sequence[str]]
    balanced: bool
    seed: int


class Task(ReportedTask):
    """A task of a model, with the defaults that fit one number for each clip.

    Attributes:
        name: what ``--task`` and files call it.
        in_words: what a model answers, for messages.
        problem_type: what Transformers calls it in ``config.json``; ``None`` if it has no word for it.
        has_classes: whether labels are names of classes, of which the model has one output each.
        has_several: whether a clip may have several labels, or none.
        metrics: the metrics that can choose a model, and whether a higher value of each is better; the headline first.
        score_function: what a server calls the function from logits to scores.
        difference_unit: what a difference of two scores is: ``in a probability``.
        no_label: the fault of a clip without label in a table: ``has no label``.
        no_label_hint: what a table writes instead for a clip to which no label applies; empty if each has one.
    """

    name: ClassVar[str]
    in_words: ClassVar[str]
    problem_type: ClassVar[str | None] = None
    has_classes: ClassVar[bool] = False
    has_several: ClassVar[bool] = False
    metrics: ClassVar[Mapping[str, bool]] = {
        "mae": False,
        "rmse": False,
        "r2": True,
        "pearson": True,
        "spearman": True,
        "loss": False,
    }
    score_function: ClassVar[str] = "none"
    difference_unit: ClassVar[str] = "deviations in a number"
    no_label: ClassVar[str] = "has no label"
    no_label_hint: ClassVar[str] = ""

    def __repr__(self) -> str:
        return self.name

    def __reduce__(self) -> tuple[object, ...]:
        from earmark.tasks.task_registry import find_task

        return find_task, (self.name,)  # a task is the same object in every process and copy

    @property
    def has_one_class(self) -> bool:
        """Whether each clip is of exactly one class, so that probabilities add up to 1."""
        return self.has_classes and not self.has_several

    # ---------------------------------------------------------------- labels

    def read_label(self, text: LabelText) -> Label | None:
        """Return what a cell or the name of a folder says about its clip; ``None`` if the label is missing."""
        return text.number()

    def targets(self, labels: Sequence[Label], classes: Sequence[str]) -> np.ndarray:
        """Return what N labels are as numbers: what the loss is taken against and figures are computed from.

        Args:
            labels: N labels of this task.
            classes: names of the C outputs.

        Returns:
            (N,) or (N, C), of the type that the loss takes.
        """
        return np.array(labels, np.float32)

    def unit(self, targets: np.ndarray) -> tuple[float, float] | None:
        """Return mean and deviation of numbers (N,) that are learned in deviations; ``None`` if they are not."""
        return None

    # ---------------------------------------------------------------- training

    def class_weights(
        self, given: Mapping[str, float] | None, labels: Sequence[str], targets: np.ndarray, *, even: bool
    ) -> np.ndarray:
        """Return what a clip of each class counts for, float64 (C,).

        Args:
            given: weights by class, 1 for others; ``None`` for balanced ones.
            labels: C class names.
            targets: of the training clips.
            even: whether a sampler shows each class equally often, whatever its clips.
        """
        return np.ones(len(labels))

    def loss(self, how: LossSettings) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return the loss of clips: from logits (B, C) and targets to float32 (B,), 0 where the target is NO_LABEL."""
        from earmark.tasks.regression_loss import NumberLoss

        return NumberLoss(how.unit or (0.0, 1.0))

    def fit_linear(self, to: LinearProblem) -> tuple[np.ndarray, np.ndarray, FittedHead]:
        """Fit a linear map from embeddings to logits.

        Returns:
            ``(weights, bias, fitted)``: float64 (C, D) and (C,), for embeddings as they come.
        """
        from earmark.tasks.linear_fits import fit_number

        return fit_number(to.embeddings, self.logits(to.targets[:, None])[:, 0], to.folds())

    # ---------------------------------------------------------------- scores

    @abstractmethod
    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return what logits (..., C) say: probabilities, or the number itself, in the type of the logits."""

    @abstractmethod
    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return logits float32 (..., C) that say ``scores``; of probabilities of 0 and 1 the nearest finite ones."""

    def scores_in_graph(self, logits: torch.Tensor) -> torch.Tensor:
        """Return :meth:`scores` of a tensor (B, C), with operators that can be exported."""
        return logits

    def pooled(self, logits: np.ndarray, starts: np.ndarray | None = None) -> np.ndarray:
        """Return the logits of the mean score over the windows of each clip.

        Args:
            logits: of K windows, float32 (K, C), clip after clip.
            starts: the first window of each of N clips, int64 (N,); ``None`` if all are of one clip.

        Returns:
            float32 (N, C), or (C,) of one clip.
        """
        if len(logits) == (1 if starts is None else len(starts)):
            only: np.ndarray = logits[0] if starts is None else logits
            return only
        return self.logits(pool(self.scores(logits if starts is None else logits.astype(np.float64)), starts))

    def answers(self, logits: np.ndarray, thresholds: np.ndarray | float | None = None) -> np.ndarray:
        """Return what is compared with the targets, of their shape, from logits (N, C).

        Args:
            logits: float (N, C).
            thresholds: see :meth:`thresholds`; ``None`` for the default.
        """
        return self.scores(logits)[:, 0]

    def right(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return which of N clips are answered rightly in every respect, bool (N,)."""
        equal = self.answers(logits) == targets
        return equal if equal.ndim == 1 else equal.all(axis=1)

    def differs(self, given: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Return which clips two models answer differently, bool (N,), from their scores (N, C).

        A number is judged by its difference alone.
        """
        return np.zeros(len(given), dtype=bool)

    def spread(self, scores: np.ndarray) -> float:
        """Return what a difference of scores (N, C) is measured in: their deviation; 1 if they are all the same."""
        return float(scores.std()) or 1.0

    # ---------------------------------------------------------------- figures

    def figures(
        self, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str], how: FigureOptions = ALL_FIGURES
    ) -> Figures:
        """Return all figures of one split.

        Args:
            logits: float (N, C), N >= 1.
            targets: of :meth:`targets`.
            labels: C class names.
            how: thresholds and intervals.

        Raises:
            DataError: no clips.
            ModelError: logits that are NaN or infinite.
        """
        from earmark.tasks.regression_figures import compute_regression

        return compute_regression(self.scores(logits), targets, how.units)

    def example(self, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return targets and logits of a few clips that are answered rightly, to try metrics on."""
        numbers = np.arange(1, 3, dtype=np.float32)
        return numbers, self.logits(numbers[:, None])

    # ---------------------------------------------------------------- decision

    def why_not_fitted(self, asked: Sequence[str]) -> str | None:
        """Return why settings ask for something that has no meaning here; ``None`` if they do not.

        Args:
            asked: names of the settings of a decision that are given, at least one.
        """
        return f"{self.in_words} has no probability to calibrate and no threshold; leave these flags out"

    def fit_temperature(self, windows: WindowLogits, targets: np.ndarray) -> float:
        """Return the temperature, from 0.05 to 20, at which probabilities are right as often as they say."""
        return 1.0

    def fit_thresholds(
        self, clips: LabelledScores, wanted: WantedThresholds, decision: Decision
    ) -> tuple[Decision, list[str]]:
        """Return the decision with thresholds, and lines about what could not be had.

        Args:
            clips: those to fit on.
            wanted: what is asked of the answers.
            decision: without thresholds.
        """
        return decision, []

    def thresholds(self, decision: Decision, labels: Sequence[str]) -> np.ndarray | None:
        """Return the score from which on each class is answered, float64 (C,); ``None`` if the highest one is."""
        return None

    def decided(self, scores: np.ndarray, labels: Sequence[str], decision: Decision) -> np.ndarray:
        """Return what a decision makes of scores (N, C), comparable with the targets."""
        return scores

    def decision_figures(self, clips: LabelledScores, answers: np.ndarray, decision: Decision) -> dict[str, object]:
        """Return how good the answers of :meth:`decided` are, by name."""
        return {}

    def top(self, scores: np.ndarray, labels: Sequence[str], top_k: int, decision: Decision) -> list[Prediction]:
        """Return what is answered for the scores (C,) of a clip, the most likely first: ``top_k`` labels, or more."""
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"label": labels[i], "score": float(scores[i])} for i in order]
