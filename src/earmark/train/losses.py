"""The loss, computed here from logits whatever the model's own loss does.

Shapes: B batch, C classes, N training clips.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from earmark.batch.dataset import NO_LABEL
from earmark.errors import UsageError
from earmark.models.build_model import AudioModel
from earmark.tasks import Task
from earmark.text import and_more
from earmark.train.mixing import MixedLabels, loss_of_clips

logger = logging.getLogger(__name__)

_SHOWN = 8
_MOST_WEIGHT = 100.0  # of a label that few clips have: more and a few clips would make up the gradient


class ClipLoss:
    """Cross-entropy averaged over every clip of an optimizer step, however many micro-batches it came in.

    The loss of a clip with the target distribution ``q`` and the probabilities ``p`` is
    ``-w[target] * sum_c q_c * (1 - p_c)**gamma * log(p_c)``: the focal loss of Lin et al. 2017 ("Focal Loss for Dense
    Object Detection", arXiv:1708.02002), whose alpha is the weight here; with gamma 0 plain cross-entropy. Under label
    smoothing (Szegedy et al. 2016, "Rethinking the Inception Architecture for Computer Vision") ``q`` is
    ``1 - smoothing`` on the target plus ``smoothing / C`` on every class.

    The sum is divided by the number of clips, not by the sum of their weights: that would change with the classes that
    a micro-batch happens to hold, and accumulated gradients would not be those of the whole step.

    Args:
        label_smoothing: from 0 to below 1.
        focal_gamma: 0 or more.
        class_weights: float32 (C,); ``None`` for 1 each.
    """

    def __init__(
        self, label_smoothing: float = 0.0, focal_gamma: float = 0.0, class_weights: torch.Tensor | None = None
    ) -> None:
        self.label_smoothing = label_smoothing
        self.focal_gamma = focal_gamma
        self.class_weights = class_weights

    def __call__(
        self, outputs: Any, labels: torch.Tensor | MixedLabels, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Scalar loss of logits (B, C) against labels (B,) int64, of which -100 counts for nothing, or mixed ones."""
        logits = outputs["logits"].float()
        total = loss_of_clips(self.of_clips, logits, labels).sum()
        own = labels.own if isinstance(labels, MixedLabels) else labels
        return total / ((own != NO_LABEL).sum() if num_items_in_batch is None else num_items_in_batch)

    def of_clips(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each clip, float32 (B,), 0 where the label is -100."""
        if self.focal_gamma == 0:
            loss = F.cross_entropy(
                logits, labels, reduction="none", label_smoothing=self.label_smoothing, ignore_index=NO_LABEL
            )
        else:
            loss = self._focal(logits, labels)
        if self.class_weights is None:
            return loss
        return loss * self.class_weights.to(logits.device)[labels.clamp(min=0)]

    def _focal(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        log_p = logits.log_softmax(dim=-1)
        # 1 - p as expm1 keeps the small differences of a class that is all but certain, and its gradient at 0
        rest = -torch.expm1(log_p.clamp(max=-torch.finfo(log_p.dtype).tiny))
        terms = -(rest**self.focal_gamma) * log_p  # (B, C)
        counted = labels != NO_LABEL
        of_target = terms.gather(1, labels.clamp(min=0)[:, None]).squeeze(1)
        smoothed = (1 - self.label_smoothing) * of_target + self.label_smoothing * terms.mean(dim=-1)
        return torch.where(counted, smoothed, 0.0)


class LabelsLoss(ClipLoss):
    """Binary cross-entropy of several labels, averaged over every label of every clip of an optimizer step.

    Of a label that is there with the probability ``p`` it is ``-w * (1 - p)**gamma * log(p)``, of one that is not
    ``-p**gamma * log(1 - p)``: the focal loss in the form Lin et al. 2017 (arXiv:1708.02002) give it, with gamma 0
    plain cross-entropy. Under label smoothing a target is ``1 - smoothing / 2`` or ``smoothing / 2``. The loss of a
    clip is the sum over its labels.
    """

    def of_clips(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each clip, float32 (B,), of logits and labels (B, C); 0 where the labels are -100."""
        counted = labels[:, 0] != NO_LABEL
        there = labels * (1 - self.label_smoothing) + self.label_smoothing / 2
        yes, no = -F.logsigmoid(logits), -F.logsigmoid(-logits)
        if self.focal_gamma:
            yes = yes * torch.sigmoid(-logits) ** self.focal_gamma
            no = no * torch.sigmoid(logits) ** self.focal_gamma
        if self.class_weights is not None:
            yes = yes * self.class_weights.to(logits.device)
        return torch.where(counted, (there * yes + (1 - there) * no).sum(dim=-1), 0.0)


class NumberLoss(ClipLoss):
    """Square error of numbers, in deviations from the mean of the training clips, averaged over the clips of a step.

    Args:
        unit: that mean and deviation. The model answers in the unit of the numbers, labels come in deviations.
    """

    def __init__(self, unit: tuple[float, float]) -> None:
        super().__init__()
        self.unit = unit

    def of_clips(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """The loss of each clip, float32 (B,), of logits (B, 1) and labels (B,); 0 where the label is -100."""
        mean, deviation = self.unit
        return torch.where(labels != NO_LABEL, ((logits[:, 0] - mean) / deviation - labels) ** 2, 0.0)


def make_loss(audio: AudioModel, settings: Any, targets: np.ndarray, *, quiet: bool = False) -> ClipLoss:
    """Return the loss that task and settings ask for; log the weights of classes.

    Args:
        audio: the model.
        settings: :class:`earmark.settings.training_flags.LossArguments` with Transformers' ``label_smoothing_factor``.
        targets: of the training clips: class int64 (N,), which labels are there (N, C), or numbers (N,).
        quiet: leave the log line out.

    Raises:
        UsageError: weights of classes that there are not, that are no numbers above 0, or a smoothing out of range.
    """
    labels, task = audio.labels, audio.task
    smoothing = settings.label_smoothing_factor
    if not 0 <= smoothing < 1:
        raise UsageError(f"--label_smoothing_factor {smoothing}: expected from 0 to below 1")
    if task is Task.REGRESSION:
        assert audio.model.forward.unit is not None, "a regression is built with the unit of its numbers"
        return NumberLoss(audio.model.forward.unit)
    weights = None
    if settings.class_weights is not None:
        if task is Task.MULTI_LABEL:
            weights = label_weights(settings.class_weights, labels, targets)
        else:
            counts = np.bincount(targets, minlength=len(labels))
            weights = class_weights(settings.class_weights, labels, counts, even=settings.sampler == "balanced")
        shown = [f"{label} {weight:.3g}" for label, weight in zip(labels, weights, strict=True)]
        if not quiet:
            logger.info("class weights: %s", and_more(shown, _SHOWN))
    kind = LabelsLoss if task is Task.MULTI_LABEL else ClipLoss
    return kind(smoothing, settings.focal_gamma, None if weights is None else torch.from_numpy(weights).float())


def label_weights(setting: str, labels: Sequence[str], targets: np.ndarray) -> np.ndarray:
    """What a clip with each label counts for, against one without it, float64 (C,).

    ``balanced`` is the number of clips without a label over that of clips with it, at most 100, so that both count the
    same together (``pos_weight`` of PyTorch's ``BCEWithLogitsLoss``).

    Args:
        setting: as for :func:`class_weights`.
        labels: label names.
        targets: which are there, (N, C).

    Raises:
        UsageError: see :func:`make_loss`.
    """
    if setting != "balanced":
        given = _known(_read_weights(setting), labels)
        return np.array([given.get(label, 1.0) for label in labels])
    there = targets.sum(axis=0, dtype=np.float64)
    return np.clip((len(targets) - there) / np.maximum(there, 1), 1 / _MOST_WEIGHT, _MOST_WEIGHT)


def class_weights(setting: str, labels: Sequence[str], counts: np.ndarray, *, even: bool = False) -> np.ndarray:
    """What a clip of each class counts for, float64 (C,), 1 on average over the clips that are trained on.

    ``balanced`` is ``N / (C * count)`` (King and Zeng 2001, "Logistic Regression in Rare Events Data", as
    scikit-learn's ``class_weight`` has it): all classes together count the same.

    Args:
        setting: ``balanced``, ``label=weight,...``, a JSON object, or a file that holds one.
        labels: class names.
        counts: training clips of each class, int64 (C,).
        even: whether a sampler shows each class equally often, whatever its clips.

    Raises:
        UsageError: see :func:`make_loss`.
    """
    if setting == "balanced":
        weights = 1 / np.maximum(counts, 1)
    else:
        given = _known(_read_weights(setting), labels)
        weights = np.array([given.get(label, 1.0) for label in labels])
    share = np.full(len(labels), 1 / len(labels)) if even else counts / counts.sum()
    scaled: np.ndarray = weights / (weights * share).sum()
    return scaled


def _known(given: dict[str, float], labels: Sequence[str]) -> dict[str, float]:
    unknown = [label for label in given if label not in labels]
    if unknown:
        raise UsageError(
            f"--class_weights: no class {and_more(list(map(repr, unknown)), _SHOWN)} in the training clips; they have "
            f"{and_more(list(map(repr, labels)), _SHOWN)}"
        )
    return given


def _read_weights(setting: str) -> dict[str, float]:
    text = setting.strip()
    if text.endswith(".json"):
        try:
            text = Path(text).expanduser().read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"--class_weights {setting}: cannot be read ({exc})") from exc
    expected = f"--class_weights {setting}: expected balanced, label=weight,label=weight or a JSON object"
    try:
        pairs = json.loads(text) if text.startswith("{") else _pairs(text)
    except ValueError as exc:
        raise UsageError(f"{expected} ({exc})") from exc
    if not isinstance(pairs, dict) or not pairs:
        raise UsageError(expected)
    for label, weight in pairs.items():
        is_number = isinstance(weight, (int, float)) and not isinstance(weight, bool)
        if not is_number or not math.isfinite(weight) or weight <= 0:
            raise UsageError(f"--class_weights: {label!r} has the weight {weight!r}; expected a number above 0")
    return {str(label): float(weight) for label, weight in pairs.items()}


def _pairs(text: str) -> dict[str, float]:
    pairs: dict[str, float] = {}
    for label, weight in map(_pair, text.split(",")):
        if label in pairs:
            raise ValueError(f"{label!r} is there twice")
        pairs[label] = weight
    return pairs


def _pair(part: str) -> tuple[str, float]:
    label, equals, weight = part.rpartition("=")
    if not equals:
        raise ValueError(f"{part!r} has no =")
    return label.strip(), float(weight)
