"""Cast the weights of a model to another type."""

from __future__ import annotations

import torch
from torch import nn


def cast_weights(model: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the parameters of ``model`` by name, in ``dtype``. Batch norms keep their type, like their statistics."""
    kept = {
        id(parameter)
        for module in model.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        for parameter in module.parameters(recurse=False)
    }
    return {
        name: parameter if id(parameter) in kept else parameter.to(dtype)
        for name, parameter in model.named_parameters()
        if parameter.is_floating_point()
    }
