"""Clips in order, what the model proposes for each, and what was decided; knows nothing of HTTP."""

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
    """One clip.

    Attributes:
        clip: where its sound is.
        key: what ``labels.csv`` calls it.
        choices: labels to choose from and their probabilities, at most nine, in the order of their keys.
        proposed: what the model says, as a decision.
        why: what is worth a look about it.
        given: the label it came with, as a decision; ``None`` without one.
        trained_on: whether the model was trained on it, as far as its run has recorded that.
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
    """Put one clip's probabilities (C,) into words."""
    proposed = kind.proposed(probabilities, labels, decision)
    why = kind.why(probabilities, labels, proposed, given)
    if trained_on:
        why += "; the model was trained on this clip"
    return Proposal(clip, key, kind.choices(probabilities, labels, CHOICES), proposed, why, given, trained_on)


def _part(clip: Clip) -> tuple[float | None, float | None]:
    """Return start and end of a clip that is part of a recording, in seconds; no start if it is the whole."""
    if clip.duration_s is None and not clip.offset_s:
        return None, None
    return clip.offset_s, None if clip.duration_s is None else round(clip.offset_s + clip.duration_s, 6)


class Session:
    """What the page works on. Its methods may be called from several threads.

    Args:
        proposals: clips, the first to check first.
        decisions: what was decided.
        labels: the model's class names.
        facts: what else the page shows.
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
        """Counts, all labels that are known, and the first clip without a decision."""
        with self._lock:
            self._decisions.refresh()
            several = self._decisions.kind.several
            known = {**self._counts(), **self._facts, "several": several}
            return {**known, "labels": self._labels(), "next": self._next(-1)}

    def clip(self, at: int) -> dict[str, object]:
        """All that is known of the clip at a place, from 0 on."""
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
        """Write a decision down; the counts after it and the next clip without one.

        Raises:
            EarmarkError: as :meth:`Decisions.decide`.
        """
        with self._lock:
            self._decisions.decide(self.proposals[at].key, was, now)
            return {**self._counts(), "labels": self._labels(), "next": self._next(at)}

    def counts(self) -> dict[str, int]:
        """Return counts of clips: all, labelled, skipped, and labelled with the proposed label."""
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
        """Return the first place behind ``after`` without a decision, from the start again if need be."""
        places = [*range(after + 1, len(self.proposals)), *range(after + 1)]
        return next((at for at in places if at != after and self._decisions.of(self.proposals[at].key) is None), None)


def work_folder_files(folder: Path) -> dict[str, Path]:
    """What lies in the output folder, by what it is."""
    names = ("proposals.csv", "labels.csv", "set_aside.csv", "bad_audio.csv", "scores.npz")
    return {name.partition(".")[0]: folder / name for name in names}
