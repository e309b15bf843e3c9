"""Classifiers that consist of torch modules only and load in a fraction of the time that importing Transformers takes.

A family offers such a class with :meth:`earmark.families.family.Family.plain_class`. It gives the logits of
Transformers' class and names its parameters in the same way, so :mod:`earmark.models.plain_checkpoint` loads the same
files into it. It is only for scoring. Training uses Transformers, and so do checkpoints that do not fit exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn

from earmark.errors import ModelError


class PlainConfig:
    """The values of a ``config.json`` as attributes.

    Attributes:
        id2label: class names by index.
        model_type: architecture.
        num_labels: number of classes.

    Raises:
        ValueError: the file does not name its classes, or contradicts itself about them.
    """

    def __init__(self, values: Mapping[str, Any]) -> None:
        vars(self).update(values)
        names = {int(index): str(name) for index, name in values["id2label"].items()}
        if not names or sorted(names) != list(range(len(names))):
            raise ValueError(f"id2label has the indices {sorted(names)}")
        by_name = {name: index for index, name in names.items()}
        if values.get("num_labels", len(names)) != len(names) or values.get("label2id", by_name) != by_name:
            raise ValueError("num_labels or label2id contradicts id2label")
        self.id2label = names
        self.num_labels = len(names)

    def __getattr__(self, name: str) -> Any:  # for type checkers: only absent values get here
        raise AttributeError(name)


@dataclass
class PlainOutput:
    """Output of a classifier, as in Transformers' outputs.

    Attributes:
        logits: (B, C); embeddings (B, D) from :class:`earmark.models.embedding.EmbeddingModel`.
    """

    logits: torch.Tensor


class PlainClassifier(nn.Module):
    """Base class of the classifiers.

    Attributes:
        config: its configuration.
        library_classes: the classes of Transformers with the same weights, as ``architectures`` in ``config.json``.
        settings: names of the settings that the class and its family read to score, which ``config.json`` must have.
            Each name maps to a function that returns whether the class supports a value.
    """

    library_classes: ClassVar[tuple[str, ...]]
    settings: ClassVar[Mapping[str, Callable[[object], bool]]]

    def __init__(self, config: PlainConfig) -> None:
        super().__init__()
        self.config = config

    def train(self, mode: bool = True) -> PlainClassifier:
        """Set evaluation mode, the only one.

        Raises:
            ModelError: ``mode`` is true.
        """
        if mode:
            raise ModelError(f"{self.config.model_type}: this model was loaded to score. Train with `earmark train`.")
        return super().train(mode)

    def save_pretrained(self, folder: object) -> None:
        """Refuse to save, because settings and weights that only training needs were not loaded.

        Raises:
            ModelError: always.
        """
        raise ModelError(
            f"{folder}: a model that was loaded to score cannot be saved. Copy the folder that it was loaded from."
        )

    @classmethod
    def fits(cls, config: PlainConfig) -> bool:
        """Return whether a checkpoint with this configuration can be loaded into this class."""
        named = getattr(config, "architectures", None) or []
        is_usual = len(named) == 1 and named[0] in cls.library_classes and not hasattr(config, "quantization_config")
        return is_usual and all(supports(getattr(config, name, None)) for name, supports in cls.settings.items())

    @classmethod
    def own_weights(cls, saved: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Return the weights of a file by their names in this class, without those that only training needs."""
        return dict(saved)
