"""The interface of a task: everything that differs between one class, several labels and a number for each clip.

To add a task, write one file with a subclass of :class:`Task` and register it in :mod:`earmark.tasks.task_registry`;
``tests/tasks/test_toy_task.py`` is an example. No other code compares tasks.

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

# a class name, the names of all labels of a clip (possibly none), or a number
Label = str | tuple[str, ...] | float
NO_LABEL = -100  # PyTorch's ignore_index, for rows that pad a batch: their loss is 0, and Trainer does not count them


class LabelText(Protocol):
    """The text of a label, from a table cell or a folder name, which each task parses with one of these methods.

    The methods raise an error if the text has another form. The table adds the row to that error.
    """

    def one_class(self) -> str | None:
        """Return the name of one class; ``None`` if it is missing."""

    def classes(self) -> tuple[str, ...]:
        """Return the names of all classes, possibly none."""

    def number(self) -> float:
        """Return a finite number."""


@dataclass(frozen=True)
class FigureOptions:
    """Options for computing metrics.

    Attributes:
        thresholds: from :meth:`Task.thresholds`, float (C,); ``None`` for the default.
        units: groups that intervals treat as a whole; ``None`` for single clips.
        intervals: whether to compute the intervals that take most of the time.
    """

    thresholds: np.ndarray | None = None
    units: Units | None = None
    intervals: bool = True


ALL_FIGURES = FigureOptions()


@dataclass(frozen=True)
class LossSettings:
    """Settings of a loss.

    Attributes:
        label_smoothing: fraction of each target that is spread over all classes, from 0 to below 1.
        focal_gamma: exponent of the focal loss, 0 or more; 0 gives the plain loss.
        class_weights: from :meth:`Task.class_weights`, float32 (C,); ``None`` for 1 each.
        unit: mean and standard deviation of the numbers of a regression. Logits are in the unit of these numbers,
            targets are standardised.
    """

    label_smoothing: float = 0.0
    focal_gamma: float = 0.0
    class_weights: torch.Tensor | None = None
    unit: tuple[float, float] | None = None


@dataclass(frozen=True)
class LinearProblem:
    """The data and settings for fitting a linear head.

    Attributes:
        embeddings: embeddings of N clips, float64 (N, D).
        targets: from :meth:`Task.targets`.
        labels: C class names.
        folds: returns the fold of each clip.
        balanced: whether every class has the same total weight, however many clips it has.
        seed: random seed.
    """

    embeddings: np.ndarray
    targets: np.ndarray
    labels: Sequence[str]
    folds: Callable[[], Sequence[str]]
    balanced: bool
    seed: int


class Task(ReportedTask):
    """A task of a model. The defaults fit a task with one number for each clip.

    Attributes:
        name: name in ``--task`` and in files.
        in_words: the kind of label, for messages: ``one label a clip``.
        problem_type: Transformers' name of the task in ``config.json``; ``None`` if it has none.
        has_classes: whether labels are class names, with one output of the model for each class.
        has_several: whether a clip may have several labels, or none.
        metrics: the metrics that can select a model, and whether a higher value of each is better; the headline first.
        score_function: a server's name for the function from logits to scores.
        difference_unit: unit of a difference between two scores: ``in a probability``.
        no_label: end of the message about a clip without a label: ``has no label``.
        no_label_hint: how a table marks a clip that none of the labels applies to; empty if each clip has a label.
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

        return find_task, (self.name,)  # so that unpickling and copying return the registered object

    @property
    def has_one_class(self) -> bool:
        """Whether each clip has exactly one class, so that probabilities add up to 1."""
        return self.has_classes and not self.has_several

    # ---------------------------------------------------------------- labels

    def read_label(self, text: LabelText) -> Label | None:
        """Return the label in a table cell or folder name; ``None`` if it is missing."""
        return text.number()

    def targets(self, labels: Sequence[Label], classes: Sequence[str]) -> np.ndarray:
        """Return N labels as numbers, for the loss and for metrics.

        Args:
            labels: N labels of this task.
            classes: names of the C outputs.

        Returns:
            (N,) or (N, C), in the dtype that the loss expects.
        """
        return np.array(labels, np.float32)

    def unit(self, targets: np.ndarray) -> tuple[float, float] | None:
        """Return mean and standard deviation of targets (N,) to standardise; ``None`` if they are used as they are."""
        return None

    # ---------------------------------------------------------------- training

    def class_weights(
        self, given: Mapping[str, float] | None, labels: Sequence[str], targets: np.ndarray, *, even: bool
    ) -> np.ndarray:
        """Return the weight of each class in the loss, float64 (C,).

        Args:
            given: weights by class, 1 for classes that are not listed; ``None`` for balanced weights.
            labels: C class names.
            targets: targets of the training clips.
            even: whether the sampler draws each class equally often, however many clips it has.
        """
        return np.ones(len(labels))

    def loss(self, how: LossSettings) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
        """Return a function from logits (B, C) and targets to losses, float32 (B,), 0 where the target is NO_LABEL."""
        from earmark.tasks.regression_loss import NumberLoss

        return NumberLoss(how.unit or (0.0, 1.0))

    def fit_linear(self, to: LinearProblem) -> tuple[np.ndarray, np.ndarray, FittedHead]:
        """Fit a linear map from embeddings to logits.

        Returns:
            ``(weights, bias, fitted)``: float64 (C, D) and (C,), for embeddings that are not standardised.
        """
        from earmark.tasks.linear_fits import fit_number

        return fit_number(to.embeddings, self.logits(to.targets[:, None])[:, 0], to.folds())

    # ---------------------------------------------------------------- scores

    @abstractmethod
    def scores(self, logits: np.ndarray) -> np.ndarray:
        """Return the scores of logits (..., C), in the same dtype: probabilities, or the number itself."""

    @abstractmethod
    def logits(self, scores: np.ndarray) -> np.ndarray:
        """Return the logits of ``scores``, float32 (..., C); the nearest finite ones for probabilities of 0 and 1."""

    def scores_in_graph(self, logits: torch.Tensor) -> torch.Tensor:
        """Return :meth:`scores` of a tensor (B, C), with operators that can be exported."""
        return logits

    def pooled(self, logits: np.ndarray, starts: np.ndarray | None = None) -> np.ndarray:
        """Return the logits of the mean score over the windows of each clip.

        Args:
            logits: logits of K windows, float32 (K, C), clip after clip.
            starts: the first window of each of N clips, int64 (N,); ``None`` if all windows belong to one clip.

        Returns:
            float32 (N, C), or (C,) for one clip.
        """
        if len(logits) == (1 if starts is None else len(starts)):
            only: np.ndarray = logits[0] if starts is None else logits
            return only
        return self.logits(pool(self.scores(logits if starts is None else logits.astype(np.float64)), starts))

    def predictions(self, logits: np.ndarray, thresholds: np.ndarray | float | None = None) -> np.ndarray:
        """Return the predictions, in the form of the targets.

        Args:
            logits: float (N, C).
            thresholds: see :meth:`thresholds`; ``None`` for the default.
        """
        return self.scores(logits)[:, 0]

    def right(self, logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return which of N clips have a fully correct prediction, bool (N,)."""
        equal = self.predictions(logits) == targets
        return equal if equal.ndim == 1 else equal.all(axis=1)

    def differs(self, given: np.ndarray, expected: np.ndarray) -> np.ndarray:
        """Return for which clips two models predict different classes, bool (N,), from their scores (N, C).

        Always ``False`` for numbers, which are compared by their difference alone.
        """
        return np.zeros(len(given), dtype=bool)

    def spread(self, scores: np.ndarray) -> float:
        """Return the unit for differences of scores (N, C): their standard deviation, or 1 if they are all equal."""
        return float(scores.std()) or 1.0

    # ---------------------------------------------------------------- metrics

    def figures(
        self, logits: np.ndarray, targets: np.ndarray, labels: Sequence[str], how: FigureOptions = ALL_FIGURES
    ) -> Figures:
        """Return all metrics of one split.

        Args:
            logits: float (N, C), N >= 1.
            targets: from :meth:`targets`.
            labels: C class names.
            how: thresholds and intervals.

        Raises:
            DataError: no clips.
            ModelError: logits that are NaN or infinite.
        """
        from earmark.tasks.regression_figures import compute_regression

        return compute_regression(self.scores(logits), targets, how.units)

    def example(self, labels: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return targets and logits of a few correctly predicted clips, to try metrics on."""
        numbers = np.arange(1, 3, dtype=np.float32)
        return numbers, self.logits(numbers[:, None])

    # ---------------------------------------------------------------- decision

    def why_not_fitted(self, asked: Sequence[str]) -> str | None:
        """Return why settings do not apply to this task; ``None`` if they do.

        Args:
            asked: names of the decision settings that were given, at least one.
        """
        flags = ", ".join(f"--{name}" for name in asked)
        return f"{flags}: {self.in_words} has no probability to calibrate and no threshold. Leave these flags out."

    def fit_temperature(self, windows: WindowLogits, targets: np.ndarray) -> float:
        """Return the temperature, from 0.05 to 20, that calibrates the probabilities best."""
        return 1.0

    def fit_thresholds(
        self, clips: LabelledScores, wanted: WantedThresholds, decision: Decision
    ) -> tuple[Decision, list[str]]:
        """Return the decision with thresholds, and a line for each target that cannot be reached.

        Args:
            clips: the clips to fit on.
            wanted: the targets that the predictions have to reach.
            decision: a decision without thresholds.
        """
        return decision, []

    def thresholds(self, decision: Decision, labels: Sequence[str]) -> np.ndarray | None:
        """Return the lowest score at which each class is predicted, float64 (C,); ``None`` for no thresholds."""
        return None

    def decided(self, scores: np.ndarray, labels: Sequence[str], decision: Decision) -> np.ndarray:
        """Return the predictions that a decision makes from scores (N, C), in the form of the targets."""
        return scores

    def decision_figures(self, clips: LabelledScores, predictions: np.ndarray, decision: Decision) -> dict[str, object]:
        """Return metrics of the predictions of :meth:`decided`, by name."""
        return {}

    def top(self, scores: np.ndarray, labels: Sequence[str], top_k: int, decision: Decision) -> list[Prediction]:
        """Return the predictions for a clip with scores (C,), most likely first: at least ``top_k`` labels."""
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [{"label": labels[i], "score": float(scores[i])} for i in order]
