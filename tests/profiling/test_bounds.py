"""What bounds a run, in words, for made-up times."""

from __future__ import annotations

from dataclasses import replace

import pytest

from earmark.families.model_parts import StepPart
from earmark.profiling.attribution import PartCost, StepProfile
from earmark.profiling.bounds import Advice, Peak, describe_bounds

ADVICE = Advice("--workers", "--batch", "--compile", "--half")


def profile(product_share: float = 0.0, *, on_device: bool = False, **shares: float) -> StepProfile:
    """A step of 2 s; ``norms=0.3`` gives a part 30 % of it. Products compute 10 TFLOP/s."""
    parts = [PartCost(StepPart[name.upper()], 2 * share, 0.0) for name, share in shares.items()]
    parts.append(PartCost(StepPart.MLP, 2 * (1 - sum(shares.values())), 20e12 * product_share))
    ordered = tuple(sorted(parts, key=lambda cost: -cost.seconds))
    return StepProfile(5, 2.0, ordered, 2 * product_share, on_device=on_device)


@pytest.mark.parametrize(
    ("made", "line"),
    [
        (profile(0.71), "matrix products: 71 % of the time at 50 % of this device's bf16 peak."),
        (profile(data=0.43), "waiting for data: 43 % of the time. Raise --workers."),
        (
            profile(norms=0.2, activations=0.18),
            "memory bandwidth: 38 % of the time (norms 20 %, activations 18 %).",
        ),
        (
            profile(idle=0.5, on_device=True),
            "launch overhead: the device is idle 50 % of the time. Raise --batch, or add --compile.",
        ),
        (
            profile(python=0.4),
            "launch overhead: Python runs between operators 40 % of the time. Raise --batch, or add --compile.",
        ),
        (
            profile(optimizer=0.2, clipping=0.1),
            "updating the weights: 30 % of the time, whatever the batch size. Raise --batch.",
        ),
        (profile(transfers=0.3), "copies between host and device: 30 % of the time."),
        (profile(communication=0.3), "communication between devices: 30 % of the time. Raise --batch."),
        (profile(attention=0.1), "nothing stands out: MLP takes most, 90 %."),
    ],
)
def test_each_bound(made: StepProfile, line: str) -> None:
    assert describe_bounds(made, Peak(20e12, "bf16", "measured"), ADVICE) == [line]


def test_the_largest_comes_first() -> None:
    lines = describe_bounds(profile(0.45, data=0.2, norms=0.3), Peak(20e12, "bf16", "measured"), ADVICE)
    assert [line.split(":")[0] for line in lines] == ["matrix products", "memory bandwidth", "waiting for data"]


def test_a_busy_machine_comes_first() -> None:
    busy = replace(profile(0.6, data=0.1), ran=0.2)  # it waited in a tenth of the time
    first, second = describe_bounds(busy, Peak(20e12, "bf16", "measured"), ADVICE)
    assert first.startswith("other processes: they had this process's core for 70 % of the time")
    assert second.startswith("matrix products")
    assert len(describe_bounds(replace(busy, ran=0.8), None, ADVICE)) == 1
    assert len(describe_bounds(replace(busy, on_device=True), None, ADVICE)) == 1


def test_products_in_float32_could_be_faster() -> None:
    (line,) = describe_bounds(profile(0.8), Peak(20e12, "fp32", "measured"), ADVICE)
    assert line.endswith("--half may be faster.")
    (line,) = describe_bounds(profile(0.8), Peak(20e12, "fp32", "measured"), Advice("", "--batch", "", ""))
    assert line.endswith("fp32 peak.")


def test_a_command_without_a_flag_gets_no_advice_about_it() -> None:
    none = Advice("", "--batch", "", "")
    assert describe_bounds(profile(data=0.5), None, none) == ["waiting for data: 50 % of the time."]
    (line,) = describe_bounds(profile(idle=0.5, on_device=True), None, none)
    assert line.endswith("Raise --batch.")
    assert describe_bounds(profile(0.8), None, none) == ["matrix products: 80 % of the time."]
