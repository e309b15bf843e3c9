"""Load a checkpoint into a classifier that consists of torch modules only (:mod:`earmark.families.plain_model`).

A checkpoint is loaded only if it fits exactly: its class, every setting that the class reads, and the name and shape of
every weight. Transformers loads all others, because it knows defaults and older names, and reports damage.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file

from earmark.families.family_registry import find_family
from earmark.families.plain_model import PlainClassifier, PlainConfig

if TYPE_CHECKING:
    from earmark.models.model_source import ModelSource

_WEIGHTS = "model.safetensors"


def load_plain(source: ModelSource, folder: Path) -> PlainClassifier | None:
    """Return a trained classifier with float32 weights, in evaluation mode; ``None`` if Transformers has to load it.

    Args:
        source: source of the model, with the settings for loading it.
        folder: local folder of the model.
    """
    if source.config_name or source.config_overrides or not (folder / _WEIGHTS).is_file():
        return None
    try:
        config = PlainConfig(json.loads((folder / "config.json").read_text(encoding="utf-8")))
        kind = find_family(config.model_type).plain_class(config)
        has_own_code = source.trust_remote_code and hasattr(config, "auto_map")
        if kind is None or has_own_code or not kind.fits(config):
            return None
        with torch.device("meta"):  # the weights of the file replace all weights
            model = kind(config)
        weights = kind.own_weights(load_file(folder / _WEIGHTS))
    except Exception:  # damaged files raise many types; Transformers raises an error with the reason
        return None
    if _shapes(weights) != _shapes(model.state_dict()):
        return None
    weights = {name: value.float() if value.is_floating_point() else value for name, value in weights.items()}
    model.load_state_dict(weights, assign=True)
    return model.eval()


def _shapes(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Size]:
    return {name: value.shape for name, value in weights.items()}
