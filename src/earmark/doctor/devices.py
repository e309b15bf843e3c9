"""Interpret the torch probes: whether torch imports, sees the cards, and computes correct results."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from earmark.doctor.children import Probe, run_probe
from earmark.doctor.findings import Finding, ok, problem, skipped, warning
from earmark.doctor.machine import Machine
from earmark.faults import explain
from earmark.text import counted

IMPORT_TIMEOUT_S = 180.0  # enough for a first import from a network disk, with CANN's libraries
DEVICE_TIMEOUT_S = 300.0  # the first operators on a card are compiled

_INSTALL = "pip install 'torch>=2.6' 'earmark[train]'; docs/install.md names the torch build for each card"
# largest deviation from float64, relative to the largest element; cards may compute float32 with 10-bit mantissas
# (TF32)
_PRODUCT_TOLERANCE = {"matmul_error": 2e-3, "bf16_error": 3e-2}
_CONVOLUTION_TOLERANCE = 0.05  # relative error, as in models/convolutions.py
_LOSS_TOLERANCE = 1e-2  # absolute, over three steps from a loss near 1.1


def check_import(machine: Machine, probe: Probe, *, asked: bool = False) -> list[Finding]:
    """Check that ``import torch`` works; if torch_npu breaks it, check whether torch works alone.

    Args:
        machine: this machine.
        probe: the torch probe.
        asked: whether the user asked for a device, which needs torch; an installation without torch runs exports.
    """
    version = machine.version("torch")
    if version is None:
        report = problem if asked else warning
        means = "earmark can only run ONNX exports; it cannot train or run other models"
        return [report("import torch", "torch is not installed", means, _INSTALL)]
    if "torch" in probe.results:
        loaded = ", torch_npu loaded with it" if probe.results["npu_loaded"] else ""
        return [ok("import torch", f"torch {probe.results['torch']}{loaded}")]
    found = [
        probe.finding(
            "import torch",
            f"torch {version} is installed but cannot be imported",
            f"pip install --force-reinstall torch=={version.split('+')[0]}",
        )
    ]
    if machine.version("torch_npu") is not None:
        found.append(_check_without_plugin(machine))
    return found


def _check_without_plugin(machine: Machine) -> Finding:
    alone = run_probe(machine, "torch", timeout_s=IMPORT_TIMEOUT_S, TORCH_DEVICE_BACKEND_AUTOLOAD="0")
    if "torch" not in alone.results:
        return alone.finding("torch alone", "torch cannot be imported even without torch_npu", _INSTALL)
    return warning(
        "torch alone",
        f"torch {alone.results['torch']} imports with TORCH_DEVICE_BACKEND_AUTOLOAD=0",
        "torch works, but torch_npu does not; setting the variable is no fix, because Transformers imports torch_npu",
        "repair torch_npu as described above, or, to use the CPU only: pip uninstall torch_npu",
    )


def check_trainer(probe: Probe) -> Finding:
    """Check that Transformers' trainer can be imported."""
    results = probe.results
    if "trainer" in results:
        return ok("import trainer", f"transformers {results['transformers']}, accelerate {results['accelerate']}")
    return probe.finding(
        "import trainer",
        "`earmark train` needs it and stops with this error",
        "pip install --force-reinstall transformers accelerate",
    )


def probed_devices(probe: Probe, kinds: Sequence[str]) -> list[dict[str, object]]:
    """Return the devices that torch sees, with name and bfloat16 support."""
    return [device for kind in kinds for device in probe.results.get(kind, [])]


