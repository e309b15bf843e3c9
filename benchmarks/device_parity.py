"""Compare the results of every architecture on a device with the CPU, and of clips alone with clips in a mixed batch.

    python benchmarks/device_parity.py --device cuda --json parity.json
    python benchmarks/device_parity.py --device cuda --full_size

There is one row for each architecture of :mod:`earmark.families.family_registry` and each precision of the device. The
models are tiny and have random weights; with ``--full_size``, there is one model of each family in its default size.
The columns are relative errors:

* cpu: the larger error of the logits of the worst clip and of the loss, on the device compared with float32 on the CPU
* gradients: the error of the weight with the worst gradient, also compared with float32 on the CPU
* mixed: the difference between the logits of clips alone and of clips in a batch of many lengths, both on the device.
  It is relative to how much the logits vary from clip to clip. In half precision it is relative to the size of the
  logits if that is larger, because the size determines the rounding errors.

An error above :data:`TOLERANCES` is WRONG. The exit status is 1 if any row is WRONG or failed.
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
    """The largest allowed relative errors of a precision.

    Attributes:
        logits: error of logits and losses.
        gradients: error of the gradient of a weight.
    """

    logits: float
    gradients: float


# For tiny models of all architectures, float32 on a CPU differs from float64 by at most 3e-7 (logits) and 2e-6
# (gradients), and a clip in a mixed batch differs by 3e-5. Devices add in another order and approximate functions, so
# the tolerances of float32 are 30 to 5,000 times as large. A model that sees padding, or a wrong kernel, has an error
# of 1e-2 or more. bfloat16 has the tolerances of earmark's own check (earmark.models.numerics): correct kernels have
# errors of up to 0.026 (logits) and 0.25 (gradients), and wrong ones of 0.4 or more. float16 has three more bits, so
# its tolerance for logits is about an eighth of bfloat16's. Its tolerance for gradients is larger than an eighth,
# because small gradients lose bits. On a CPU, the errors of float16 are 0.003 and 0.06.
TOLERANCES = {"fp32": Tolerance(1e-3, 1e-2), "bf16": Tolerance(0.15, 0.7), "fp16": Tolerance(0.02, 0.2)}
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Row:
    """Errors of one architecture in one precision.

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
    """Run the comparison and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto", help="cuda, npu, xpu, mps or cpu")
    parser.add_argument("--full_size", action="store_true", help="one model of each family in its default size")
    parser.add_argument("--models", nargs="+", help="only these model types")
    parser.add_argument("--json", type=Path, help="file for all rows, updated after each row")
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
    """Return the precisions to compare: float16 only on accelerators."""
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
    """Compare one architecture and return its row; an exception becomes part of the row."""
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
    """Return a classifier with random weights on the CPU. A tiny one gets larger weights, so that its logits differ."""
    torch.manual_seed(0)
    settings = None if full_size else json.dumps(ARCHITECTURES.get(kind, {}))
    source = ModelSource(model_type=kind, config_overrides=settings)
    audio = build_for_training(source, LABELS, None, longest_s=2.4)
    with torch.no_grad():
        for parameter in audio.model.parameters():
            if parameter.ndim > 1 and not parameter.any():  # dividing by a norm of zero is undefined in float16
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
    waves = [clips()[1], clips()[1][::-1].copy()]  # equally long, so no architecture pads them
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
    """Return the largest relative difference between the logits of clips alone and in one batch of all lengths.

    Args:
        audio: model, on ``device``.
        device: where to compute.
        dtype: precision.
        least: differences are relative to the variation of the logits between clips, or to this value if it is larger.
    """
    waves = clips()
    scorer = TorchScorer(audio.model, audio.frontend, device, None if dtype == torch.float32 else dtype)
    scorer.most_samples = math.inf  # otherwise a CPU would score several small batches
    if scorer.shortest_in_batch < 1:
        scorer.shortest_in_batch = 0.0
    alone, mixed = (np.stack(list(score(scorer, waves, batch_size=size))) for size in (1, len(waves)))
    return float(np.abs(alone - mixed).max()) / max(float(alone.std(axis=0).max()), least)


def report(rows: list[Row]) -> dict[str, Any]:
    """Return all rows for JSON, with the tolerances."""
    tolerances = {name: asdict(tolerance) for name, tolerance in TOLERANCES.items()}
    return {"tolerances": tolerances, "rows": [asdict(row) for row in rows]}


def shown(row: Row) -> str:
    """Return a row as one line of text."""
    values = {"cpu": row.cpu, "gradients": row.gradients, "mixed": row.mixed}
    errors = ", ".join(f"{name} {value:.1e}" for name, value in values.items() if value is not None)
    return f"{row.model} {row.precision}: {row.verdict} {errors} {row.note}".rstrip()


if __name__ == "__main__":
    sys.exit(main())
