"""Models whose weights are spread over the ranks (``--fsdp``): to train, to score and to save them."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def make_shardable(model: PreTrainedModel) -> None:
    """Let accelerate ask an audio model for its table of words: it has none, and Transformers raises where asked."""
    try:
        model.get_input_embeddings()
    except NotImplementedError:
        model.get_input_embeddings = lambda: None


class WholeModel:
    """A model as it was before its weights were spread, to score with and to save.

    Ranks that score call their model at different times and not equally often, which one whose weights have to be
    gathered at each call would never come back from.

    Args:
        model: the model before training starts.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._whole = copy.deepcopy(model).to("cpu")

    def gathered_from(self, sharded: Any, device: Any) -> Any:
        """The model with the weights of now, on ``device``. All ranks call this."""
        weights = get_model_state_dict(sharded, options=StateDictOptions(full_state_dict=True))
        self._whole.load_state_dict(weights)
        return self._whole.to(device)
