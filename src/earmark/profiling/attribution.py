"""Attribute the time in a trace to the parts of the model, as a pure function of its events.

Modules of the model and other pieces of a step run inside named ranges (:mod:`earmark.profiling.part_ranges`). An
operator belongs to the range around it. Between modules, it belongs to the module before it. Backward operators run
outside the ranges, but each node of autograd has the number of the forward operator that made it, so a backward
operator belongs to the same part as that operator. Norms, activations and attention are also known by the names of
their operators.

On a CPU, the time of an operator is its own, without the operators that it calls. On an accelerator, it is the time of
the kernels that it starts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

from earmark.families.model_parts import StepPart
from earmark.profiling.operations import operations
from earmark.profiling.trace_events import TraceEvent

RANGE = "earmark: "  # in front of the name of a part, in the name of its range
MODEL = f"{RANGE}model"  # range of the whole model
PAUSE = f"{RANGE}pause"  # range of anything outside a step, such as an evaluation between two steps
STEP = "ProfilerStep#"

Times = dict[StepPart, float]

_RANGES = {f"{RANGE}{part.value}": part for part in StepPart}
_OTHER_RANGES = (
    ("Optimizer.", StepPart.OPTIMIZER),
    ("enumerate(DataLoader)", StepPart.DATA),
    ("nccl:", StepPart.COMMUNICATION),
    ("gloo:", StepPart.COMMUNICATION),
    ("c10d::", StepPart.COMMUNICATION),
    ("record_param_comms", StepPart.COMMUNICATION),
)
_NODE = "autograd::engine::evaluate_function"
_OUTSIDE_MODEL = (
    *(StepPart.FRONTEND, StepPart.LOSS, StepPart.OPTIMIZER, StepPart.CLIPPING, StepPart.TRANSFERS),
    *(StepPart.COMMUNICATION, StepPart.DATA, StepPart.PYTHON, StepPart.IDLE),
)
_IN_MODEL = set(StepPart) - set(_OUTSIDE_MODEL)
_OPERATORS = {
    "aten::gelu": StepPart.ACTIVATIONS, "aten::silu": StepPart.ACTIVATIONS, "aten::relu": StepPart.ACTIVATIONS,
    "aten::layer_norm": StepPart.NORMS, "aten::group_norm": StepPart.NORMS, "aten::batch_norm": StepPart.NORMS,
    "aten::scaled_dot_product_attention": StepPart.ATTENTION,
}  # fmt: skip
_COPIES = ("aten::to", "aten::_to_copy", "aten::copy_", "aten::clone", "aten::contiguous")
_TRANSFERS = ("Memcpy HtoD", "Memcpy DtoH", "M2D", "D2M")
_COLLECTIVES = ("nccl", "hccl", "hcom_")


@dataclass(frozen=True)
class PartCost:
    """What a part costs in a step, forward and backward together.

    Attributes:
        part: the part.
        seconds: time.
        flop: floating-point operations of its matrix products, convolutions and attention.
    """

    part: StepPart
    seconds: float
    flop: float


@dataclass(frozen=True)
class StepProfile:
    """What a step costs, as a mean over the profiled steps.

    Attributes:
        steps: number of profiled steps.
        seconds: duration of a step.
        parts: its parts, those with most time first.
        product_s: time of operators that :mod:`earmark.profiling.operations` counts: matrix products and the like.
        dtype: type of the numbers in most of these operations, as in ``torch.bfloat16``; ``None`` without any.
        on_device: whether the times of the parts are those of an accelerator.
        ran: fraction of the time in which the main thread had a core; ``None`` if it was not measured.
    """

    steps: int
    seconds: float
    parts: tuple[PartCost, ...]
    product_s: float = 0.0
    dtype: str | None = None
    on_device: bool = False
    ran: float | None = None

    @property
    def flop(self) -> float:
        """Floating-point operations of a step."""
        return sum(part.flop for part in self.parts)

    def share(self, *parts: StepPart) -> float:
        """Return the fraction of the time that parts take."""
        return sum(cost.seconds for cost in self.parts if cost.part in parts) / self.seconds


def attribute(events: Iterable[TraceEvent], most_steps: int) -> StepProfile:
    """Attribute the time of the first ``most_steps`` steps to parts.

    Args:
        events: events of a trace.
        most_steps: number of steps that were finished; later ones in the trace are left out.

    Raises:
        ValueError: the trace has no steps.
    """
    events = list(events)
    kernels = [event for event in events if event.thread is None]
    hosts = [event for event in events if event.thread is not None]
    steps = sorted((event for event in hosts if event.name.startswith(STEP)), key=lambda event: event.start_us)
    steps = steps[:most_steps]
    if not steps:
        raise ValueError("the trace has no steps")
    walk = _Walk(steps[0].start_us, steps[-1].end_us, sum(step.duration_us for step in steps))
    threads = {thread: list(own) for thread, own in groupby(sorted(hosts, key=_thread_order), lambda one: one.thread)}
    main = steps[0].thread
    walk.thread(threads.pop(main), is_main=True)
    for others in threads.values():
        walk.thread(others, is_main=False)
    return _on_device(walk, kernels, len(steps)) if kernels else _on_host(walk, len(steps))


def _thread_order(event: TraceEvent) -> tuple[str, float, float]:
    return str(event.thread), event.start_us, -event.duration_us


@dataclass
class _Frame:
    """An event that has begun and not ended, and what is known about it."""

    event: TraceEvent
    part: StepPart | None
    own_us: float
    is_product: bool
    is_paused: bool
    is_range: bool


@dataclass
class _Walk:
    """Walks through the events of each thread in the order of their start; a stack holds those that have not ended."""

    start_us: float
    end_us: float
    total_us: float  # without pauses, and without the time that the profiler takes between two steps
    host_us: Times = field(default_factory=lambda: defaultdict(float))
    flop: Times = field(default_factory=lambda: defaultdict(float))
    flop_by_dtype: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    product_us: float = 0.0
    operators: dict[Hashable, tuple[StepPart, bool]] = field(default_factory=dict)
    nodes: dict[int, StepPart] = field(default_factory=dict)
    last: StepPart | None = None  # part of the module that ran last inside the model

    def thread(self, events: Sequence[TraceEvent], *, is_main: bool) -> None:
        stack: list[_Frame] = []
        for event in events:
            if not self.start_us <= event.start_us < self.end_us:
                continue
            while stack and stack[-1].event.end_us <= event.start_us:
                self._close(stack.pop(), is_main)
            if stack:
                stack[-1].own_us -= event.duration_us
            stack.append(self._open(event, stack))
        while stack:
            self._close(stack.pop(), is_main)

    def _open(self, event: TraceEvent, stack: Sequence[_Frame]) -> _Frame:
        above = stack[-1] if stack else None
        part, is_range = self._part(event, stack)
        paused = event.name == PAUSE or (above is not None and above.is_paused)
        is_product = above is not None and above.is_product
        if not is_range and not paused and not is_product:
            flop = operations(event.name, event.shapes, event.values)
            if flop:
                is_product = True
                self.flop[part or StepPart.OTHER] += flop
                if part != StepPart.FRONTEND:  # the frontend computes in float32, even if the model does not
                    self.flop_by_dtype[event.dtype] += flop
                self.product_us += event.duration_us
        if event.sequence is not None and not event.is_backward and part is not None:
            self.nodes[event.sequence] = part
        if event.id is not None and not paused:
            self.operators[event.id] = (part or StepPart.OTHER, is_product)
        return _Frame(event, part, event.duration_us, is_product, paused, is_range)

    def _close(self, frame: _Frame, is_main: bool) -> None:
        if frame.event.name == PAUSE:
            self.total_us -= frame.event.duration_us
        if not frame.is_paused and is_main:
            python = frame.is_range and (frame.part is None or frame.part in _IN_MODEL)
            self.host_us[StepPart.PYTHON if python else frame.part or StepPart.OTHER] += max(frame.own_us, 0.0)
        if frame.is_range and frame.part in _IN_MODEL:
            self.last = frame.part

    def _part(self, event: TraceEvent, stack: Sequence[_Frame]) -> tuple[StepPart | None, bool]:
        """Return the part of an event (``None`` for a range around several parts), and whether it is a range."""
        name, above = event.name, stack[-1] if stack else None
        if name == MODEL:
            if not any(frame.event.name == MODEL for frame in stack):
                self.last = None
            return None, True
        if name in _RANGES or name == PAUSE or name.startswith(STEP):
            return _RANGES.get(name), True
        for start, part in _OTHER_RANGES:
            if name.startswith(start):
                return part, True
        if name.startswith(_NODE):
            return self.nodes.get(-1 if event.sequence is None else event.sequence, StepPart.OTHER), False
        part = StepPart.OTHER if above is None or above.part is None else above.part
        if above is not None and above.event.name == MODEL:
            part = self.last or (StepPart.CASTS if name in _COPIES else StepPart.OTHER)
        return (_OPERATORS.get(name, part) if part in _IN_MODEL else part), False


def _on_host(walk: _Walk, steps: int) -> StepProfile:
    return _profile(walk, steps, walk.host_us, walk.product_us)


def _on_device(walk: _Walk, kernels: Sequence[TraceEvent], steps: int) -> StepProfile:
    times: Times = defaultdict(float)
    product_us = 0.0
    launched = []
    for kernel in kernels:
        if kernel.launched_by not in walk.operators:
            continue
        part, is_product = walk.operators[kernel.launched_by]
        if any(word in kernel.name for word in _TRANSFERS):
            part = StepPart.TRANSFERS
        elif kernel.name.lower().startswith(_COLLECTIVES):
            part = StepPart.COMMUNICATION
        times[part] += kernel.duration_us
        product_us += kernel.duration_us if is_product else 0.0
        launched.append(kernel)
    idle_us = max(walk.total_us - _busy_us(launched), 0.0)
    times[StepPart.DATA] = min(idle_us, walk.host_us[StepPart.DATA])
    times[StepPart.IDLE] = idle_us - times[StepPart.DATA]
    return _profile(walk, steps, times, product_us, on_device=True)


def _busy_us(kernels: Sequence[TraceEvent]) -> float:
    """Return the time in which at least one kernel ran."""
    busy_us = end_us = 0.0
    for kernel in sorted(kernels, key=lambda kernel: kernel.start_us):
        busy_us += max(kernel.end_us - max(kernel.start_us, end_us), 0.0)
        end_us = max(end_us, kernel.end_us)
    return busy_us


def _profile(walk: _Walk, steps: int, times: Times, product_us: float, **facts: Any) -> StepProfile:
    costs = [
        PartCost(part, times[part] / steps / 1e6, walk.flop[part] / steps)
        for part in StepPart
        if times[part] > 0 or walk.flop[part] > 0
    ]
    return StepProfile(
        steps,
        walk.total_us / steps / 1e6,
        tuple(sorted(costs, key=lambda cost: -cost.seconds)),
        product_us / steps / 1e6,
        max(walk.flop_by_dtype, key=lambda dtype: walk.flop_by_dtype[dtype], default=None),
        **facts,
    )
