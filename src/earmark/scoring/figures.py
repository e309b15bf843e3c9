"""What the figures of all tasks have in common, for those who show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from earmark.errors import DataError, ModelError


@dataclass(frozen=True)
class Headline:
    """The one figure that a result is told by.

    Attributes:
        name: its key in ``metrics.json``.
        title: for people.
        value: the figure.
        baseline: what a model that knows nothing about the sound gets.
        higher_is_better: whether a larger figure is a better one.
    """

    name: str
    title: str
    value: float
    baseline: float
    higher_is_better: bool = True


@dataclass(frozen=True)
class CardTable:
    """The figures of a split as a model card shows them.

    Attributes:
        figures: by their headings.
        explained: a sentence on the figure that stands beside the result.
        hub: what the hub lists, ``(title, value)`` by its own name of the metric.
        heads: headings of the table of classes; empty without one.
        rows: its rows.
    """

    figures: Mapping[str, float | None]
    explained: str
    hub: Mapping[str, tuple[str, float]]
    heads: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = field(default_factory=list)


class Figures(Protocol):
    """The figures of a scored split, whatever the task."""

    @property
    def num_clips(self) -> int:
        """Clips of the split."""

    @property
    def headline(self) -> Headline:
        """The figure it is told by."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for ``metrics.json``."""

    def summary_lines(self) -> list[str]:
        """The figures a person looks for first."""

    def card_table(self) -> CardTable:
        """What a model card shows."""


def check_can_judge(logits: np.ndarray, num_clips: int) -> None:
    """See that there is something to judge.

    Args:
        logits: float (N, C).
        num_clips: N.

    Raises:
        DataError: no clips.
        ModelError: logits that are NaN or infinite.
    """
    if not num_clips:
        raise DataError("no clips to judge a model by")
    check_finite(logits, "clips")


def check_finite(logits: np.ndarray, what: str) -> None:
    """See that a model answers with numbers.

    Args:
        logits: float (N, C).
        what: the rows are, for the message.

    Raises:
        ModelError: logits that are NaN or infinite.
    """
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        raise ModelError(
            f"the model answers NaN or infinity for {broken} of {len(logits)} {what}; "
            "its weights are broken, or training diverged (lower --learning_rate)"
        )


def figure(value: float | None) -> str:
    """A share with three digits, nothing where it is undefined."""
    return "" if value is None else f"{value:.3f}"
