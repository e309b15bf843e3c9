"""What it costs to start: CPU seconds, wall seconds and imported modules of each command on one short recording.

    python benchmarks/start.py                                # makes its models, five rounds
    python benchmarks/start.py --before OTHER_CHECKOUT/src    # measures an earlier version in turn, in the same rounds

Each command runs in a process of its own, from its start to its end. The first row imports torch alone: a command can
cost no less. The models have random weights; wav2vec2 has the base geometry, Whisper is Whisper-tiny cut to 1 s.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
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
    """What one process took."""

    cpu_s: float
    wall_s: float
    modules: int


def main() -> None:
    """Parse the command line, measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that each command runs (default: %(default)s)")
    parser.add_argument("--only", default="", help="part of the names of the rows to measure: predict, wav2vec2, ...")
    parser.add_argument("--before", type=Path, help="the src folder of another version, measured in turn")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        commands = {
            name: words for name, words in prepare(Path(folder)).items() if args.only in name or "torch" in name
        }
        versions = [HERE.parent / "src", *([args.before] if args.before else [])]
        costs: dict[tuple[str, Path], list[Cost]] = {}
        for _ in range(args.rounds):
            for name, words in commands.items():
                for version in versions:
                    costs.setdefault((name, version), []).append(measure(words, version))
    show(list(commands), versions, costs)


def prepare(folder: Path) -> dict[str, list[str]]:
    """Make recordings and models; return the words of Python for each row of the table."""
    make("make_clips.py", folder / "clips", "--clips", "16")
    for kind, words in MODELS.items():
        make("make_model.py", kind, folder / kind, *words)
    clip = str(next((folder / "clips").rglob("*.wav")))
    data = ["--data_dir", str(folder / "clips")]
    rows = {"import torch": ["-c", _COUNT + "import torch"]}
    for kind in MODELS:
        model = str(folder / kind)
        run = ["-c", _COUNT + _MAIN]
        rows |= {
            f"predict, {kind}": [*run, "predict", model, clip],
            f"evaluate, {kind}": [*run, "evaluate", model, *data, "--output_dir", str(folder / f"evaluated_{kind}")],
            f"embed, {kind}": [*run, "embed", model, clip, "--output", str(folder / "rows.npy"), "--overwrite"],
            f"serve until it listens, {kind}": ["-c", "import sys; " + _SERVE, model],
            f"Classifier, {kind}": ["-c", _COUNT + _CLASS, model, clip],
        }
        few_shot = ["--few_shot", "--model_name_or_path", model, "--output_dir", str(folder / f"fitted_{kind}")]
        rows[f"train --few_shot, {kind}"] = [*run, "train", *few_shot, *data, "--overwrite_output_dir", "True"]
    return rows


def make(script: str, *words: object) -> None:
    """Run another script of this folder."""
    command = [sys.executable, str(HERE / script), *map(str, words)]
    subprocess.run(command, check=True, capture_output=True, env=environment(HERE.parent / "src"))


def environment(version: Path) -> dict[str, str]:
    """Return the environment of a process that imports one version of earmark."""
    return {**os.environ, "PYTHONPATH": str(version.resolve())}


def measure(words: list[str], version: Path) -> Cost:
    """Run one process to its end."""
    before, began_s = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=environment(version))
    wall_s, after = time.perf_counter() - began_s, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode != 0:
        sys.exit(f"start.py: error: {' '.join(words[2:4])} failed: {done.stderr.strip().splitlines()[-1]}")
    modules = [line.split()[1] for line in done.stderr.splitlines() if line.startswith("modules ")]
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
