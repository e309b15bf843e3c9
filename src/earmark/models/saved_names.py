"""Load weights by their names in checkpoints, which may differ from the names in the model.

Transformers renames the weights of some architectures (AST in 5.24) when it loads them, and back when it saves them.
Trainer does not do so when it loads its checkpoints, so a resumed run would begin with random layers, after a warning.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from transformers.core_model_loading import revert_weight_conversion

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def accept_saved_names(model: PreTrainedModel) -> None:
    """Let ``model.load_state_dict`` accept weights under the names that ``model.save_pretrained`` writes."""
    weights = model.state_dict()
    if revert_weight_conversion(model, weights).keys() == weights.keys():
        return  # one call for all, because each takes a millisecond
    own_names = {}
    for name, weight in weights.items():
        saved = list(revert_weight_conversion(model, {name: weight}))
        if len(saved) == 1 and saved[0] != name:
            own_names[saved[0]] = name

    def rename(_: nn.Module, weights: dict[str, torch.Tensor], prefix: str, *__: object) -> None:
        for saved, name in own_names.items():
            if prefix + saved in weights:
                weights[prefix + name] = weights.pop(prefix + saved)

    if own_names:
        model.register_load_state_dict_pre_hook(rename)
