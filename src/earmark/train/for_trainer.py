"""Prepare a model and its settings for Trainer, which lacks some of earmark's ways to compute."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from earmark.errors import UsageError
from earmark.models.layer_drop import drop_rate
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.cast_weights import cast_while_training, casts_weights, recomputes, set_attention
from earmark.train.sharded import make_shardable

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

    from earmark.families.family import Family
    from earmark.models.build_model import AudioModel


def settings_for_trainer(audio: AudioModel, args: Any) -> EarmarkTrainingArguments:
    """Set a model up for its precision and for sharded weights, and return the matching settings.

    Raises:
        UsageError: see :func:`finding_unused`.
    """
    model = audio.model
    if args.fsdp or args.deepspeed:
        # both gather weights when Transformers' own modules are called, which the static forward does not do
        model.forward.static = None
        make_shardable(model)
    elif casts_weights(args):
        set_attention(model, args)
        cast_while_training(model, args.device)
        args = copy.copy(args)
        args.bf16, args.mixed_precision = False, "no"  # because Trainer would use autocast
    if recomputes(args):
        args = finding_unused(args, model.config, audio.family)
    if args.device.type != "cpu" and args.dataloader_pin_memory:
        args.accelerator_config.non_blocking = True  # so that a step does not wait until its batch is copied
    return args


def check_spread(args: EarmarkTrainingArguments, *, fsdp: bool, deepspeed: bool) -> None:
    """Check how accelerate shards the weights, given the settings and its environment variables.

    Raises:
        UsageError: weights are sharded and averaged, or cannot be sharded on this device.
    """
    if args.ema and (fsdp or deepspeed):  # from environment variables; the flags were rejected before
        raise UsageError("--ema: averages whole weights, but FSDP and DeepSpeed shard them. Set --ema 0.")
    if args.fsdp and not fsdp:  # accelerate ignores the flag silently
        raise UsageError(
            f"--fsdp: weights can be sharded over accelerators, not over {args.device.type}s. Leave it out."
        )


def finding_unused(args: Any, config: PreTrainedConfig, family: Family) -> Any:
    """Make several processes search for weights without a gradient, such as those of layers that LayerDrop skips.

    Trainer switches the search off with gradient checkpointing, although only reentrant checkpointing breaks it.

    Raises:
        UsageError: LayerDrop is on in several processes, with reentrant checkpointing or without the search.
    """
    settings = args.gradient_checkpointing_kwargs or getattr(args, "activation_checkpointing_kwargs", None) or {}
    reentrant = bool(settings.get("use_reentrant", False))
    drops = drop_rate(config, family) > 0
    if args.world_size > 1 and drops and (reentrant or args.ddp_find_unused_parameters is False):
        why = "use_reentrant" if reentrant else "--ddp_find_unused_parameters False"
        raise UsageError(
            f"--gradient_checkpointing with {why} and LayerDrop cannot train in several processes. Leave {why} out, or "
            f"switch LayerDrop off with --config_overrides {family.layer_drop}=0."
        )
    if args.ddp_find_unused_parameters is not None or reentrant:
        return args
    args = copy.copy(args)
    args.ddp_find_unused_parameters = True
    return args
