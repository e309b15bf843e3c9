"""Prepares a model and its settings for Trainer, which knows fewer ways to compute than earmark."""

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
    """Set a model up for its precision and for spread weights, and return the settings that go with it.

    Raises:
        UsageError: see :func:`finding_unused`.
    """
    model = audio.model
    if args.fsdp or args.deepspeed:
        # both hang on the calls of the library's own modules, to gather their weights in time
        model.forward.static = None
        make_shardable(model)
    elif casts_weights(args):
        set_attention(model, args)
        cast_while_training(model, args.device)
        args = copy.copy(args)
        args.bf16, args.mixed_precision = False, "no"  # to Trainer they mean autocast
    if recomputes(args):
        args = finding_unused(args, model.config, audio.family)
    if args.device.type != "cpu" and args.dataloader_pin_memory:
        args.accelerator_config.non_blocking = True  # the next step need not wait for the copy of its batch
    return args


def check_spread(args: EarmarkTrainingArguments, *, fsdp: bool, deepspeed: bool) -> None:
    """Check the settings against what accelerate has made of them and of its environment.

    Raises:
        UsageError: an average of weights that are spread over the ranks, or weights that cannot be.
    """
    if args.ema and (fsdp or deepspeed):  # by the environment: the flags were refused before
        raise UsageError("--ema averages whole weights, and FSDP and DeepSpeed spread them. Set --ema 0.")
    if args.fsdp and not fsdp:  # accelerate passes over it without a word
        raise UsageError(
            f"--fsdp: weights can be spread over accelerators, not over {args.device.type}s. Leave it out."
        )


def finding_unused(args: Any, config: PreTrainedConfig, family: Family) -> Any:
    """Have several processes look for weights without a gradient, such as those of a layer that LayerDrop leaves out.

    Trainer switches that off under gradient checkpointing, which it breaks only in the reentrant form.

    Raises:
        UsageError: LayerDrop with reentrant checkpointing in several processes, or with the search switched off.
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
