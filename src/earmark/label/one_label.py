"""Clips with one label each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from earmark.clips.clip import Clip
from earmark.errors import UsageError
from earmark.label import order
from earmark.label.label_kind import Decision, LabelKind, checked_label
from earmark.tasks.decision import Decision as ModelDecision


class OneLabel(LabelKind):
    """One label per clip. A clip with several classes, or none, is set aside."""

    several = False
    aside: Mapping[str, str] = {
        "several": "several classes at once",
        "none": "none of the classes, or silence",
    }

    def read(self, cell: str) -> Decision:
        """Return the label; ``None`` for an empty cell."""
        return ("label", cell) if cell.strip() else None

    def write(self, decision: Decision) -> str:
        """Return the label."""
        return "".join(self.names(decision))

    def checked(self, decision: Decision) -> Decision:
        """Return the decision with the label stripped of blanks."""
        if decision is None or decision[0] != "label" or not isinstance(decision[1], str):
            raise UsageError("not one label. Send one label")
        return "label", checked_label(decision[1])

    def names(self, decision: Decision) -> tuple[str, ...]:
        """Return the label as a tuple."""
        return (str(decision[1]),) if decision is not None and decision[0] == "label" else ()

    def given(self, clip: Clip) -> Decision:
        """Return the label of the clip."""
        return "label", clip.label_text

    def proposed(self, probabilities: np.ndarray, labels: Sequence[str], decision: ModelDecision) -> Decision:
        """Return the most likely class, even if it is below its threshold, because a person decides."""
        return "label", labels[int(np.argmax(probabilities))]

    def choices(self, probabilities: np.ndarray, labels: Sequence[str], most: int) -> list[tuple[str, float]]:
        """Return the most likely classes, the proposal first."""
        return most_likely(probabilities, labels, most)

    def why(self, probabilities: np.ndarray, labels: Sequence[str], proposed: Decision, given: Decision) -> str:
        """Return the two most likely classes if they are close, or the model's view of the existing label."""
        (best, score), *others = most_likely(probabilities, labels, 2)
        if given is not None:
            [name] = self.names(given)
            if name == best:
                return f"the model agrees with {name!r}: {score:.2f}"
            predicted = f"the model predicts {best!r}: {score:.2f}"
            if name not in labels:
                return f"labelled {name!r}, a class that the model does not have; {predicted}"
            return f"labelled {name!r} (probability {probabilities[list(labels).index(name)]:.2f}); {predicted}"
        if others and score - others[0][1] < 0.5:
            return f"{best!r} or {others[0][0]!r}: {score:.2f} and {others[0][1]:.2f}"
        return f"the model predicts {best!r}: {score:.2f}"

    def doubts(self, probabilities: np.ndarray) -> np.ndarray:
        """Return 1 minus the margin between the two most likely classes."""
        return 1.0 - order.margins(probabilities)

    def sureness(self, probabilities: np.ndarray) -> np.ndarray:
        """Return the highest probability."""
        highest: np.ndarray = probabilities.max(axis=1)
        return highest

    def trust(self, probabilities: np.ndarray, given: Sequence[Decision], labels: Sequence[str]) -> np.ndarray:
        """Return the normalised margin of the existing class."""
        index = {name: i for i, name in enumerate(labels)}
        of_clips = [index.get(name, -1) for one in given for name in self.names(one)]
        return order.normalised_margins(probabilities, np.array(of_clips))


def most_likely(probabilities: np.ndarray, labels: Sequence[str], most: int) -> list[tuple[str, float]]:
    """Return the most probable labels and their probabilities (C,), most probable first."""
    places = np.argsort(-probabilities, kind="stable")[:most]
    return [(labels[i], float(probabilities[i])) for i in places]
