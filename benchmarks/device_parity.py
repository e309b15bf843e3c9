"""Compare every architecture on a device with the CPU, and each clip alone with the same clip in a mixed batch.

    python benchmarks/device_parity.py --device cuda --json parity.json
    python benchmarks/device_parity.py --device cuda --full_size

One row for each architecture of :mod:`earmark.families.family_registry` and each number format of the device, tiny
models with random weights; with ``--full_size`` one model of each family in its default geometry. Relative errors:

* cpu: logits on the device against float32 on the CPU, for the worst clip, and the loss.
* gradients: the worst of all weights, likewise.
* mixed: logits of clips alone against those in a batch of many lengths, both on the device. Relative to how far logits
  differ from clip to clip; in half precision, to the size of logits if that is more, because they are rounded to it.

An error above :data:`TOLERANCES` is WRONG, and the exit status is 1. A model that cannot be compared is a row, too.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

from earmark.device import select_device, supports_bf16
from earmark.errors import DeviceError, first_line
from earmark.families.family_registry import FAMILIES
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.numerics import (
    Computed,
    Way,
    compute,
    first_different_layer,
    gradient_errors,
    logits_error,
)
from earmark.scoring.inference import score
from earmark.scoring.torch_scorer import TorchScorer

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from tests.tiny import ARCHITECTURES, tone

CPU = torch.device("cpu")
LABELS = [str(number) for number in range(5)]
SECONDS = (0.6, 1.0, 0.93, 0.85, 2.37, 2.0, 2.2, 0.31)


@dataclass(frozen=True)
class Tolerance:
    """The largest relative errors of a number format.

    Attributes:
        logits: of logits and losses.
        gradients: of the gradient of a weight.
    """

    logits: float
    gradients: float


# float32 on a CPU differs from float64 by at most 3e-7 of a logit and 2e-6 of a gradient, and a clip in a mixed batch
# by 3e-5 (tiny models of all architectures). Devices add in another order and approximate functions, so 30 to 5,000
# times as much is allowed; padding that is seen, or a wrong kernel, is off by 1e-2 or more. bfloat16 has the tolerances
# of earmark's own check (earmark.models.numerics): right kernels are off by up to 0.026 and 0.25 here, garbage by 0.4
# and more. float16 has three more bits, so an eighth for logits; small gradients lose bits, so less than that for them
# (0.003 and 0.06 with a host's arithmetic).
TOLERANCES = {"fp32": Tolerance(1e-3, 1e-2), "bf16": Tolerance(0.15, 0.7), "fp16": Tolerance(0.02, 0.2)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Row:
    """One architecture in one number format.

    Attributes:
        verdict: ``ok``, ``WRONG`` or ``failed``.
        note: the first layer that differs, or the error.
    """

    model: str
    precision: str
    verdict: str = "ok"
    cpu: float | None = None
    gradients: float | None = None
    mixed: float | None = None
    note: str = ""


def main() -> int:
    """Compare as told; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cuda, npu, xpu, mps or cpu")
    parser.add_argument("--full_size", action="store_true", help="one model of each family in its default geometry")
    parser.add_argument("--models", nargs="+", help="only these model types")
    parser.add_argument("--json", type=Path, help="file for all rows; written again after each")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    device = select_device(args.device)
    full_float32(device)
    rows: list[Row] = []
    for kind in args.models or model_types(first_only=args.full_size):
        for precision in precisions(device):
            rows.append(compared(kind, device, precision, full_size=args.full_size))
            print(shown(rows[-1]), flush=True)
            if args.json:
                args.json.write_text(json.dumps(report(rows), indent=2) + "\n", encoding="utf-8")
    return int(any(row.verdict != "ok" for row in rows))


def model_types(*, first_only: bool) -> list[str]:
    """Return all architectures, or the first of each family."""
    return [name for family in FAMILIES for name in family.model_types[: 1 if first_only else None]]


def precisions(device: torch.device) -> list[str]:
    """Return the number formats to compare; float16 only on accelerators."""
    halves = ["bf16"] if device.type == "cpu" or supports_bf16(device) else []
    return ["fp32", *halves, *(["fp16"] if device.type != "cpu" else [])]


def full_float32(device: torch.device) -> None:
    """Switch off the 10-bit mantissas that devices use for float32 convolutions and products (TF32, HF32)."""
    torch.backends.cudnn.allow_tf32 = False
    backend = getattr(torch, device.type, None)
    for operation in ("conv", "matmul"):
        setting = getattr(backend, operation, None)
        if hasattr(setting, "allow_hf32"):
            setting.allow_hf32 = False


