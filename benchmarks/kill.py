"""Kill a training run repeatedly, resume it each time, and check that nothing is lost.

    python benchmarks/kill.py [--kills 50] [--load 2] [-- FLAGS OF earmark train]

One run is never stopped. A second run with the same flags is killed with SIGKILL at random moments: while it starts,
while it trains and, every other time, while it writes a checkpoint. After each kill it is started again with
``--resume``. A kill loses progress if the run does not start again, or resumes from an older checkpoint than the newest
complete one. Both runs must end with the same weights, bit by bit. The states in their checkpoints (weights, optimizer,
scheduler, random numbers) are compared, too: the first step and the first tensor that differ are printed.

Both runs use the same number of CPU threads (``OMP_NUM_THREADS``, 2 unless it is set), because it changes the last bits
of sums. ``--load N`` keeps N cores busy with other work. The source of earmark must not change during the test, because
every start reads it again; the script reports if it changed.

The exit code is 0 if no kill loses progress and all states and weights are the same, else 1.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from saved_states import StateRecorder, first_difference

import earmark
from earmark.bench.bench_clips import draw_lengths_s, write_split
from earmark.train.checkpoints import UNFINISHED, checkpoint_step, checkpoints_in, why_incomplete

PACKAGE = Path(earmark.__file__).parent
SMALL_MODEL = '{"stem_channels": 8, "channels": [8, 8]}'
_TRAINS = "training: "  # the start of the log line before the first step
_THREADS = "2"  # default of OMP_NUM_THREADS
# A busy process ends by itself if this script is killed.
_BUSY = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): sum(range(100_000))"


@dataclass
class Life:
    """One process of the killed run, from its start to its end.

    Attributes:
        moment: what it was doing when it was killed: ``starting``, ``training`` or ``saving``; ``done`` if it finished.
        newest_before: steps of the newest complete checkpoint when it started.
        newest_after: steps of the newest complete checkpoint when it ended.
        incomplete: incomplete checkpoints, with the reason.
        resumed_from: steps of the checkpoint that it resumed from; ``None`` if it was killed before it logged them.
        exit_code: its exit code; -9 for SIGKILL.
    """

    moment: str
    newest_before: int
    newest_after: int
    incomplete: list[str]
    resumed_from: int | None
    exit_code: int

    @property
    def is_lost(self) -> bool:
        """Whether saved progress is lost, or the run failed by itself."""
        failed = self.exit_code not in (0, -9)
        too_early = self.resumed_from is not None and self.resumed_from < self.newest_before
        return failed or too_early or self.newest_after < self.newest_before


class Run:
    """A process of ``earmark train`` whose log is read while it runs."""

    def __init__(self, command: list[str]) -> None:
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, errors="replace"
        )
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip())

    @property
    def is_over(self) -> bool:
        """Whether the process has ended."""
        return self.process.poll() is not None

    def has_logged(self, beginning: str) -> bool:
        """Return whether a line of its log starts with this text."""
        return any(line.startswith(beginning) for line in list(self.lines))

    def end(self) -> int:
        """Kill the process if it is still running, and return its exit code."""
        self.process.kill()
        code = self.process.wait()
        self.reader.join()
        return code


def main() -> int:
    """Do both runs, compare them, and return the exit code."""
    words = sys.argv[1:]
    own, flags = (words[: words.index("--")], words[words.index("--") + 1 :]) if "--" in words else (words, [])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="how often the run is killed (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed for the times of the kills (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="training steps of both runs (default: 200 for each kill)")
    parser.add_argument("--load", type=int, default=0, help="number of cores to keep busy (default: %(default)s)")
    parser.add_argument("--json", type=Path, help="file for all kills and the result")
    args = parser.parse_args(own)
    os.environ.setdefault("OMP_NUM_THREADS", _THREADS)
    with tempfile.TemporaryDirectory(prefix="kill-") as folder, busy_processes(args.load):
        return compare(Path(folder), args, flags)


@contextmanager
def busy_processes(count: int) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Keep ``count`` cores busy inside the ``with`` block."""
    processes = [subprocess.Popen([sys.executable, "-c", _BUSY, str(os.getpid())]) for _ in range(count)]
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def compare(folder: Path, args: argparse.Namespace, flags: list[str]) -> int:
    """Do both runs in ``folder``, print the results, and return the exit code."""
    command = train_command(folder, args, flags)
    source = source_hash()
    began = time.monotonic()
    with StateRecorder(folder / "unstopped", folder / "states" / "unstopped"):
        unstopped = subprocess.run([*command, str(folder / "unstopped")], capture_output=True, text=True, check=False)
    if unstopped.returncode != 0:
        print(unstopped.stderr, file=sys.stderr)
        return 1
    with StateRecorder(folder / "killed", folder / "states" / "killed"):
        # Short enough that much of the run is left after the last kill, even on a busy machine.
        longest_life_s = (time.monotonic() - began) / args.kills / 2
        rng = random.Random(args.seed)
        lives = kill_often([*command, str(folder / "killed")], folder / "killed", args.kills, longest_life_s, rng)
    hashes = weights(folder / "unstopped"), weights(folder / "killed")
    compared, difference = first_difference(folder / "states" / "unstopped", folder / "states" / "killed")
    kills = [life for life in lives if life.exit_code == -9]
    lost = sum(life.is_lost for life in lives)
    print(summary(lives, hashes))
    if difference is None:
        print(f"{compared} saved states are the same, bit by bit")
    else:
        print(
            f"first difference after step {difference.step}: {difference.file}, {difference.entry}: {difference.what}"
        )
        steps = [str(life.resumed_from) for life in lives if life.resumed_from is not None]
        print(f"the killed run was resumed from the steps {', '.join(steps)}")
    changed = source != source_hash()
    if changed:
        print(f"{PACKAGE}: the source has changed since the start, so the runs cannot be compared. Run this again.")
    same = None not in hashes and hashes[0] == hashes[1] and difference is None and not changed
    if args.json:
        outcome = {
            "kills": len(kills),
            "lost": lost,
            "same_weights": hashes[0] == hashes[1],
            "states_compared": compared,
            "source_changed": changed,
            "first_difference": None if difference is None else asdict(difference),
            "lives": [asdict(life) for life in lives],
        }
        args.json.write_text(json.dumps(outcome, indent=2) + "\n", encoding="utf-8")
    return 0 if same and not lost and len(kills) == args.kills else 1


