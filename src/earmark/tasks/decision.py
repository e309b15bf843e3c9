"""From probabilities to a prediction: ``decision.json``, fitted for a model and saved with it.

``decision.json`` has two parts. The temperature divides logits (Guo et al. 2017, "On Calibration of Modern Neural
Networks", arXiv:1706.04599). The model's forward pass applies it, so every probability is calibrated.
A threshold, for all classes or for one, is the probability below which the most likely class is not predicted;
:meth:`Decision.top` applies it to every prediction.

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
from earmark.io.json_values import is_fraction, is_number
from earmark.tasks import SINGLE_LABEL, Task
from earmark.text import and_more

FILE_NAME = "decision.json"
DEFAULT_REJECT_LABEL = "unknown"
HALF = 0.5  # threshold of each of several labels, unless one was fitted
NEVER = math.inf  # threshold of a class that is never predicted
REJECTED = -1  # class index of a rejected clip
_VERSION = 1
_HOTTEST = 1000.0
_LISTED = 50  # maximum number of thresholds in one line


class WantedThresholds(Protocol):
    """Targets for fitting thresholds; ``None`` for a target that was not set.

    Attributes:
        target_precision: precision of each class.
        reject_target_precision: precision of all predictions together.
        reject_false_accept_rate: fraction of the clips of ``reject_class`` that may be predicted as another class.
        reject_class: the class to predict below a threshold.
    """

    target_precision: float | None
    reject_target_precision: float | None
    reject_false_accept_rate: float | None
    reject_class: str | None


@dataclass(frozen=True)
class LabelledScores:
    """Scores and targets of clips.

    Attributes:
        scores: from :meth:`earmark.tasks.task.Task.scores` on calibrated logits, float (N, C).
        targets: from :meth:`earmark.tasks.task.Task.targets`.
        labels: C class names.
    """

    scores: np.ndarray
    targets: np.ndarray
    labels: Sequence[str]


class _Named(TypedDict):
    label: str
    score: float


class Prediction(_Named, total=False):
    """One class and its probability; in a regression the name of the number, and the number.

    With several labels per clip, ``present`` says whether this label is predicted. If the most likely class is below
    its threshold, ``label`` is the reject label, ``below_threshold`` is that class and ``score`` is its probability.
    """

    below_threshold: str
    present: bool


@dataclass(frozen=True)
class Decision:
    """The temperature and thresholds that turn the logits of a model into predictions.

    Attributes:
        temperature: divisor of the logits; a value above 1 makes predictions less certain.
        reject_label: the prediction for a clip below the threshold: a class of the model or another word.
        reject_threshold: probability below which no class is predicted; ``None`` for no threshold.
        class_thresholds: thresholds of single classes, by label; :data:`NEVER` for a class that is never predicted.
        fitted: the clips and settings of the fit, for reports.
        task: the task of the model. With several labels, a label is predicted if its probability reaches its
            threshold (0.5 unless fitted), and there is no reject label. A regression has no thresholds.
    """

    temperature: float = 1.0
    reject_label: str = DEFAULT_REJECT_LABEL
    reject_threshold: float | None = None
    class_thresholds: Mapping[str, float] = field(default_factory=dict)
    fitted: Mapping[str, Any] = field(default_factory=dict)
    task: Task = SINGLE_LABEL

    @property
    def rejects(self) -> bool:
        """Whether some predictions are replaced by the reject label."""
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
        """Return the lowest probability at which each class is predicted, float64 (C,).

        It is 0 for the reject label of a single-label model.
        """
        of_all = self.reject_threshold or 0.0
        values = {label: max(of_all, self.class_thresholds.get(label, unless_fitted)) for label in labels}
        instead = self.reject_label if self.task.has_one_class else None
        return np.array([0.0 if label == instead else values[label] for label in labels])

    def predictions(self, probabilities: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return the predicted class indices for probabilities (N, C), int64 (N,).

        Rejected clips get the index of the reject label, or :data:`REJECTED` if the model has no such class.
        """
        first = probabilities.argmax(axis=1)
        accepted = probabilities[np.arange(len(first)), first] >= self.thresholds(labels)[first]
        instead = list(labels).index(self.reject_label) if self.reject_label in labels else REJECTED
        predictions: np.ndarray = np.where(accepted, first, instead)
        return predictions

    def present(self, probabilities: np.ndarray, labels: Sequence[str]) -> np.ndarray:
        """Return which of several labels are predicted for probabilities (..., C), bool (..., C)."""
        predicted: np.ndarray = probabilities >= self.thresholds(labels, unless_fitted=HALF)
        return predicted

    def top(self, probabilities: np.ndarray, labels: Sequence[str], top_k: int = 1) -> list[Prediction]:
        """Return the ``top_k`` most likely classes for ``probabilities`` (C,), most likely first.

        The first one is the prediction: a class, or :attr:`reject_label`. With several labels, predicted labels beyond
        the first ``top_k`` follow.
        """
        return self.task.top(probabilities, labels, top_k, self)

    def in_words(self, labels: Sequence[str]) -> list[str]:
        """Return lines about temperature and thresholds, then about targets that were not reached.

        The list is empty if nothing was fitted.
        """
        lines = [f"logits are divided by the temperature {self.temperature:.4g}"] if self.temperature != 1.0 else []
        instead = f", else {self.reject_label!r}" if self.rejects else ""
        if self.reject_threshold == 0 and not self.class_thresholds:
            lines.append("all classes together reach the target without a threshold")
        elif self.reject_threshold:
            lines.append(f"a class is predicted if its probability is at least {self.reject_threshold:.4g}{instead}")
        if self.class_thresholds:
            values = dict(zip(labels, self.thresholds(labels, unless_fitted=HALF), strict=True))
            words = [_from(label, values[label]) for label in labels if label in self.class_thresholds]
            lines.append(f"thresholds: {and_more(words, _LISTED)}{instead}")
        return [*lines, *map(str, self.fitted.get("notes", []))]

    def fingerprint(self, labels: Sequence[str]) -> str:
        """Return a text that identifies this decision."""
        values = {name: value for name, value in self.to_dict(labels).items() if name != "fitted"}
        return short_sha256(json.dumps(values))

    def to_dict(self, labels: Sequence[str]) -> dict[str, object]:
        """Return the content of ``decision.json``; a class that is never predicted has ``null``."""
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
        folder: folder of a model or an export.
        labels: the model's class names.
        task: the task of the model.

    Raises:
        ModelError: the file is damaged, of a later version, or belongs to another model.
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
        which = f" (only one of the two has {others[0]!r})" if others else ""
        raise ModelError(f"{path}: fitted for classes other than the model's{which}. {_FIX}")
    fitted_for = values.get("task", SINGLE_LABEL.name)
    if fitted_for != task.name:
        raise ModelError(
            f"{path}: fitted for --task {fitted_for}, but the task of the model is {task.name}. If the model does not "
            f"name its task, add --task {fitted_for}. {_FIX}"
        )
    return replace(_checked(values, path, labels), task=task)


