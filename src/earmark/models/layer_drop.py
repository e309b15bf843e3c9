"""LayerDrop that computes every layer and takes its output or its input (Fan et al. 2019, arXiv:1909.11556).

The library does not call a dropped layer, and a learned sum of layers (``use_weighted_layer_sum``) needs an output of
each: without it, training ends in an error about shapes.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from earmark.families.family_registry import find_family
from earmark.models.freeze import encoder_layers

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedModel


def drop_rate(config: PreTrainedConfig) -> float:
    """Return the probability that a training step leaves out a layer; 0 for architectures without LayerDrop."""
    return float(getattr(config, find_family(config).layer_drop, None) or 0.0)


class SelectedLayers:
    """LayerDrop for the library's forward: see the module.

    Args:
        model: classifier; hooks are put on its layers, which do nothing outside :meth:`used`.

    Raises:
        ModelError: its layers are not known.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._rate = drop_rate(model.config)
        self._active = False
        family = find_family(model.config)
        # the setting as the library reads it: of the configuration, or copied into the encoder as `layerdrop`
        self._places = [
            (place, name)
            for place in (model.config, *model.modules())
            for name in {family.layer_drop, "layerdrop"}
            if isinstance(vars(place).get(name), (int, float))
        ]
        for layer in list(encoder_layers(model))[family.first_dropped_layer :]:
            layer.register_forward_hook(self._select, prepend=True)  # before the one that keeps outputs for the sum

    @contextmanager
    def used(self) -> Iterator[None]:
        """Select layers inside, and keep the library from leaving them out."""
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
        # under gradient checkpointing a layer runs again in the backward pass, outside `used`; then it is in training
        # mode and gradients are on, and its random numbers are those of the first time
        if not layer.training or not (self._active or torch.is_grad_enabled()):
            return output
        hidden = output[0] if isinstance(output, tuple) else output
        kept = torch.rand((), device=hidden.device) >= self._rate
        taken = torch.where(kept, hidden, args[0])
        return (taken, *output[1:]) if isinstance(output, tuple) else taken
