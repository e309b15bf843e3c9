"""Set up Ascend NPUs before and after torch_npu loads, and explain why torch_npu does not load.

``import torch`` loads an installed torch_npu through the entry point ``torch.backends``, so this module imports neither
at the top.
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

# torch_npu reads these when it loads. Names and values are from Ascend's documentation of its environment variables.
_VARIABLES = {
    "PYTORCH_NPU_ALLOC_CONF": "expandable_segments:True",  # clips of many lengths fragment the memory
    "TASK_QUEUE_ENABLE": "2",  # the host prepares kernels on a second thread
    "CPU_AFFINITY_CONF": "1",  # each process keeps to the cores near its card
}
_OTHER_ALLOC_CONF = "PYTORCH_ALLOC_CONF"
# earmark's own variables, because torch_npu has none for these settings: 1 keeps torch_npu's default
_JIT_COMPILE, _INTERNAL_FORMAT = "EARMARK_NPU_JIT_COMPILE", "EARMARK_NPU_INTERNAL_FORMAT"
_AUTOLOAD = "TORCH_DEVICE_BACKEND_AUTOLOAD"
_LOAD_FAILED = "Failed to load the backend extension"


def prepare(environment: MutableMapping[str, str] = os.environ) -> None:
    """Set the environment variables of torch_npu before torch is imported; keep those that are already set.

    Do nothing if torch_npu is not installed. If ``TORCH_DEVICE_BACKEND_AUTOLOAD=0`` keeps torch from loading torch_npu,
    keep Transformers from importing torch_npu as well, which it otherwise does whenever torch_npu is installed.

    Args:
        environment: environment variables of this process.

    Raises:
        DeviceError: both variables of the allocator are set, in which case torch_npu would end the process.
    """
    if sys.modules.get("torch_npu") is not None or find_spec("torch_npu") is None:
        return
    if environment.get(_AUTOLOAD) == "0":
        sys.modules["torch_npu"] = None  # type: ignore[assignment]  # makes Python refuse to import it
        return
    if _OTHER_ALLOC_CONF in environment and "PYTORCH_NPU_ALLOC_CONF" in environment:
        raise DeviceError(
            f"{_OTHER_ALLOC_CONF} and PYTORCH_NPU_ALLOC_CONF are both set, but torch_npu accepts only one. Unset one."
        )
    for name, value in _VARIABLES.items():
        if name != "PYTORCH_NPU_ALLOC_CONF" or _OTHER_ALLOC_CONF not in environment:
            environment.setdefault(name, value)


@cache
def set_up() -> None:
    """Turn off torch_npu's compilation per shape and its internal tensor formats, and log all settings."""
    import torch

    backend: Any = torch.npu  # type: ignore[attr-defined]  # torch_npu brings it
    if os.environ.get(_JIT_COMPILE) != "1":
        backend.set_compile_mode(jit_compile=False)
    if os.environ.get(_INTERNAL_FORMAT) != "1":
        backend.config.allow_internal_format = False
    logger.info("npu: %s", ", ".join(_settings()))


def _settings() -> Iterator[str]:
    for name, what in ((_JIT_COMPILE, "jit_compile"), (_INTERNAL_FORMAT, "allow_internal_format")):
        yield f"{what} at torch_npu's default" if os.environ.get(name) == "1" else f"{what} off ({name}=1 keeps it)"
    for name in (_OTHER_ALLOC_CONF, *_VARIABLES):
        if name in os.environ:
            yield f"{name}={os.environ[name]}"


def why_absent() -> str:
    """Return the reason why torch has no ``torch.npu``, and what to do."""
    if os.environ.get(_AUTOLOAD) == "0":
        return f"{_AUTOLOAD}=0 keeps torch from loading torch_npu. Unset it."
    return (
        "this torch has no NPU support. Install the torch_npu that matches it (pip install 'earmark[npu]') and source "
        "CANN's set_env.sh. Run `earmark doctor --device npu` to see what is missing."
    )


def explain_failed_load(exc: BaseException) -> str | None:
    """Return one line about a torch that failed to load torch_npu; ``None`` for any other error."""
    failure = next((error for error in _chain(exc) if _LOAD_FAILED in str(error)), None)
    if failure is None:
        return None
    package = str(failure).partition(_LOAD_FAILED)[2].lstrip(": ").split(".")[0].split()[0]
    reason = str(failure.__cause__ or "no reason given").strip().splitlines()[0]
    return (
        f"{package} is installed and does not load ({reason}), so torch does not load either. Run "
        f"`earmark doctor --device npu` to see what is missing, or set {_AUTOLOAD}=0 to run on the CPU."
    )


def _chain(exc: BaseException | None) -> Iterator[BaseException]:
    while exc is not None:
        yield exc
        exc = exc.__cause__ or exc.__context__
