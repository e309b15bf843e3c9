"""Compute the training loss from logits; the loss of the model itself is not used.

Shapes: B batch, C classes.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earmark.errors import UsageError
from earmark.models.build_model import AudioModel
from earmark.tasks.task import NO_LABEL, LossSettings
from earmark.text import and_more
from earmark.train.mixing import MixedLabels, loss_of_clips

logger = logging.getLogger(__name__)

_SHOWN = 8


class StepLoss:
    """The mean loss over all clips of an optimizer step, for any number of micro-batches.

    The sum of losses is divided by the number of clips, not by the sum of class weights. That sum differs between
    micro-batches, so accumulated gradients would differ from the gradient of the whole step.

    Args:
        of_clips: returns the loss of each clip, float32 (B,), from logits (B, C) and labels; see
            :meth:`earmark.tasks.task.Task.loss`.
    """

    def __init__(self, of_clips: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        self.of_clips = of_clips

    def __call__(
        self, outputs: Any, labels: torch.Tensor | MixedLabels, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Return the loss, a scalar, from logits (B, C) and labels, int64 (B,) or mixed; the label -100 is ignored."""
        logits = outputs["logits"].float()
        total = loss_of_clips(self.of_clips, logits, labels).sum()
        own = labels.own if isinstance(labels, MixedLabels) else labels
        return total / ((own != NO_LABEL).sum() if num_items_in_batch is None else num_items_in_batch)


def make_loss(audio: AudioModel, settings: Any, targets: np.ndarray, *, quiet: bool = False) -> StepLoss:
    """Return the loss for the task and settings; log the class weights.

    Args:
        audio: the model.
        settings: :class:`earmark.settings.training_flags.LossArguments` with Transformers' ``label_smoothing_factor``.
        targets: targets of the training clips, see :meth:`earmark.tasks.task.Task.targets`.
        quiet: leave the log line out.

    Raises:
        UsageError: class weights name an unknown class or are not numbers above 0, or the smoothing is out of range.
    """
    labels, task, smoothing = audio.labels, audio.task, settings.label_smoothing_factor
    if not 0 <= smoothing < 1:
        raise UsageError(f"--label_smoothing_factor {smoothing}: out of range. Give a number from 0 to below 1.")
    weights = None
    if settings.class_weights is not None:
        given = read_class_weights(settings.class_weights, labels)
        weights = task.class_weights(given, labels, targets, even=settings.sampler == "balanced")
        if not quiet:
            shown = [f"{label} {weight:.3g}" for label, weight in zip(labels, weights, strict=True)]
            logger.info("class weights: %s", and_more(shown, _SHOWN))
    return StepLoss(
        task.loss(
            LossSettings(
                label_smoothing=smoothing,
                focal_gamma=settings.focal_gamma,
                class_weights=None if weights is None else torch.from_numpy(weights).float(),
                unit=audio.model.forward.unit,
            )
        )
    )


def read_class_weights(setting: str, labels: Sequence[str]) -> dict[str, float] | None:
    """Return the class weights in a setting; ``None`` for balanced weights.

    Args:
        setting: ``balanced``, ``label=weight,...``, a JSON object, or a file with a JSON object.
        labels: class names.

    Raises:
        UsageError: see :func:`make_loss`.
    """
    if setting == "balanced":
        return None
    given = _read_weights(setting)
    unknown = [label for label in given if label not in labels]
    if unknown:
        raise UsageError(
            f"--class_weights: no class {and_more(list(map(repr, unknown)), _SHOWN)} in the training clips. Use their "
            f"classes: {and_more(list(map(repr, labels)), _SHOWN)}."
        )
    return given


def _read_weights(setting: str) -> dict[str, float]:
    text = setting.strip()
    if text.endswith(".json"):
        try:
            text = Path(text).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"--class_weights {setting}: cannot be read ({exc}). Fix the file.") from exc
    fix = "Give balanced, label=weight,label=weight or a JSON object."
    try:
        pairs = json.loads(text) if text.startswith("{") else _pairs(text)
    except ValueError as exc:
        raise UsageError(f"--class_weights {setting}: cannot be read ({exc}). {fix}") from exc
    if not isinstance(pairs, dict) or not pairs:
        raise UsageError(f"--class_weights {setting}: holds no weights of labels. {fix}")
    for label, weight in pairs.items():
        is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not is_number or not math.isfinite(weight) or weight <= 0:
            raise UsageError(f"--class_weights: {label!r} has the weight {weight!r}. Give a number above 0.")
    return {str(label): float(weight) for label, weight in pairs.items()}


def _pairs(text: str) -> dict[str, float]:
    pairs: dict[str, float] = {}
    for label, weight in map(_pair, text.split(",")):
        if label in pairs:
            raise ValueError(f"{label!r} is listed twice")
        pairs[label] = weight
    return pairs


def _pair(part: str) -> tuple[str, float]:
    label, equals, weight = part.rpartition("=")
    if not equals:
        raise ValueError(f"{part!r} has no =")
    return label.strip(), float(weight)
