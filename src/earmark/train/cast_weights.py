"""Train with weights cast to bfloat16 instead of autocast."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def recomputes(args: Any) -> bool:
    """Return whether the backward pass runs layers again, after the cast weights are gone."""
    return bool(getattr(args, "activation_checkpointing", None) or args.gradient_checkpointing)


def casts_weights(args: Any) -> bool:
    """Return whether a run with these training settings computes with cast weights."""
    return bool(args.bf16 and not (args.fsdp or args.deepspeed) and not recomputes(args))


def set_attention(model: PreTrainedModel, args: Any) -> None:
    """Choose the attention implementation for training with cast weights.

    On a CPU in bfloat16, the backward pass of attention takes a fifth of a step with torch's fused kernel, and a
    twentieth with plain matrix products (Whisper-tiny at 1 s).

    Args:
        model: classifier.
        args: training settings.
    """
    if casts_weights(args) and args.device.type == "cpu":
        model.set_attn_implementation("eager")


def cast_while_training(model: PreTrainedModel, device: torch.device) -> None:
    """Move a model to ``device``, and make it compute in bfloat16 during training.

    The move comes first, because convolutions are tested in bfloat16 if the model is on a CPU.
    """
    model.to(device)
    model.forward.training_dtype = torch.bfloat16
