"""Count the floating-point operations of a model with PyTorch.

The operations for a clip depend only on its padded length, so one clip of each length is enough. A few lengths are
counted, and the others are interpolated, because the cost grows smoothly with the length. All layers count, including
those that LayerDrop skips in a step.

Shapes: T samples, F frames, D width.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from earmark.models.build_model import AudioModel
from earmark.profiling.operations import convolution_gradients
from earmark.scoring.torch_scorer import scoring

_MOST_COUNTED = 6  # maximum number of lengths to count


class Shapes:
    """Shapes of the inputs during a measurement.

    Attributes:
        clips_of_width: number of clips by padded width: samples, frames, or 1 for embeddings.
        own: samples or frames of the clips, without padding.
    """

    def __init__(self) -> None:
        self.clips_of_width: Counter[int] = Counter()
        self.own = 0

    def add(self, clips: int, width: int, own: int) -> None:
        """Count a batch."""
        self.clips_of_width[width] += clips
        self.own += own

    @property
    def clips(self) -> int:
        """Number of clips in all batches."""
        return sum(self.clips_of_width.values())

    @property
    def useful_share(self) -> float:
        """Fraction of the padded inputs that is not padding."""
        return self.own / sum(width * clips for width, clips in self.clips_of_width.items())

    def flop(self, flop_of_width: Callable[[int], float]) -> float:
        """Return the operations for all clips, given a function for one clip of a width."""
        widths = sorted(self.clips_of_width)
        places = np.linspace(0, len(widths) - 1, min(len(widths), _MOST_COUNTED)).round().astype(int)
        counted = [widths[place] for place in places]
        flop = np.interp(widths, counted, [flop_of_width(width) for width in counted])
        return float(flop @ np.array([self.clips_of_width[width] for width in widths]))


def flop_of_clip(
    audio: AudioModel, inputs: dict[str, Any], device: torch.device, dtype: torch.dtype | None, *, backward: bool
) -> int:
    """Count the operations of a forward pass, or of forward and backward.

    Args:
        audio: model on ``device``; its gradients are cleared.
        inputs: model inputs of one clip; or ``{"samples": (1, T)}`` for the frontend.
        device: where to compute.
        dtype: type that the model computes in; ``None`` for the type of its weights.
        backward: whether to include the gradients of the trainable weights.
    """
    moved = {name: value.to(device) for name, value in inputs.items()}
    if "samples" in moved:
        moved = audio.frontend.inputs(moved["samples"])
    counter = FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _convolution_backward}
    )
    audio.model.forward.convolutions.check(
        dtype, backward=backward
    )  # before counting, because the check itself computes
    # Compute attention as matrix products: PyTorch cannot count the fused kernels of every device.
    plain_attention = sdpa_kernel(SDPBackend.MATH)
    with scoring(audio.model, dtype), torch.set_grad_enabled(backward), plain_attention, counter:
        logits = audio.model(**moved).logits
        if backward:
            logits.sum().backward()
    audio.model.zero_grad(set_to_none=True)
    return int(counter.get_total_flops())


def _convolution_backward(
    grad_shape: Sequence[int],
    input_shape: Sequence[int],
    weight_shape: Sequence[int],
    _bias: object,
    _stride: object,
    _padding: object,
    _dilation: object,
    transposed: bool,
    _output_padding: object,
    _groups: int,
    output_mask: Sequence[bool],
    **_: object,
) -> int:
    num_gradients = sum(output_mask[:2])
    return convolution_gradients(
        grad_shape, input_shape, weight_shape, transposed=transposed, num_gradients=num_gradients
    )
