"""The only file that names a backend: which device, which precision, what to call it in results.

Order of preference for ``auto``: npu, cuda, xpu, mps, cpu. A device that was asked for by name and is not there stops
the program with the reason; nothing ever moves to the CPU on its own. What an NPU is set up with is in
:mod:`earmark.npu`.
"""

from __future__ import annotations

import platform
import re
from collections.abc import Sequence
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
    """``torch.npu``, ``torch.cuda``...: the module, or ``None`` where this torch does not have it."""
    import torch

    return getattr(torch.backends if kind == "mps" else torch, kind, None)


def is_available(kind: str) -> bool:
    """Whether at least one device of this kind can be used."""
    backend = _backend(kind)
    return backend is not None and bool(backend.is_available())


def select_device(name: str = "auto") -> torch.device:
    """Turn ``auto|npu|cuda|xpu|mps|cpu[:index]`` into a device that exists.

    Under a launcher (torchrun) an accelerator without an index is the one of this process's ``LOCAL_RANK``. An NPU is
    set up for work of many shapes, once a process; the log says how. For a CPU, :mod:`earmark.threads.watch` begins to
    watch how busy the cores are.

    Raises:
        DeviceError: the name is not a device, or the device is not there.
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
        raise DeviceError(f"--device {name}: not a device; use auto, cpu, or npu, cuda, xpu, mps with an index (npu:0)")
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
        there = f"is one {kind} device, {kind}:0" if count == 1 else f"are {count}, {kind}:0 to {kind}:{count - 1}"
        raise DeviceError(f"--device {name}: not on this machine; there {there}")
    return torch.device(kind, number)


# kind -> what ONNX Runtime calls it, in the order that ``auto`` takes
_PROVIDERS = {"npu": "CANNExecutionProvider", "cuda": "CUDAExecutionProvider", "cpu": "CPUExecutionProvider"}


def choose_provider(name: str, available: Sequence[str]) -> tuple[str, dict[str, int]]:
    """ONNX Runtime's execution provider for ``auto|npu|cuda|cpu[:index]``.

    Args:
        name: as for :func:`select_device`.
        available: providers of the runtime that is installed.

    Returns:
        ``(provider, options)``.

    Raises:
        DeviceError: the name is not such a device, or the runtime has no provider for it.
    """
    match = _NAME.fullmatch(name)
    kind = match.group(1) if match else ""
    if match is None or kind not in ("auto", *_PROVIDERS):
        raise DeviceError(f"--device {name}: ONNX Runtime is used on auto, cpu, cuda or npu, with an index (npu:0)")
    if kind == "auto":
        kind = next(kind for kind, provider in _PROVIDERS.items() if provider in available)
    if _PROVIDERS[kind] not in available:
        package = {"npu": "onnxruntime-cann", "cuda": "onnxruntime-gpu"}.get(kind, "onnxruntime")
        raise DeviceError(
            f"--device {name}: the ONNX Runtime installed has no {_PROVIDERS[kind]}; install {package} in place of "
            "onnxruntime, or use --device cpu"
        )
    return _PROVIDERS[kind], {} if kind == "cpu" else {"device_id": int(match.group(2) or 0)}


def check_processes_fit(name: str, num_processes: int) -> None:
    """See that every process of this machine can have a device of its own; a CPU is shared by any number.

    Args:
        name: what ``--device`` says.
        num_processes: processes on this machine.

    Raises:
        DeviceError: there are fewer, or the name is that of one device.
    """
    kind = _find_device(name).type
    if kind == "cpu" or num_processes == 1:
        return
    if ":" in name:
        raise DeviceError(f"--num_processes {num_processes} --device {name}: that is one device; use --device {kind}")
    count = 1 if kind == "mps" else _backend(kind).device_count()
    if num_processes > count:
        raise DeviceError(
            f"--num_processes {num_processes}: this machine has {counted(count, f'{kind} device')}; each process needs "
            "one of its own"
        )


def _why_absent(name: str, kind: str) -> str:
    if kind == "npu" and _backend("npu") is None:
        return f"--device {name}: {npu.why_absent()}"
    return f"--device {name}: no {kind} device was found by this torch; --device cpu runs without one"


def supports_bf16(device: torch.device) -> bool:
    """Whether bfloat16 arithmetic is native, so that mixed precision pays.

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
    """What a device can do, as far as it decides how training computes.

    Attributes:
        type: ``cpu``, ``npu``, ``cuda``, ``xpu`` or ``mps``.
        name: of the device, such as ``cuda:0``.
        description: what a results table calls it.
        has_bf16: whether it computes in bfloat16 natively.
        has_fused_adamw: whether it has AdamW in one kernel.
    """

    type: str
    name: str = ""
    description: str = ""
    has_bf16: bool = False
    has_fused_adamw: bool = False

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
    )


