"""Stands in for Huawei's torch_npu in tests: the names that a training program touches, on host memory.

It is not torch_npu. It proves where tensors are and which way the program takes, and nothing about Ascend's kernels.
``_C`` is built from ``standin.cpp`` by ``tests/npu/building.py``.

Variables: NPU_STANDIN_DEVICES (2), NPU_STANDIN_NAME (Ascend910B2), NPU_STANDIN_BF16 (1), and EARMARK_NPU_CENSUS: a
folder for the census of what ran on the device.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import types
from pathlib import Path
from typing import Any

_autoload = os.environ.get("TORCH_DEVICE_BACKEND_AUTOLOAD")
os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = "0"  # torch would import this package once more from within itself
import torch  # noqa: E402

if _autoload is None:
    del os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"]
else:
    os.environ["TORCH_DEVICE_BACKEND_AUTOLOAD"] = _autoload

from torch_npu import _C  # noqa: E402

__version__ = torch.__version__.split("+")[0]

npu: Any = types.ModuleType("torch_npu.npu")
npu.random = types.ModuleType("torch_npu.npu.random")
npu.amp = types.ModuleType("torch_npu.npu.amp")
npu.config = types.SimpleNamespace(allow_internal_format=True)
settings: dict[str, Any] = {}  # what the program has set


def _index(device: Any = None) -> int:
    if device is None:
        return _C.current_device()
    if isinstance(device, int):
        return device if device >= 0 else _C.current_device()
    index = torch.device(device).index
    return _C.current_device() if index is None else index


def _name(device: Any = None) -> str:
    return os.environ.get("NPU_STANDIN_NAME", "Ascend910B2")


class _Device(contextlib.ContextDecorator):
    def __init__(self, device: Any) -> None:
        self.index = _index(device)

    def __enter__(self) -> None:
        self.before = _C.current_device()
        _C.set_device(self.index)

    def __exit__(self, *exc: object) -> None:
        _C.set_device(self.before)


class _Autocast(torch.amp.autocast):
    def __init__(self, enabled: bool = True, dtype: Any = torch.float16, cache_enabled: bool = True) -> None:
        super().__init__("npu", enabled=enabled, dtype=dtype, cache_enabled=cache_enabled)


class _GradScaler(torch.amp.GradScaler):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("npu", *args, **kwargs)

    def step(self, optimizer: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        if getattr(optimizer, "_step_supports_amp_scaling", False):  # torch_npu hands itself over, torch no longer does
            return optimizer.step(*args, **kwargs, grad_scaler=self)
        return super().step(optimizer, *args, **kwargs)


def _generator(device: Any = None) -> Any:
    return _C.default_generator(_index(device))


def _generators() -> list[Any]:
    return [_C.default_generator(i) for i in range(_C.device_count())]


def _set_compile_mode(jit_compile: bool = False) -> None:
    settings["jit_compile"] = jit_compile


DEVICES = {
    "is_available": lambda: _C.device_count() > 0,
    "is_initialized": lambda: True,
    "init": lambda: None,
    "_lazy_init": lambda: None,
    "_is_in_bad_fork": lambda: False,
    "device_count": _C.device_count,
    "current_device": _C.current_device,
    "set_device": lambda device: _C.set_device(_index(device)),
    "synchronize": lambda device=None: None,
    "get_device_name": _name,
    "get_device_properties": lambda device=None: types.SimpleNamespace(name=_name(), total_memory=64 << 30),
    "is_bf16_supported": lambda including_emulation=True: os.environ.get("NPU_STANDIN_BF16", "1") == "1",
    "get_amp_supported_dtype": lambda: [torch.float16, torch.bfloat16],
    "set_compile_mode": _set_compile_mode,
    "device": _Device,
    "Stream": torch.Stream,
    "Event": torch.Event,
    "current_stream": lambda device=None: torch.accelerator.current_stream(),
    "stream": lambda stream: contextlib.nullcontext(),
}
MEMORY = {
    "empty_cache": lambda: None,
    "ipc_collect": lambda: None,
    "memory_allocated": lambda device=None: _C.memory_now(_index(device)),
    "memory_reserved": lambda device=None: _C.memory_now(_index(device)),
    "max_memory_allocated": lambda device=None: _C.memory_peak(_index(device)),
    "max_memory_reserved": lambda device=None: _C.memory_peak(_index(device)),
    "reset_peak_memory_stats": lambda device=None: _C.reset_peak(_index(device)),
    "mem_get_info": lambda device=None: (60 << 30, 64 << 30),
}
RANDOM = {
    "get_rng_state": lambda device="npu": _generator(device).get_state(),
    "set_rng_state": lambda state, device="npu": _generator(device).set_state(state.cpu()),
    "get_rng_state_all": lambda: [generator.get_state() for generator in _generators()],
    "set_rng_state_all": lambda states: [g.set_state(s.cpu()) for g, s in zip(_generators(), states, strict=True)],
    "manual_seed": lambda seed: _generator().manual_seed(int(seed)),
    "manual_seed_all": lambda seed: [generator.manual_seed(int(seed)) for generator in _generators()],
    "initial_seed": lambda: _generator().initial_seed(),
}
for _module, _functions in ((npu, DEVICES | MEMORY | RANDOM), (npu.random, RANDOM)):
    for _function in _functions.items():
        setattr(_module, *_function)
npu.default_generators = tuple(_generators())
npu.amp.autocast, npu.amp.GradScaler = _Autocast, _GradScaler

torch.utils.rename_privateuse1_backend("npu")
_C.start()
torch._register_device_module("npu", npu)
torch.utils.generate_methods_for_privateuse1_backend(for_tensor=True, for_module=True, for_storage=True)


def _hccl(store: Any, rank: int, size: int, timeout: Any) -> Any:
    return _C.hccl(torch.distributed.ProcessGroupGloo(store, rank, size, timeout=timeout))


torch.distributed.Backend.register_backend("hccl", _hccl, devices=["npu"])


def npu_fusion_attention(*args: Any, **kwargs: Any) -> Any:
    """Transformers imports this name; the program under test must not need it."""
    raise NotImplementedError("npu stand-in: npu_fusion_attention")


def _autoload_entry() -> None:
    """What ``import torch`` calls; importing this package has done all there is to do."""


def _write_census() -> None:
    folder = Path(os.environ["EARMARK_NPU_CENSUS"])
    told = {"operators": _C.census(), "settings": settings | vars(npu.config)}
    (folder / f"census-{os.getpid()}.json").write_text(json.dumps(told))


if "EARMARK_NPU_CENSUS" in os.environ:
    atexit.register(_write_census)