def check_seen(probe: Probe, kind: str, number_here: int, *, asked: bool) -> list[Finding]:
    """Check that torch sees the cards of a backend.

    Args:
        probe: the torch probe.
        kind: backend.
        number_here: number of cards that the driver shows.
        asked: whether the user asked for this backend.
    """
    if "torch" not in probe.results:
        return [skipped(f"{kind} cards", "unknown, because torch cannot be imported")] if asked else []
    seen = probe.results.get(kind, [])
    trouble = [*probe.results.get(f"{kind}_warnings", []), probe.results.get(f"{kind}_error", "")]
    text = "\n".join(filter(None, trouble))
    if seen and f"{kind}_error" not in probe.results:
        return [ok(f"{kind} cards", "; ".join(f"{card['device']} {card['name']}" for card in seen))]
    if not asked and not number_here:
        return []
    told = explain(text)
    line = told.line if told else (text.splitlines() or [f"torch sees no {kind} device"])[0]
    if not probe.finished and not text:
        return [probe.finding(f"{kind} cards", "torch failed while searching for cards", "see the findings above")]
    return [
        problem(
            f"{kind} cards",
            line + (f", but the driver shows {counted(number_here, 'card')}" if number_here else ""),
            told.means if told else f"--device {kind} would stop with this error",
            told.fix if told else "fix the findings above",
        )
    ]


def check_device(machine: Machine, name: str) -> list[Finding]:
    """Check a matrix product, bfloat16, three training steps and a collective operation on one device."""
    return judge_device(name, run_probe(machine, "device", name, timeout_s=DEVICE_TIMEOUT_S))


def judge_device(name: str, probe: Probe) -> list[Finding]:
    """Return the findings of a device probe, stage by stage. The stage in which a probe died becomes a problem."""
    results, found = probe.results, []
    if "matmul_error" in results:
        found.append(_judge_product(f"{name} matmul", results["matmul_error"], "matmul_error"))
    if "bf16" in results:
        found.append(_judge_bf16(name, results))
    if "losses" in results:
        found.append(_judge_losses(name, results["losses"], results["cpu_losses"]))
    if "collective" in results:
        found.append(_judge_collective(name, results))
    if not probe.finished:
        means = f"{name} cannot be used"
        found.append(probe.finding(f"{name} {_stage(results)}", means, "report this problem, and quote the line above"))
    return found


def check_convolutions(machine: Machine, name: str) -> list[Finding]:
    """Compare half-precision convolutions with float32: shapes with known faults, and shapes of published models."""
    return judge_convolutions(name, run_probe(machine, "convolutions", name, timeout_s=DEVICE_TIMEOUT_S))


def judge_convolutions(name: str, probe: Probe) -> list[Finding]:
    """Return one finding for each compared type, and one if the probe did not finish."""
    types = [title for title in ("bfloat16", "float16") if title in probe.results]
    found = [_judge_convolutions(name, title, probe.results[title]) for title in types]
    if not probe.finished:
        means = f"convolutions in half precision could not be compared on {name}"
        found.append(probe.finding(f"{name} convolutions", means, "report this problem, and quote the line above"))
    return found


def _judge_convolutions(name: str, title: str, errors: dict[str, float]) -> Finding:
    wrong = [shape for shape, error in errors.items() if not error <= _CONVOLUTION_TOLERANCE]
    worst = max(errors.values())
    check = f"{name} {title} conv"
    accepted = f"relative error up to {worst:.2g}, tolerance {_CONVOLUTION_TOLERANCE:g}"
    if not wrong:
        return ok(check, f"{len(errors)} shapes, forward and backward: {accepted}")
    seen = f"{len(wrong)} of {len(errors)} shapes are wrong ({accepted}), such as {max(wrong, key=errors.__getitem__)}"
    if name == "cpu":
        return warning(
            check,
            seen,
            "earmark computes such layers in float32 on this CPU, which is correct but slower; other programs do not",
            "set ONEDNN_MAX_CPU_ISA=AVX512_CORE_BF16 to avoid the faulty kernels in every program, or update torch",
        )
    return warning(
        check,
        seen,
        f"earmark compares each model with float32 before it trains or scores in {title}. If the results differ, it "
        f"stops if a flag asked for {title}, and uses float32 otherwise",
        "update driver and libraries, or use --precision fp32",
    )


