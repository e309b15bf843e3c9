"""Train, evaluate and use audio classifiers on Ascend NPUs, NVIDIA GPUs and CPUs, with or without a network.

Importing this package does not load torch or NumPy; they load when a name that needs them is first used.
"""

from __future__ import annotations

import importlib
from types import ModuleType
from typing import TYPE_CHECKING, Any

from earmark.errors import EarmarkError, Stopped

if TYPE_CHECKING:
    from earmark.api.clip_table import Clips, load_clips
    from earmark.api.evaluation import Evaluation, evaluate
    from earmark.api.inspection import inspect
    from earmark.api.searching import SearchResult, search
    from earmark.api.trained_run import Run, load_run
    from earmark.api.training import train
    from earmark.predict.classifier import Classifier

__version__ = "0.1.0"
__all__ = [
    "Classifier",
    "Clips",
    "EarmarkError",
    "Evaluation",
    "Run",
    "SearchResult",
    "Stopped",
    "__version__",
    "evaluate",
    "inspect",
    "load_clips",
    "load_run",
    "search",
    "train",
]

# public name -> module that defines it, imported on first use
_DEFINED_IN = {
    "Classifier": "earmark.predict.classifier",
    "Clips": "earmark.api.clip_table",
    "Evaluation": "earmark.api.evaluation",
    "Run": "earmark.api.trained_run",
    "SearchResult": "earmark.api.searching",
    "evaluate": "earmark.api.evaluation",
    "inspect": "earmark.api.inspection",
    "load_clips": "earmark.api.clip_table",
    "load_run": "earmark.api.trained_run",
    "search": "earmark.api.searching",
    "train": "earmark.api.training",
}


class CallablePackage(ModuleType):
    """A package of earmark that is also a public function: ``earmark.train`` and ``earmark.evaluate``.

    Importing anything from ``earmark.train`` sets the attribute ``train`` of this package to that subpackage. So the
    subpackage itself forwards calls, signature and documentation to the function.
    """

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.__wrapped__(*args, **kwargs)

    @property
    def __wrapped__(self) -> Any:  # where inspect.signature looks
        return _public(self.__name__.rpartition(".")[2])

    @property
    def __doc__(self) -> str | None:  # type: ignore[override]
        return str(self.__wrapped__.__doc__)


def _public(name: str) -> object:
    if name == "Classifier":
        from earmark.api.startup import prepare_process

        prepare_process()  # loading anything but an ONNX export imports torch
    return getattr(importlib.import_module(_DEFINED_IN[name]), name)


def __getattr__(name: str) -> object:
    if name not in _DEFINED_IN:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in ("train", "evaluate"):
        return importlib.import_module(f"{__name__}.{name}")  # a CallablePackage
    return _public(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
