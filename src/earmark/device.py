"""Choose the device and the precision, and describe the device in results. Only this file names backends.

``auto`` takes the first available of npu, cuda, xpu, mps, cpu. A device that the user names must exist: earmark never
moves to the CPU by itself. :mod:`earmark.npu` sets up NPUs.
"""

from __future__ import annotations

import importlib
import os
import platform
import re
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from earmark import npu
from earmark.distributed.launched import local_rank
from earmark.errors import DeviceError, UsageError
from earmark.text import counted
from earmark.threads import watch
from earmark.threads.cores import this_process

if TYPE_CHECKING:
    import torch

ACCELERATORS = ("npu", "cuda", "xpu", "mps")
_NAME = re.compile(r"(auto|cpu|npu|cuda|xpu|mps)(?::(\d+))?")


def _backend(kind: str) -> Any:
    """Return the module of a backend, such as ``torch.npu``; ``None`` if this torch does not have it."""
    import torch

    return getattr(torch.backends if kind == "mps" else torch, kind, None)


def is_available(kind: str) -> bool:
    """Whether at least one device of this kind can be used."""
    backend = _backend(kind)
    return backend is not None and bool(backend.is_available())


def select_device(name: str = "auto") -> torch.device:
    """Return the device that ``auto|npu|cuda|xpu|mps|cpu[:index]`` names.

    Under a launcher (torchrun), an accelerator without an index is the one with this process's ``LOCAL_RANK``. An NPU
    is set up for inputs of many shapes, once per process; the log lists the settings. For a CPU,
    :mod:`earmark.threads.watch` starts to watch how busy the cores are.

    Raises:
        DeviceError: the name is not a device, or this machine has no such device.
    """
    device = _find_device(name)
    if device.type == "npu":
        npu.set_up()
    elif device.type == "cpu":
        watch.begin()
    return device


def _find_device(name: str) -> torch.device:
    import torch

    match = _NAME.fullmatch(name)
    if match is None:
        raise DeviceError(
            f"--device {name}: not a device. Use auto, cpu, npu, cuda, xpu, mps, or an index as in npu:0."
        )
    kind, index = match.group(1), match.group(2)
    if kind == "auto":
        kind = next((kind for kind in ACCELERATORS if is_available(kind)), "cpu")
    if kind == "cpu":
        return torch.device("cpu")
    if not is_available(kind):
        raise DeviceError(_why_absent(name, kind))
    if kind == "mps":
        return torch.device("mps")
    count = _backend(kind).device_count()
    number = int(index) if index is not None else local_rank()
    if number >= count:
        known = f"{kind}:0" if count == 1 else f"{kind}:0 to {kind}:{count - 1}"
        raise DeviceError(f"--device {name}: this machine has {counted(count, f'{kind} device')}. Use {known}.")
    return torch.device(kind, number)


