"""The steps of ``accelerator.py`` that no single command can do. Each runs in its own process and writes a JSON file.

python benchmarks/accelerator_jobs.py probe --device cuda --json probe.json
python benchmarks/accelerator_jobs.py resume --device cuda --json resume.json
python benchmarks/accelerator_jobs.py export --device cuda --json export.json [--model_type wav2vec2]
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from earmark.errors import EarmarkError, MissingExtraError

_CLIPS = 64
# ONNX Runtime's CUDA provider multiplies float32 in TF32, which has the 10 bits of float16.
_EXPORT_TOLERANCE = 5e-3
_RESUME_STEPS = 40
_RESUME_SAVE_STEPS = 5


def main() -> int:
    """Do one job and return the exit status, which is 1 if a result is wrong."""
    jobs = {"probe": probe, "resume": resume, "export": export}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=jobs)
    parser.add_argument("--device", required=True)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--model_type", default="wav2vec2", help="model to export (default: %(default)s)")
    parser.add_argument("--config_overrides", help="changes to the configuration of this model, a JSON object")
    args = parser.parse_args()
    try:
        found = jobs[args.job](args)
    except EarmarkError as exc:
        print(exc, file=sys.stderr)
        return 2
    args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(found))
    return int(found.get("verdict", "ok") != "ok")


def probe(args: argparse.Namespace) -> dict[str, Any]:
    """Return facts about the device, and the versions."""
    import torch
    import transformers

    from earmark.device import abilities, choose_precision, describe_device, select_device

    device = select_device(args.device)
    precision, _ = choose_precision(abilities(device), bf16=False, fp16=False)
    return {
        "device": str(device),
        "name": describe_device(device),
        "precision": precision,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
    }


def resume(args: argparse.Namespace) -> dict[str, Any]:
    """Kill a training run after its first checkpoint, and check that a second start resumes and finishes it."""
    from kill import SMALL_MODEL, Run, newest_complete_steps, resumed_from, write_clips

    with tempfile.TemporaryDirectory(prefix="resume-") as folder:
        output = Path(folder, "run")
        command = [sys.executable, "-m", "earmark", "train", "--data_dir", str(write_clips(Path(folder, "clips")))]
        command += ["--model_type", "tc_resnet", "--config_overrides", SMALL_MODEL, "--device", args.device, "--resume"]
        command += ["--max_steps", str(_RESUME_STEPS), "--save_steps", str(_RESUME_SAVE_STEPS), "--eval_strategy", "no"]
        command += ["--save_strategy", "steps", "--per_device_train_batch_size", "4", "--disable_tqdm", "True"]
        command += ["--output_dir", str(output)]
        first = Run(command)
        while not first.is_over and newest_complete_steps(output)[0] < _RESUME_SAVE_STEPS:
            time.sleep(0.005)
        code = first.end()
        if code != -9:
            return {"verdict": "failed", "note": f"the run ended with exit code {code}: {last(first.lines)}"}
        saved = newest_complete_steps(output)[0]
        second = Run(command)
        second.process.wait()
        code = second.end()
        taken = resumed_from(second.lines)
        if code != 0:
            return {"verdict": "failed", "note": f"the resumed run ended with exit code {code}: {last(second.lines)}"}
        reached = newest_complete_steps(output)[0]
        note = f"killed after step {saved}, resumed from step {taken}, ended at step {reached} of {_RESUME_STEPS}"
        right = taken == saved and reached == _RESUME_STEPS and (output / "model.safetensors").is_file()
        return {"verdict": "ok" if right else "WRONG", "note": note}


def last(lines: list[str]) -> str:
    """Return the last line that is not empty."""
    return next((line for line in reversed(lines) if line.strip()), "no output")


def export(args: argparse.Namespace) -> dict[str, Any]:
    """Export a model to ONNX and torch.export, run both on the device, and compare them with PyTorch on the CPU."""
    from earmark.models.build_model import ModelSource, build_for_training
    from earmark.predict.classifier import Classifier

    labels = [str(number) for number in range(4)]
    with tempfile.TemporaryDirectory(prefix="export-") as folder:
        model = str(Path(folder, "model"))
        source = ModelSource(model_type=args.model_type, config_overrides=args.config_overrides)
        build_for_training(source, labels, 1.0, longest_s=1.0).save(model)
        rng = np.random.default_rng(0)
        clips = [(0.1 * rng.standard_normal(16_000)).astype(np.float32) for _ in range(_CLIPS)]
        expected = Classifier.from_pretrained(model, device="cpu").predict_proba([(clip, 16_000) for clip in clips])
        rows = [
            exported(model, format, Path(folder, format), args.device, clips, expected) for format in ("onnx", "pt2")
        ]
    verdicts = [row["verdict"] for row in rows]
    worst = next((name for name in ("WRONG", "failed") if name in verdicts), "ok")
    return {"verdict": worst, "note": "; ".join(f"{row['format']}: {row['note']}" for row in rows), "rows": rows}


def exported(
    model: str, format: str, output: Path, device: str, clips: list[np.ndarray], expected: np.ndarray
) -> dict[str, Any]:
    """Export to one format and return its row; an error becomes part of the row."""
    row: dict[str, Any] = {"format": format, "verdict": "ok", "clips_per_second": None}
    try:
        from earmark.export.export_model import export as write_export
        from earmark.predict.classifier import Classifier
        from earmark.settings.export_flags import ExportOptions

        write_export(ExportOptions(model_name_or_path=model, format=format, output=str(output)))
        place, said = runtime_device(format, device)
        classifier = Classifier.from_pretrained(str(output), device=place)

        def answers() -> np.ndarray:
            return classifier.predict_proba([(clip, 16_000) for clip in clips])

        off = float(np.abs(answers() - expected).max())
        rate = len(clips) / seconds(answers)
        row |= {"clips_per_second": rate, "difference": off, "place": place}
        row["verdict"] = "ok" if off <= _EXPORT_TOLERANCE else "WRONG"
        row["note"] = f"{said}{rate:,.0f} clips/s on {place}, probabilities differ from the CPU by {off:.1g}"
    except MissingExtraError as exc:
        row |= {"verdict": "skipped", "note": str(exc)}
    except Exception as exc:  # one format must not hide the other
        row |= {"verdict": "failed", "note": f"{type(exc).__name__}: {exc}".splitlines()[0]}
    return row


def runtime_device(format: str, device: str) -> tuple[str, str]:
    """Return the device of an export, and a note if it is the CPU because ONNX Runtime does not support ``device``."""
    if format != "onnx":
        return device, ""
    from earmark.device import choose_provider
    from earmark.errors import DeviceError
    from earmark.extras import require

    try:
        choose_provider(device, require("onnxruntime").get_available_providers())
    except DeviceError as exc:
        return "cpu", f"runs on the CPU ({str(exc).split('. ')[0]}), "
    return device, ""


def seconds(work: Callable[[], object]) -> float:
    """Return the duration of one call, in seconds."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(main())
