"""Match the rows of a checkpoint's output layer with classes by name, not by position.

A checkpoint to fine-tune may list the classes of the recordings in another order, only some of them, or other classes.
If both have the same classes, all rows are reused. If not, all rows start from random weights, unless ``--keep_head``
keeps the rows of the classes that both have.

Shapes: C classes, D inputs of the output layer.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

from earmark.errors import ModelError
from earmark.models.freeze import find_body
from earmark.models.stated_task import CONFIG_KEY
from earmark.tasks import Task, task_of_config
from earmark.text import and_more, counted, with_article

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from earmark.families.family import Family

_PLACEHOLDER = re.compile(r"LABEL_\d+")  # Transformers' names for unnamed classes


def output_layer(model: PreTrainedModel, family: Family) -> nn.Linear:
    """Return the linear layer whose rows are the classes.

    Most heads are this layer, or a projection followed by it; AST has a norm before it.

    Raises:
        ModelError: the head has no such layer.
    """
    in_body = {id(module) for module in find_body(model, family).modules()}
    layers = [module for module in model.modules() if isinstance(module, nn.Linear) and id(module) not in in_body]
    if not layers or layers[-1].out_features != model.config.num_labels:
        raise ModelError(
            f"the head of {with_article(type(model).__name__)} does not end in a linear layer of its classes. Use "
            "another architecture."
        )
    return layers[-1]


class Loaded(NamedTuple):
    """A classifier, its family, and the names of its parameters that the checkpoint lacks or has in another size."""

    model: Any
    family: Family
    missing: set[str]
    mismatched: set[str]

    def output_layer(self) -> nn.Linear:
        """See :func:`output_layer`."""
        return output_layer(self.model, self.family)


@dataclass(frozen=True)
class SavedHead:
    """The output layer of a checkpoint.

    Attributes:
        place: the checkpoint, for messages.
        labels: names of its classes in the order of the rows.
        task: its task.
        unit: mean and standard deviation by which its outputs are scaled; ``None`` for unscaled outputs.
        load: returns its weight (C, D) and bias (C,), which may read a file.
    """

    place: Path
    labels: Sequence[str]
    task: Task
    unit: tuple[float, float] | None
    load: Callable[[], tuple[torch.Tensor, torch.Tensor]]

    def why_no_names(self) -> str | None:
        """Return why the classes cannot be matched by name; ``None`` if they can."""
        if all(_PLACEHOLDER.fullmatch(label) for label in self.labels):
            return f"has placeholder names for its classes ({self.labels[0]} to {self.labels[-1]})"
        repeated = [label for label, count in Counter(self.labels).items() if count > 1]
        return f"has {repeated[0]!r} as the name of several classes" if repeated else None


def saved_head(
    loaded: Loaded, folder: Path, config: PreTrainedConfig, load_again: Callable[[], Loaded]
) -> SavedHead | None:
    """Return the output layer of a checkpoint; ``None`` if it has none.

    Args:
        loaded: classifier with the weights of the checkpoint and the number of classes to train.
        folder: folder of the checkpoint.
        config: configuration of the checkpoint.
        load_again: returns the classifier with the classes of ``config``.
    """
    layer = loaded.output_layer()
    weight = next(name for name, value in loaded.model.named_parameters() if value is layer.weight)
    if weight in loaded.missing:
        return None
    labels = [str(config.id2label.get(i, f"LABEL_{i}")) for i in range(config.num_labels)]
    if weight not in loaded.mismatched and len(labels) != layer.out_features:
        labels = [f"LABEL_{i}" for i in range(layer.out_features)]  # the configuration does not match the weights

    def load() -> tuple[torch.Tensor, torch.Tensor]:
        own = layer if weight not in loaded.mismatched else load_again().output_layer()
        return own.weight.detach(), own.bias.detach()

    return SavedHead(folder, labels, task_of_config(config), saved_unit(config), load)


def saved_unit(config: PreTrainedConfig) -> tuple[float, float] | None:
    """Return mean and standard deviation of the numbers a regression was trained on; ``None`` if not in ``config``."""
    saved = getattr(config, CONFIG_KEY, None) or {}
    unit = saved.get("unit")
    return None if unit is None else (float(unit["mean"]), float(unit["deviation"]))


def place_rows(
    loaded: Loaded,
    saved: SavedHead | None,
    labels: Sequence[str],
    task: Task,
    unit: tuple[float, float] | None,
    *,
    keep: bool,
) -> str:
    """Fill the output layer of a classifier with rows of a checkpoint, by class name, or with random weights.

    With the same classes in any order, all rows are reused. With other classes, the layer is new unless ``keep``.

    Args:
        loaded: classifier with an output layer of the right size; changed in place.
        saved: the output layer of its checkpoint; ``None`` if it has none.
        labels: classes of the recordings in the order of the outputs.
        task: the task to train.
        unit: mean and standard deviation of the numbers to learn, for a regression.
        keep: whether to reuse the rows of classes that both have.

    Returns:
        One line for the log.

    Raises:
        ModelError: ``keep`` is given, and no row can be reused.
    """
    refused = _why_no_rows(saved, labels, task)
    if saved is None or refused is not None:
        if keep:
            raise ModelError(f"--keep_head: {refused}. Leave --keep_head out to train a new head.")
        if saved is not None:
            _start_afresh(loaded)
        return f"head: new, because {refused}"
    common = [label for label in labels if label in set(saved.labels)]
    added = [label for label in labels if label not in set(saved.labels)]
    dropped = [label for label in saved.labels if label not in set(labels)]
    if (added or dropped) and not keep:
        _start_afresh(loaded)
        others = "; ".join(filter(None, [_named("new", added), _named("missing", dropped)]))
        return (
            f"head: new, because the recordings and {saved.place} have different classes ({others}). "
            f"--keep_head reuses the rows of the {counted(len(common), 'class')} that both have"
        )
    if list(labels) != list(saved.labels) or unit != saved.unit:
        _copy_rows(loaded, saved, labels, unit)
    moved = sum(saved.labels[i] != label for i, label in enumerate(labels[: len(saved.labels)]) if label in common)
    how = f", {moved:,} of them reordered by name" if moved else ""
    news = "".join(f"; {part}" for part in filter(None, [_named("new", added), _named("dropped", dropped)]))
    return f"head: {counted(len(common), 'row')} of {saved.place} reused{how}{news}"


def _why_no_rows(saved: SavedHead | None, labels: Sequence[str], task: Task) -> str | None:
    """Return why no row of the checkpoint can be reused; ``None`` if one can."""
    if saved is None:
        return "the checkpoint has no head"
    if list(labels) == list(saved.labels) and task is saved.task:
        return None
    if task is not saved.task and not (task.has_classes and saved.task.has_classes):
        return f"{saved.place} was trained on another task ({saved.task.in_words})"
    if (why := saved.why_no_names()) is not None:
        return f"{saved.place} {why}, which cannot be matched with the classes of the recordings"
    if not set(labels) & set(saved.labels):
        return f"{saved.place} has none of these classes: its classes are {and_more(list(saved.labels))}"
    return None


def _named(what: str, labels: Sequence[str]) -> str:
    return f"{what}: {and_more(list(labels))}" if labels else ""


def _start_afresh(loaded: Loaded) -> None:
    """Initialize the output layer with random weights, as the architecture does."""
    old = loaded.output_layer()
    fresh = nn.Linear(old.in_features, old.out_features, bias=old.bias is not None, dtype=old.weight.dtype)
    loaded.model._init_weights(fresh)
    with torch.no_grad():
        old.weight.copy_(fresh.weight)
        if old.bias is not None:
            old.bias.copy_(fresh.bias)


def _copy_rows(loaded: Loaded, saved: SavedHead, labels: Sequence[str], unit: tuple[float, float] | None) -> None:
    weight, bias = saved.load()
    weight, bias = weight.clone(), bias.clone()  # load() may return the weights that are changed below
    if any(label not in saved.labels for label in labels):
        _start_afresh(loaded)
    rows_by_label = {label: i for i, label in enumerate(saved.labels)}
    (old_mean, old_deviation), (mean, deviation) = saved.unit or (0.0, 1.0), unit or (0.0, 1.0)
    weight, bias = weight * (old_deviation / deviation), (bias * old_deviation + old_mean - mean) / deviation
    layer = loaded.output_layer()
    with torch.no_grad():
        for i, label in enumerate(labels):
            if label in rows_by_label:
                layer.weight[i] = weight[rows_by_label[label]]
                layer.bias[i] = bias[rows_by_label[label]]
