"""What a stretch of work came to: clips over seconds, floating-point operations over the device's peak, memory."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import asdict, dataclass
from types import ModuleType

import torch

resource: ModuleType | None
try:
    import resource
except ImportError:  # Windows, where psutil asks the system
    resource = None

_SMALLEST_MATRIX, _LARGEST_MATRIX = 512, 8192
_RUNS = 3
_LEAST_RUN_S = 0.02  # above what starting and waiting for a device takes
_LONG_PRODUCT_S = 0.03  # larger matrices no longer go faster


@dataclass(frozen=True)
class Rate:
    """Clips processed in a number of seconds.

    Attributes:
        clips: how many.
        audio_s: seconds of sound in them, padding left out.
        seconds: how long it took.
    """

    clips: int
    audio_s: float
    seconds: float

    @property
    def clips_per_second(self) -> float:
        """Clips a second."""
        return self.clips / self.seconds

    @property
    def audio_seconds_per_second(self) -> float:
        """Seconds of sound a second."""
        return self.audio_s / self.seconds

    def to_dict(self) -> dict[str, float]:
        """All of it, for JSON."""
        speeds = {name: getattr(self, name) for name in ("clips_per_second", "audio_seconds_per_second")}
        return asdict(self) | speeds


@dataclass(frozen=True)
class Compute:
    """Floating-point work of a model in a stretch of time.

    Attributes:
        flop: operations of the model at the shapes it computed on, padding with the rest.
        useful_share: clips' own part of the samples computed on.
        seconds: how long it took.
        peak_flop_per_second: what square matrix products reach on the device.
        dtype: type of numbers of both.
    """

    flop: float
    useful_share: float
    seconds: float
    peak_flop_per_second: float
    dtype: torch.dtype

    @property
    def flop_per_second(self) -> float:
        """Operations a second."""
        return self.flop / self.seconds

    @property
    def share_of_peak(self) -> float:
        """Operations a second, as a share of the peak."""
        return self.flop_per_second / self.peak_flop_per_second

    def to_dict(self) -> dict[str, object]:
        """All of it, for JSON."""
        return {
            "flop": self.flop,
            "flop_per_second": self.flop_per_second,
            "useful_share": self.useful_share,
            "useful_flop_per_second": self.flop_per_second * self.useful_share,
            "matmul_peak_flop_per_second": self.peak_flop_per_second,
            "share_of_peak": self.share_of_peak,
            "dtype": str(self.dtype).removeprefix("torch."),
        }


@dataclass(frozen=True)
class Memory:
    """Peak memory.

    Attributes:
        resident_bytes: of this process, since it began.
        device_bytes: of the accelerator, since :func:`forget_device_peak`; ``None`` without one or where it does not
            tell.
    """

    resident_bytes: int
    device_bytes: int | None


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    torch.get_device_module(device).synchronize()


def forget_device_peak(device: torch.device) -> None:
    """Count the device's peak memory from here on, where it can."""
    reset = getattr(torch.get_device_module(device), "reset_peak_memory_stats", None)
    if reset is not None:
        reset()


def peak_memory(device: torch.device) -> Memory:
    """Peak memory so far."""
    of_device = getattr(torch.get_device_module(device), "max_memory_allocated", None)
    return Memory(
        resident_bytes=_peak_resident_bytes(),
        device_bytes=None if of_device is None else int(of_device()),
    )


def _peak_resident_bytes() -> int:
    if resource is None:
        import psutil

        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    peak: int = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # kilobytes everywhere else


def matmul_peak(device: torch.device, dtype: torch.dtype) -> float:
    """Floating-point operations a second of square matrix products: the best of several sizes and runs."""
    best, size = 0.0, _SMALLEST_MATRIX
    while size <= _LARGEST_MATRIX:
        left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
        _product_s(left, right, 1)  # the first picks its algorithm
        repeats = max(1, math.ceil(_LEAST_RUN_S / _product_s(left, right, 1)))
        product_s = min(_product_s(left, right, repeats) for _ in range(_RUNS))
        best = max(best, 2 * size**3 / product_s)
        if device.type == "cpu" and product_s > _LONG_PRODUCT_S:
            break
        size *= 2
    return best


def _product_s(left: torch.Tensor, right: torch.Tensor, repeats: int) -> float:
    """Seconds of one product, over ``repeats`` in a row."""
    synchronize(left.device)
    begun = time.perf_counter()
    for _ in range(repeats):
        torch.mm(left, right)
    synchronize(left.device)
    return (time.perf_counter() - begun) / repeats
