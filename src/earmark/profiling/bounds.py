"""Say in words what bounds a run, from the times of its parts."""

from __future__ import annotations

from dataclasses import dataclass

from earmark.families.model_parts import StepPart
from earmark.profiling.attribution import StepProfile

_WAITS = 0.15  # waiting is reported if it takes at least this fraction of the time
_PRODUCTS = 0.4
_MEMORY = 0.25
_OPTIMIZER = 0.2
_OPTIMIZES = (StepPart.OPTIMIZER, StepPart.CLIPPING)
_MOVES_MEMORY = (StepPart.NORMS, StepPart.ACTIVATIONS, StepPart.CASTS)


@dataclass(frozen=True)
class Advice:
    """Flags of the profiled command, to name in the advice.

    Attributes:
        workers: flag for the number of processes or threads that prepare data; empty without one.
        batch: flag for the batch size.
        compiles: flag that compiles the model; empty without one.
        precision: flag for half precision; empty if it would not be faster.
    """

    workers: str
    batch: str
    compiles: str
    precision: str


@dataclass(frozen=True)
class Peak:
    """Fastest matrix products of a device.

    Attributes:
        flop_per_second: operations per second.
        dtype: ``fp32``, ``bf16`` or ``fp16``.
        source: where the number comes from.
    """

    flop_per_second: float
    dtype: str
    source: str


def describe_bounds(profile: StepProfile, peak: Peak | None, advice: Advice) -> list[str]:
    """Return what takes most of the time, the largest fraction first, each with what to do about it.

    Args:
        profile: the times of the parts.
        peak: the fastest matrix products of the device; ``None`` if unknown.
        advice: flags of the command that was profiled.
    """
    waits = profile.share(StepPart.DATA)
    idle = profile.share(StepPart.IDLE, StepPart.PYTHON)
    products = profile.product_s / profile.seconds
    memory = profile.share(*_MOVES_MEMORY)
    taken = 0.0 if profile.on_device or profile.ran is None else 1 - profile.ran - waits
    transfers, talks = profile.share(StepPart.TRANSFERS), profile.share(StepPart.COMMUNICATION)
    found = [
        (waits, _WAITS, f"waiting for data: {_percent(waits)} of the time.{_raise(advice.workers)}"),
        (idle, _WAITS, _describe_idle(idle, profile.on_device, advice)),
        (
            taken,
            _WAITS,
            f"other processes: they had this process's core for {_percent(taken)} of the time, so all times were "
            "measured on a busy machine. Stop them, or profile again later.",
        ),
        (products, _PRODUCTS, _describe_products(profile, products, peak, advice)),
        (memory, _MEMORY, _describe_memory(profile, memory)),
        (
            profile.share(*_OPTIMIZES),
            _OPTIMIZER,
            f"updating the weights: {_percent(profile.share(*_OPTIMIZES))} of the time, whatever the batch size."
            f"{_raise(advice.batch)}",
        ),
        (transfers, _WAITS, f"copies between host and device: {_percent(transfers)} of the time."),
        (talks, _WAITS, f"communication between devices: {_percent(talks)} of the time.{_raise(advice.batch)}"),
    ]
    lines = [(share, text) for share, least, text in found if share >= least]
    if not lines:
        largest = profile.parts[0]
        lines = [
            (0.0, f"nothing stands out: {largest.part.value} takes most, {_percent(profile.share(largest.part))}.")
        ]
    return [text for _, text in sorted(lines, key=lambda line: -line[0])]


def _describe_products(profile: StepProfile, share: float, peak: Peak | None, advice: Advice) -> str:
    text = f"matrix products: {_percent(share)} of the time"
    if peak is None or not profile.product_s:
        return f"{text}."
    reached = profile.flop / profile.product_s / peak.flop_per_second
    text = f"{text} at {_percent(reached)} of this device's {peak.dtype} peak."
    return f"{text} {advice.precision} may be faster." if peak.dtype == "fp32" and advice.precision else text


def _describe_memory(profile: StepProfile, share: float) -> str:
    own = sorted(_MOVES_MEMORY, key=lambda part: -profile.share(part))
    parts = ", ".join(f"{part.value} {_percent(profile.share(part))}" for part in own if profile.share(part) >= 0.01)
    return f"memory bandwidth: {_percent(share)} of the time ({parts})."


def _describe_idle(share: float, on_device: bool, advice: Advice) -> str:
    what = "the device is idle" if on_device else "Python runs between operators"
    compiles = f", or add {advice.compiles}" if advice.compiles else ""
    return f"launch overhead: {what} {_percent(share)} of the time. Raise {advice.batch}{compiles}."


def _raise(flag: str) -> str:
    return f" Raise {flag}." if flag else ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
