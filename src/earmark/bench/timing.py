"""Measure work: clips per second, operations compared with the device's peak, and memory."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from types import ModuleType

import torch

resource: ModuleType | None
try:
    import resource
except ImportError:  # on Windows, psutil reads the memory instead
    resource = None

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Rate:
    """Clips processed in a number of seconds.

    Attributes:
        clips: number of clips.
        audio_s: seconds of audio in them, without padding.
        seconds: duration of the work.
    """

    clips: int
    audio_s: float
    seconds: float

    @property
    def clips_per_second(self) -> float:
        """Clips per second."""
        return self.clips / self.seconds

    @property
    def audio_seconds_per_second(self) -> float:
        """Seconds of audio per second."""
        return self.audio_s / self.seconds

    def to_dict(self) -> dict[str, float]:
        """Return the values for JSON."""
        speeds = {name: getattr(self, name) for name in ("clips_per_second", "audio_seconds_per_second")}
        return asdict(self) | speeds


@dataclass(frozen=True)
class Compute:
    """The number of floating-point operations of a model, and the time they took.

    Attributes:
        flop: operations of the model, including those on padding.
        useful_share: fraction of the samples that is not padding.
        seconds: duration of the work.
        peak_flop_per_second: rate that square matrix products reach on the device.
        dtype: type of the numbers.
    """

    flop: float
    useful_share: float
    seconds: float
    peak_flop_per_second: float
    dtype: torch.dtype

    @property
    def flop_per_second(self) -> float:
        """Operations per second."""
        return self.flop / self.seconds

    @property
    def share_of_peak(self) -> float:
        """Operations per second as a fraction of the peak."""
        return self.flop_per_second / self.peak_flop_per_second

    def to_dict(self) -> dict[str, object]:
        """Return the values for JSON."""
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
        resident_bytes: peak of this process since it started.
        device_bytes: peak of the accelerator since :func:`forget_device_peak`; ``None`` without an accelerator, or if
            it does not report its memory.
    """

    resident_bytes: int
    device_bytes: int | None


def forget_device_peak(device: torch.device) -> None:
    """Reset the peak memory of the device, if it has such a counter."""
    reset = getattr(torch.get_device_module(device), "reset_peak_memory_stats", None)
    if reset is not None:
        reset()


def peak_memory(device: torch.device) -> Memory:
    """Return the peak memory so far."""
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
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, kilobytes elsewhere
