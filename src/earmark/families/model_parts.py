"""The parts of a training or prediction step in a profile, and the part that a module of a model belongs to."""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import nn


class StepPart(str, enum.Enum):
    """A part of a step. The value is its name in tables."""

    FRONTEND = "frontend"
    FEATURES = "feature encoder"
    PROJECTION = "feature projection"
    POSITIONS = "positional convolution"
    CONVOLUTIONS = "convolutions"
    ATTENTION = "attention"
    MLP = "MLP"
    NORMS = "norms"
    ACTIVATIONS = "activations"
    HEAD = "head"
    LOSS = "loss"
    OPTIMIZER = "optimizer"
    CLIPPING = "gradient clipping"
    CASTS = "casts and copies"
    TRANSFERS = "host-device copies"
    COMMUNICATION = "communication"
    DATA = "waiting for data"
    PYTHON = "Python and launches"
    IDLE = "idle device"
    OTHER = "other"


_NO_RANGE: AbstractContextManager[object] = nullcontext()
_make_range: Callable[[StepPart], AbstractContextManager[object]] | None = None


def set_ranges(make: Callable[[StepPart], AbstractContextManager[object]] | None) -> None:
    """Set the function whose contexts :func:`part_range` returns while a profiler runs; ``None`` afterwards."""
    global _make_range
    _make_range = make


def part_range(part: StepPart) -> AbstractContextManager[object]:
    """Return a context whose code counts as ``part`` in a profile, for code that does not call the part's modules."""
    return _NO_RANGE if _make_range is None else _make_range(part)


_NAMES = (
    (StepPart.FRONTEND, r"log_mel"),
    (StepPart.POSITIONS, r"pos_conv|embed_positions"),
    (StepPart.FEATURES, r"feature_extractor"),
    (StepPart.PROJECTION, r"feature_projection"),
    (StepPart.ATTENTION, r"attention|attn|rel_embeddings"),
    (StepPart.CONVOLUTIONS, r"conv"),
    (StepPart.MLP, r"feed_forward|ffn\d*|fc\d|mlp|intermediate|output|upsample"),
    (StepPart.HEAD, r"^(classifier|projector)"),
)
_ACTIVATIONS = ("transformers.activations", "torch.nn.modules.activation")


def part_by_name(name: str, module: nn.Module, feature_encoder: Collection[str] = ()) -> StepPart | None:
    """Return the part that a module belongs to; ``None`` if its name and class do not show it.

    Norms and activations are parts of their own, wherever they are.

    Args:
        name: name of the module in the model, such as ``wav2vec2.encoder.layers.0.attention.q_proj``.
        module: the module.
        feature_encoder: names, in the body, of the modules of the feature encoder.
    """
    kind = type(module)
    is_leaf = next(module.children(), None) is None
    if is_leaf and re.search(r"(?<!Weight)Norm(\dd)?$", kind.__name__):
        return StepPart.NORMS
    if kind.__module__ in _ACTIVATIONS and kind.__name__ != "MultiheadAttention":
        return StepPart.ACTIVATIONS
    if any(re.search(rf"(^|\.){re.escape(part)}($|\.)", name) for part in feature_encoder):
        return StepPart.FEATURES
    convolution = StepPart.CONVOLUTIONS if kind.__name__.startswith("Conv") else None
    return next((part for part, pattern in _NAMES if re.search(pattern, name)), convolution)
