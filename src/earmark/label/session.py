"""Clips in order, what the model proposes for each, and what was decided; knows nothing of HTTP."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from earmark.clips.clip import Clip
from earmark.label.decisions import Decision, Decisions
from earmark.label.label_tables import Key

CHOICES = 9  # keys 1 to 9


@dataclass(frozen=True)
class Proposal:
    """One clip.

    Attributes:
        clip: where its sound is.
        key: what ``labels.csv`` calls it.
        choices: the likeliest classes and their probabilities, at most nine; the first is the proposal.
        why: what is worth a look about it.
        given: the label it came with; ``None`` without one.
        trained_on: whether the model was trained on it, as far as its run has recorded that.
    """

    clip: Clip
    key: Key
    choices: list[tuple[str, float]]
    why: str
    given: str | None
    trained_on: bool = False


def propose(
    clip: Clip,
    key: Key,
    probabilities: np.ndarray,
    labels: Sequence[str],
    given: str | None,
    *,
    trained_on: bool = False,
) -> Proposal:
    """Put one clip's probabilities (C,) into words."""
    order = np.argsort(-probabilities, kind="stable")[:CHOICES]
    choices = [(labels[i], float(probabilities[i])) for i in order]
    best, score = choices[0]
    if given is not None:
        of_given = float(probabilities[list(labels).index(given)]) if given in labels else None
        if given == best:
            why = f"the model agrees with {given!r}: {score:.2f}"
        elif of_given is None:
            why = f"labelled {given!r}, a class that the model does not have; it hears {best!r}: {score:.2f}"
        else:
            why = f"labelled {given!r}, which the model gives {of_given:.2f}; it hears {best!r}: {score:.2f}"
    elif len(choices) > 1 and score - choices[1][1] < 0.5:
        why = f"{best!r} or {choices[1][0]!r}: {score:.2f} and {choices[1][1]:.2f}"
    else:
        why = f"the model is sure: {score:.2f}" if score > 0.9 else f"the model is fairly sure: {score:.2f}"
    if trained_on:
        why += "; the model was trained on this clip"
    return Proposal(clip, key, choices, why, given, trained_on)


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

    def state(self) -> dict[str, Any]:
        """Counts, all labels that are known, and the first clip without a decision."""
        with self._lock:
            self._decisions.refresh()
            return {**self._counts(), **self._facts, "labels": self._labels(), "next": self._next(-1)}

    def clip(self, at: int) -> dict[str, Any]:
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
                "why": one.why,
                "given": one.given,
                "decision": self._decisions.of(one.key),
                "next": self._next(at),
            }

    def decide(self, at: int, was: Decision, now: Decision) -> dict[str, Any]:
        """Write a decision down; the counts after it and the next clip without one.

        Raises:
            EarmarkError: as :meth:`Decisions.decide`.
        """
        with self._lock:
            self._decisions.decide(self.proposals[at].key, was, now)
            return {**self._counts(), "labels": self._labels(), "next": self._next(at)}

    def counts(self) -> dict[str, int]:
        """How many clips there are, have a label, were set aside, and of those labelled have the proposed one."""
        with self._lock:
            return self._counts()

    def _counts(self) -> dict[str, int]:
        made = [(one, self._decisions.of(one.key)) for one in self.proposals]
        labelled = [(one, of[1]) for one, of in made if of is not None and of[0] == "label"]
        return {
            "total": len(self.proposals),
            "labelled": len(labelled),
            "aside": sum(of is not None and of[0] == "aside" for _, of in made),
            "as_proposed": sum(one.choices[0][0] == label for one, label in labelled),
        }

    def _labels(self) -> list[str]:
        used = {row["label"] for row in self._decisions.labels.rows.values() if row["label"].strip()}
        return [*self._model_labels, *sorted(used - set(self._model_labels))]

    def _next(self, after: int) -> int | None:
        """The first place behind ``after`` without a decision, from the start again if need be."""
        places = [*range(after + 1, len(self.proposals)), *range(after + 1)]
        return next((at for at in places if at != after and self._decisions.of(self.proposals[at].key) is None), None)


def work_folder_files(folder: Path) -> dict[str, Path]:
    """What lies in the output folder, by what it is."""
    names = ("proposals.csv", "labels.csv", "set_aside.csv", "bad_audio.csv", "scores.npz")
    return {name.partition(".")[0]: folder / name for name in names}
