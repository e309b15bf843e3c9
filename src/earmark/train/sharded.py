"""Train, score and save models whose weights are sharded over the ranks (``--fsdp``)."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def make_shardable(model: PreTrainedModel) -> None:
    """Make ``get_input_embeddings``, which accelerate calls, return ``None`` if it raises for an audio model."""
    try:
        model.get_input_embeddings()
    except NotImplementedError:
        model.get_input_embeddings = lambda: None


class WholeModel:
    """A copy of the model with whole weights, for scoring and saving.

    A sharded model gathers its weights at each call on all ranks. Scoring would hang, because ranks call the model at
    different times and a different number of times.

    Args:
        model: the model before its weights are sharded.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._whole = copy.deepcopy(model).to("cpu")

    def gathered_from(self, sharded: Any, device: Any) -> Any:
        """Return the model with the current weights of ``sharded``, on ``device``. All ranks call this."""
        weights = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
        self._whole.load_state_dict(weights)
        return self._whole.to(device)
