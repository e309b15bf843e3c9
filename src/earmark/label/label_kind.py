"""The interface of decisions about a clip: one label, or several.

Shapes: N clips, C classes.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from earmark.clips.clip import Clip
from earmark.errors import UsageError
from earmark.tasks.decision import Decision as ModelDecision

_LONGEST_LABEL = 200

# ("label", "dog"), ("labels", ("dog", "rain")), ("aside", "none"), or None without a decision
Decision = tuple[str, str | tuple[str, ...]] | None


class LabelKind(Protocol):
    """How to write, propose and order one kind of label.

    Attributes:
        several: whether a clip can have several labels.
        aside: reasons to set a clip aside, with their text.
    """

    several: bool
    aside: Mapping[str, str]

    def read(self, cell: str) -> Decision:
        """Return the decision in a cell of ``labels.csv``; ``None`` for a clip without a decision.

        Raises:
            OutputError: the cell cannot be read.
        """

    def write(self, decision: Decision) -> str:
        """Return the cell for a decision about labels."""

    def checked(self, decision: Decision) -> Decision:
        """Return a decision in the form that :meth:`read` returns.

        Raises:
            UsageError: the decision is not of this kind.
        """

    def names(self, decision: Decision) -> tuple[str, ...]:
        """Return the labels in a decision."""

    def given(self, clip: Clip) -> Decision:
        """Return the existing label of a clip."""

    def proposed(self, probabilities: np.ndarray, labels: Sequence[str], decision: ModelDecision) -> Decision:
        """Return the proposal for a clip with probabilities (C,), using the model's thresholds if it has any."""

    def choices(self, probabilities: np.ndarray, labels: Sequence[str], most: int) -> list[tuple[str, float]]:
        """Return at most ``most`` labels with their probabilities, in the order of the page's keys."""

    def why(self, probabilities: np.ndarray, labels: Sequence[str], proposed: Decision, given: Decision) -> str:
        """Return the reason to check a clip, as text."""

    def doubts(self, probabilities: np.ndarray) -> np.ndarray:
        """Return how unsure the model is about each clip, float64 (N,), at least 0, from probabilities (N, C)."""

    def sureness(self, probabilities: np.ndarray) -> np.ndarray:
        """Return how sure the model is of its proposal for each clip, float (N,)."""

    def trust(self, probabilities: np.ndarray, given: Sequence[Decision], labels: Sequence[str]) -> np.ndarray:
        """Return how much the model agrees with the existing label of each clip, float (N,)."""


def checked_label(text: str) -> str:
    """Return a label without surrounding blanks.

    Raises:
        UsageError: the label is empty, too long, or has characters that manifests cannot contain.
    """
    label = text.strip()
    if not label:
        raise UsageError("the label is empty. Enter a label")
    # control characters, surrogates, line breaks
    if len(label) > _LONGEST_LABEL or any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in label):
        raise UsageError(
            f"the label is too long or has control characters. Use at most {_LONGEST_LABEL} characters, in one line"
        )
    return label
