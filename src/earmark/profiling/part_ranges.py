"""Name what runs in a trace: each module of a model, and other pieces of a step, run inside a range of the profiler."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from earmark.families.model_parts import StepPart, set_ranges
from earmark.profiling.attribution import MODEL, RANGE

if TYPE_CHECKING:
    from earmark.families.family import Family

# torch's range for code that runs often takes a tenth of the time of record_function, but is not public
_make_range: Callable[[str], AbstractContextManager[object]] = getattr(
    torch._C._profiler, "_RecordFunctionFast", torch.profiler.record_function
)


def range_name(part: StepPart) -> str:
    """Return the name of the range of a part."""
    return f"{RANGE}{part.value}"


def named_range(name: str) -> AbstractContextManager[object]:
    """Return a range with this name."""
    return _make_range(name)


class PartRanges:
    """Ranges around modules and functions, until they are removed."""

    def __init__(self) -> None:
        self._undo = ExitStack()

    def add_model(self, model: nn.Module, family: Family) -> None:
        """Run the model, and each of its modules that is a part, inside a range."""
        set_ranges(lambda part: named_range(range_name(part)))
        self._undo.callback(set_ranges, None)
        self.add_module(model, MODEL)
        for name, module in model.named_modules():
            part = family.part(name, module) if name else None
            if part is not None:
                self.add_module(module, range_name(part))

    def add_module(self, module: nn.Module, name: str) -> None:
        """Run a module inside a range."""
        opened: list[AbstractContextManager[object]] = []  # more than one if the module calls itself

        def begin(*_: object) -> None:
            opened.append(named_range(name))
            opened[-1].__enter__()

        def end(*_: object) -> None:
            opened.pop().__exit__(None, None, None)

        self._undo.callback(module.register_forward_pre_hook(begin).remove)
        self._undo.callback(module.register_forward_hook(end, always_call=True).remove)

    def add_call(self, owner: Any, attribute: str, name: str) -> None:
        """Run a function that is an attribute of an object inside a range."""
        called, own = getattr(owner, attribute), vars(owner)
        was_own = attribute in own

        @functools.wraps(called)
        def ranged(*args: Any, **values: Any) -> Any:
            with named_range(name):
                return called(*args, **values)

        setattr(owner, attribute, ranged)
        if was_own:
            self._undo.callback(setattr, owner, attribute, called)
        else:
            self._undo.callback(delattr, owner, attribute)

    def remove(self) -> None:
        """Remove all ranges."""
        self._undo.close()
