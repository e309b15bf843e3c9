"""Measure training next to other work: ``python benchmarks/busy.py [--rounds 4] [--seconds 5] [--json FILE]``.

The work is training steps of TC-ResNet on one-second clips, batch size 32, in the precision that earmark chooses on
this CPU. Each way to use the cores has its own process for the whole measurement. The processes take turns, so that
other load affects them equally. There are three results, each the median of the ratios within a round:

* quiet: earmark's default compared with the best of three fixed settings (all threads spinning, all sleeping, 1 thread)
* next to a process that keeps one core busy: earmark's default compared with itself without that process
* two trainings at once: each of them compared with one alone

This takes under 5 minutes on 2 cores. The script also prints how many cores other processes used; the results are only
valid on a quiet machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from earmark.threads import variables, watch
from earmark.threads.cores import allowed_cpus, this_process
from earmark.threads.machine_load import read_counters, usage_between

CLIPS = 32
RATE_HZ = 16_000
SETTLES_WITHIN_S = 20.0
# environment variables of each way; a user who sets them switches off earmark's adaptation to busy cores
WAYS: dict[str, dict[str, str]] = {
    "earmark": {},
    "spinning": {"EARMARK_THREADS": "off", "OMP_NUM_THREADS": str(this_process().usable)},
    "sleeping": {"OMP_NUM_THREADS": str(this_process().usable), "OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"},
    "1 thread": {"OMP_NUM_THREADS": "1"},
}
OURS = ("OMP_", "MKL_", "GOMP_", "KMP_", "EARMARK_THREADS", "EARMARK_CHOSE_")


def main() -> None:
    """Measure and print the results, or train as one of the processes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, help="rounds, twice as many for quiet (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=5.0, help="length of a turn in seconds (default: %(default)s)")
    parser.add_argument("--json", help="file for the results of all turns")
    parser.add_argument("--train", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.train:
        train()
        return
    results = measure(arguments.rounds, arguments.seconds)
    report(results)
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=1), encoding="utf-8")


Turn = dict[str, float]


class Trainer:
    """A process that trains on request, with the environment variables of one way to use the cores."""

    def __init__(self, way: str) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--train"],
            env={**kept, **WAYS[way]},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Trainer:
        return self

    def __exit__(self, *exc: object) -> None:
        self.process.kill()
        self.process.wait()

    def ready(self) -> None:
        """Wait until the process has built its model."""
        self.answer()

    def begin(self, seconds: float, *, settle: bool = True) -> None:
        """Start to train at once, or, with ``settle``, after the process has noticed that the cores are free."""
        assert self.process.stdin is not None
        print(seconds, int(settle), file=self.process.stdin, flush=True)

    def answer(self) -> Turn:
        """Wait for the end of the turn; return clips per second and the cores that other processes used."""
        assert self.process.stdout is not None
        turn: Turn = json.loads(self.process.stdout.readline())
        return turn


