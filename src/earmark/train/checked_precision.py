"""Check before the first training step that the device computes the model correctly in half precision.

The model computes one real batch of training clips in float32 on the CPU (if training runs on an accelerator), in
float32 on the device, and in the training precision. :mod:`earmark.models.numerics` compares logits and loss and, for
the first clip, the gradients of all trained weights (only on the device).

* Logits or loss in half precision differ too much: an error if a flag asked for the precision, else training continues
  in float32.
* Only gradients differ too much: training continues with a warning, in float32 or in the precision that a flag asked
  for. It is not an error, because gradients of correct models with saturated attention can differ by as much.
* Float32 on an accelerator differs too much from the CPU: an error in any precision.

The check takes at most 1 % of a run. Comparing a clip takes about four times as long as training on it in half
precision, so the check compares one clip for every 400 that a process will train on, at least one and at most a batch.
The CPU computes the reference once per machine and for one clip, because it can be 2,000 times slower than an
accelerator. All ranks compare the same clips and make the same decision.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from accelerate.utils.memory import clear_device_cache

from earmark.distributed.ranks import gathered, on_each_machine
from earmark.errors import DeviceError
from earmark.models.build_model import AudioModel
from earmark.models.numerics import (
    SILENT,
    Computed,
    Difference,
    Inputs,
    Way,
    compare,
    compare_gradients,
    compute,
    first_different_layer,
    wrong_float32,
)
from earmark.store.usable import UsableClips
from earmark.text import counted
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.cast_weights import casts_weights, set_attention
from earmark.train.frozen import model_inputs, uses_mask
from earmark.train.losses import make_loss
from earmark.train.out_of_memory import is_out_of_memory, out_of_memory_as
from earmark.train.recipe import global_batch_size
from earmark.train.training_clips import training_clips

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

_CLIPS_PER_CLIP = 400  # training clips for each compared clip
_LOOKED_AT = 16  # clips from which the loudest one is chosen
_CPU = torch.device("cpu")


@dataclass(frozen=True)
class _Batch:
    """One real batch: the model inputs on a device, and the loss of the model's outputs."""

    count: int
    looked_at: int
    is_silent: bool
    make_inputs: Inputs
    loss: Callable[[Any], torch.Tensor]


@dataclass(frozen=True)
class _Verdict:
    """Result of the check on one rank; ``None`` for no difference.

    Attributes:
        device: how float32 on the device differs from the CPU.
        half: how logits or loss in half precision differ from float32.
        gradients: how gradients in half precision differ from float32.
    """

    device: Difference | None = None
    half: Difference | None = None
    gradients: Difference | None = None


def with_checked_precision(
    audio: AudioModel, training: EarmarkTrainingArguments, clips: UsableClips, flag: str | None, *, half: bool = True
) -> EarmarkTrainingArguments:
    """Return the settings, changed to float32 if the device computes the model wrongly in their precision.

    All ranks have to call this before they make a trainer.

    Args:
        audio: the model, on the CPU; it is moved to the device.
        training: settings, with the chosen precision.
        clips: clips to train on.
        flag: the flag that asked for half precision, or ``None``.
        half: whether the settings' precision is used for training; ``False`` for ``--few_shot``.

    Raises:
        DeviceError: the device computes the model wrongly in float32, or in the precision that ``flag`` asked for.
    """
    way = _way(training) if half else None
    if training.deepspeed or (training.device.type == "cpu" and way is None):
        if training.deepspeed and way is not None:
            logger.info("precision: not compared with float32, because DeepSpeed may shard the weights before training")
        return training
    attention = audio.model.config._attn_implementation
    set_attention(audio.model, training)  # because the trainer uses this implementation, which has its own kernels
    with _translated_out_of_memory(training):
        verdict = _of_all_ranks(_examine(audio, training, clips, way))
    if verdict.device is not None:
        error = wrong_float32(training.device, verdict.device)
        error.of_all_ranks = True
        raise error
    if way is None:
        return training
    difference = f"{way}: compared with float32 {verdict.half or verdict.gradients}"
    if verdict.half is None and verdict.gradients is None:
        return training
    if verdict.half is not None and _is_for(flag, training):
        error = DeviceError(f"{flag}: {difference}. Use --precision fp32.")
        error.of_all_ranks = True
        raise error
    if verdict.half is None and _is_for(flag, training):
        logger.warning(
            "%s; training continues because of %s. If the loss does not fall, use --precision fp32", difference, flag
        )
        return training
    logger.warning("%s; training continues in float32, which is slower", difference)
    if audio.model.config._attn_implementation != attention:
        audio.model.set_attn_implementation(attention)
    changes: dict[str, Any] = {"bf16": False, "fp16": False}
    return dataclasses.replace(training, **changes)


def _is_for(flag: str | None, training: EarmarkTrainingArguments) -> bool:
    """Return whether the flag asked for the chosen precision; with --fp16 on a CPU another one is chosen."""
    return flag is not None and flag.endswith("bf16" if training.bf16 else "fp16")


