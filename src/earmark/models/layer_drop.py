"""LayerDrop that computes every layer and selects its output or its input (Fan et al. 2019, arXiv:1909.11556).

Transformers does not call a dropped layer. A learned sum of layers (``use_weighted_layer_sum``) needs the output of all
layers, so training would fail with an error about shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from earmark.models.freeze import encoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel

    from earmark.families.family import Family


def drop_rate(config: PreTrainedConfig, family: Family) -> float:
    """Return the probability that a training step skips a layer; 0 for architectures without LayerDrop."""
    return float(getattr(config, family.layer_drop, None) or 0.0)


class SelectedLayers:
    """LayerDrop for the library's forward; see the module docstring.

    Args:
        model: classifier. Its layers get hooks, which do nothing outside :meth:`used`.
        family: its family.

    Raises:
        ModelError: the layers of the model are unknown.
    """

    def __init__(self, model: PreTrainedModel, family: Family) -> None:
        self._rate = drop_rate(model.config, family)
        self._active = False
        # The library reads the setting from the configuration, or from a copy in the encoder named `layerdrop`.
        self._places = [
            (place, name)
            for place in (model.config, *model.modules())
            for name in {family.layer_drop, "layerdrop"}
            if isinstance(vars(place).get(name), (int, float))
        ]
        for layer in list(encoder_layers(model, family))[family.first_dropped_layer :]:
            layer.register_forward_hook(self._select, prepend=True)  # before the hook that collects outputs for the sum

    @contextmanager
    def used(self) -> Iterator[None]:
        """Select layers in this context, and keep the library from skipping them."""
        before = [getattr(place, name) for place, name in self._places]
        for place, name in self._places:
            setattr(place, name, 0.0)
        self._active = True
        try:
            yield
        finally:
            self._active = False
            for (place, name), value in zip(self._places, before, strict=True):
                setattr(place, name, value)

    def _select(self, layer: Any, args: tuple[Any, ...], output: Any) -> Any:
        # With gradient checkpointing, a layer runs again in the backward pass: outside `used`, in training mode, with
        # gradients, and with the same random numbers as in the forward pass.
        if not layer.training or not (self._active or torch.is_grad_enabled()):
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        kept = torch.rand((), device=hidden.device) >= self._rate
        taken = torch.where(kept, hidden, args[0])
        return (taken, *output[1:]) if isinstance(output, tuple) else taken
