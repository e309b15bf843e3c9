"""From probabilities to a prediction: ``decision.json``, fitted for a model and saved with it.

That file has two parts. The temperature divides logits (Guo et al. 2017, "On Calibration of Modern Neural
Networks", arXiv:1706.04599); the model's forward does that, so that every probability anywhere is the calibrated one.
The thresholds are probabilities below which the most likely class is not predicted, for all classes or for each:
    :meth:`Decision.top` applies them wherever predictions are made.

Shapes: N clips, C classes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypedDict

import numpy as np

from earmark.errors import ModelError, first_line
from earmark.io.hashes import short_sha256
from earmark.tasks import SINGLE_LABEL, Task
from earmark.text import and_more

FILE_NAME = "decision.json"
DEFAULT_REJECT_LABEL = "unknown"
HALF = 0.5  # from which on one of several labels is answered, unless a threshold was fitted
NEVER = math.inf  # as a threshold: this class is never answered
REJECTED = -1  # as an answer
_VERSION = 1
_HOTTEST = 1000.0
_LISTED = 50  # thresholds in one line


class WantedThresholds(Protocol):
    """Targets of thresholds; each is ``None`` if it is not asked for.

    Attributes:
        target_precision: precision of each class's answers.
        reject_target_precision: precision of all answers together.
        reject_false_accept_rate: fraction of the clips of ``reject_class`` that are taken for another class.
        reject_class: the answer below a threshold.
    """

    target_precision: float | None
    reject_target_precision: float | None
    reject_false_accept_rate: float | None
    reject_class: str | None


@dataclass(frozen=True)
class LabelledScores:
    """Scores of clips, and what is right.

    Attributes:
        scores: of :meth:`earmark.tasks.task.Task.scores`, of calibrated logits, float (N, C).
        targets: of :meth:`earmark.tasks.task.Task.targets`.
        labels: C class names.
    """

    scores: np.ndarray
    targets: np.ndarray
    labels: Sequence[str]


class _Named(TypedDict):
    label: str
    score: float


class Prediction(_Named, total=False):
    """One class and its probability; in a regression what the number is called, and the number.

    Of several possible labels, ``present`` says whether this one is answered. Where the most likely class is below its
    threshold, ``label`` is the answer given in its place, ``below_threshold`` names that class and ``score`` is its
    probability.
    """

    below_threshold: str
    present: bool


@dataclass(frozen=True)
class Decision:
    """How a model answers.

    Attributes:
        temperature: logits are divided by it; above 1 it makes answers less certain.
        reject_label: the answer below a threshold, a class of the model or another word.
        reject_threshold: probability below which no class is answered; ``None`` without one.
        class_thresholds: the same for single classes, by label; :data:`NEVER` for a class that is not answered at all.
        fitted: on what and how, for people and reports.
        task: of the model. Of several labels each is answered from its threshold on, one half unless fitted, and
            nothing is said in place of labels that are not; a regression has nothing to decide.
    """

    temperature: float = 1.0
    reject_label: str = DEFAULT_REJECT_LABEL
    reject_threshold: float | None = None
    class_thresholds: Mapping[str, float] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)
    task: Task = SINGLE_LABEL

    @property
    def rejects(self) -> bool:
        """Whether another answer is given in place of some."""
        return self.task.has_one_class and self.has_thresholds

    @property
    def has_thresholds(self) -> bool:
        """Whether thresholds were fitted."""
        return self.reject_threshold is not None or bool(self.class_thresholds)

    @property
    def is_plain(self) -> bool:
        """Whether nothing was fitted."""
        return self.temperature == 1.0 and not self.has_thresholds

    def thresholds(self, labels: Sequence[str], unless_fitted: float = 0.0) -> np.ndarray:
        """The probability from which on each class is answered, float64 (C,).

        0 for the answer of rejected clips, which there is of single labels only.
        """
        of_all = self.reject_threshold or 0.0
        values = {label: max(of_all, self.class_thresholds.get(label, unless_fitted)) for label in labels}
        instead = self.reject_label if self.task.has_one_class else None
        return np.array([0.0 if label == instead else values[label] for label in labels])

    def answers(self, probabilities: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """The answers for (N, C) probabilities as class indices int64 (N,); what is rejected is the class of that name.

        :data:`REJECTED` where the model has no such class.
        """
        first = probabilities.argmax(axis=1)
        accepted = probabilities[np.arange(len(first)), first] >= self.thresholds(labels)[first]
        instead = list(labels).index(self.reject_label) if self.reject_label in labels else REJECTED
        answers: np.ndarray = np.where(accepted, first, instead)
        return answers

    def present(self, probabilities: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Which of several labels are answered for probabilities (..., C), bool (..., C)."""
        answered: np.ndarray = probabilities >= self.thresholds(labels, unless_fitted=HALF)
        return answered

    def top(self, probabilities: np.ndarray, labels: Sequence[str], top_k: int = 1) -> list[Prediction]:
        """The ``top_k`` most likely classes of ``probabilities`` (C,), most likely first.

        The label of the first is the answer: that of the class, or :attr:`reject_label`. Of several labels, those that
        are answered and not among the first ``top_k`` come behind these.
        """
        return self.task.top(probabilities, labels, top_k, self)

    def in_words(self, labels: Sequence[str]) -> list[str]:
        """Return lines about temperature and thresholds, then about targets that were not reached.

        Empty if nothing was asked for.
        """
        lines = [f"logits are divided by the temperature {self.temperature:.4g}"] if self.temperature != 1.0 else []
        instead = f", else {self.reject_label!r}" if self.rejects else ""
        if self.reject_threshold == 0 and not self.class_thresholds:
            lines.append("what was asked of all classes together holds without a threshold")
        elif self.reject_threshold:
            lines.append(f"a class is answered from a probability of {self.reject_threshold:.4g} on{instead}")
        if self.class_thresholds:
            values = dict(zip(labels, self.thresholds(labels, unless_fitted=HALF), strict=True))
            words = [_from(label, values[label]) for label in labels if label in self.class_thresholds]
            lines.append(f"answered from: {and_more(words, _LISTED)}{instead}")
        return [*lines, *map(str, self.fitted.get("notes", []))]

    def fingerprint(self, labels: Sequence[str]) -> str:
        """Return a text that identifies this decision."""
        values = {name: value for name, value in self.to_dict(labels).items() if name != "fitted"}
        return short_sha256(json.dumps(values))

    def to_dict(self, labels: Sequence[str]) -> dict[str, object]:
        """Return the content of ``decision.json``; a class that is never answered has ``null``."""
        return {
            "version": _VERSION,
            "labels": list(labels),
            "temperature": self.temperature,
            "reject_label": self.reject_label,
            "reject_threshold": self.reject_threshold,
            "class_thresholds": {
                label: None if value == NEVER else value for label, value in self.class_thresholds.items()
            },
            "fitted": dict(self.fitted),
            **({} if self.task is SINGLE_LABEL else {"task": self.task.name}),
        }


