"""The steps of ``accelerator.py``, the most important first, and functions that read their results."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import roofline

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
AIMS = {"train": 8_000.0, "infer": 20_000.0, "defaults": 10.0, "best": 3.0}


@dataclass
class Outcome:
    """Outcome of a step.

    Attributes:
        status: ``ok``, ``WRONG``, ``failed``, ``timed out`` or ``skipped``.
        clips_per_second: the measured speed.
        memory_bytes: peak memory of the device; on a CPU, of the process.
        predicted: clips per second that the roofline model predicts; ``None`` for an unknown device.
        aim: the speed, or the speedup, that the project aims at, in words.
        note: other findings, one line.
        rows: a table of details.
    """

    status: str = "ok"
    clips_per_second: float | None = None
    memory_bytes: int | None = None
    predicted: float | None = None
    aim: str = ""
    note: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Machine:
    """The device and the folder of the steps.

    Attributes:
        device: kind of device, such as ``cuda``.
        name: name of the device.
        precision: precision that training chooses, used for inference as well: ``bf16``, ``fp16`` or ``fp32``.
        work: folder for clips and models.
        tiny: whether to use tiny models and few clips.
    """

    device: str
    name: str
    precision: str
    work: Path
    tiny: bool


@dataclass(frozen=True)
class Step:
    """One step: a Python program with a time limit.

    Attributes:
        name: name of the step in tables and file names.
        words: arguments of ``python``. ``{json}`` stands for the file that the program writes; a program without this
            argument prints JSON.
        read: returns the outcome, given the content of that file or the printed JSON.
        limit_s: time limit in seconds.
        least_s: the step is skipped if less time than this is left, in seconds.
        tiny: whether the step is part of ``--tiny``.
    """

    name: str
    words: list[str]
    read: Callable[[Any], Outcome]
    limit_s: float
    least_s: float
    tiny: bool = False


def all_steps(machine: Machine, real: tuple[str, str] | None) -> list[Step]:
    """Return all steps in order.

    Args:
        machine: device and folder of the steps.
        real: ``(model, data_dir)`` for a training on real recordings; ``None`` to leave this step out.
    """
    train, infer, half = _train(machine), _infer(machine), machine.precision
    parity = [_script("device_parity.py"), "--device", machine.device, "--json", "{json}"]
    data = _bench("data", machine, "--num_clips", _count(machine, 4096), "--batch_size", "128")
    compiled, graphs = ("--torch_compile", "True"), ("--torch_compile_mode", "reduce-overhead")
    aim_train, aim_infer = f"{AIMS['train']:,.0f} clips/s", f"{AIMS['infer']:,.0f} clips/s"
    plain = _beside_plain(machine)
    return [
        Step("doctor", _doctor_words(machine), read_doctor, 90, 20, tiny=machine.device != "cpu"),
        Step("parity", parity, read_rows, 100, 25, tiny=True),
        train("train", "wav2vec2", roofline.TRAIN_KEPT, aim=aim_train, tiny=True),
        infer("infer", "wav2vec2", half, aim=aim_infer, tiny=True),
        train("train-compiled", "wav2vec2", roofline.TRAIN_COMPILED, *compiled, aim=aim_train, limit_s=120),
        plain("beside-plain-defaults", "train", "defaults", tiny=True),
        plain("beside-pipeline-defaults", "predict", "defaults", "--batch_size", "1"),
        plain("beside-plain-best", "train", "best", *_best_flags(machine)),
        plain("beside-pipeline-best", "predict", "best", "--batch_size", "best"),
        train("train-graphs", "wav2vec2", roofline.TRAIN_COMPILED, *graphs, aim=aim_train, limit_s=120),
        *([_real_step(machine, *real)] if real else []),
        train("train-mixed", "wav2vec2", None, batch=32, lengths="lognormal:2.0,0.8,0.5,16"),
        Step("data", data, read_data, 40, 10, tiny=True),
        infer("infer-batch-32", "wav2vec2", half, batch=32),
        infer("infer-batch-1024", "wav2vec2", half, batch=1024),
        train("train-whisper", "whisper", roofline.TRAIN),
        infer("infer-whisper", "whisper", half),
        Step("resume", _job("resume", machine), read_job, 75, 25, tiny=True),
        Step("export", _job("export", machine), read_job, 120, 40, tiny=True),
        *([infer("infer-fp16", "wav2vec2", "fp16")] if machine.device != "cpu" and half != "fp16" else []),
        Step("parity-full-size", [*parity, "--full_size"], read_rows, 120, 30),
        infer("infer-batch-1", "wav2vec2", half, batch=1),
        plain("beside-plain-compiled", "train", "best", *_best_flags(machine), "--torch_compile", "True"),
    ]


def preparations(machine: Machine) -> list[list[str]]:
    """Return the programs that make clips and a model for the comparisons with plain Transformers."""
    clips = _count(machine, 1024)
    overrides = ["--config_overrides", geometry("wav2vec2")] if machine.tiny else []
    return [
        [_script("make_clips.py"), str(machine.work / "clips"), "--clips", clips, "--lengths", "fixed:1.0"],
        [_script("make_model.py"), "wav2vec2", str(machine.work / "model"), *overrides],
    ]


def geometry(model_type: str) -> str:
    """Return the configuration changes that make a model as tiny as in the tests."""
    from tests.tiny import overrides

    return overrides(model_type)


def _script(name: str) -> str:
    return str(HERE / name)


def _count(machine: Machine, clips: int) -> str:
    return str(16 if machine.tiny else clips)


def _bench(work: str, machine: Machine, *words: str) -> list[str]:
    return ["-m", "earmark", "bench", work, "--device", machine.device, "--json", "{json}", *words]


def _model_words(machine: Machine, model_type: str) -> list[str]:
    return ["--model_type", model_type, *(["--config_overrides", geometry(model_type)] if machine.tiny else [])]


def _train(machine: Machine) -> Callable[..., Step]:
    """Return a function that makes a training step."""
    steps, skipped = ("2", "1") if machine.tiny else ("60", "10")

    def step(
        name: str,
        model_type: str,
        work: Any,
        *words: str,
        batch: int = 128,
        lengths: str = "fixed:1.0",
        aim: str = "",
        limit_s: float = 60,
        tiny: bool = False,
    ) -> Step:
        batch = 8 if machine.tiny else batch
        command = _bench("train", machine, *_model_words(machine, model_type), "--batch_size", str(batch))
        command += ["--num_clips", _count(machine, 16 * batch), "--lengths", lengths]
        command += ["--steps", steps, "--skipped_steps", skipped, *words]
        return Step(name, command, _reader(machine, model_type, work, batch, aim), limit_s, limit_s / 3, tiny)

    return step


def _infer(machine: Machine) -> Callable[..., Step]:
    """Return a function that makes an inference step."""

    def step(
        name: str, model_type: str, precision: str, batch: int = 256, *, aim: str = "", tiny: bool = False
    ) -> Step:
        command = _bench("infer", machine, *_model_words(machine, model_type), "--batch_size", str(batch))
        command += ["--num_clips", _count(machine, 4096 if batch > 1 else 512), "--lengths", "fixed:1.0"]
        command += ["--precision", precision, "--passes", "1" if machine.tiny else "5"]
        return Step(name, command, _reader(machine, model_type, roofline.INFER, batch, aim), 45, 12, tiny)

    return step


def _beside_plain(machine: Machine) -> Callable[..., Step]:
    """Return a function that makes a comparison with plain Transformers in the same precision."""
    half = [f"--{machine.precision}"] if machine.precision != "fp32" else []
    dtype = {"bf16": "bfloat16", "fp16": "float16", "fp32": "float32"}[machine.precision]
    model, clips = str(machine.work / "model"), machine.work / "clips"
    train = ["--model_name_or_path", model, "--data_dir", str(clips), "--max_length_seconds", "1"]
    train += ["--learning_rate", "3e-5", "--warmup_steps", "0.1", "--save_strategy", "no"]
    train += ["--max_steps", "2"] if machine.tiny else ["--num_train_epochs", "5"]
    train += ["--per_device_train_batch_size", "8" if machine.tiny else "128"]
    train += ["--use_cpu"] if machine.device == "cpu" else []
    shared = {"train": train, "predict": [model, str(clips / "train"), "--device", machine.device]}
    usual = {"train": half, "predict": ["--dtype", dtype]}
    ours = {"train": [], "predict": ["--earmark_flags", f"--precision {machine.precision} --batch_size 256"]}

    def step(name: str, work: str, aim: str, *flags: str, tiny: bool = False) -> Step:
        command = [_script("compare.py"), work, "--pairs", "1", "--json", "{json}", *ours[work]]
        command += ["--reference_flags", shlex.join([*usual[work], *flags]), "--", *shared[work]]
        return Step(name, command, lambda found: read_compared(found, AIMS[aim]), 120, 40, tiny)

    return step


def _best_flags(machine: Machine) -> list[str]:
    """Return the flags with which plain Transformers trains fastest, in addition to half precision."""
    workers = max(1, min(8, (os.cpu_count() or 2) - 1))
    flags = ["--dataloader_num_workers", str(workers), "--dataloader_persistent_workers", "True"]
    return flags + (["--tf32", "True"] if machine.device == "cuda" else [])


def _real_step(machine: Machine, model: str, data_dir: str) -> Step:
    """Return a training on real recordings, which shows whether a model learns on the device."""
    words = [_script("run_earmark.py"), "train", "--data_dir", data_dir, "--model_name_or_path", model]
    words += [
        "--device",
        machine.device,
        "--max_length_seconds",
        "1",
        "--num_train_epochs",
        "4",
        "--disable_tqdm",
        "True",
    ]
    words += [
        "--per_device_train_batch_size",
        "32",
        "--learning_rate",
        "1e-4",
        "--output_dir",
        str(machine.work / "real"),
    ]
    return Step("real-recordings", words, read_trained, 90, 30)


def _doctor_words(machine: Machine) -> list[str]:
    """Return the arguments of ``earmark doctor`` with its self-test, which compares a device with the CPU."""
    if machine.device == "cpu":
        return ["-m", "earmark", "doctor", "--device", "cpu", "--json"]
    card = machine.device if machine.device == "mps" else f"{machine.device}:0"
    return ["-m", "earmark", "doctor", "--device", card, "--json", "--selftest"]


def _job(name: str, machine: Machine) -> list[str]:
    words = [_script("accelerator_jobs.py"), name, "--device", machine.device, "--json", "{json}"]
    return [*words, *(_model_words(machine, "whisper") if machine.tiny and name == "export" else [])]


def _reader(machine: Machine, model_type: str, work: Any, batch: int, aim: str) -> Callable[[Any], Outcome]:
    """Return a function that reads the results of ``earmark bench train`` or ``infer``."""

    def read(found: Any) -> Outcome:
        figures = found["figures"]
        peaks = roofline.find_peaks(machine.name)
        predicted = None
        if peaks and work and not machine.tiny:
            predicted = roofline.predict(roofline.MODELS[model_type], work, peaks, batch).clips_per_second
        peak = f"{figures['matmul_peak_flop_per_second'] / 1e12:.3g} TFLOP/s"
        note = f"batch {batch}, {figures['dtype']}, {100 * figures['share_of_peak']:.3g} % of {peak} measured"
        padding = 1 - figures["useful_share"]
        note += f", {100 * padding:.0f} % padding" if padding > 0.001 else ""
        memory = figures["memory"]["peak_device_bytes"]
        return Outcome("ok", figures["clips_per_second"], memory, predicted, aim, note)

    return read


def read_doctor(found: Any) -> Outcome:
    """Read the report of ``earmark doctor``: the self-test gives the status, and problems of the machine the note."""
    summary = ", ".join(f"{count} {status}" for status, count in found["summary"].items() if count)
    test = found["selftest"]
    if test is None:
        return Outcome(note=summary)
    verdicts = [f"{row['device']} {row['precision']}: {row['verdict']}" for row in test["rows"]]
    return Outcome("ok" if test["passed"] else "WRONG", note=f"{'; '.join(verdicts)} ({summary})")


def read_rows(found: Any) -> Outcome:
    """Read the rows of ``device_parity.py``."""
    rows = found["rows"]
    bad = [f"{row['model']} {row['precision']}" for row in rows if row["verdict"] != "ok"]
    status = next((name for name in ("WRONG", "failed") if any(row["verdict"] == name for row in rows)), "ok")
    note = f"{len(rows) - len(bad)} of {len(rows)} within tolerance"
    return Outcome(status, note=f"{note}; not: {', '.join(bad)}" if bad else note, rows=rows)


def read_compared(found: Any, aim: float) -> Outcome:
    """Read the results of ``compare.py``."""
    sides = {run["side"]: run["figures"] for run in found["runs"]}
    plain, ours = sides["reference"], sides["earmark"]
    ratio = found["ratio"]["median"]
    note = f"{ratio:.3g} times the {plain['clips_per_second']:,.0f} clips/s of plain Transformers"
    batch = plain.get("batch_size")
    note += f" (batch {batch})" if batch else ""
    memory = plain.get("peak_memory_bytes", 0) / 1e9
    aimed = f"{aim:g} times plain"
    note += f", {memory:.3g} GB"
    return Outcome("ok", ours["clips_per_second"], ours.get("peak_memory_bytes"), aim=aimed, note=note)


def read_data(found: Any) -> Outcome:
    """Read the results of ``earmark bench data``."""
    figures = found["figures"]
    names = {"in_process": "to batches", "through_workers": "through a worker", "build": "to the store"}
    names |= {"decoding": "decoded each time"}
    rates = [f"{figures[key]['clips_per_second']:,.0f} {name}" for key, name in names.items()]
    there = figures["to_device"]
    last = "no copies to a device: this is a CPU" if there is None else "to the device: see the column clips/s"
    main = figures["in_process"] if there is None else there
    return Outcome("ok", main["clips_per_second"], note=f"clips/s: {', '.join(rates)}; {last}")


def read_trained(found: Any) -> Outcome:
    """Read the results of ``run_earmark.py``."""
    memory = found.get("peak_memory_bytes")
    return Outcome("ok", found["clips_per_second"], memory, note=f"validation accuracy {found['accuracy']:.4f}")


def read_job(found: Any) -> Outcome:
    """Read the results of ``accelerator_jobs.py``."""
    return Outcome(found["verdict"], found.get("clips_per_second"), note=found["note"], rows=found.get("rows", []))