def check_group(machine: Machine, names: Sequence[str]) -> Finding:
    """Check an all-reduce over these devices with one process each, as used in training on several devices."""
    name = f"{names[0].partition(':')[0]} group"
    with tempfile.TemporaryDirectory(prefix="earmark-doctor-") as folder, ThreadPoolExecutor(len(names)) as pool:

        def run(rank: int) -> Probe:
            place = [names[rank], str(rank), str(len(names)), f"{folder}/ranks"]
            return run_probe(machine, "group", *place, timeout_s=DEVICE_TIMEOUT_S)

        ranks = list(pool.map(run, range(len(names))))
    failed = [probe for probe in ranks if not probe.finished]
    if failed:
        # the process that died is the reason why the others time out
        first = min(failed, key=lambda probe: "time" in probe.failure.lower() or probe.answer.code is None)
        return first.finding(
            name,
            f"{len(failed)} of {len(names)} processes failed; training on several devices will fail, too",
            "use fewer cards (ASCEND_RT_VISIBLE_DEVICES or CUDA_VISIBLE_DEVICES) to find the faulty one",
        )
    sums = {probe.results["collective"] for probe in ranks}
    if sums == {float(len(names))}:
        return ok(name, f"all-reduce over {len(names)} processes, one per device")
    return problem(
        name,
        f"an all-reduce of ones over {len(names)} processes gave {', '.join(map(str, sorted(sums)))}",
        "training on several devices would give wrong results",
        "update driver and libraries",
    )


def _stage(results: dict[str, object]) -> str:
    stages = {"device": "open", "matmul_error": "matmul", "bf16": "bfloat16", "losses": "training", "backend": ""}
    missing = next((label for key, label in stages.items() if key not in results), "")
    return missing or f"{results.get('backend')}"


def _judge_product(name: str, error: float, kind: str) -> Finding:
    tolerance = _PRODUCT_TOLERANCE[kind]
    seen = f"deviates by {error:.1e} from float64 (at most {tolerance:g})"
    if error <= tolerance:  # false for NaN
        return ok(name, seen)
    return problem(
        name,
        seen,
        "the device computes wrong results; do not trust models trained on it",
        "npu-smi info or nvidia-smi shows the card's health; update driver and libraries, or have the card repaired",
    )


def _judge_bf16(name: str, results: dict[str, Any]) -> Finding:
    if results["bf16"]:
        return _judge_product(f"{name} bfloat16", results["bf16_error"], "bf16_error")
    instead = "float32" if name in ("cpu", "mps") else "float16 with a loss scaler"
    return skipped(f"{name} bfloat16", f"not native on this device; training uses {instead}")


def _judge_losses(name: str, losses: list[float], on_cpu: list[float]) -> Finding:
    difference = max((abs(a - b) for a, b in zip(losses, on_cpu, strict=True)), default=math.nan)
    seen = f"{len(losses)} steps, loss {losses[0]:.4f} to {losses[-1]:.4f}"
    if name != "cpu":
        seen += f", differs by {difference:.1e} from the CPU (at most {_LOSS_TOLERANCE:g})"
    if difference <= _LOSS_TOLERANCE:
        return ok(f"{name} training", seen)
    return problem(
        f"{name} training",
        seen,
        "gradients or updates are wrong on this device",
        "earmark doctor --selftest shows by how much; update driver and libraries",
    )


def _judge_collective(name: str, results: dict[str, object]) -> Finding:
    backend = results["backend"]
    if results["collective"] is None:
        if backend is None:
            return skipped(f"{name} collectives", "this backend has no library for several processes")
        return warning(
            f"{name} {backend}",
            f"this torch has no {backend}",
            "training runs on one device only, not on several",
            f"install a torch (and torch_npu) built with {backend}",
        )
    if results["collective"] == 1.0:
        return ok(f"{name} {backend}", "all-reduce in a group of one process")
    return problem(
        f"{name} {backend}",
        f"an all-reduce of ones gave {results['collective']}",
        "training on several devices would give wrong results",
        "update driver and libraries",
    )
