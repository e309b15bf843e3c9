"""Parts of a training run that only Python callers can pass: objects and functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainerCallback

from earmark.batch.sample_functions import SampleFunction, sample_functions
from earmark.clips.clip import Splits
from earmark.errors import InputTypeError, UsageError, as_list
from earmark.scoring.extra_metrics import MetricFunction, Metrics, named_functions


@dataclass(frozen=True)
class CustomParts:
    """Objects and functions that a Python caller passes in addition to the settings.

    Attributes:
        callbacks: instances or subclasses of Transformers' ``TrainerCallback``.
        metrics: metric functions by name, see :class:`earmark.scoring.extra_metrics.ExtraMetrics`.
        augmentations: functions applied to each training clip after the built-in augmentation.
        clips: splits that are loaded already; ``None`` to load the data that the settings name.
    """

    callbacks: Sequence[Any] = ()
    metrics: Mapping[str, MetricFunction] = field(default_factory=dict)
    augmentations: tuple[SampleFunction, ...] = ()
    clips: Splits | None = None

    @classmethod
    def of(
        cls,
        callbacks: Iterable[object] = (),
        metrics: Metrics = (),
        augmentations: Iterable[Callable[..., object]] = (),
        clips: Splits | None = None,
    ) -> CustomParts:
        """Check the arguments of a caller.

        Raises:
            InputTypeError: a callback is not a ``TrainerCallback``, or a function is not callable.
            UsageError: a function has a parameter that earmark has no value for.
        """
        given = as_list("callbacks", callbacks)
        for callback in given:
            kind = callback if isinstance(callback, type) else type(callback)
            if not issubclass(kind, TrainerCallback):
                raise InputTypeError(
                    f"callbacks: {callback!r} is not a transformers.TrainerCallback. Pass instances of a subclass."
                )
        return cls(given, named_functions(metrics), sample_functions(augmentations), clips)

    def function_names(self) -> dict[str, str]:
        """Return the names of the functions by purpose, to compare a resumed call with the first one."""
        names = {"augmentation": [function.name for function in self.augmentations], "metric": sorted(self.metrics)}
        return {f"{kind} functions": ", ".join(of_kind) or "none" for kind, of_kind in names.items()}

    def check(self, *, few_shot: bool) -> None:
        """Reject parts that would have no effect.

        Raises:
            UsageError: callbacks or augmentations are given with ``--few_shot``.
        """
        for name in ("callbacks", "augmentations"):
            if few_shot and getattr(self, name):
                raise UsageError(f"--few_shot: trains no epochs, so {name} have no effect. Leave one of them out.")


NOTHING = CustomParts()
