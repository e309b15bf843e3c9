"""The part of the contract of a task that is about files and pages; :mod:`earmark.tasks.task` has the rest.

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
class ShownFigure:
    """A figure that tables of several runs show.

    Attributes:
        name: its key in ``metrics.json``.
        title: heading of its column.
        curve: what people call it where its course over a training is drawn; empty if it is not drawn.
        trivial: what the figure is called of a model that knows nothing of the sound; empty if there is none.
    """

    name: str
    title: str
    curve: str = ""
    trivial: str = ""


class ReportedTask(ABC):
    """What result files, model cards and reports say, with the answers that fit one number for each clip.

    Attributes:
        row_columns: columns of ``predictions_SPLIT.csv`` that no other task with fewer of them has.
        shown_figures: columns of tables of several runs, the headline first; all figures of :meth:`compare` are here.
        report_template: file of :mod:`earmark.report` that the report of a split is made from.
        better: what tables say of the better of two answers to a clip.
        digits: how a figure is written.
        paired_test: what a table and a sentence call the test of two models on the same clips.
        tested_clips: which clips decide that test, if it looks at a part of the answers only.
    """

    row_columns: ClassVar[tuple[str, ...]] = ("error",)
    shown_figures: ClassVar[tuple[ShownFigure, ...]] = (
        ShownFigure("mae", "MAE", curve="MAE", trivial="MAE of always predicting the median"),
        ShownFigure("rmse", "RMSE", curve="RMSE"),
        ShownFigure("median_mae", "MAE of the median"),
    )
    report_template: ClassVar[str] = "regression.html"
    better: ClassVar[str] = "is nearer"
    digits: ClassVar[str] = ".4g"
    paired_test: ClassVar[tuple[str, str]] = ("Wilcoxon", "Wilcoxon's signed-rank test")
    tested_clips: ClassVar[str] = ""

    @property
    def titles(self) -> dict[str, str]:
        """Headings of the figures that tables show, by figure."""
        return {figure.name: figure.title for figure in self.shown_figures}

    @property
    def curves(self) -> dict[str, str]:
        """What people call the figures whose course over a training is drawn, by figure."""
        return {figure.name: figure.curve for figure in self.shown_figures if figure.curve}

    @property
    def trivial_titles(self) -> dict[str, str]:
        """What figures of a model are called that knows nothing of the sound, by figure."""
        return {figure.name: figure.trivial for figure in self.shown_figures if figure.trivial}

    @abstractmethod
    def answers(self, logits: np.ndarray, thresholds: np.ndarray | float | None = None) -> np.ndarray:
        """Return what is compared with the targets; see :meth:`earmark.tasks.task.Task.answers`."""

    # ---------------------------------------------------------------- rows of predictions

    def prediction_rows(
        self, sources: Sequence[str], clips: LabelledScores, decision: Decision
    ) -> tuple[list[str], Iterator[list[object]]]:
        """Return the columns and rows of ``predictions_SPLIT.csv``.

        The columns begin with ``path``, ``label`` and ``predicted``.

        Args:
            sources: what N clips are called.
            clips: their scores, float32.
            decision: how the model answers.
        """
        rows: Iterator[list[object]] = (
            [source, f"{target:.6g}", f"{answer:.6g}", f"{answer - target:.6g}"]
            for source, target, answer in zip(sources, clips.targets, clips.scores[:, 0], strict=True)
        )
        return ["path", "label", "predicted", "error"], rows

    def score_columns(self, columns: Sequence[str]) -> list[str]:
        """Return which columns of these rows hold the scores."""
        return []

    def read_rows(
        self, targets: Sequence[str], answers: Sequence[str], scores: np.ndarray, labels: Sequence[str]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return targets, answers and scores of N rows.

        Args:
            targets: cells of ``label``.
            answers: cells of ``predicted``.
            scores: of :meth:`score_columns`, float64 (N, S).
            labels: names in these columns, S of them.

        Raises:
            ValueError, KeyError: a cell is damaged.
        """
        numbers = np.array(answers, np.float64)
        return np.array(targets, np.float64), numbers, numbers

    # ---------------------------------------------------------------- model card

    def purpose(self, labels: Sequence[str], listed: str) -> str:
        """Return a sentence about what a model does.

        Args:
            labels: C class names.
            listed: the first of them, in words.
        """
        return f"It predicts a number, {listed}."

    def limits(self, rejects: str | None) -> str:
        """Return a sentence about sounds unlike anything a model was trained on.

        Args:
            rejects: the answer it gives if it is not sure; ``None`` if it always names a class.
        """
        return "It predicts a number for any recording, also for sounds unlike anything it was trained on."

    # ---------------------------------------------------------------- report

    def section(self, clips: ScoredClips) -> Section:
        """Return what the report says about a split."""
        from earmark.tasks.regression_section import number_section

        return number_section(clips, self.answers(clips.logits))

    def counted_labels(self, count: int) -> str:
        """Return ``"12 classes"``: how many there are."""
        return counted(count, "class")

    def target_text(self, target: object, labels: Sequence[str]) -> str:
        """Return what is right for a clip, in words."""
        return f"{target:.6g}"

    def as_numbers(
        self, read: Sequence[tuple[np.ndarray, np.ndarray]], labels: list[str]
    ) -> tuple[list[str], list[tuple[np.ndarray, np.ndarray]]]:
        """Return the class names of several runs, and their targets and answers as numbers.

        Args:
            read: targets and answers of each run, of :meth:`read_rows`.
            labels: names in the columns of the scores.
        """
        return labels, list(read)

    def compare(self, clips: ComparedClips) -> tuple[Compared, dict[str, float]]:
        """Hold models against the first of them.

        Args:
            clips: what is right, and what each model answers.

        Returns:
            Figures and differences, and what a model gets that knows nothing of the sound, by figure.
        """
        from earmark.tasks.regression_comparison import compare_numbers

        targets = clips.targets
        compared = compare_numbers(targets, clips.answers, clips.units)
        return compared, {"mae": float(np.abs(targets - np.median(targets)).mean())}

    def support(self, targets: np.ndarray, labels: Sequence[str]) -> list[int]:
        """Return the clips of each class, (C,); empty without classes."""
        return []

    def gaps(self, targets: np.ndarray, first: np.ndarray, other: np.ndarray) -> dict[str, object] | None:
        """Return how the errors of two runs' answers differ, clip by clip; ``None`` if answers are right or wrong."""
        from earmark.tasks.regression_section import gap_values

        return gap_values(targets, first, other)

    def side(self, targets: np.ndarray, labels: Sequence[str], better: ComparedRun, worse: ComparedRun) -> Side:
        """Return the clips that ``better`` does better than ``worse``."""
        from earmark.tasks.regression_section import number_side

        return number_side(targets, labels, better, worse)