# kind -> execution provider of ONNX Runtime, in the order in which ``auto`` tries them
_PROVIDERS = {"npu": "CANNExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


def choose_provider(name: str, available: Sequence[str]) -> tuple[str, dict[str, int]]:
    """Return ONNX Runtime's execution provider for ``auto|npu|cuda|cpu[:index]``.

    Args:
        name: value of ``--device``.
        available: providers of the installed ONNX Runtime.

    Returns:
        ``(provider, options)``.

    Raises:
        DeviceError: the name is not one of these devices, or the runtime has no provider for it.
    """
    match = _NAME.fullmatch(name)
    kind = match.group(1) if match else ""
    if match is None or kind not in ("auto", *_PROVIDERS):
        raise DeviceError(
            f"--device {name}: not a device for ONNX exports. Use auto, cpu, cuda, npu, or an index: npu:0."
        )
    if kind == "auto":
        kind = next(kind for kind, provider in _PROVIDERS.items() if provider in available)
    if _PROVIDERS[kind] not in available:
        package = {"npu": "onnxruntime-cann", "cuda": "onnxruntime-gpu"}.get(kind, "onnxruntime")
        raise DeviceError(
            f"--device {name}: the installed ONNX Runtime has no {_PROVIDERS[kind]}. Install {package} instead of "
            "onnxruntime, or use --device cpu."
        )
    return _PROVIDERS[kind], {} if kind == "cpu" else {"device_id": int(match.group(2) or 0)}


def check_processes_fit(name: str, num_processes: int) -> None:
    """Check that each process on this machine gets a device of its own; any number of processes can share a CPU.

    Args:
        name: value of ``--device``.
        num_processes: number of processes on this machine.

    Raises:
        DeviceError: there are fewer devices than processes, or the name has an index.
    """
    kind = _find_device(name).type
    if kind == "cpu" or num_processes == 1:
        return
    if ":" in name:
        raise DeviceError(f"--num_processes {num_processes} --device {name}: that is one device. Use --device {kind}.")
    count = 1 if kind == "mps" else _backend(kind).device_count()
    if num_processes > count:
        raise DeviceError(
            f"--num_processes {num_processes}: this machine has {counted(count, f'{kind} device')}, and each process "
            f"needs one. Use --num_processes {count}."
        )


def _why_absent(name: str, kind: str) -> str:
    if kind == "npu" and _backend("npu") is None:
        return f"--device {name}: {npu.why_absent()}"
    return f"--device {name}: torch found no {kind} device. Use --device cpu to run without one."


def supports_bf16(device: torch.device) -> bool:
    """Return whether the device computes in bfloat16 natively, so that mixed precision is faster.

    CPUs: AVX-512 BF16 or AMX. CUDA: Ampere and later. NPU: as torch_npu reports (910B and later).
    """
    import torch

    if device.type == "cpu":
        checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
        return any(bool(getattr(torch.cpu, check, bool)()) for check in checks)
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    report = getattr(_backend(device.type), "is_bf16_supported", None)
    return bool(report()) if report is not None else False


@dataclass(frozen=True)
class Abilities:
    """What a device can do that matters for training.

    Attributes:
        type: ``cpu``, ``npu``, ``cuda``, ``xpu`` or ``mps``.
        name: the device with its index, such as ``cuda:0``.
        description: the device in a results table.
        has_bf16: whether it computes in bfloat16 natively.
        has_fused_adamw: whether it has a fused AdamW kernel.
        missing_compiler: the C++ compiler that ``torch.compile`` needs for it and does not find, or "".
    """

    type: str
    name: str = ""
    description: str = ""
    has_bf16: bool = False
    has_fused_adamw: bool = False
    missing_compiler: str = ""

    def __str__(self) -> str:
        return self.name or self.type


def abilities(device: torch.device) -> Abilities:
    """Return what a device can do."""
    return Abilities(
        device.type,
        str(device),
        describe_device(device),
        has_bf16=supports_bf16(device),
        has_fused_adamw=_has_kernel(device, "aten::_fused_adamw_"),
        missing_compiler=_missing_compiler() if device.type == "cpu" else "",
    )


def choose_precision(device: Abilities, *, bf16: bool, fp16: bool, precision: str = "auto") -> tuple[str, str | None]:
    """Return the precision of training on a device.

    Args:
        device: where training runs.
        bf16: the user asked for bfloat16 with ``--bf16``.
        fp16: the user asked for float16 with ``--fp16``.
        precision: the user's ``--precision``; ``"auto"`` is bfloat16 if the device has it, else float16 on NPU, CUDA
            and XPU, else float32.

    Returns:
        ``(precision, note)``: ``"bf16"``, ``"fp16"`` or ``"fp32"``, and a line to show if the user asked for another
        precision, else ``None``.

    Raises:
        UsageError: the flags contradict each other.
        DeviceError: the device has no bfloat16 arithmetic.
    """
    asked = {name for name, is_asked in (("bf16", bf16), ("fp16", fp16)) if is_asked} | ({precision} - {"auto"})
    if len(asked) > 1:
        flags = [f"--{name}" for name, is_asked in (("bf16", bf16), ("fp16", fp16)) if is_asked]
        flags += [f"--precision {precision}"] if precision != "auto" else []
        off = f", or add {flags[0]} False if a configuration file sets it" if precision != "auto" else ""
        raise UsageError(f"{' and '.join(flags)} contradict each other. Keep one{off}.")
    native = device.has_bf16
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("--precision fp16: there is no gradient scaler on a CPU. Use bf16 or fp32.")
    if fp16 and device.type == "cpu":
        instead = "bf16" if native else "fp32"
        return instead, f"--fp16 has no gradient scaler on a CPU: training in {instead} instead"
    if asked == {"bf16"} and device.type != "cpu" and not native:
        raise DeviceError(f"bf16: {device.description or device} has no bfloat16 arithmetic. Use fp16 or fp32.")
    if asked:
        return asked.pop(), None
    if native:
        return "bf16", None
    return ("fp32" if device.type in ("cpu", "mps") else "fp16"), None


def choose_optimizer(device: Abilities, asked: str, precision: str) -> str:
    """Return the optimizer to train with, as a value of Transformers' ``--optim``.

    Args:
        device: where training runs.
        asked: ``--optim``. ``adamw_torch_fused`` becomes ``adamw_torch``, which computes the same values, in two cases:
            the device has no fused kernel, or training is in fp16 on an NPU, where the gradient scaler of torch_npu
            2.13.0 passes itself to the optimizer, which torch's fused kernel does not accept.
        precision: precision that :func:`choose_precision` returned.

    Raises:
        UsageError: the optimizer gives wrong updates under Transformers' Trainer.
    """
    if asked == "adamw_torch_npu_fused":
        raise UsageError(
            "--optim adamw_torch_npu_fused: torch_npu's own AdamW reuses the gradients of an earlier step, "
            "because Trainer drops the gradients after each step. Use adamw_torch_fused."
        )
    if asked != "adamw_torch_fused":
        return asked
    scaled_by_npu = device.type == "npu" and precision == "fp16"
    return asked if device.has_fused_adamw and not scaled_by_npu else "adamw_torch"


def check_compiler(device: Abilities, *, asked: bool, backend: str | None, mode: str | None) -> None:
    """Check before any work that ``torch.compile`` finds the compiler that it needs.

    Args:
        device: where training runs.
        asked: ``--torch_compile``.
        backend: ``--torch_compile_backend``, which implies ``--torch_compile``.
        mode: ``--torch_compile_mode``, which implies ``--torch_compile``.

    Raises:
        UsageError: there is no C++ compiler, so compilation would fail in the first step.
    """
    is_inductor = backend == "inductor" or (backend is None and bool(asked or mode))
    if is_inductor and device.missing_compiler:
        raise UsageError(
            f"--torch_compile: needs a C++ compiler on a CPU, and {device.missing_compiler} is not installed. Install "
            "it, name another one in the environment variable CXX, or train without --torch_compile."
        )


def _missing_compiler() -> str:
    """Return the C++ compiler of torch's ``torch._inductor.config.cpp.cxx`` if it is not installed, else ""."""
    default = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    compiler = os.environ.get("CXX", default)
    return "" if shutil.which(compiler) else compiler


def _has_kernel(device: torch.device, operator: str) -> bool:
    import torch

    key = "PrivateUse1" if device.type == "npu" else device.type.upper()
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(operator, key))


def describe_device(device: torch.device) -> str:
    """Return the device's name for a results table: ``"NVIDIA H100"``, ``"AMD EPYC 9B14 (2 cores)"``."""
    if device.type == "cpu":
        return f"{_cpu_model()} ({this_process().count()})"
    name = getattr(_backend(device.type), "get_device_name", None)
    return str(name(device)) if name is not None else device.type


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            for line in lines:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass  # not Linux: use the platform module
    return platform.processor() or platform.machine()


def find_profiler(device: torch.device) -> tuple[Any, list[Any]]:
    """Return a module like ``torch.profiler`` for a device, and the activities that it records there.

    Raises:
        DeviceError: this installation cannot profile the device.
    """
    import torch

    module: Any = torch.profiler
    if device.type == "npu":
        with suppress(ImportError):
            module = importlib.import_module("torch_npu.profiler")
    known = list(module.supported_activities())
    kind = device.type.upper()
    if kind not in {activity.name for activity in known}:
        raise DeviceError(
            f"--profile: this installation of torch has no profiler for {device.type} devices. Leave --profile out, or "
            "profile on a CPU with --device cpu."
        )
    return module, [activity for activity in known if activity.name in ("CPU", kind)]