def train_command(folder: Path, args: argparse.Namespace, flags: list[str]) -> list[str]:
    """Return the command of both runs, without the output folder at its end."""
    if "--data_dir" not in flags:
        flags = [*flags, "--data_dir", str(write_clips(folder / "clips"))]
    if not {"--model_type", "--model_name_or_path"} & set(flags):
        flags = [*flags, "--model_type", "tc_resnet", "--config_overrides", SMALL_MODEL]
    steps = args.steps or 200 * args.kills
    flags = [*flags, "--max_steps", str(steps), "--save_strategy", "steps", "--save_steps", "5"]
    flags += ["--eval_strategy", "no", "--per_device_train_batch_size", "4", "--disable_tqdm", "True"]
    say(f"the run that is never stopped: {steps} steps, OMP_NUM_THREADS={os.environ['OMP_NUM_THREADS']}")
    return [sys.executable, "-m", "earmark", "train", *flags, "--resume", "--output_dir"]


def summary(lives: list[Life], hashes: tuple[str | None, str | None]) -> str:
    """Return the results of the kills and the comparison of the final weights, as one line."""
    kills = [life for life in lives if life.exit_code == -9]
    moments = {moment: sum(life.moment == moment for life in kills) for moment in ("starting", "training", "saving")}
    same = hashes[0] is not None and hashes[0] == hashes[1]
    shown = [hash_[:10] if hash_ else "none" for hash_ in hashes]
    return (
        f"killed {len(kills)} times ({', '.join(f'{count} while {moment}' for moment, count in moments.items())}), "
        f"{sum(len(life.incomplete) for life in lives)} incomplete checkpoints ignored, "
        f"{sum(life.is_lost for life in lives)} lost progress; final weights "
        + (f"the same, bit by bit ({shown[0]})" if same else f"DIFFERENT ({shown[0]} unstopped, {shown[1]} killed)")
    )


