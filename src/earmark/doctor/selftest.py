"""``earmark doctor --selftest``: check that every card learns the same as the CPU.

A small wav2vec2 is trained for 20 steps on the CPU and on each card, from the same weights, with the same clips in the
same order, by the trainer of ``earmark train``. In float32, losses and weights are compared; in bfloat16 and float16,
training must finish without NaN.
"""

from __future__ import annotations

import logging
import tempfile
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from earmark.doctor.children import Probe, run_module
from earmark.doctor.machine import Machine
from earmark.errors import DeviceError
from earmark.faults import explain
from earmark.text import in_columns

logger = logging.getLogger(__name__)

# Differences of losses and weights: 0 and 5e-7 in float32 with other numbers of CPU threads, 5e-4 and 5e-3 in bfloat16.
LOSS_TOLERANCE = 3e-4  # largest difference of a step's loss; losses start near 1.1
WEIGHT_TOLERANCE = 2e-3  # distance of the weights, as a fraction of how far training moved them

_WIDTH = 110
_WORKER = "earmark.doctor.selftest_worker"
_TIMEOUT_S = 900.0  # the first operators on a card are compiled
_VISIBLE = {"npu": "ASCEND_RT_VISIBLE_DEVICES", "cuda": "CUDA_VISIBLE_DEVICES", "xpu": "ZE_AFFINITY_MASK"}


@dataclass(frozen=True)
class SelftestRow:
    """One training run of the self-test.

    Attributes:
        device: such as ``npu:0``.
        name: name of the device.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        verdict: ``reference``, ``as the CPU``, ``finite``, or an error.
        passed: whether the verdict is fine.
        first_loss: loss at step 1.
        last_loss: loss at step 20.
        loss_difference: largest difference from the CPU's loss at any step.
        weight_difference: distance of the final weights from the CPU's, relative to how far the CPU's weights moved.
        seconds: duration of training.
    """

    device: str
    name: str
    precision: str
    verdict: str
    passed: bool
    first_loss: float | None = None
    last_loss: float | None = None
    loss_difference: float | None = None
    weight_difference: float | None = None
    seconds: float | None = None


@dataclass(frozen=True)
class SelfTest:
    """Result of the self-test.

    Attributes:
        rows: the CPU's row, then three rows per card.
        notes: explanations of failures.
    """

    rows: Sequence[SelftestRow]
    notes: Sequence[str]

    @property
    def passed(self) -> bool:
        """Whether all cards passed."""
        return all(row.passed for row in self.rows)

    def to_dict(self) -> dict[str, object]:
        """Return a dict for JSON."""
        tolerances = {"loss": LOSS_TOLERANCE, "weights": WEIGHT_TOLERANCE}
        return {
            "passed": self.passed,
            "tolerances": tolerances,
            "rows": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }


def run_selftest(cards: Sequence[str], machine: Machine | None = None) -> SelfTest:
    """Train on the CPU, then on each card, and compare.

    Args:
        cards: names of the cards, such as ``npu:0``.
        machine: machine whose environment the processes get.

    Raises:
        DeviceError: training fails on the CPU, so there is nothing to compare with.
    """
    machine = machine if machine is not None else Machine()
    with tempfile.TemporaryDirectory(prefix="earmark-selftest-") as temporary:
        folder = Path(temporary)
        logger.info("self-test: training on the CPU")
        reference = _train(machine, "cpu", folder / "cpu", {})
        if "fp32" not in reference.results or not reference.results["fp32"]["finite"]:
            raise DeviceError(f"the self-test fails on the CPU: {reference.failure}. Reinstall torch")
        rows = [_reference_row(reference)]
        notes: list[str] = []
        for i, card in enumerate(cards):
            logger.info("self-test: training on %s", card)
            place = folder / f"card{i}"
            trained = _train(machine, card.partition(":")[0], place, only_card(card, machine.environment))
            rows += _card_rows(card, trained, reference, _distance(folder / "cpu", place))
            notes += _notes(card, trained)
    return SelfTest(rows, notes)


def _train(machine: Machine, kind: str, folder: Path, environment: Mapping[str, str]) -> Probe:
    folder.mkdir()
    return run_module(machine, _WORKER, kind, str(folder), timeout_s=_TIMEOUT_S, **environment)


