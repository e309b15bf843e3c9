"""The contract of what a person decides about a clip: one label, or several.

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

# ("label", "dog"), ("labels", ("dog", "rain")), ("aside", "none"), or None if nothing was decided
Decision = tuple[str, str | tuple[str, ...]] | None


class LabelKind(Protocol):
    """How labels of one kind are written, proposed and put in order.

    Attributes:
        several: whether a clip has any number of labels.
        aside: reasons to set a clip aside, in words.
    """

    several: bool
    aside: Mapping[str, str]

    def read(self, cell: str) -> Decision:
        """Return the decision that a cell of ``labels.csv`` stands for; ``None`` for a clip without a decision.

        Raises:
            OutputError: the cell cannot be read.
        """

    def write(self, decision: Decision) -> str:
        """Return the cell of a decision about labels."""

    def checked(self, decision: Decision) -> Decision:
        """Return a decision about labels as :meth:`read` returns it.

        Raises:
            UsageError: it is not one of this kind.
        """

    def names(self, decision: Decision) -> tuple[str, ...]:
        """Return the labels that a decision names."""

    def given(self, clip: Clip) -> Decision:
        """Return the label that a clip comes with."""

    def proposed(self, probabilities: np.ndarray, labels: Sequence[str], decision: ModelDecision) -> Decision:
        """Return the proposal for a clip with probabilities (C,), with the thresholds of the model if it has any."""

    def choices(self, probabilities: np.ndarray, labels: Sequence[str], most: int) -> list[tuple[str, float]]:
        """Return at most ``most`` labels with their probabilities, in the order of the keys of the page."""

    def why(self, probabilities: np.ndarray, labels: Sequence[str], proposed: Decision, given: Decision) -> str:
        """Return what is worth a look about a clip."""

    def doubts(self, probabilities: np.ndarray) -> np.ndarray:
        """Return how unsure a model is of each clip, float64 (N,), 0 or more, of probabilities (N, C)."""

    def sureness(self, probabilities: np.ndarray) -> np.ndarray:
        """Return how sure a model is of its proposal for each clip, float (N,)."""

    def trust(self, probabilities: np.ndarray, given: Sequence[Decision], labels: Sequence[str]) -> np.ndarray:
        """Return how much a model agrees with the label that each clip comes with, float (N,)."""


def checked_label(text: str) -> str:
    """Return a label without blanks around it.

    Raises:
        UsageError: it is empty, too long, or has characters that no manifest holds.
    """
    label = text.strip()
    if not label:
        raise UsageError("a label has at least one letter")
    # control characters, halves of characters, line ends
    if len(label) > _LONGEST_LABEL or any(unicodedata.category(letter) in ("Cc", "Cs", "Zl", "Zp") for letter in label):
        raise UsageError(f"a label has at most {_LONGEST_LABEL} letters, in one line")
    return label
