"""Measure the cost of starting: CPU time, wall-clock time and imported modules of each command on a short recording.

    python benchmarks/start.py                                # five rounds
    python benchmarks/start.py --before OTHER_CHECKOUT/src    # also measures an earlier version in each round

Each command runs in its own process, which is measured from its start to its end. The first row only imports torch,
which is the least that a command with torch can cost. The script makes the models with random weights: TC-ResNet,
wav2vec2-base, and Whisper-tiny cut to 1 s. It needs the extra ``train``, and ``serve`` for the rows of the server. It
does not run on Windows.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "src"))

from earmark.errors import MissingExtraError  # noqa: E402
from earmark.extras import require, require_training  # noqa: E402

MODELS = {
    "tc_resnet": [],
    "wav2vec2": [],
    "whisper": [
        *("--max_length_seconds", "1", "--config_overrides"),
        "d_model=384,encoder_layers=4,encoder_attention_heads=6,encoder_ffn_dim=1536,decoder_layers=1",
    ],
}
_COUNT = "import sys, atexit; atexit.register(lambda: print('modules', len(sys.modules), file=sys.stderr)); "
_CLASS = "import earmark; earmark.Classifier.from_pretrained(sys.argv[1]).predict(sys.argv[2])"
_MAIN = "from earmark.cli.main import main; sys.exit(main(sys.argv[1:]))"
_SERVE = (
    "import os; from earmark.serve import start_server; from earmark.settings.serving_flags import ServeOptions; "
    "stop = lambda address: (print('modules', len(sys.modules), file=sys.stderr), os._exit(0)); "
    "start_server.serve(ServeOptions(model_name_or_path=sys.argv[1], port=0), stop)"
)


@dataclass(frozen=True)
class Cost:
    """Cost of one process."""

    cpu_s: float
    wall_s: float
    modules: int


def main(argv: list[str] | None = None) -> None:
    """Parse the command line, measure, and print a table."""
    args = parse(argv)
    versions = [HERE.parent / "src", *([args.before] if args.before else [])]
    with tempfile.TemporaryDirectory() as folder:
        commands = rows(Path(folder), args.only)
        prepare(Path(folder), [kind for kind in MODELS if any(name.endswith(kind) for name in commands)])
        costs: dict[tuple[str, Path], list[Cost]] = {}
        for _ in range(args.rounds):
            for name, words in commands.items():
                for version in versions:
                    costs.setdefault((name, version), []).append(measure(name, words, version))
    show(list(commands), versions, costs)


def parse(argv: list[str] | None) -> argparse.Namespace:
    """Return the settings."""
    parser = argparse.ArgumentParser(
        "start.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="number of runs of each command (default: %(default)s)")
    parser.add_argument("--only", default="", help="measure the rows with this text in their names: predict, whisper")
    parser.add_argument("--before", type=Path, help="src folder of another version, which is measured as well")
    args = parser.parse_args(argv)
    chosen, known = rows(Path(), args.only), rows(Path(), "")
    if args.rounds < 1:
        parser.error(f"--rounds {args.rounds}: must be at least 1.")
    if not any(args.only in name for name in known):
        parser.error(f"--only {args.only}: no row has this in its name. The rows are: {'; '.join(known)}.")
    if args.before and not (args.before / "earmark").is_dir():
        parser.error(f"--before {args.before}: has no folder earmark. Give the src folder of another version.")
    try:
        require_training(parser.prog)
        for package in ("fastapi", "uvicorn") if any("serve" in name for name in chosen) else ():
            require(package)
    except MissingExtraError as exc:
        parser.exit(2, f"{parser.prog}: error: {exc}\n")
    return args


def rows(folder: Path, only: str) -> dict[str, list[str]]:
    """Return the arguments of ``python`` for ``import torch`` and for each other row with ``only`` in its name."""
    clip, data = str(folder / "clip.wav"), ["--data_dir", str(folder / "clips")]
    found = {"import torch": ["-c", _COUNT + "import torch"]}
    for kind in MODELS:
        model = str(folder / kind)
        run = ["-c", _COUNT + _MAIN]
        few_shot = ["--few_shot", "--model_name_or_path", model, "--output_dir", str(folder / f"fitted_{kind}")]
        found |= {
            f"predict, {kind}": [*run, "predict", model, clip],
            f"evaluate, {kind}": [*run, "evaluate", model, *data, "--output_dir", str(folder / f"evaluated_{kind}")],
            f"embed, {kind}": [*run, "embed", model, clip, "--output", str(folder / "rows.npy"), "--overwrite"],
            f"serve until it listens, {kind}": ["-c", "import sys; " + _SERVE, model],
            f"Classifier, {kind}": ["-c", _COUNT + _CLASS, model, clip],
            f"train --few_shot, {kind}": [*run, "train", *few_shot, *data, "--overwrite_output_dir", "True"],
        }
    return {name: words for name, words in found.items() if only in name or name == "import torch"}


def prepare(folder: Path, kinds: Sequence[str]) -> None:
    """Make the recordings and the models."""
    make("make_clips.py", folder / "clips", "--clips", "16")
    shutil.copy(next((folder / "clips").rglob("*.wav")), folder / "clip.wav")
    for kind in kinds:
        make("make_model.py", kind, folder / kind, *MODELS[kind])


def make(script: str, *words: object) -> None:
    """Run another script of this folder."""
    command = [sys.executable, str(HERE / script), *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, env=environment(HERE.parent / "src"))


def environment(version: Path) -> dict[str, str]:
    """Return the environment of a process that imports one version of earmark."""
    return {**os.environ, "PYTHONPATH": str(version.resolve())}


def measure(name: str, words: list[str], version: Path) -> Cost:
    """Run the process of one row, and return its cost."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment(version))
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = done.stderr.strip().splitlines()
    if done.returncode != 0:
        last = [line for line in lines if not line.startswith("modules ")][-1:] or [f"exit code {done.returncode}"]
        sys.exit(f"start.py: error: {name} ({version}) failed: {last[0]}")
    modules = [line.split()[1] for line in lines if line.startswith("modules ")]
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(cpu_s, wall_s, int(modules[-1]))


def show(names: list[str], versions: list[Path], costs: dict[tuple[str, Path], list[Cost]]) -> None:
    """Print the medians as a Markdown table."""
    titles = ["CPU s", "wall s", "modules"]
    head = ["command", *titles, *(f"{title}, before" for title in titles[: 3 * (len(versions) - 1)])]
    print("|", " | ".join(head), "|")
    print("|---" * len(head) + "|")
    for name in names:
        cells = [name]
        for version in versions:
            of_row = costs[name, version]
            cells += [f"{statistics.median(cost.cpu_s for cost in of_row):.2f}"]
            cells += [f"{statistics.median(cost.wall_s for cost in of_row):.2f}", f"{of_row[-1].modules:,}"]
        print("|", " | ".join(cells), "|")


if __name__ == "__main__":
    main()