def _way(training: EarmarkTrainingArguments) -> Way | None:
    """Return how the trainer computes in half precision; ``None`` for float32."""
    if training.fp16:
        return Way(training.device, torch.float16, autocast=True)
    return Way(training.device, torch.bfloat16, autocast=not casts_weights(training)) if training.bf16 else None


def _examine(audio: AudioModel, training: EarmarkTrainingArguments, clips: UsableClips, way: Way | None) -> _Verdict:
    """Compare on this rank. Afterwards the model is on the device, or on the CPU for ``--fsdp``."""
    one, on_cpu, plain = _loudest_clips(audio, training, clips, 1), Way(_CPU, torch.float32), None
    if one.is_silent:
        logger.info(
            "precision: not compared with float32, because the %s chosen for it are silent",
            counted(one.looked_at, "training clip"),
        )
        return _Verdict()
    if training.device.type != "cpu":
        plain = on_each_machine(lambda: compute(audio.model, one.make_inputs, on_cpu, one.loss, layers=True))
    audio.model.to(training.device)
    try:
        there, learns = Way(training.device, torch.float32), way is not None and not training.fsdp
        exact = compute(audio.model, one.make_inputs, there, one.loss, gradients=learns, layers=True)
        if plain is not None and (different := compare(exact, plain)) is not None:
            layer = first_different_layer(exact, plain, audio.model)
            return _Verdict(device=dataclasses.replace(different, layer=layer))
        if way is None:
            return _Verdict()
        several = _loudest_clips(audio, training, clips, _num_clips(training, clips))
        return _examine_half(audio.model, way, there, one, exact, several)
    finally:
        if training.fsdp:
            audio.model.to("cpu")


def _examine_half(
    model: PreTrainedModel, way: Way, there: Way, one: _Batch, exact: Computed, several: _Batch
) -> _Verdict:
    half = compute(model, one.make_inputs, way, one.loss, gradients=bool(exact.gradients), layers=True)
    different = compare(half, exact)
    if different is None and several.count > 1 and (found := _compare_several(model, way, there, several)) is not None:
        different, half, exact = found
    if different is not None:
        return _Verdict(half=dataclasses.replace(different, layer=first_different_layer(half, exact, model)))
    return _Verdict(gradients=compare_gradients(half, exact))


def _compare_several(
    model: PreTrainedModel, way: Way, there: Way, several: _Batch
) -> tuple[Difference, Computed, Computed] | None:
    """Return the difference between two ways and the layer outputs of both; ``None`` if equal, or if memory is full."""
    try:
        half, exact = (compute(model, several.make_inputs, how, several.loss) for how in (way, there))
        different = compare(half, exact)
        if different is None:
            return None
        half, exact = (compute(model, several.make_inputs, how, layers=True) for how in (way, there))
        return different, half, exact
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
    logger.info(
        "precision: compared with float32 on one clip only, because %d clips do not fit into memory", several.count
    )
    clear_device_cache()
    return None


def _translated_out_of_memory(training: EarmarkTrainingArguments) -> AbstractContextManager[None]:
    return out_of_memory_as(
        lambda: (
            f"out of memory on {training.device} during the precision check of one clip, which needs less memory than "
            "training. Lower --max_length_seconds or choose a smaller model."
        )
    )


def _num_clips(training: EarmarkTrainingArguments, clips: UsableClips) -> int:
    """Return how many clips to compare: at most 1 % of the training time, and at most one evaluation batch."""
    if training.max_steps > 0:
        trained = training.max_steps * global_batch_size(training)
    else:
        assert training.num_train_epochs is not None  # with_length has set it
        trained = math.ceil(training.num_train_epochs * len(clips.table))
    most = min(training.per_device_train_batch_size, training.per_device_eval_batch_size, len(clips.table))
    return max(1, min(most, trained // training.world_size // _CLIPS_PER_CLIP))


def _loudest_clips(audio: AudioModel, training: EarmarkTrainingArguments, clips: UsableClips, count: int) -> _Batch:
    """Return the loudest of several clips from all over the table; the same clips on all ranks."""
    spread = np.linspace(0, len(clips.table) - 1, max(count, _LOOKED_AT))
    looked_at = np.unique(spread.astype(int)).tolist()
    levels = [float(waveform.std()) for waveform in clips.waveforms.iterate(looked_at)]
    by_level = sorted(range(len(looked_at)), key=lambda i: -levels[i])
    rows = [looked_at[i] for i in by_level[:count]]
    dataset = training_clips(audio, clips, seed=training.seed)
    batch = dataset.__getitems__(rows)
    loss = make_loss(audio, training, dataset.labels, quiet=True)
    labels = batch["labels"]
    return _Batch(
        count,
        len(levels),
        max(levels) < SILENT,
        lambda device: model_inputs(audio, batch, device, mask=uses_mask(audio)),
        lambda outputs: loss(outputs, labels.to(outputs["logits"].device)),
    )


def _of_all_ranks(verdict: _Verdict) -> _Verdict:
    """Return the first difference of each kind that any rank found; the same result on all ranks."""
    found = gathered(verdict)
    names = [field.name for field in dataclasses.fields(_Verdict)]
    return _Verdict(**{name: next(filter(None, (getattr(one, name) for one in found)), None) for name in names})
