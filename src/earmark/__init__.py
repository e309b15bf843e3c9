"""Labelled recordings in, an audio classifier out: on Ascend NPUs, NVIDIA GPUs and CPUs, with or without a network.

Importing this package loads neither torch nor Transformers; the first use of :class:`Classifier` does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from earmark.errors import EarmarkError

if TYPE_CHECKING:
    from earmark.predict.classifier import Classifier

__version__ = "0.1.0"
__all__ = ["Classifier", "EarmarkError", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Classifier":
        from earmark.predict.classifier import Classifier

        return Classifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