def _from(label: str, threshold: float) -> str:
    return f"{label} {'always' if threshold == 0 else 'never' if threshold == NEVER else format(threshold, '.4g')}"


PLAIN = Decision()


def read_decision(folder: Path, labels: Sequence[str], task: Task = SINGLE_LABEL) -> Decision:
    """Read the decision in a model's folder; without one, return a decision with nothing fitted.

    Args:
        folder: of a model or an export.
        labels: the model's class names.
        task: of the model.

    Raises:
        ModelError: the file is damaged, of a later version, or of another model.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return Decision(task=task)
    except (OSError, ValueError) as exc:
        raise _damaged(path, first_line(exc)) from exc
    if not isinstance(values, dict):
        raise _damaged(path, "not a JSON object")
    if values.get("version") != _VERSION:
        raise ModelError(f"{path}: its version is {values.get('version')!r}, not {_VERSION}. Upgrade earmark.")
    of = values.get("labels")
    if of != list(labels):
        others = sorted(set(map(str, of)) ^ set(labels)) if isinstance(of, list) else []
        which = f" ({others[0]!r} is in one alone)" if others else ""
        raise ModelError(f"{path}: fitted for other classes than this model has{which}; {_MEND}")
    fitted_for = values.get("task", SINGLE_LABEL.name)
    if fitted_for != task.name:
        raise ModelError(
            f"{path}: fitted for --task {fitted_for}, another task than this model's, {task.name}. Add --task "
            f"{fitted_for} if the model does not say its task; else {_MEND}"
        )
    return replace(_checked(values, path, labels), task=task)


_MEND = "fit it again with `earmark calibrate`, or delete it"


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path}: damaged ({why}); {_MEND}")


def _checked(values: dict[str, Any], path: Path, labels: Sequence[str]) -> Decision:
    temperature, of_all = values.get("temperature"), values.get("reject_threshold")
    reject_label, of_classes = values.get("reject_label"), values.get("class_thresholds")
    if not _is_number(temperature) or not 0 < temperature <= _HOTTEST:  # type: ignore[operator]  # a number
        raise _damaged(path, f"temperature {temperature!r} is not a number above 0")
    if of_all is not None and not _is_probability(of_all):
        raise _damaged(path, f"reject_threshold {of_all!r} is not a probability")
    if not isinstance(reject_label, str) or not reject_label:
        raise _damaged(path, f"reject_label {reject_label!r} is not a word")
    if not isinstance(of_classes, dict) or not isinstance(values.get("fitted", {}), dict):
        raise _damaged(path, "class_thresholds and fitted have to be objects")
    for label, value in of_classes.items():
        if label not in labels:
            raise _damaged(path, f"class_thresholds: the model has no class {label!r}")
        if value is not None and not _is_probability(value):
            raise _damaged(path, f"class_thresholds: {value!r} of {label!r} is not a probability")
    return Decision(
        temperature=float(temperature),  # type: ignore[arg-type]  # a number
        reject_label=reject_label,
        reject_threshold=None if of_all is None else float(of_all),
        class_thresholds={label: NEVER if value is None else float(value) for label, value in of_classes.items()},
        fitted=values.get("fitted", {}),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _is_probability(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1
