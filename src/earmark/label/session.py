"""Clips in order, the model's proposals and the decisions. Independent of HTTP."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earmark.clips.clip import Clip
from earmark.label.decisions import Decisions
from earmark.label.label_kind import Decision, LabelKind
from earmark.label.label_tables import Key
from earmark.tasks.decision import PLAIN
from earmark.tasks.decision import Decision as ModelDecision

CHOICES = 9  # keys 1 to 9


@dataclass(frozen=True)
class Proposal:
    """A clip and the model's proposal for it.

    Attributes:
        clip: the clip.
        key: its key in ``labels.csv``.
        choices: labels to choose from and their probabilities, at most nine, in the order of their keys.
        proposed: the model's proposal, as a decision.
        why: the reason to check it.
        given: its existing label, as a decision; ``None`` without one.
        trained_on: whether the model was trained on it, if known from its run.
    """

    clip: Clip
    key: Key
    choices: list[tuple[str, float]]
    proposed: Decision
    why: str
    given: Decision
    trained_on: bool = False


def propose(
    kind: LabelKind,
    clip: Clip,
    key: Key,
    probabilities: np.ndarray,
    labels: Sequence[str],
    given: Decision,
    *,
    decision: ModelDecision = PLAIN,
    trained_on: bool = False,
) -> Proposal:
    """Return the proposal for one clip with probabilities (C,)."""
    proposed = kind.proposed(probabilities, labels, decision)
    why = kind.why(probabilities, labels, proposed, given)
    if trained_on:
        why += "; the model was trained on this clip"
    return Proposal(clip, key, kind.choices(probabilities, labels, CHOICES), proposed, why, given, trained_on)


def _part(clip: Clip) -> tuple[float | None, float | None]:
    """Return start and end of a clip in seconds: no start if it is a whole recording, no end if it lasts to the end."""
    if clip.duration_s is None and not clip.offset_s:
        return None, None
    return clip.offset_s, None if clip.duration_s is None else round(clip.offset_s + clip.duration_s, 6)


class Session:
    """State of the page. Its methods may be called from several threads.

    Args:
        proposals: clips in the order in which to check them.
        decisions: decisions so far.
        labels: class names of the model.
        facts: other information for the page.
    """

    def __init__(
        self, proposals: Sequence[Proposal], decisions: Decisions, labels: Sequence[str], facts: dict[str, Any]
    ) -> None:
        self.proposals = list(proposals)
        self._decisions = decisions
        self._model_labels = list(labels)
        self._facts = facts
        self._lock = threading.Lock()

    def state(self) -> dict[str, object]:
        """Return counts, all known labels, and the first clip without a decision."""
        with self._lock:
            self._decisions.refresh()
            several = self._decisions.kind.several
            known = {**self._counts(), **self._facts, "several": several}
            return {**known, "labels": self._labels(), "next": self._next(-1)}

    def clip(self, at: int) -> dict[str, object]:
        """Return all information about the clip at a position, from 0."""
        one = self.proposals[at]
        start_s, end_s = _part(one.clip)
        with self._lock:
            return {
                "at": at,
                "path": one.clip.source,
                "start_s": start_s,
                "end_s": end_s,
                "choices": one.choices,
                "proposed": one.proposed,
                "why": one.why,
                "given": one.given,
                "decision": self._decisions.of(one.key),
                "next": self._next(at),
            }

    def decide(self, at: int, was: Decision, now: Decision) -> dict[str, object]:
        """Save a decision. Return the new counts and the next clip without a decision.

        Raises:
            EarmarkError: see :meth:`Decisions.decide`.
        """
        with self._lock:
            self._decisions.decide(self.proposals[at].key, was, now)
            return {**self._counts(), "labels": self._labels(), "next": self._next(at)}

    def counts(self) -> dict[str, int]:
        """Return counts of clips: all, labelled, set aside, and labelled with the proposed label."""
        with self._lock:
            return self._counts()

    def _counts(self) -> dict[str, int]:
        made = [(one, self._decisions.of(one.key)) for one in self.proposals]
        labelled = [(one, of) for one, of in made if of is not None and of[0] != "aside"]
        return {
            "total": len(self.proposals),
            "labelled": len(labelled),
            "aside": sum(of is not None and of[0] == "aside" for _, of in made),
            "as_proposed": sum(one.proposed == of for one, of in labelled),
        }

    def _labels(self) -> list[str]:
        return [*self._model_labels, *sorted(self._decisions.names() - set(self._model_labels))]

    def _next(self, after: int) -> int | None:
        """Return the first position after ``after`` without a decision, searching again from the start."""
        places = [*range(after + 1, len(self.proposals)), *range(after + 1)]
        return next((at for at in places if at != after and self._decisions.of(self.proposals[at].key) is None), None)


def work_folder_files(folder: Path) -> dict[str, Path]:
    """Return the files in the output folder, by their role."""
    names = ("proposals.csv", "labels.csv", "set_aside.csv", "bad_audio.csv", "scores.npz")
    return {name.partition(".")[0]: folder / name for name in names}