def choose_precision(device: Abilities, *, bf16: bool, fp16: bool, precision: str = "auto") -> tuple[str, str | None]:
    """Return the precision of training on a device.

    Args:
        device: where training runs.
        bf16: the user asked for bfloat16 with ``--bf16``.
        fp16: the user asked for float16 with ``--fp16``.
        precision: the user's ``--precision``; ``"auto"`` is bfloat16 where it is native, else float16 on NPU and CUDA
            and XPU, else float32.

    Returns:
        ``(precision, note)``: ``"bf16"``, ``"fp16"`` or ``"fp32"``, and a line to show when the choice is not the one
        that was asked for, else ``None``.

    Raises:
        UsageError: the flags contradict each other.
        DeviceError: the device has no bfloat16 arithmetic.
    """
    asked = {name for name, is_asked in (("bf16", bf16), ("fp16", fp16)) if is_asked} | ({precision} - {"auto"})
    if len(asked) > 1:
        flags = [f"--{name}" for name, is_asked in (("bf16", bf16), ("fp16", fp16)) if is_asked]
        flags += [f"--precision {precision}"] if precision != "auto" else []
        off = f", or set {flags[0]} False if a configuration file sets it" if precision != "auto" else ""
        raise UsageError(f"{' and '.join(flags)} contradict each other: keep one{off}")
    native = device.has_bf16
    if precision == "fp16" and device.type == "cpu":
        raise DeviceError("--precision fp16: there is no gradient scaler on a CPU; use bf16 or fp32")
    if fp16 and device.type == "cpu":
        instead = "bf16" if native else "fp32"
        return instead, f"--fp16 has no gradient scaler on a CPU: training in {instead} instead"
    if asked == {"bf16"} and device.type != "cpu" and not native:
        raise DeviceError(f"bf16: {device.description or device} has no bfloat16 arithmetic; use fp16 or fp32")
    if asked:
        return asked.pop(), None
    if native:
        return "bf16", None
    return ("fp32" if device.type in ("cpu", "mps") else "fp16"), None


def choose_optimizer(device: Abilities, asked: str, precision: str) -> str:
    """Return the optimizer of training on a device, as Transformers' ``--optim`` names it.

    Args:
        device: where training runs.
        asked: ``--optim``. ``adamw_torch_fused`` is AdamW in one kernel; where the device has no such kernel it is
            ``adamw_torch``, which computes the same. So it is in fp16 on an NPU: torch_npu's gradient scaler (2.13.0)
            hands itself to the kernel, and torch's optimizer no longer takes one.
        precision: of :func:`choose_precision`.

    Raises:
        UsageError: an optimizer that does something else than it seems to.
    """
    if asked == "adamw_torch_npu_fused":
        raise UsageError(
            "--optim adamw_torch_npu_fused: torch_npu's own AdamW reuses the gradients of an earlier step, "
            "because Trainer drops gradients after each. Use adamw_torch_fused."
        )
    if asked != "adamw_torch_fused":
        return asked
    scaled_by_npu = device.type == "npu" and precision == "fp16"
    return asked if device.has_fused_adamw and not scaled_by_npu else "adamw_torch"


def _has_kernel(device: torch.device, operator: str) -> bool:
    import torch

    key = "PrivateUse1" if device.type == "npu" else device.type.upper()
    return bool(torch._C._dispatch_has_kernel_for_dispatch_key(operator, key))


def describe_device(device: torch.device) -> str:
    """What a results table calls the device: ``"NVIDIA H100"``, ``"Ascend910B1"``, ``"AMD EPYC 9B14 (2 cores)"``."""
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
        pass  # not Linux: the platform module's word has to do
    return platform.processor() or platform.machine()
