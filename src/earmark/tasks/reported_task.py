"""The part of a task's interface for files and reports; :mod:`earmark.tasks.task` has the rest.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from earmark.text import counted

if TYPE_CHECKING:
    from earmark.stats.paired import Compared
    from earmark.tasks.decision import Decision, LabelledScores
    from earmark.tasks.report_section import ComparedClips, ComparedRun, ScoredClips, Section, Side


@dataclass(frozen=True)
class ShownMetric:
    """A metric that tables of several runs show.

    Attributes:
        name: its key in ``metrics.json``.
        title: heading of its column.
        curve: its name in training curves; empty if it has no curve.
        trivial: name of its baseline, which predictions reach without the audio; empty if it has none.
    """

    name: str
    title: str
    curve: str = ""
    trivial: str = ""


class ReportedTask(ABC):
    """The text and metrics of a task in result files, model cards and reports.

    The defaults fit a task with one number for each clip.

    Attributes:
        row_columns: columns of ``predictions_SPLIT.csv`` that identify the task.
        shown_metrics: columns of tables of several runs, the headline first, with all metrics of :meth:`compare`.
        report_template: file in :mod:`earmark.report` with the template of a split's report.
        better: end of the table heading "only RUN ...", which counts the clips where one run is better.
        digits: format of the values of metrics.
        paired_test: name of the test of two models on the same clips, in tables and in sentences.
        tested_clips: the clips that decide that test, if not all clips do.
    """

    row_columns: ClassVar[tuple[str, ...]] = ("error",)
    shown_metrics: ClassVar[tuple[ShownMetric, ...]] = (
        ShownMetric("mae", "MAE", curve="MAE", trivial="MAE of always predicting the median"),
        ShownMetric("rmse", "RMSE", curve="RMSE"),
        ShownMetric("median_mae", "MAE of the median"),
    )
    report_template: ClassVar[str] = "regression.html"
    better: ClassVar[str] = "is closer"
    digits: ClassVar[str] = ".4g"
    paired_test: ClassVar[tuple[str, str]] = ("Wilcoxon", "Wilcoxon's signed-rank test")
    tested_clips: ClassVar[str] = ""

    @property
    def titles(self) -> dict[str, str]:
        """Headings of metrics in tables, by metric."""
        return {metric.name: metric.title for metric in self.shown_metrics}

    @property
    def curves(self) -> dict[str, str]:
        """Names of the metrics that have a training curve, by metric."""
        return {metric.name: metric.curve for metric in self.shown_metrics if metric.curve}

    @property
    def trivial_titles(self) -> dict[str, str]:
        """Names of the baselines of metrics, by metric."""
        return {metric.name: metric.trivial for metric in self.shown_metrics if metric.trivial}

    @abstractmethod
    def predictions(self, logits: np.ndarray, thresholds: np.ndarray | float | None = None) -> np.ndarray:
        """Return the predictions, in the form of the targets; see :meth:`earmark.tasks.task.Task.predictions`."""

    # ---------------------------------------------------------------- rows of predictions

    def prediction_rows(
        self, sources: Sequence[str], clips: LabelledScores, decision: Decision
    ) -> tuple[list[str], Iterator[list[object]]]:
        """Return the columns and rows of ``predictions_SPLIT.csv``.

        The columns begin with ``path``, ``label`` and ``predicted``.

        Args:
            sources: names of N clips.
            clips: their scores, float32.
            decision: temperature and thresholds of the model.
        """
        rows: Iterator[list[object]] = (
            [source, f"{target:.6g}", f"{predicted:.6g}", f"{predicted - target:.6g}"]
            for source, target, predicted in zip(sources, clips.targets, clips.scores[:, 0], strict=True)
        )
        return ["path", "label", "predicted", "error"], rows

    def score_columns(self, columns: Sequence[str]) -> list[str]:
        """Return which columns of these rows hold the scores."""
        return []

    def read_rows(
        self, targets: Sequence[str], predictions: Sequence[str], scores: np.ndarray, labels: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return targets, predictions and scores of N rows.

        Args:
            targets: cells of the column ``label``.
            predictions: cells of the column ``predicted``.
            scores: values of :meth:`score_columns`, float64 (N, S).
            labels: S names in the headings of these columns.

        Raises:
            ValueError, KeyError: a cell is damaged.
        """
        numbers = np.array(predictions, np.float64)
        return np.array(targets, np.float64), numbers, numbers

    # ---------------------------------------------------------------- model card

    def purpose(self, labels: Sequence[str], listed: str) -> str:
        """Return a sentence about what a model predicts.

        Args:
            labels: C class names.
            listed: the first of them, as text.
        """
        return f"It predicts a number, {listed}."

    def limits(self, rejects: str | None) -> str:
        """Return a sentence about recordings unlike anything a model was trained on.

        Args:
            rejects: the reject label; ``None`` if the model always predicts a class.
        """
        return "It predicts a number for any recording, including recordings unlike anything it was trained on."

    # ---------------------------------------------------------------- report

    def section(self, clips: ScoredClips) -> Section:
        """Return the part of a split's report that depends on the task."""
        from earmark.tasks.regression_section import number_section

        return number_section(clips, self.predictions(clips.logits))

    def counted_labels(self, count: int) -> str:
        """Return the number of classes in words: ``"12 classes"``."""
        return counted(count, "class")

    def target_text(self, target: object, labels: Sequence[str]) -> str:
        """Return the target of a clip as text."""
        return f"{target:.6g}"

    def as_numbers(
        self, read: Sequence[tuple[np.ndarray, np.ndarray]], labels: list[str]
    ) -> tuple[list[str], list[tuple[np.ndarray, np.ndarray]]]:
        """Return the class names of several runs, and their targets and predictions as numbers.

        Args:
            read: targets and predictions of each run, from :meth:`read_rows`.
            labels: names in the headings of the score columns.
        """
        return labels, list(read)

    def compare(self, clips: ComparedClips) -> tuple[Compared, dict[str, float]]:
        """Compare models with the first one.

        Args:
            clips: the targets, and scores and predictions of each model.

        Returns:
            Metrics and differences, and the baselines by metric.
        """
        from earmark.tasks.regression_comparison import compare_numbers

        targets = clips.targets
        compared = compare_numbers(targets, clips.predictions, clips.units)
        return compared, {"mae": float(np.abs(targets - np.median(targets)).mean())}

    def support(self, targets: np.ndarray, labels: Sequence[str]) -> list[int]:
        """Return the number of clips of each class, (C,); empty without classes."""
        return []

    def gaps(self, targets: np.ndarray, first: np.ndarray, other: np.ndarray) -> dict[str, object] | None:
        """Return a histogram of how the errors of two runs differ; ``None`` if predictions are only right or wrong."""
        from earmark.tasks.regression_section import gap_values

        return gap_values(targets, first, other)

    def side(self, targets: np.ndarray, labels: Sequence[str], better: ComparedRun, worse: ComparedRun) -> Side:
        """Return the clips that ``better`` predicts better than ``worse``."""
        from earmark.tasks.regression_section import number_side

        return number_side(targets, labels, better, worse)
