"""The time of made-up events, by part."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from earmark.families.model_parts import StepPart
from earmark.profiling.attribution import MODEL, PAUSE, RANGE, STEP, StepProfile, attribute
from earmark.profiling.trace_events import TraceEvent

NODE = "autograd::engine::evaluate_function: "
ATTENTION, MLP = f"{RANGE}attention", f"{RANGE}MLP"
PRODUCT = {"shapes": [[10, 20], [20, 30]], "dtype": "c10::BFloat16"}
FLOP = 2 * 10 * 20 * 30


def host(name: str, start: float, end: float, **others: object) -> TraceEvent:
    return TraceEvent(name, start, end - start, **others)  # type: ignore[arg-type]


def kernel(name: str, start: float, end: float, launched_by: object) -> TraceEvent:
    return TraceEvent(name, start, end - start, None, launched_by=launched_by)  # type: ignore[arg-type]


def milliseconds(events: Sequence[TraceEvent], steps: int = 1) -> dict[StepPart, float]:
    """Time of each part in a step; one microsecond of a made-up event counts as a millisecond here."""
    return {cost.part: round(cost.seconds * 1e6, 9) for cost in attribute(events, steps).parts}


def forward(**model: object) -> list[TraceEvent]:
    """A model with a product in its attention, a residual sum behind it, and a norm."""
    return [
        host(f"{STEP}3", 0, 100),
        host(MODEL, 10, 60, **model),
        host(ATTENTION, 12, 30),
        host("aten::linear", 13, 29, sequence=1),
        host("aten::mm", 15, 25, sequence=2, **PRODUCT),
        host("aten::add", 30, 36, sequence=3),
        host("aten::layer_norm", 36, 40, sequence=4),
    ]


def test_an_operator_counts_its_own_time_to_the_range_around_it() -> None:
    times = milliseconds(forward())
    assert times[StepPart.ATTENTION] == 16 + 6  # the sum behind the module belongs to it, too
    assert times[StepPart.NORMS] == 4
    assert times[StepPart.PYTHON] == 100 - 16 - 6 - 4
    assert sum(times.values()) == 100


def test_backward_counts_to_the_part_that_made_the_node() -> None:
    backward = [
        host(f"{NODE}MmBackward0", 62, 80, sequence=2, is_backward=True),
        host("MmBackward0", 63, 79, sequence=2, is_backward=True),
        host("aten::mm", 64, 78, **PRODUCT),
        host(f"{NODE}NativeLayerNormBackward0", 80, 84, sequence=4, is_backward=True),
        host(f"{NODE}AccumulateGrad", 84, 86, is_backward=True),
    ]
    events = forward() + backward
    times = milliseconds(events)
    assert times[StepPart.ATTENTION] == 22 + 18
    assert times[StepPart.NORMS] == 4 + 4
    assert times[StepPart.OTHER] == 2
    profile = attribute(events, 1)
    assert {cost.part: cost.flop for cost in profile.parts if cost.flop} == {StepPart.ATTENTION: 2 * FLOP}
    assert profile.product_s == pytest.approx((10 + 14) / 1e6)
    assert profile.dtype == "c10::BFloat16"


def test_the_last_operator_with_a_number_made_the_node() -> None:
    """The profiler gives an operator the number of the next node, which a later operator may make."""
    events = [
        host(f"{STEP}1", 0, 30),
        host(MODEL, 0, 20),
        host(ATTENTION, 0, 5),
        host("aten::detach", 1, 2, sequence=7),
        host(MLP, 5, 10),
        host("aten::mul", 6, 8, sequence=7),
        host(f"{NODE}MulBackward0", 20, 25, sequence=7, is_backward=True),
    ]
    assert milliseconds(events)[StepPart.MLP] == 2 + 5


def test_casts_before_the_first_module_are_a_part() -> None:
    events = [host(f"{STEP}1", 0, 50), host(MODEL, 0, 40), host("aten::to", 1, 5), host("aten::copy_", 2, 4)]
    events += [host(MODEL, 6, 39), host(ATTENTION, 10, 20), host("aten::to", 20, 22)]  # the forward calls the model
    times = milliseconds(events)
    assert times[StepPart.CASTS] == 4
    assert times[StepPart.ATTENTION] == 2


def test_ranges_outside_the_model_keep_their_own_time() -> None:
    events = [
        host(f"{STEP}1", 0, 100),
        host("enumerate(DataLoader)#_SingleProcessDataLoaderIter.__next__", 0, 30),
        host("Optimizer.step#AdamW.step", 40, 60),
        host("aten::_fused_adamw_", 45, 55),
        host("aten::gelu", 56, 58),  # inside the optimizer, no operator changes the part
        host(f"{RANGE}gradient clipping", 60, 65),
        host(f"{RANGE}loss", 65, 70),
    ]
    times = milliseconds(events)
    assert times == {
        StepPart.DATA: 30,
        StepPart.OPTIMIZER: 20,
        StepPart.CLIPPING: 5,
        StepPart.LOSS: 5,
        StepPart.PYTHON: 40,
    }


def test_an_evaluation_between_steps_is_left_out() -> None:
    events = [*forward(), host(PAUSE, 60, 90), host("aten::mm", 61, 89, **PRODUCT)]
    profile = attribute(events, 1)
    assert profile.seconds == pytest.approx(70e-6)
    assert sum(cost.seconds for cost in profile.parts) == pytest.approx(70e-6)
    assert profile.flop == FLOP


def test_the_mean_over_finished_steps() -> None:
    steps = [host(f"{STEP}{i}", 100 * i, 100 * i + 100) for i in range(3)]
    work = [host("aten::mm", 100 * i + 10, 100 * i + 20 + 10 * i, **PRODUCT) for i in range(3)]
    profile = attribute(steps + work, 2)  # the third step was not finished
    assert profile.steps == 2
    assert profile.seconds == pytest.approx(100e-6)
    assert profile.product_s == pytest.approx(15e-6)
    assert profile.flop == FLOP


def test_other_threads_do_not_count_on_a_cpu() -> None:
    assert milliseconds([*forward(), host("aten::mm", 0, 100, thread=1)]) == milliseconds(forward())


def test_no_steps() -> None:
    with pytest.raises(ValueError, match="no steps"):
        attribute([host("aten::mm", 0, 1)], 1)


def on_device() -> StepProfile:
    """Kernels of two operators on two streams, of which one was started by autograd's thread, and a copy."""
    events = [
        host(f"{STEP}1", 0, 100),
        host(f"{RANGE}waiting for data", 0, 20),
        host(MODEL, 20, 40),
        host(ATTENTION, 21, 30),
        host("aten::mm", 22, 24, id=1, sequence=5, **PRODUCT),
        host(MLP, 31, 38),
        host("aten::mul", 32, 34, id=2, sequence=6),
        host("aten::copy_", 41, 42, id=4),
        host(f"{NODE}MmBackward0", 45, 50, thread=1, id=3, sequence=5, is_backward=True),
        host("aten::mm", 46, 49, thread=1, id=5, **PRODUCT),
        kernel("gemm", 30, 50, 1),
        kernel("elementwise", 40, 60, 2),
        kernel("Memcpy HtoD (Pinned -> Device)", 60, 62, 4),
        kernel("gemm", 62, 70, 5),
        kernel("gemm", 80, 90, 99),  # of an operator outside the steps
    ]
    return attribute(events, 1)


def test_on_an_accelerator_kernels_count_to_the_operator_that_started_them() -> None:
    profile = on_device()
    assert profile.on_device
    times = {cost.part: round(cost.seconds * 1e6, 6) for cost in profile.parts}
    assert times[StepPart.ATTENTION] == 20 + 8
    assert times[StepPart.MLP] == 20
    assert times[StepPart.TRANSFERS] == 2
    assert profile.product_s == pytest.approx(28e-6)
    assert profile.flop == 2 * FLOP


def test_an_accelerator_is_idle_when_no_kernel_runs() -> None:
    times = {cost.part: round(cost.seconds * 1e6, 6) for cost in on_device().parts}
    assert times[StepPart.DATA] == 20  # the host waited for data in these 20 of 60
    assert times[StepPart.IDLE] == 100 - 40 - 20
