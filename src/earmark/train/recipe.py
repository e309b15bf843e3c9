"""Choose batch size, learning rates and length of training for a model and a number of devices.

Each default names its source; flags override the defaults.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

from earmark.errors import UsageError
from earmark.families.family import Family, Recipe
from earmark.scoring.diagnosis import COLLAPSED_RATE_SUM, Schedule
from earmark.settings.training_flags import TrainingArguments

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

T = TypeVar("T", bound=TrainingArguments)


# Only a linear head is trained, on features that do not change.
_FROZEN_ENCODER = Recipe(1e-3, 32, 1000)
# RoBERTa base with rank 8 on GLUE (Hu et al. 2021, arXiv:2106.09685, table 9: 4e-4 and 5e-4 at 16 to 64)
_ADAPTERS = Recipe(5e-4, 32, 500)
# 3e-5 to 2.4e-4 works for wav2vec2-base; 1e-4 to 3.2e-3 made Whisper-tiny forget everything.
_MOST_SCALING = 8.0
# With few large steps the head, which starts from random weights, needs a higher rate than the body.
_HEAD_FACTOR = 5.0


@dataclass(frozen=True)
class Rates:
    """Peak learning rates.

    Attributes:
        body: rate of the pretrained part, or of the whole model if its weights are random.
        head: rate of the classification head.
        reason: the source of the rates, for the log.
    """

    body: float
    head: float
    reason: str


def choose_rates(training: TrainingArguments, family: Family, *, pretrained: bool, freeze: str | None) -> Rates:
    """Return the peak learning rates: the given ones, or the rates of the model family, scaled with the batch size.

    A batch k times as large gets k times the rate, because training has k times fewer steps (linear scaling with
    warm-up, Goyal et al. 2017, arXiv:1706.02677). From random weights, training with AdamW diverges at such a rate, so
    the factor is the square root of k (Malladi et al. 2022, arXiv:2205.10287). The factor is at most 8.

    Args:
        training: settings with batch size, accumulation and world size; given rates take precedence.
        family: family of the model.
        pretrained: whether the body starts from a checkpoint.
        freeze: value of ``--freeze``.
    """
    batch = global_batch_size(training)
    if training.learning_rate is not None:
        body, factor, reason = training.learning_rate, 1.0, "as given"
    else:
        found = _found(training, family, pretrained=pretrained, freeze=freeze)
        factor = _batch_factor(batch, found)
        factor = factor if pretrained else math.sqrt(factor)
        body = found.rate * factor
        reason = f"{found.rate:g} at {found.clips} clips a step"
        if factor > 1:
            law = "linear scaling" if pretrained else "square root scaling"
            reason += f", times {factor:.3g} for {batch:,} ({law})"
    head = training.head_learning_rate
    if head is None:
        head = body * (_HEAD_FACTOR if factor > 1 and pretrained and freeze != "encoder" else 1.0)
    return Rates(body, head, reason)


@dataclass(frozen=True)
class Needs:
    """The training length and weight average of a model, used if no number of epochs is given.

    Attributes:
        steps: number of optimizer steps.
        ema: decay of the average of the weights; ``None`` for no average.
    """

    steps: int
    ema: float | None


def training_needs(training: TrainingArguments, family: Family, *, pretrained: bool, freeze: str | None) -> Needs:
    """Return how long this model trains. A larger batch means fewer steps only if the learning rate is higher, too.

    Args:
        training: settings with batch size, accumulation, world size, ``lora`` and peak ``learning_rate``; ``None``
            means the rate of :func:`choose_rates`.
        family: family of the model.
        pretrained: whether the body starts from a checkpoint.
        freeze: value of ``--freeze``.
    """
    found = _found(training, family, pretrained=pretrained, freeze=freeze)
    factor = _batch_factor(global_batch_size(training), found)
    if training.learning_rate is not None:
        raised = training.learning_rate / found.rate
        factor = max(1.0, min(factor, raised if pretrained else raised**2))
    # subtract a little, so that a rounding error of the ratio does not add a step
    return Needs(math.ceil(found.steps / factor - 1e-9), found.ema)


def _batch_factor(batch: int, found: Recipe) -> float:
    return min(max(1.0, batch / found.clips), _MOST_SCALING)


def _found(training: TrainingArguments, family: Family, *, pretrained: bool, freeze: str | None) -> Recipe:
    if training.lora is not None:
        return _ADAPTERS
    if pretrained and freeze == "encoder":
        return _FROZEN_ENCODER
    return family.pretrained if pretrained else family.from_scratch


def global_batch_size(training: TrainingArguments) -> int:
    """Return the clips in one optimizer step, over all processes and accumulated batches."""
    return training.train_batch_size * training.gradient_accumulation_steps * training.world_size


def with_global_batch(training: T, world_size: int | None = None) -> T:
    """Return settings whose steps take ``--global_batch_size`` clips on any number of processes.

    Args:
        training: settings.
        world_size: number of training processes; by default the world size of ``training``.

    Raises:
        UsageError: the batch cannot be divided evenly, or ``--gradient_accumulation_steps`` is also given.
    """
    wanted, world = training.global_batch_size, training.world_size if world_size is None else world_size
    if wanted is None:
        return training
    if training.gradient_accumulation_steps > 1:
        raise UsageError("--global_batch_size sets --gradient_accumulation_steps itself. Leave one of them out.")
    largest = min(training.per_device_train_batch_size, max(1, wanted // world))
    batch = next((size for size in range(largest, largest // 2, -1) if wanted % (size * world) == 0), None)
    if batch is None:
        raise UsageError(
            f"--global_batch_size {wanted}: cannot be divided evenly over {world} processes in batches of at most "
            f"{training.per_device_train_batch_size}. Use a multiple of {largest * world}."
        )
    return replace(training, per_device_train_batch_size=batch, gradient_accumulation_steps=wanted // (batch * world))


def is_wav2vec2_base(config: PreTrainedConfig, family: Family, training: TrainingArguments, freeze: str | None) -> bool:
    """Return whether all of a wav2vec2-base is trained, as in the measured runs behind :class:`Schedule`.

    Args:
        config: configuration of the model.
        family: family of the model.
        training: settings with ``lora``.
        freeze: value of ``--freeze``.
    """
    trains_all = training.lora is None and freeze in (None, "none", "feature_encoder")
    return trains_all and family.is_collapse_measured(config)


def warn_of_collapse(schedule: Schedule) -> str | None:
    """Return a warning if the same model has learned nothing with such a short schedule, else ``None``."""
    measured = schedule.pretrained and schedule.is_wav2vec2_base
    if not measured or schedule.rate_sum >= 2 * COLLAPSED_RATE_SUM:
        return None
    return (
        f"warning: this schedule is probably too short for wav2vec2-base: {schedule.steps:,} steps at a peak learning "
        f"rate of {schedule.learning_rate:g}. The model may always predict the most frequent class. Try more "
        "--num_train_epochs, a higher --learning_rate or a smaller batch "
        f"({schedule.global_batch_size:,} clips a step)."
    )
