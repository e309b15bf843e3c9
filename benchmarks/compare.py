"""Compare earmark with plain Transformers on the same work: alternating runs (A B A B), each in its own process.

    python benchmarks/compare.py train -- --model_name_or_path MODEL --data_dir CLIPS --max_length_seconds 1 \\
        --per_device_train_batch_size 32 --learning_rate 1e-4 --warmup_steps 0.1 --num_train_epochs 1
    python benchmarks/compare.py predict -- MODEL CLIPS
    python benchmarks/compare.py embed -- MODEL CLIPS

Flags after ``--`` go to both sides. A is the reference (plain_train.py, plain_predict.py, or your own script; for
embed, earmark itself in fp32), and B is earmark. The speed of a machine drifts, so each ratio compares two consecutive
runs. The result is the median over the pairs, and the spread shows how reliable it is.

The table has ratios of the work itself (only training steps, or only decoding and scoring), and of the whole process,
which includes its start, loading, preparation of the data, evaluation and saving. If both sides report the CPU time of
the work, the table also has ratios of these times, which other processes affect less.
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
# earmark keeps the model of the best epoch by default; the plain example keeps the last model
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
        whole_s: seconds from the start of the process to its end, without the time that it spent on choosing its
            settings (``tuning_seconds`` in its results).
        resident_bytes: peak resident memory of the process, as reported by the system.
        figures: the results that it printed as JSON in its last line; empty if there is no such line.
    """

    side: str
    whole_s: float
    resident_bytes: int
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def clips_per_second(self) -> float | None:
        """Speed of the work itself; ``None`` if the run does not report it."""
        return self.figures.get("clips_per_second")

    @property
    def peak_memory_bytes(self) -> int:
        """Peak memory that the run reports (of the accelerator, if it uses one), else peak resident memory."""
        return int(self.figures.get("peak_memory_bytes", self.resident_bytes))


class RunFailed(Exception):
    """One side ended with an error; the message has its last lines."""


def main(argv: list[str] | None = None) -> int:
    """Run the comparison and return the exit code: 0, 2 if a run failed, 130 after an interrupt."""
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
    """Return the settings of the comparison; log flags that are missing and whose defaults differ between the sides."""
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
        help="your own Python script in place of the plain one. It takes the same flags. To compare more than the time "
        'of its whole process, it ends with a line such as {"clips_per_second": 12.3, "accuracy": 0.9}',
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
    parser.add_argument("--json", type=Path, help="file for all results, the machine and the command lines")
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
        parser.error(f"no flags for the two sides. Put them after --: compare.py {args.work} -- FLAGS")
    given = {word.partition("=")[0] for word in shared}
    if "--output_dir" in given or "--output" in given:
        parser.error("leave --output_dir and --output out: every run gets its own folder")
    for flag in _BETTER_GIVEN[args.work]:
        if flag not in given:
            print(f"note: {flag} is not given, and the two sides have different defaults", file=sys.stderr)
    return args


def _with_values_attached(words: list[str]) -> list[str]:
    """Turn ``--earmark_flags --bf16``, which argparse reads as two flags, into ``--earmark_flags=--bf16``."""
    attached: list[str] = []
    for word in words:
        if attached and attached[-1] in ("--reference_flags", "--earmark_flags"):
            attached[-1] += f"={word}"
        else:
            attached.append(word)
    return attached


def command_of(side: str, args: argparse.Namespace, shared: list[str], output_dir: str) -> list[str]:
    """Return the command line of one side."""
    start, flags = [str(HERE / "run_earmark.py"), args.work], args.earmark_flags
    if side == "reference":
        start, flags = [str(args.reference)] if args.reference else start, args.reference_flags
    output = {"train": ["--output_dir", output_dir], "embed": ["--output", f"{output_dir}.npy"]}.get(args.work, [])
    return [sys.executable, *start, *shared, *flags, *output]


def run_side(side: str, args: argparse.Namespace, shared: list[str], what: str) -> Run:
    """Run one side in a new folder, which is removed afterwards.

    Raises:
        RunFailed: the run ended with an error.
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
    """Run a process and show its progress.

    Returns:
        Exit code, seconds, and peak resident memory in bytes.
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
    """Show progress and the last line of the process's output: in place on a terminal, else as a new line."""
    text = f"{line}  {said[-1].strip()}" if said else line
    if sys.stderr.isatty():
        print(f"\r\033[K{text[: os.get_terminal_size(2).columns - 1]}", end="", file=sys.stderr, flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def last_lines(stream: IO[str]) -> list[str]:
    """Return the last lines that a process has written so far; of a progress bar, only its last state."""
    with open(stream.name, "rb") as file:
        file.seek(max(0, os.path.getsize(stream.name) - 20_000))
        lines = file.read().decode("utf-8", "replace").split("\n")
    lines = [line.rstrip("\r").rpartition("\r")[2] for line in lines]
    return [line for line in lines if line.strip()][-_TAIL_LINES:]


def figures_in(lines: list[str]) -> dict[str, Any]:
    """Return the JSON object in the last line; empty if the last line is not one."""
    try:
        figures = json.loads(lines[-1])
    except (IndexError, ValueError):
        return {}
    return figures if isinstance(figures, dict) else {}


def ratios(runs: list[Run], *, whole: bool) -> list[float]:
    """Return how many times as fast as the reference earmark was, for each pair.

    Args:
        runs: reference, earmark, reference, earmark, ...
        whole: compare whole processes; else compare the work itself, without pairs in which a side did not report it.
    """
    pairs = list(zip(runs[::2], runs[1::2], strict=True))
    if whole:
        return [reference.whole_s / earmark.whole_s for reference, earmark in pairs]
    speeds = [(reference.clips_per_second, earmark.clips_per_second) for reference, earmark in pairs]
    return [b / a for a, b in speeds if a and b]


def processor_ratios(runs: list[Run]) -> list[float]:
    """Return the CPU time of the reference's work divided by that of earmark's, for each pair that reports both."""
    seconds = [run.figures.get("cpu_seconds") for run in runs]
    return [a / b for a, b in zip(seconds[::2], seconds[1::2], strict=True) if a and b]


def summary(values: list[float]) -> dict[str, Any]:
    """Return the ratios of the pairs, their median and their range."""
    if not values:
        return {"pairs": []}
    return {"pairs": values, "median": statistics.median(values), "min": min(values), "max": max(values)}


def table(runs: list[Run]) -> str:
    """Return a table of the runs, and the ratios below it."""
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
        lines.append(f"earmark / reference, CPU time of the work: {_in_words(processor)}")
    return "\n".join(lines)


def _in_words(values: list[float]) -> str:
    if not values:
        return "unknown, because a side printed no clips_per_second"
    spread = f"median {statistics.median(values):.2f}x, {min(values):.2f}x to {max(values):.2f}x"
    return f"{'  '.join(f'{value:.2f}x' for value in values)} ({spread})"


def report(args: argparse.Namespace, shared: list[str], runs: list[Run]) -> dict[str, Any]:
    """Return the content of the file of ``--json``."""
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
    """Describe the machine. Do not import torch: a child's peak memory includes its parent's until it starts Python."""
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
    """Return the version of a package; ``None`` if it is used from a source folder, or not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_model() -> str:
    """Return the name of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
