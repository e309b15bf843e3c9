"""Measure earmark against plain Transformers: the same work in turn, A B A B, in processes of their own.

    python benchmarks/compare.py train -- --model_name_or_path MODEL --data_dir CLIPS --max_length_seconds 1 \\
        --per_device_train_batch_size 32 --learning_rate 1e-4 --warmup_steps 0.1 --num_train_epochs 1
    python benchmarks/compare.py predict -- MODEL CLIPS
    python benchmarks/compare.py embed -- MODEL CLIPS

Flags behind ``--`` go to both sides. A is the reference (plain_train.py, plain_predict.py, or a script of your own; for
embed, earmark itself in fp32), B is earmark. A machine's speed drifts, so a ratio is taken from two runs next to each
other; the median over the pairs counts, and its spread says how far to trust it.

Ratios are shown of the work itself (training steps alone; decoding and scoring alone), and of the whole process, with
its start, loading, preparation of the data, evaluation and saving; and of the processor time of the work where both
sides report it, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import IO, Any

HERE = Path(__file__).resolve().parent
# earmark's own defaults keep the best epoch; the plain example keeps the last
_EARMARK_FLAGS = {"train": ["--eval_strategy", "no", "--save_strategy", "no"], "predict": [], "embed": []}
_REFERENCE_FLAGS = {"train": [], "predict": [], "embed": ["--precision", "fp32"]}
# flags whose defaults differ between the two sides
_BETTER_GIVEN = {
    "train": ("--per_device_train_batch_size", "--learning_rate", "--warmup_steps", "--max_length_seconds"),
    "predict": (),
    "embed": (),
}
_PACKAGES = ("earmark", "torch", "transformers", "numpy", "soundfile")
_TAIL_LINES = 15


@dataclass
class Run:
    """One run of one side.

    Attributes:
        side: ``reference`` or ``earmark``.
        whole_s: seconds from the start of the process to its end, without those it says it spent on choosing its
            settings (``tuning_seconds`` of its figures).
        resident_bytes: most resident memory of the process, as the system counted it.
        figures: the line of JSON it ended with; empty where it printed none.
    """

    side: str
    whole_s: float
    resident_bytes: int
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def clips_per_second(self) -> float | None:
        """Speed of the work itself."""
        return self.figures.get("clips_per_second")

    @property
    def peak_memory_bytes(self) -> int:
        """Peak the run reports (on an accelerator: of its memory), else resident memory."""
        return int(self.figures.get("peak_memory_bytes", self.resident_bytes))


class RunFailed(Exception):
    """A side ended with an error; the message holds its last lines."""


def main(argv: list[str] | None = None) -> int:
    """Compare as told; returns the exit code: 0, 2 for a run that failed, 130 after an interrupt."""
    words = sys.argv[1:] if argv is None else argv
    own, shared = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    args = parse(own, shared)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a terminated comparison ends its child as well
    runs: list[Run] = []
    try:
        for pair in range(args.pairs):
            for side in ("reference", "earmark"):
                runs.append(run_side(side, args, shared, f"pair {pair + 1} of {args.pairs}, {side}"))
            if args.json:
                args.json.write_text(json.dumps(report(args, shared, runs), indent=2) + "\n", encoding="utf-8")
    except RunFailed as exc:
        print(f"compare.py: error: {exc}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("compare.py: interrupted", file=sys.stderr)
        return 130
    print(table(runs))
    return 0


def parse(own: list[str], shared: list[str]) -> argparse.Namespace:
    """The settings of the comparison itself; warns of flags that each side would fill in its own way."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage="compare.py train|predict|embed [flags of the comparison] -- FLAGS OF BOTH SIDES",
    )
    parser.add_argument("work", choices=["train", "predict", "embed"], help="what to compare")
    parser.add_argument("--pairs", type=int, default=3, help="how often each side runs, in turn (default: %(default)s)")
    parser.add_argument(
        "--reference",
        type=Path,
        help="a Python script of your own in place of the plain one; takes the same flags and, to be timed by more "
        'than its whole process, ends with a line such as {"clips_per_second": 12.3, "accuracy": 0.9}',
    )
    parser.add_argument(
        "--reference_flags",
        type=shlex.split,
        help='flags for the reference only, quoted: "--bf16" (default for embed: "--precision fp32")',
    )
    parser.add_argument(
        "--earmark_flags",
        type=shlex.split,
        help='flags for earmark only, quoted (default for train: "--eval_strategy no --save_strategy no", so that '
        "both sides judge the model of the last step)",
    )
    parser.add_argument("--json", type=Path, help="file for all figures, the machine and the command lines")
    args = parser.parse_args(_with_values_attached(own))
    args.earmark_flags = _EARMARK_FLAGS[args.work] if args.earmark_flags is None else args.earmark_flags
    args.reference_flags = _REFERENCE_FLAGS[args.work] if args.reference_flags is None else args.reference_flags
    if args.reference is None and args.work != "embed":
        args.reference = HERE / f"plain_{args.work}.py"
    if args.pairs < 1:
        parser.error("--pairs: at least 1")
    if args.reference and not args.reference.is_file():
        parser.error(f"--reference {args.reference}: no such file")
    if args.json and not args.json.absolute().parent.is_dir():
        parser.error(f"--json {args.json}: no such folder")
    if not shared:
        parser.error(f"what to {args.work} comes behind --, e.g. compare.py {args.work} -- ...")
    given = {word.partition("=")[0] for word in shared}
    if "--output_dir" in given or "--output" in given:
        parser.error("leave --output_dir and --output out: every run gets a folder of its own")
    for flag in _BETTER_GIVEN[args.work]:
        if flag not in given:
            print(f"note: {flag} is not given; the two sides have defaults of their own", file=sys.stderr)
    return args