def turn(trainers: Sequence[Trainer], seconds: float, *, settle: bool = True) -> list[Turn]:
    """Let these processes train at the same time, and return their results."""
    for trainer in trainers:
        trainer.begin(seconds, settle=settle)
    return [trainer.answer() for trainer in trainers]


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep a core busy inside the block."""
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        process.kill()
        process.wait()


def measure(rounds: int, seconds: float) -> dict[str, list[dict[str, Turn]]]:
    """Return all turns of the three results, round by round."""
    quiet, busy, pairs = [], [], []
    with ExitStack() as stack:
        trainers = {way: stack.enter_context(Trainer(way)) for way in WAYS}
        second = stack.enter_context(Trainer("earmark"))
        for trainer in (*trainers.values(), second):
            trainer.ready()
        ours, spinning = trainers["earmark"], trainers["spinning"]
        for number in range(2 * rounds):  # small differences need more rounds, and no way should always come first
            order = list(trainers)[:: 1 if number % 2 else -1]
            quiet.append({way: turn([trainers[way]], seconds)[0] for way in order})
        for _ in range(rounds):
            one = {"alone": turn([ours], seconds)[0]}
            with busy_core():
                one["beside"] = turn([ours], seconds, settle=False)[0]
                one["spinning beside"] = turn([spinning], seconds, settle=False)[0]
            busy.append(one)
        for _ in range(rounds):
            one = {"alone": turn([ours], seconds)[0]}
            one["first"], one["second"] = turn([ours, second], seconds, settle=False)
            pairs.append(one)
    return {"quiet": quiet, "busy": busy, "pairs": pairs}


def report(results: dict[str, list[dict[str, Turn]]]) -> None:
    """Print medians and ratios."""
    for name, rounds in results.items():
        print(name)
        for way in rounds[0]:
            values = [one[way]["clips_per_s"] for one in rounds]
            others = statistics.median(one[way]["others"] for one in rounds)
            print(f"  {way:<16}{statistics.median(values):8.1f} clips/s; others used {others:.1f} cores")
    fixed = [way for way in WAYS if way != "earmark"]
    best = max(fixed, key=lambda way: statistics.median(one[way]["clips_per_s"] for one in results["quiet"]))
    ratios: list[tuple[str, list[float], float]] = [
        (f"quiet: earmark / {best}, the best fixed setting", _ratios(results["quiet"], "earmark", best), 0.95),
        ("next to a busy core / alone", _ratios(results["busy"], "beside", "alone"), 0.40),
        ("the same with threads that always spin", _ratios(results["busy"], "spinning beside", "alone"), 0.0),
        ("two at once, the first / one alone", _ratios(results["pairs"], "first", "alone"), 0.45),
        ("two at once, the second / one alone", _ratios(results["pairs"], "second", "alone"), 0.45),
    ]
    for what, values, aim in ratios:
        spread = f"{min(values):.2f} to {max(values):.2f}"
        print(f"{what:<56}{statistics.median(values):6.2f} ({spread}){f', aim {aim:.2f}' if aim else ''}")


def _ratios(rounds: list[dict[str, Turn]], way: str, to: str) -> list[float]:
    return [one[way]["clips_per_s"] / one[to]["clips_per_s"] for one in rounds]


def train() -> None:
    """Train once for each line of standard input: the seconds, and whether to wait for free cores first."""
    variables.prepare()
    step = make_step()
    for _ in range(5):
        step()
    allowed = allowed_cpus()
    print("{}", flush=True)
    for line in sys.stdin:
        seconds, settle = line.split()
        deadline = time.monotonic() + (SETTLES_WITHIN_S if settle == "1" else 0)
        watched = watch.begin()
        while watched is not None and watched.contention.is_contended and time.monotonic() < deadline:
            time.sleep(0.1)
        before, clips = read_counters(allowed), 0
        while time.monotonic() - before.at_s < float(seconds):
            watch.adjust()
            step()
            clips += CLIPS
        usage = usage_between(before, read_counters(allowed))
        print(json.dumps({"clips_per_s": clips / usage.seconds, "others": usage.others or 0.0}), flush=True)


def make_step() -> Callable[[], None]:
    """Return a function that does one training step of TC-ResNet as ``earmark train`` does it."""
    import torch

    from earmark.device import abilities, choose_precision, select_device
    from earmark.models.build_model import ModelSource, build_for_training

    device = select_device("cpu")
    torch.manual_seed(0)
    audio = build_for_training(ModelSource(model_type="tc_resnet"), [str(i) for i in range(12)], 1.0, 1.0)
    audio.model.train()
    if choose_precision(abilities(device), bf16=False, fp16=False)[0] == "bf16":
        audio.model.forward.training_dtype = torch.bfloat16
    optimizer = torch.optim.AdamW(audio.model.parameters(), lr=1e-4, fused=True)
    samples, labels = 0.1 * torch.randn(CLIPS, RATE_HZ), torch.arange(CLIPS) % 12

    def step() -> None:
        logits = audio.model(**audio.frontend.inputs(samples)).logits
        torch.nn.functional.cross_entropy(logits.float(), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


if __name__ == "__main__":
    main()
