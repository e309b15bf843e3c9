"""Measure and check everything on one accelerator, in one command of under ten minutes.

    python benchmarks/accelerator.py --device cuda --output results
    python benchmarks/accelerator.py --device npu --output results --model whisper-tiny-en --data_dir speech_commands_12
    python benchmarks/accelerator.py --device cpu --output results --tiny

Each step is a process with a time limit. A step that fails or takes too long does not stop the others. The most
important steps come first, and steps for which ``--limit_s`` leaves too little time are skipped. ``results.json`` and
``results.md`` in the output folder are updated after every step, and the subfolder ``logs`` has the output of each
step. docs/performance.md describes the steps.

Exit status: 0; 1 if a result is WRONG (it differs from the CPU by more than the tolerance) or a step failed; 2 if there
is no such device; 130 after an interrupt.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from accelerator_steps import Machine, Outcome, Step, all_steps, preparations  # noqa: E402

from earmark.doctor.selftest import only_card  # noqa: E402
from earmark.errors import MissingExtraError, ModelError  # noqa: E402
from earmark.extras import require_training  # noqa: E402
from earmark.models.checkpoint import local_folder  # noqa: E402

_PROBE_S = 120.0
_PREPARE_S = 60.0
_GRACE_S = 5.0  # time between SIGTERM and SIGKILL
_RESERVE_S = 5.0  # part of the time limit that is kept for ending the last step and writing the results
_TINY_PATIENCE = 5  # factor on the time limits of --tiny, which is for slow or busy machines
_WRONG = "computes the model wrongly"  # part of the error message of earmark's own checks
_DEVICE = re.compile(r"(cuda|npu|xpu|mps|cpu)(:\d+)?")


@dataclass
class Result:
    """Result of a step that has ended or was skipped."""

    name: str
    outcome: Outcome
    seconds: float = 0.0
    command: list[str] = field(default_factory=list)


@dataclass
class Finished:
    """Result of a process that has ended.

    Attributes:
        code: exit code; ``None`` if the process was stopped because it took too long.
        out: its standard output.
        last: its last error message, or its last line, on standard output or standard error.
        seconds: its duration.
        is_wrong: whether one of earmark's checks found that the device computes wrongly.
    """

    code: int | None
    out: str
    last: str
    seconds: float
    is_wrong: bool


def main(argv: list[str] | None = None) -> int:
    """Run all steps and return the exit status."""
    args = parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that SIGTERM ends the running step, too
    began = time.monotonic()
    (args.output / "logs").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="accelerator-", ignore_cleanup_errors=True) as work:
        bench = Bench(args, Path(work), began)
        facts = bench.probe()
        if facts is None:
            return 2
        try:
            bench.run_all()
        except KeyboardInterrupt:
            print("accelerator.py: interrupted", file=sys.stderr)
            return 130
    print(bench.markdown())
    bad = [result.name for result in bench.results if result.outcome.status not in ("ok", "skipped")]
    return int(bool(bad))


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the settings."""
    parser = argparse.ArgumentParser(
        "accelerator.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--device", required=True, help="cuda, npu, xpu or mps, or an index as in cuda:0; cpu to try this script"
    )
    parser.add_argument("--output", type=Path, required=True, help="folder for the results")
    parser.add_argument("--limit_s", type=float, default=570, help="time limit in seconds (default: %(default)s)")
    parser.add_argument("--tiny", action="store_true", help="tiny models and few steps, to try this script anywhere")
    parser.add_argument("--model", help="checkpoint to train on real recordings; with --data_dir")
    parser.add_argument("--data_dir", help="folder with train/CLASS/*.wav and validation/CLASS/*.wav; with --model")
    args = parser.parse_args(argv)
    if wrong := mistake(args):
        parser.error(wrong)
    try:
        require_training(parser.prog)
    except MissingExtraError as exc:
        parser.exit(2, f"{parser.prog}: error: {exc}\n")
    return args


def mistake(args: argparse.Namespace) -> str | None:
    """Return an error message about the settings, or ``None`` if they are valid."""
    if not _DEVICE.fullmatch(args.device):
        return f"--device {args.device}: not a device. Use cuda, npu, xpu, mps or cpu, or an index as in npu:0."
    if not args.limit_s > 0:
        return f"--limit_s {args.limit_s:g}: not a time. Give a number of seconds above 0."
    if (args.model is None) != (args.data_dir is None):
        return "--model and --data_dir belong together. Give both, or leave both out."
    if args.model is not None:
        try:
            local_folder(args.model)
        except ModelError as exc:
            return f"--model {exc}"
        if not Path(args.data_dir).is_dir():
            return f"--data_dir {args.data_dir}: no such folder. Fix the path."
    return None