def kill_often(command: list[str], output: Path, kills: int, longest_life_s: float, rng: random.Random) -> list[Life]:
    """Start the run and kill it ``kills`` times, each after at most ``longest_life_s`` of training; then let it end."""
    lives: list[Life] = []
    while not lives or lives[-1].exit_code == -9:
        if len(lives) < kills:
            at_saving = len(lives) % 2 == 1
            lives.append(live(command, output, rng, at_saving=at_saving, longest_life_s=longest_life_s))
        else:
            lives.append(live(command, output))
        last = lives[-1]
        say(
            f"{len(lives)}: {last.moment}, resumed from step {last.resumed_from}, newest complete checkpoint: step "
            f"{last.newest_after}{', LOST' if last.is_lost else ''}"
        )
    return lives


def live(
    command: list[str],
    output: Path,
    rng: random.Random | None = None,
    *,
    at_saving: bool = False,
    longest_life_s: float = 0.0,
) -> Life:
    """Start a process, and kill it at a random moment or, with ``at_saving``, when it saves; without ``rng``, wait."""
    before = newest_complete_steps(output)[0]
    run = Run(command)
    moment = "done"
    if rng is not None:
        starts_s = rng.uniform(0, 15) if rng.random() < 0.2 else None  # a fifth may be killed before the first step
        moment = wait_to_kill(run, output, starts_s, rng.uniform(0, longest_life_s), at_saving)
        time.sleep(rng.uniform(0, 0.02) if at_saving else 0)
    else:
        run.process.wait()
    code = run.end()
    if moment != "starting" and (output / UNFINISHED).exists():
        moment = "saving"
    after, incomplete = newest_complete_steps(output)
    return Life("done" if code == 0 else moment, before, after, incomplete, resumed_from(run.lines), code)


def wait_to_kill(run: Run, output: Path, starts_s: float | None, trains_s: float, at_saving: bool) -> str:
    """Wait until the run is to be killed, and return what it is doing then."""
    began = time.monotonic()
    while not run.has_logged(_TRAINS):
        if run.is_over or (starts_s is not None and time.monotonic() - began > starts_s):
            return "starting"
        time.sleep(0.005)
    began = time.monotonic()
    while not run.is_over:
        passed_s = time.monotonic() - began
        if passed_s > trains_s and (not at_saving or (output / UNFINISHED).exists()):
            break
        time.sleep(0 if at_saving else 0.005)
    return "training"


def newest_complete_steps(output: Path) -> tuple[int, list[str]]:
    """Return the steps of the newest complete checkpoint (0 without one), and why others are incomplete."""
    reasons = {checkpoint: why_incomplete(checkpoint) for checkpoint in checkpoints_in(output)}
    whole = [checkpoint_step(checkpoint) for checkpoint, reason in reasons.items() if reason is None]
    incomplete = [f"{checkpoint.name}: {reason}" for checkpoint, reason in reasons.items() if reason is not None]
    return max(whole, default=0), incomplete


def resumed_from(lines: list[str]) -> int | None:
    """Return the steps of the checkpoint that a run resumes from, by its log; 0 if it starts from the beginning."""
    for line in lines:
        if line.startswith("resuming from "):
            return checkpoint_step(Path(line.removeprefix("resuming from ")))
        if line.startswith("no checkpoint yet"):
            return 0
    return None


def weights(run: Path) -> str | None:
    """Return a hash of the final weights; ``None`` if there are none."""
    path = run / "model.safetensors"
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None


def source_hash() -> str:
    """Return a hash of earmark's source, which every process reads when it starts."""
    digest = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        digest.update(path.relative_to(PACKAGE).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def write_clips(folder: Path) -> Path:
    """Write a few short recordings in four classes, and return their folder."""
    rng = np.random.default_rng(0)
    lengths_s = draw_lengths_s("uniform:0.1,0.4", 32, rng)
    write_split(folder / "train", lengths_s[:24], rng)
    write_split(folder / "validation", lengths_s[24:], rng)
    return folder


def say(line: str) -> None:
    """Print a line of progress."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
