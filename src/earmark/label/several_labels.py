"""Clips with any number of labels. Giving a clip no labels is also a decision; its cell is empty."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from earmark.clips.clip import Clip, join_labels
from earmark.clips.columns import Columns
from earmark.errors import OutputError, UsageError
from earmark.formats.cell_text import is_missing
from earmark.formats.sheet import CellError
from earmark.label import order
from earmark.label.label_kind import Decision, LabelKind, checked_label
from earmark.label.one_label import most_likely
from earmark.sources.tables.cells import parse_label
from earmark.tasks import MULTI_LABEL
from earmark.tasks.decision import Decision as ModelDecision

_MOST_NAMED = 3
_DOUBTED = (0.1, 0.9)  # probabilities between these are shown as doubtful


class SeveralLabels(LabelKind):
    """Any number of labels per clip, including none.

    Args:
        separator: text between labels in a cell of ``labels.csv``.
    """

    several = True
    aside: Mapping[str, str] = {"unclear": "unclear which labels it has"}

    def __init__(self, separator: str = ",") -> None:
        self._separator = separator

    def read(self, cell: str) -> Decision:
        """Return the labels in a cell, read as in manifests. An empty cell means no labels."""
        return _read(cell, self._separator)

    def write(self, decision: Decision) -> str:
        """Return the labels joined by the separator, or a JSON list if that could be misread."""
        names = self.names(decision)
        text = join_labels(names, self._separator)
        return json.dumps(list(names), ensure_ascii=False) if text and is_missing(text) else text

    def checked(self, decision: Decision) -> Decision:
        """Return the decision with unique labels in alphabetical order."""
        if decision is None or decision[0] != "labels" or isinstance(decision[1], str):
            raise UsageError("not a list of labels. Send a list")
        return _labels(map(checked_label, decision[1]))

    def names(self, decision: Decision) -> tuple[str, ...]:
        """Return all labels."""
        if decision is None or isinstance(decision[1], str):
            return ()
        return decision[1]

    def given(self, clip: Clip) -> Decision:
        """Return the existing labels of the clip."""
        return _labels(clip.classes)

    def proposed(self, probabilities: np.ndarray, labels: Sequence[str], decision: ModelDecision) -> Decision:
        """Return the labels that reach their thresholds."""
        present = decision.present(probabilities, labels)
        return _labels(name for name, is_present in zip(labels, present, strict=True) if is_present)

    def choices(self, probabilities: np.ndarray, labels: Sequence[str], most: int) -> list[tuple[str, float]]:
        """Return all labels in the model's order, so that keys stay the same; the most likely ones if keys run out."""
        if len(labels) > most:
            return most_likely(probabilities, labels, most)
        return [(name, float(one)) for name, one in zip(labels, probabilities, strict=True)]

    def why(self, probabilities: np.ndarray, labels: Sequence[str], proposed: Decision, given: Decision) -> str:
        """Return the labels that the model doubts, or how its prediction contradicts the existing labels."""
        if given is not None:
            return self._contradiction(probabilities, labels, proposed, given)
        low, high = _DOUBTED
        doubted = [i for i in np.argsort(np.abs(probabilities - 0.5), kind="stable") if low < probabilities[i] < high]
        if not doubted:
            return "the model is sure of every label"
        return f"in doubt: {', '.join(f'{labels[i]!r} {probabilities[i]:.2f}' for i in doubted[:_MOST_NAMED])}"

    def _contradiction(
        self, probabilities: np.ndarray, labels: Sequence[str], proposed: Decision, given: Decision
    ) -> str:
        of, has, hears = dict(zip(labels, probabilities, strict=True)), self.names(given), self.names(proposed)
        parts = [f"{name!r}, a label that the model does not have" for name in has if name not in of]
        doubted = sorted((name for name in has if name in of and name not in hears), key=lambda name: of[name])
        parts += [f"{name!r} (probability {of[name]:.2f})" for name in doubted]
        missed = sorted((name for name in hears if name not in has), key=lambda name: -of[name])
        predicted = ", ".join(f"{name!r} {of[name]:.2f}" for name in missed[:_MOST_NAMED])
        if not parts and not missed:
            return f"the model agrees with {', '.join(map(repr, has)) if has else 'no label'}"
        labelled = f"labelled {'; '.join(parts[:_MOST_NAMED])}" if parts else ""
        return "; ".join(filter(None, [labelled, f"not labelled, but predicted: {predicted}" if missed else ""]))

    def doubts(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the entropy of all labels."""
        return order.entropies(probabilities)

    def sureness(self, probabilities: np.ndarray) -> np.ndarray:
        """Return minus the entropy of all labels."""
        return -order.entropies(probabilities)

    def trust(self, probabilities: np.ndarray, given: Sequence[Decision], labels: Sequence[str]) -> np.ndarray:
        """Return the lowest agreement with an existing or missing label."""
        index = {name: i for i, name in enumerate(labels)}
        there = np.zeros(probabilities.shape, dtype=bool)
        unknown = np.zeros(len(given), dtype=bool)
        for row, one in enumerate(given):
            for name in self.names(one):
                if name in index:
                    there[row, index[name]] = True
                else:
                    unknown[row] = True
        return order.least_agreement(probabilities, there, unknown)


def _labels(names: Iterable[str]) -> Decision:
    return "labels", tuple(sorted(set(names)))


@functools.lru_cache(maxsize=100_000)  # the page's counts read the cells of all clips
def _read(cell: str, separator: str) -> Decision:
    try:
        label = parse_label(cell, Columns(task=MULTI_LABEL, separator=separator))
    except CellError as exc:
        raise OutputError(f"labels.csv: {exc}. Fix the file; earmark has not changed it") from exc
    return _labels(label) if isinstance(label, tuple) else None