class Bench:
    """All steps on one device.

    Attributes:
        results: results of the steps that have ended or were skipped, in order.
        facts: the device and the versions.
    """

    def __init__(self, args: argparse.Namespace, work: Path, began: float) -> None:
        self.args = args
        self.work = work
        self.began = began
        self.kind = args.device.partition(":")[0]
        self.results: list[Result] = []
        self.facts: dict[str, Any] = {}
        path = [str(ROOT / "src"), str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
        # Only one card is visible, because Transformers would split its batches over all visible cards.
        self.environment = os.environ | only_card(args.device if ":" in args.device else f"{args.device}:0", os.environ)
        self.environment |= {
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONUNBUFFERED": "1",
            "HF_HUB_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false",
            "TMPDIR": str(work),
            "EARMARK_STORE": str(work / "store"),
        }

    @property
    def left_s(self) -> float:
        """Seconds until the limit."""
        return self.args.limit_s - (time.monotonic() - self.began)

    def probe(self) -> dict[str, Any] | None:
        """Return facts about the device and the versions; print an error and return ``None`` if it cannot be used."""
        words = [
            str(HERE / "accelerator_jobs.py"),
            "probe",
            "--device",
            self.kind,
            "--json",
            str(self.work / "probe.json"),
        ]
        limit_s = max(0.0, min(_PROBE_S, self.left_s))
        done = self.run(words, "probe", limit_s)
        if done.code != 0:
            why = done.last if done.code is not None else f"no answer in {limit_s:.3g} s. Run `earmark doctor`."
            print(f"accelerator.py: error: {why}", file=sys.stderr)
            return None
        self.facts = json.loads((self.work / "probe.json").read_text(encoding="utf-8"))
        return self.facts

    def run_all(self) -> None:
        """Run the steps and write the results after each."""
        facts = self.facts
        machine = Machine(self.kind, facts["name"], facts["precision"], self.work, self.args.tiny)
        real = (self.args.model, self.args.data_dir) if self.args.model else None
        for number, words in enumerate(preparations(machine)):
            done = self.run(words, f"prepare-{number}", min(_PREPARE_S, self.left_s))
            if done.code != 0:
                self.results.append(Result(f"prepare-{number}", Outcome("failed", note=done.last), done.seconds))
        for step in all_steps(machine, real):
            self.results.append(self.take(step))
            self.write()
            print(f"{self.results[-1].name}: {said(self.results[-1])}", file=sys.stderr, flush=True)

    def take(self, step: Step) -> Result:
        """Run one step, or skip it; errors become part of the result."""
        if self.args.tiny and not step.tiny:
            return Result(step.name, Outcome("skipped", note="not part of --tiny"))
        left_s = self.left_s - _RESERVE_S
        if left_s < step.least_s:
            note = f"{max(0.0, left_s):.0f} s of --limit_s {self.args.limit_s:g} left, {step.least_s:.0f} s needed"
            return Result(step.name, Outcome("skipped", note=note))
        place = self.args.output / f"{step.name}.json"
        place.unlink(missing_ok=True)
        words = [word.replace("{json}", str(place.absolute())) for word in step.words]
        limit_s = min(step.limit_s * (_TINY_PATIENCE if self.args.tiny else 1), left_s)
        done = self.run(words, step.name, limit_s)
        return Result(step.name, self.outcome(step, done, place, limit_s), done.seconds, ["python", *words])

    def outcome(self, step: Step, done: Finished, place: Path, limit_s: float) -> Outcome:
        """Return the outcome of a step; results that its process wrote count even if the process failed later."""
        found = Outcome("failed")
        try:
            text = place.read_text(encoding="utf-8") if "{json}" in step.words else done.out
            found = step.read(parsed(text))
        except Exception as exc:  # a file that cannot be read must not stop the other steps
            if done.code == 0:
                found.note = f"the results cannot be read ({type(exc).__name__}: {exc})"
        if done.code is None:
            found.status = found.status if found.status == "WRONG" else "timed out"
            found.note = "; ".join(filter(None, [f"stopped after {limit_s:.0f} s", found.note]))
        elif done.is_wrong:
            found.status, found.note = "WRONG", done.last
        elif found.status == "failed" and not found.note:
            found.note = f"exit code {done.code}: {done.last}"
        return found

    def run(self, words: list[str], name: str, limit_s: float) -> Finished:
        """Run Python with the arguments ``words`` for at most ``limit_s`` seconds; write its output into ``logs``."""
        began = time.monotonic()
        logs = [self.args.output / "logs" / f"{name}.{channel}.txt" for channel in ("out", "err")]
        with contextlib.ExitStack() as stack:
            out, err = (stack.enter_context(open(path, "wb")) for path in logs)
            process = stack.enter_context(
                ended(
                    subprocess.Popen(
                        [sys.executable, *words],
                        env=self.environment,
                        stdin=subprocess.DEVNULL,
                        stdout=out,
                        stderr=err,
                        start_new_session=True,
                    )
                )
            )
            try:
                code: int | None = process.wait(max(0.0, limit_s))
            except subprocess.TimeoutExpired:
                code = None
        texts = [path.read_text(encoding="utf-8", errors="replace") for path in logs]
        last = main_line([line.strip() for text in texts for line in text.splitlines() if line.strip()])
        return Finished(code, texts[0], last, time.monotonic() - began, code != 0 and _WRONG in last)

    def write(self) -> None:
        """Write both result files; a reader never sees a partial file."""
        report = {"device": self.args.device, "tiny": self.args.tiny, "machine": self.facts}
        report |= {"seconds": time.monotonic() - self.began, "steps": [asdict(result) for result in self.results]}
        for name, text in (("results.json", json.dumps(report, indent=2) + "\n"), ("results.md", self.markdown())):
            part = self.args.output / f"{name}.part"
            part.write_text(text, encoding="utf-8")
            part.replace(self.args.output / name)

    def markdown(self) -> str:
        """Return all results as Markdown."""
        facts = self.facts
        head = f"{facts['name']} ({facts['device']}), torch {facts['torch']}, transformers {facts['transformers']}, "
        head += f"Python {facts['python']}, training in {facts['precision']}"
        if self.args.tiny:
            head += "; --tiny: these speeds mean nothing"
        names = [
            "step",
            "result",
            "clips/s",
            "predicted",
            "of predicted",
            "aim",
            "peak memory",
            "s",
            "notes",
        ]
        tables = [table(names, [cells(result) for result in self.results])]
        for result in self.results:
            rows = result.outcome.rows
            if rows:
                body = [[shown(value) for value in row.values()] for row in rows]
                tables.append(f"## {result.name}\n\n{table(list(rows[0]), body)}")
        return "\n\n".join([head, *tables]) + "\n"


@contextlib.contextmanager
def ended(process: subprocess.Popen[bytes]) -> Iterator[subprocess.Popen[bytes]]:
    """End a process and the processes that it started at the end of the block, if they are still running."""
    try:
        yield process
    finally:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_GRACE_S)