def _with_values_attached(words: list[str]) -> list[str]:
    """``--earmark_flags=--bf16`` for ``--earmark_flags --bf16``, which argparse takes for two flags."""
    attached: list[str] = []
    for word in words:
        if attached and attached[-1] in ("--reference_flags", "--earmark_flags"):
            attached[-1] += f"={word}"
        else:
            attached.append(word)
    return attached


def command_of(side: str, args: argparse.Namespace, shared: list[str], output_dir: str) -> list[str]:
    """The words that start one side."""
    start, flags = [str(HERE / "run_earmark.py"), args.work], args.earmark_flags
    if side == "reference":
        start, flags = [str(args.reference)] if args.reference else start, args.reference_flags
    output = {"train": ["--output_dir", output_dir], "embed": ["--output", f"{output_dir}.npy"]}.get(args.work, [])
    return [sys.executable, *start, *shared, *flags, *output]


def run_side(side: str, args: argparse.Namespace, shared: list[str], what: str) -> Run:
    """Run one side in a fresh folder, which is removed afterwards.

    Raises:
        RunFailed: it ended with an error.
    """
    with (
        tempfile.TemporaryDirectory(prefix="compare-") as folder,
        open(Path(folder, "stdout"), "w+", encoding="utf-8", errors="replace") as out,
        open(Path(folder, "stderr"), "w+", encoding="utf-8", errors="replace") as err,
    ):
        command = command_of(side, args, shared, str(Path(folder, "output")))
        code, whole_s, resident_bytes = run_process(command, out, err, what)
        out.seek(0)
        lines = out.read().splitlines()
        if code != 0:
            said = "\n  ".join([*lines, *last_lines(err)][-_TAIL_LINES:])
            raise RunFailed(f"{side} ended with exit code {code}: {shlex.join(command)}\n  {said}")
    figures = figures_in(lines)
    whole_s -= figures.get("tuning_seconds", 0.0)
    run = Run(side, whole_s, resident_bytes, figures)
    speed = f"{run.clips_per_second:.1f} clips/s, " if run.clips_per_second else ""
    print(f"{what}: {speed}{whole_s:.1f} s in all", file=sys.stderr)
    return run


