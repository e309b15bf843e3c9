"""What an Ascend NPU needs said to it, before torch_npu starts and after; and a torch_npu that does not load, in words.

torch loads an installed torch_npu when it is imported (the entry point ``torch.backends``), so nothing here imports
either of them at the top.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, MutableMapping
from functools import cache
from importlib.util import find_spec
from typing import Any

from earmark.errors import DeviceError

logger = logging.getLogger(__name__)

# Read by torch_npu when it starts; names and values from Ascend's documentation of torch_npu's environment variables.
_VARIABLES = {
    "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True",  # clips of many lengths cut memory into pieces
    "TASK_QUEUE_ENABLE": "2",  # the host prepares kernels on a second thread
    "CPU_AFFINITY_CONF": "1",  # each process keeps to the cores near its card
}
_OTHER_ALLOC_CONF = "PYTORCH_ALLOC_CONF"
# ours, because torch_npu has no variables for them: 1 leaves torch_npu's own setting
_JIT_COMPILE, _INTERNAL_FORMAT = "EARMARK_NPU_JIT_COMPILE", "EARMARK_NPU_INTERNAL_FORMAT"
_AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
_LOAD_FAILED = "Failed to load the backend extension"


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the variables of an NPU, before torch is imported. Those that are set already stay as they are.

    Does nothing where torch_npu is not installed. Where torch is told not to load it, nothing else will either:
    Transformers imports it wherever it is installed, working or not.

    Args:
        environment: variables of this process.

    Raises:
        DeviceError: both variables for the allocator are set, which torch_npu ends the process for.
    """
    if sys.modules.get("torch_npu") is not None or find_spec("torch_npu") is None:
        return
    if environment.get(_AUTOLOAD) == "0":
        sys.modules["torch_npu"] = None  # type: ignore[assignment]  # how Python says: not to be imported
        return
    if _OTHER_ALLOC_CONF in environment and "PYTORCH_NPU_ALLOC_CONF" in environment:
        raise DeviceError(
            f"{_OTHER_ALLOC_CONF} and PYTORCH_NPU_ALLOC_CONF are both set: torch_npu takes one, unset one"
        )
    for name, value in _VARIABLES.items():
        if name != "PYTORCH_NPU_ALLOC_CONF" or _OTHER_ALLOC_CONF not in environment:
            environment.setdefault(name, value)


@cache
def set_up() -> None:
    """Tell torch_npu not to compile kernels for each shape nor to lay tensors out its own way; log all settings."""
    import torch

    backend: Any = torch.npu  # type: ignore[attr-defined]  # torch_npu brings it
    if os.environ.get(_JIT_COMPILE) != "1":
        backend.set_compile_mode(jit_compile=False)
    if os.environ.get(_INTERNAL_FORMAT) != "1":
        backend.config.allow_internal_format = False
    logger.info("npu: %s", ", ".join(_settings()))


def _settings() -> Iterator[str]:
    for name, what in ((_JIT_COMPILE, "jit_compile"), (_INTERNAL_FORMAT, "allow_internal_format")):
        yield f"{what} as torch_npu has it" if os.environ.get(name) == "1" else f"{what} off ({name}=1 leaves it)"
    for name in (_OTHER_ALLOC_CONF, *_VARIABLES):
        if name in os.environ:
            yield f"{name}={os.environ[name]}"


def why_absent() -> str:
    """Why torch has no ``torch.npu``, and what to do."""
    if os.environ.get(_AUTOLOAD) == "0":
        return f"{_AUTOLOAD}=0 keeps torch from loading torch_npu; unset it"
    return (
        "this torch has no NPU support; install the torch_npu that matches it (pip install 'earmark[npu]') and source "
        "CANN's set_env.sh; `earmark doctor --device npu` says what is missing"
    )


def explain_failed_load(exc: BaseException) -> str | None:
    """One line on a torch that could not load its backend; ``None`` for any other error."""
    failure = next((error for error in _chain(exc) if _LOAD_FAILED in str(error)), None)
    if failure is None:
        return None
    package = str(failure).partition(_LOAD_FAILED)[2].lstrip(": ").split(".")[0].split()[0]
    reason = str(failure.__cause__ or "no reason given").strip().splitlines()[0]
    return (
        f"{package} is installed and does not load ({reason}), so that torch does not either: "
        f"`earmark doctor --device npu` says what is missing; {_AUTOLOAD}=0 runs on the CPU without it"
    )


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__