def main_line(lines: list[str]) -> str:
    """Return the last line with an error message, or the last line."""
    errors = [line for line in lines if re.match(r"[\w.]*(Error|Exception)\b|[\w.]+: error: ", line)]
    return [*(errors or lines or ["no output"])][-1].removeprefix("earmark: error: ")


def parsed(text: str) -> Any:
    """Return the JSON in a text: the text from the first line that starts with a brace, or the last line."""
    lines = text.splitlines()
    first = next((number for number, line in enumerate(lines) if line.startswith("{")), 0)
    try:
        return json.loads("\n".join(lines[first:]))
    except ValueError:
        return json.loads(lines[-1])


def said(result: Result) -> str:
    """Return a result as one line of text."""
    outcome = result.outcome
    rate = f"{outcome.clips_per_second:,.1f} clips/s, " if outcome.clips_per_second else ""
    return f"{outcome.status}, {rate}{result.seconds:.0f} s. {outcome.note}".strip()


def cells(result: Result) -> list[str]:
    """Return a row of the table."""
    found = result.outcome
    rate, expected = found.clips_per_second, found.predicted
    return [
        result.name,
        found.status,
        f"{rate:,.1f}" if rate else "",
        f"{expected:,.0f}" if expected else "",
        f"{rate / expected:.2f}" if rate and expected else "",
        found.aim,
        f"{found.memory_bytes / 1e9:.3g} GB" if found.memory_bytes else "",
        f"{result.seconds:.0f}",
        found.note.replace("|", "\\|"),
    ]


def shown(value: Any) -> str:
    """Return a value as text for a table of details."""
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.1e}"
    return "" if value is None else str(value).replace("|", "\\|").replace("\n", " ")


def table(head: list[str], body: list[list[str]]) -> str:
    """Return a table as Markdown."""
    lines = ["| " + " | ".join(row) + " |" for row in (head, *body)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


if __name__ == "__main__":
    sys.exit(main())
