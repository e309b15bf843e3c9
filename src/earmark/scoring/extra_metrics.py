"""Metrics in addition to the built-in ones: a local folder of the ``evaluate`` library, and Python functions.

Shapes: N clips, C classes.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from earmark.errors import InputTypeError, UsageError, as_list, first_line
from earmark.scoring.metric_folder import run_metric_folder
from earmark.tasks import Task
from earmark.text import with_article

logger = logging.getLogger(__name__)

MetricFunction = Callable[..., float | Mapping[str, float]]
Metrics = Iterable[MetricFunction] | Mapping[str, MetricFunction]

# parameter of a metric function -> the input that it gets; names that start with y_ are scikit-learn's
_INPUTS = {
    **{name: name for name in ("predictions", "references", "logits", "probabilities")},
    "targets": "references",
    "y_true": "references",
    "y_pred": "predictions",
    "y_score": "probabilities",
}


@dataclass(frozen=True)
class ExtraMetrics:
    """Metrics to compute in addition to those of :attr:`earmark.tasks.task.Task.metrics`.

    Attributes:
        folder: folder of a local metric of the ``evaluate`` library.
        functions: functions by name. A function gets the inputs that its parameters name: ``predictions`` or
            ``y_pred`` (class indices int (N,), labels 0 or 1 int (N, C), or numbers float (N,)); ``references``,
            ``targets`` or ``y_true`` (the true labels in the same form); ``logits`` float (N, C); ``probabilities`` or
            ``y_score`` float (N, C). It returns a number, or numbers by name.
    """

    folder: str | None = None
    functions: Mapping[str, MetricFunction] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return self.folder is not None or bool(self.functions)

    def of_folder(
        self, task: Task, logits: np.ndarray, targets: np.ndarray, thresholds: np.ndarray | float | None = None
    ) -> dict[str, float]:
        """Return the metrics of the folder, by name; none without a folder.

        Raises:
            UsageError: the metric fails.
        """
        if self.folder is None:
            return {}
        return run_metric_folder(self.folder, task.predictions(logits, thresholds), targets)

    def of_functions(
        self, task: Task, logits: np.ndarray, targets: np.ndarray, thresholds: np.ndarray | float | None = None
    ) -> dict[str, float]:
        """Return the metrics of the functions, by name.

        Args:
            task: the task of the model.
            logits: float (N, C).
            targets: see :func:`earmark.clips.targets.table_targets`.
            thresholds: with several labels, the lowest probability at which each is predicted; ``None`` for 0.5.

        Raises:
            UsageError: a function fails, or does not return numbers.
        """
        if not self.functions:
            return {}
        inputs = {
            "predictions": task.predictions(logits, thresholds),
            "references": targets,
            "logits": logits,
            "probabilities": task.scores(logits),
        }
        inputs = {name: values.copy() for name, values in inputs.items()}
        for values in inputs.values():
            values.flags.writeable = False  # a function that sorts in place would change what is saved
        metrics: dict[str, float] = {}
        for name, function in self.functions.items():
            metrics |= _numbers(name, _call(name, function, inputs))
        return metrics


def named_functions(metrics: Metrics) -> dict[str, MetricFunction]:
    """Return metric functions by name, with their parameters checked.

    Args:
        metrics: functions, called by their own names, or functions by name.

    Raises:
        InputTypeError: a value is not callable.
        UsageError: a function has no name, two have the same name, or a parameter has an unknown name.
    """
    if isinstance(metrics, Mapping):
        named = list(metrics.items())
    else:
        named = [(_own_name(function), function) for function in as_list("metrics", metrics)]
    functions: dict[str, MetricFunction] = {}
    for name, function in named:
        if not callable(function):
            raise InputTypeError(f"metrics: {name!r} is {with_article(type(function).__name__)}. Pass functions.")
        if name in functions:
            raise UsageError(f"metrics: two functions have the name {name}. Pass {{name: function}} with other names.")
        _parameters(name, function)
        functions[name] = function
    return functions


def _own_name(function: object) -> str:
    name = getattr(function, "__name__", None)
    if name is None and not callable(function):
        raise InputTypeError(f"metrics: {function!r} is {with_article(type(function).__name__)}. Pass functions.")
    if name is None or name == "<lambda>":
        raise UsageError(f"metrics: {function!r} has no name. Pass {{name: function}}.")
    return str(name)


def _parameters(name: str, function: MetricFunction) -> list[str]:
    """Return the names of the parameters to pass to a function: the ones without a default."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError) as exc:
        raise UsageError(f"metric {name}: its parameters cannot be read. Wrap it in a function of your own.") from exc
    variable = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    needed = [one for one in parameters if one.default is one.empty and one.kind not in variable]
    for one in needed:
        if one.name not in _INPUTS or one.kind is one.POSITIONAL_ONLY:
            raise UsageError(
                f"metric {name}: earmark has no value for the parameter {one.name}. Use {', '.join(_INPUTS)}."
            )
    return [one.name for one in needed]


def _call(name: str, function: MetricFunction, inputs: Mapping[str, np.ndarray]) -> object:
    try:
        return function(**{parameter: inputs[_INPUTS[parameter]] for parameter in _parameters(name, function)})
    except Exception as exc:  # the caller's function can raise anything
        raise UsageError(
            f"metric {name}: the function failed ({type(exc).__name__}: {first_line(exc)}). Fix the function."
        ) from exc


def _numbers(name: str, result: Any) -> dict[str, float]:
    metrics: dict[str, float] = {}
    for key, value in (result if isinstance(result, Mapping) else {name: result}).items():
        try:
            number = float(value)
        except (TypeError, ValueError) as exc:
            raise UsageError(
                f"metric {name}: returned {type(value).__name__}. Return a number, or a dict of numbers."
            ) from exc
        if math.isfinite(number):
            metrics[str(key)] = number
        else:
            logger.warning("metric %s: %s is left out, because it is %s", name, key, number)
    return metrics
