"""Transformers' TrainingArguments with this project's defaults: the only settings that need Transformers."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import transformers

from earmark.errors import UsageError
from earmark.settings.flags import declared_flags
from earmark.settings.training_flags import TrainingArguments
from earmark.tasks.figures import higher_is_better, metric_key


@dataclass
class EarmarkTrainingArguments(TrainingArguments, transformers.TrainingArguments):
    """Training settings for Transformers' Trainer.

    Raises:
        UsageError: see :class:`~earmark.settings.training_flags.TrainingArguments`; or Transformers rejects a setting.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        given, do_eval = self.greater_is_better, self.do_eval
        direction = higher_is_better(metric_key(self.metric_for_best_model)) if given is None else given
        try:
            transformers.TrainingArguments.__post_init__(self)
        except (ValueError, TypeError, ImportError, OSError) as exc:
            text = re.sub(r"\b\w+Strategy\.([A-Z]+)", lambda match: match[1].lower(), str(exc))
            raise UsageError(" ".join(text.split())) from exc
        self.do_eval = do_eval  # Transformers switches it on with any --eval_strategy, even with earmark's default
        self.greater_is_better = direction  # Transformers maximizes every metric whose name does not end with "loss"

    @classmethod
    def of(cls, settings: TrainingArguments, **changes: object) -> EarmarkTrainingArguments:
        """Return training settings in the form that Trainer needs, with some values changed."""
        values = {name: getattr(settings, name) for name in declared_flags(TrainingArguments)}
        return cls(**{**values, **changes}, given=settings.given)

    def to_dict(self) -> dict[str, object]:
        """Return all settings, for trackers."""
        settings: dict[str, Any] = super().to_dict()
        del settings["given"]
        return settings

    @property
    def world_size(self) -> int:
        """Number of training processes, from accelerate."""
        return int(transformers.TrainingArguments.world_size.fget(self))

    @property
    def n_gpu(self) -> int:
        """Number of devices of this process: at most one, because Trainer would split each batch over several."""
        return min(super().n_gpu, 1)