def only_card(card: str, environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variable that makes only this card visible. ``card`` is numbered among the visible cards."""
    kind, _, index = card.partition(":")
    variable = _VISIBLE.get(kind)
    if variable is None or not index:
        return {}
    visible = [entry.strip() for entry in environment.get(variable, "").split(",") if entry.strip()]
    is_number = index.isdecimal() and int(index) < len(visible)  # others are names, such as GPU-8932f937
    return {variable: visible[int(index)] if is_number else index}


def _distance(reference: Path, other: Path) -> float | None:
    """Return the distance of two trained models, relative to how far the first moved; ``None`` without a second."""
    import numpy as np

    if not (other / "moved.npz").is_file():
        return None
    with np.load(reference / "moved.npz") as a, np.load(other / "moved.npz") as b:
        way = sum(float((a[name].astype(np.float64) ** 2).sum()) for name in a.files)
        apart = sum(float(((a[name].astype(np.float64) - b[name]) ** 2).sum()) for name in a.files)
    return float(np.sqrt(apart / way))


def _reference_row(reference: Probe) -> SelftestRow:
    values = reference.results["fp32"]
    return _row("cpu", reference, "fp32", "reference", values, passed=True)


def _row(
    card: str, trained: Probe, precision: str, verdict: str, values: dict[str, Any], *, passed: bool
) -> SelftestRow:
    losses = values.get("losses") or [None]
    return SelftestRow(
        card,
        str(trained.results.get("name", "")),
        precision,
        verdict,
        passed,
        first_loss=losses[0],
        last_loss=losses[-1],
        loss_difference=values.get("loss_difference"),
        weight_difference=values.get("weight_difference"),
        seconds=values.get("seconds"),
    )


def _card_rows(card: str, trained: Probe, reference: Probe, distance: float | None) -> list[SelftestRow]:
    rows = []
    for precision in ("fp32", "bf16", "fp16"):
        values = trained.results.get(precision)
        if values is not None:
            rows.append(_judged(card, trained, precision, values, reference, distance))
        elif not trained.finished and precision == trained.results.get("trying", "fp32"):
            rows.append(_row(card, trained, precision, f"failed: {trained.failure}", {}, passed=False))
    return rows


def _judged(
    card: str, trained: Probe, precision: str, values: dict[str, Any], reference: Probe, distance: float | None
) -> SelftestRow:
    if not values["finite"]:
        return _row(card, trained, precision, "NaN or infinite", values, passed=False)
    if precision != "fp32":
        return _row(card, trained, precision, "finite", values, passed=True)
    pairs = zip(values["losses"], reference.results["fp32"]["losses"], strict=True)
    difference = max(abs(a - b) for a, b in pairs)
    passed = difference <= LOSS_TOLERANCE and distance is not None and distance <= WEIGHT_TOLERANCE
    values = {**values, "loss_difference": difference, "weight_difference": distance}
    return _row(card, trained, precision, "as the CPU" if passed else "differs from the CPU", values, passed=passed)


def _notes(card: str, trained: Probe) -> list[str]:
    if trained.finished:
        return []
    told = explain(trained.answer.text)
    return [f"{card}: {told.means}. {told.fix}" if told else f"{card}: {trained.failure}"]


def render_selftest(test: SelfTest) -> str:
    """Return the table for a report, with an explanation of the comparison."""
    head = ["device", "precision", "loss, first to last", "max loss diff", "weight diff", "seconds", "verdict", "name"]
    lines = [head, *(_cells(row) for row in test.rows)]
    told = textwrap.fill(
        f"20 steps of a small wav2vec2. fp32 is compared with the CPU: losses within {LOSS_TOLERANCE:g} at every step, "
        f"final weights within {WEIGHT_TOLERANCE:g} of how far they moved; bf16 and fp16 must stay finite.",
        _WIDTH,
    )
    return "\n".join([told, "", *in_columns(lines), *test.notes])


def _cells(row: SelftestRow) -> list[str]:
    def number(value: float | None, spec: str) -> str:
        return "-" if value is None else format(value, spec)

    losses = f"{number(row.first_loss, '.4f')} to {number(row.last_loss, '.4f')}"
    differences = [number(row.loss_difference, ".1e"), number(row.weight_difference, ".1e")]
    return [row.device, row.precision, losses, *differences, number(row.seconds, ".1f"), row.verdict, row.name]