_FIX = "Fit it again with `earmark calibrate`, or delete it."


def _damaged(path: Path, why: str) -> ModelError:
    return ModelError(f"{path}: damaged ({why}). {_FIX}")


def _checked(values: dict[str, Any], path: Path, labels: Sequence[str]) -> Decision:
    temperature, of_all = values.get("temperature"), values.get("reject_threshold")
    reject_label, of_classes = values.get("reject_label"), values.get("class_thresholds")
    if not is_number(temperature) or not 0 < temperature <= _HOTTEST:  # type: ignore[operator]  # a number
        raise _damaged(path, f"temperature {temperature!r} is not a number above 0")
    if of_all is not None and not is_fraction(of_all):
        raise _damaged(path, f"reject_threshold {of_all!r} is not a probability")
    if not isinstance(reject_label, str) or not reject_label:
        raise _damaged(path, f"reject_label {reject_label!r} is not a word")
    if not isinstance(of_classes, dict) or not isinstance(values.get("fitted", {}), dict):
        raise _damaged(path, "class_thresholds and fitted have to be objects")
    for label, value in of_classes.items():
        if label not in labels:
            raise _damaged(path, f"class_thresholds: the model has no class {label!r}")
        if value is not None and not is_fraction(value):
            raise _damaged(path, f"class_thresholds: {value!r} of {label!r} is not a probability")
    return Decision(
        temperature=float(temperature),  # type: ignore[arg-type]  # a number
        reject_label=reject_label,
        reject_threshold=None if of_all is None else float(of_all),
        class_thresholds={label: NEVER if value is None else float(value) for label, value in of_classes.items()},
        fitted=values.get("fitted", {}),
    )