def compared(kind: str, device: torch.device, precision: str, *, full_size: bool) -> Row:
    """Compare one architecture; an error becomes a row."""
    row = Row(kind, precision)
    try:
        audio = build(kind, full_size=full_size)
        tolerance = TOLERANCES[precision]
        row.cpu, row.gradients, row.note, scale = against_cpu(audio, device, DTYPES[precision])
        row.mixed = alone_against_mixed(audio, device, DTYPES[precision], 1e-12 if precision == "fp32" else scale)
        wrong = not (max(row.cpu, row.mixed) <= tolerance.logits and row.gradients <= tolerance.gradients)
        row.verdict = "WRONG" if wrong else "ok"  # NaN is wrong
    except Exception as exc:  # an architecture that fails must not hide the others
        row.verdict = "WRONG" if isinstance(exc, DeviceError) else "failed"
        row.note = f"{type(exc).__name__}: {first_line(exc)}"
    if row.verdict == "ok":
        row.note = ""
    return row


def build(kind: str, *, full_size: bool) -> AudioModel:
    """Return a classifier with random weights, on the CPU; the logits of a tiny one differ from clip to clip."""
    torch.manual_seed(0)
    settings = None if full_size else json.dumps(ARCHITECTURES.get(kind, {}))
    source = ModelSource(model_type=kind, config_overrides=settings)
    audio = build_for_training(source, LABELS, None, longest_s=2.4)
    with torch.no_grad():
        for parameter in audio.model.parameters():
            if parameter.ndim > 1 and not parameter.any():  # a norm of zeros is not defined in float16
                parameter.normal_(std=0.1)
    if not full_size:
        with torch.no_grad():
            for module in audio.model.modules():
                if isinstance(module, torch.nn.Linear):
                    module.weight.mul_(3)
    audio.model.eval()
    return audio


def clips() -> list[np.ndarray]:
    """Return clips of many lengths, float32 (T,)."""
    return [tone(300 + 200 * i, seconds, seed=i) for i, seconds in enumerate(SECONDS)]


def against_cpu(audio: AudioModel, device: torch.device, dtype: torch.dtype) -> tuple[float, float, str, float]:
    """Return the errors of logits and gradients, the first layer that differs, and the size of logits."""
    waves = [clips()[1], clips()[1][::-1].copy()]  # of one length, which no architecture pads
    targets = torch.arange(len(waves)) % len(LABELS)

    def inputs(place: torch.device) -> dict[str, torch.Tensor]:
        samples, lengths = audio.frontend.pack(waves)
        return audio.frontend.inputs(samples.to(place), None if lengths is None else lengths.to(place))

    def loss(outputs: Any) -> torch.Tensor:
        logits = outputs["logits"].float()
        return torch.nn.functional.cross_entropy(logits, targets.to(logits.device))

    def results(model: Any, way: Way) -> Computed:
        return compute(model, inputs, way, loss, gradients=True, layers=True)

    exact = results(audio.model, Way(CPU, torch.float32))
    model = audio.model.to(device)
    found = results(model, Way(device, dtype))
    off = max(logits_error(found.logits, exact), abs((found.loss or 0.0) - (exact.loss or 0.0)) / max(1.0, exact.scale))
    there = {name: value.cpu() for name, value in found.gradients.items()}
    here = {name: value.cpu() for name, value in exact.gradients.items()}
    gradients = max(gradient_errors(there, here).values())
    layer = "" if device.type == "cpu" and dtype == torch.float32 else first_different_layer(found, exact, model)
    return off, gradients, layer and f"first layer that differs: {layer}", exact.scale


def alone_against_mixed(audio: AudioModel, device: torch.device, dtype: torch.dtype, least: float) -> float:
    """Return the largest relative difference of logits of clips alone and in one batch of all lengths.

    Args:
        audio: model, on ``device``.
        device: where to compute.
        dtype: number format.
        least: smallest size of a logit that differences are relative to.
    """
    waves = clips()
    scorer = TorchScorer(audio.model, audio.frontend, device, None if dtype == torch.float32 else dtype)
    scorer.most_samples = math.inf  # a CPU would score short batches
    if scorer.shortest_in_batch < 1:
        scorer.shortest_in_batch = 0.0
    alone, mixed = (np.stack(list(score(scorer, waves, batch_size=size))) for size in (1, len(waves)))
    return float(np.abs(alone - mixed).max()) / max(float(alone.std(axis=0).max()), least)


def report(rows: list[Row]) -> dict[str, Any]:
    """Return all rows for JSON, with the tolerances."""
    tolerances = {name: asdict(tolerance) for name, tolerance in TOLERANCES.items()}
    return {"tolerances": tolerances, "rows": [asdict(row) for row in rows]}


def shown(row: Row) -> str:
    """Return a row as a line."""
    figures = {"cpu": row.cpu, "gradients": row.gradients, "mixed": row.mixed}
    errors = ", ".join(f"{name} {value:.1e}" for name, value in figures.items() if value is not None)
    return f"{row.model} {row.precision}: {row.verdict} {errors} {row.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