def run_process(command: list[str], out: IO[str], err: IO[str], what: str) -> tuple[int, float, int]:
    """Run a process and show how long it has been at it.

    Returns:
        Exit code, seconds, and most resident memory in bytes.
    """
    start = time.perf_counter()
    shown_at_s = 0.0
    process = subprocess.Popen(command, stdout=out, stderr=err, stdin=subprocess.DEVNULL)
    try:
        while True:
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            passed_s = time.perf_counter() - start
            if pid:
                break
            if passed_s - shown_at_s >= (1 if sys.stderr.isatty() else 30):
                shown_at_s = passed_s
                show(f"{what}: {passed_s:.0f} s", last_lines(err))
            time.sleep(0.02)
    except BaseException:
        process.terminate()
        process.wait()
        raise
    process.returncode = os.waitstatus_to_exitcode(status)
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    return process.returncode, passed_s, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def show(line: str, said: list[str]) -> None:
    """Show progress with the last thing the process said: in place on a terminal, else as a line."""
    text = f"{line}  {said[-1].strip()}" if said else line
    if sys.stderr.isatty():
        print(f"\r\033[K{text[: os.get_terminal_size(2).columns - 1]}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def last_lines(stream: IO[str]) -> list[str]:
    """The last lines that a process has written so far; of a bar that is redrawn in place, its last state."""
    with open(stream.name, "rb") as file:
        file.seek(max(0, os.path.getsize(stream.name) - 20_000))
        lines = file.read().decode("utf-8", "replace").split("\n")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return [line for line in lines if line.strip()][-_TAIL_LINES:]


def figures_in(lines: list[str]) -> dict[str, Any]:
    """The JSON object in the last line, empty where that is none."""
    try:
        figures = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {}
    return figures if isinstance(figures, dict) else {}


def ratios(runs: list[Run], *, whole: bool) -> list[float]:
    """How many times as fast as the reference earmark was, pair by pair.

    Args:
        runs: reference, earmark, reference, earmark, ...
        whole: of the whole process; else of the work itself, empty where a side did not report it.
    """
    pairs = list(zip(runs[::2], runs[1::2], strict=True))
    if whole:
        return [reference.whole_s / earmark.whole_s for reference, earmark in pairs]
    speeds = [(reference.clips_per_second, earmark.clips_per_second) for reference, earmark in pairs]
    return [b / a for a, b in speeds if a and b]


def processor_ratios(runs: list[Run]) -> list[float]:
    """How many times the processor time of earmark's work the reference's took; empty where it is not reported."""
    seconds = [run.figures.get("cpu_seconds") for run in runs]
    return [a / b for a, b in zip(seconds[::2], seconds[1::2], strict=True) if a and b]


def summary(values: list[float]) -> dict[str, Any]:
    """Ratios pair by pair, their median and their spread."""
    if not values:
        return {"pairs": []}
    return {"pairs": values, "median": statistics.median(values), "min": min(values), "max": max(values)}


def table(runs: list[Run]) -> str:
    """Every run, and the ratios below."""
    rows = [("pair", "side", "clips/s", "whole process", "accuracy", "peak memory")]
    for i, run in enumerate(runs):
        speed, accuracy = run.clips_per_second, run.figures.get("accuracy")
        rows.append(
            (
                str(i // 2 + 1),
                run.side,
                "-" if speed is None else f"{speed:.1f}",
                f"{run.whole_s:.1f} s",
                "-" if accuracy is None else f"{accuracy:.4f}",
                f"{run.peak_memory_bytes / 2**20:,.0f} MiB",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    for name, whole in (("the work", False), ("the whole process", True)):
        values = ratios(runs, whole=whole)
        lines.append(f"earmark / reference, {name}: {_in_words(values)}")
    if processor := processor_ratios(runs):
        lines.append(f"earmark / reference, processor time of the work: {_in_words(processor)}")
    return "\n".join(lines)


def _in_words(values: list[float]) -> str:
    if not values:
        return "not known: the reference printed no clips_per_second"
    spread = f"median {statistics.median(values):.2f}x, {min(values):.2f}x to {max(values):.2f}x"
    return f"{'  '.join(f'{value:.2f}x' for value in values)} ({spread})"


def report(args: argparse.Namespace, shared: list[str], runs: list[Run]) -> dict[str, Any]:
    """Everything ``--json`` writes."""
    commands = {side: shlex.join(command_of(side, args, shared, "OUTPUT")) for side in ("reference", "earmark")}
    return {
        "work": args.work,
        "machine": machine(),
        "commands": commands,
        "runs": [asdict(run) for run in runs],
        "ratio": summary(ratios(runs, whole=False)),
        "ratio_whole_process": summary(ratios(runs, whole=True)),
        "ratio_processor_time": summary(processor_ratios(runs)),
    }


def machine() -> dict[str, Any]:
    """What the figures were measured on. Imports no torch: a child counts its parent's memory until it starts."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = {name: version_of(name) for name in _PACKAGES}
    threads = os.environ.get("OMP_NUM_THREADS")
    python = platform.python_version()
    return {
        "cpu": cpu_model(),
        "cores": cores,
        "OMP_NUM_THREADS": threads,
        "python": python,
        "packages": versions,
    }


def version_of(package: str) -> str | None:
    """Its version; ``None`` where it is used from a source folder or not at all."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
