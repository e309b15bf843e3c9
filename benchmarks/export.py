"""Compare the speed and accuracy of exports with PyTorch, and the outputs of exports of every architecture.

    python benchmarks/export.py speed RUN --data_dir CLIPS/validation --formats onnx onnx-int8
    python benchmarks/export.py parity

``speed`` exports RUN and decodes the recordings of class folders once. Then it scores all of them with each model in
turn (PyTorch, onnx, onnx-int8, PyTorch, ...), in one process on the CPU, with the same loop as ``earmark predict``. The
speed of a machine drifts, so each ratio compares two passes of the same round, and the result is the median. On a busy
machine, set OMP_NUM_THREADS=1 and ``--cpu_seconds`` to compare the CPU time of one thread instead of wall-clock time.
``parity`` exports a tiny model of every architecture with random weights and prints the differences that the export
found.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earmark.device import describe_device
from earmark.errors import EarmarkError
from earmark.export.export_model import export
from earmark.export.load_export import ExportedModel, load_any
from earmark.export.recordings import Recordings, find_recordings
from earmark.models.build_model import ModelSource, build_for_training
from earmark.predict.classifier import Classifier
from earmark.scoring.inference import score
from earmark.settings.export_flags import ExportOptions

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))


def main() -> None:
    """Run the job that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    jobs = parser.add_subparsers(dest="job", required=True)
    speed = jobs.add_parser("speed")
    speed.add_argument("model")
    speed.add_argument("--data_dir", required=True, help="folder with one folder of recordings for each class")
    speed.add_argument("--formats", nargs="+", default=["onnx", "onnx-int8"])
    speed.add_argument("--passes", type=int, default=5)
    speed.add_argument("--batch_size", type=int, default=32)
    speed.add_argument("--max_clips", type=int, default=1_000_000, help="largest number of recordings, evenly spread")
    speed.add_argument("--cpu_seconds", action="store_true")
    speed.add_argument("--json")
    parity = jobs.add_parser("parity")
    parity.add_argument("--formats", nargs="+", default=["onnx", "onnx-int8", "pt2"])
    arguments = parser.parse_args()
    measure_speed(arguments) if arguments.job == "speed" else print_parity(arguments.formats)


def measure_speed(arguments: argparse.Namespace) -> None:
    """Score the recordings with each model in turn, and print clips/s, ratios and accuracies."""
    clock = time.process_time if arguments.cpu_seconds else time.perf_counter
    with tempfile.TemporaryDirectory() as folder:
        sides = {"pytorch": Classifier.from_pretrained(arguments.model, device="cpu")}
        for name in arguments.formats:
            output = str(Path(folder) / name)
            export(ExportOptions(model_name_or_path=arguments.model, format=name, output=output))
            sides[name] = Classifier.from_pretrained(output, device="cpu")
        first = sides["pytorch"]
        recordings = find_recordings(arguments.data_dir, first.sampling_rate_hz, first.labels, arguments.max_clips)
        if recordings.labels is None:
            names = ", ".join(first.labels)
            sys.exit(f"{arguments.data_dir}: no folders with the names of the classes. Put recordings into {names}.")
        for classifier in sides.values():
            _pass(classifier, recordings, clock, arguments.batch_size, most=2 * arguments.batch_size)
        seconds: dict[str, list[float]] = {name: [] for name in sides}
        accuracy: dict[str, float] = {}
        for number in range(arguments.passes):
            for name, classifier in sides.items():
                took, firsts = _pass(classifier, recordings, clock, arguments.batch_size)
                seconds[name].append(took)
                accuracy[name] = float((firsts == recordings.labels).mean())
            shown = ", ".join(f"{name} {times[-1]:.2f} s" for name, times in seconds.items())
            print(f"pass {number + 1}: {shown}; load {os.getloadavg()[0]:.1f}", flush=True)
    _report(arguments, recordings, seconds, accuracy)


def _pass(
    classifier: Classifier, recordings: Recordings, clock: Callable[[], float], batch_size: int, most: int | None = None
) -> tuple[float, np.ndarray]:
    """Score the recordings; return the seconds it took, and the most likely class of each recording."""
    begun = clock()
    rows = np.stack(list(score(classifier.scorer, recordings.waveforms[:most], batch_size=batch_size)))
    return clock() - begun, rows.argmax(axis=1)


def _report(
    arguments: argparse.Namespace, recordings: Recordings, seconds: dict[str, list[float]], accuracy: dict[str, float]
) -> None:
    count = len(recordings.waveforms)
    results: dict[str, Any] = {}
    threads = torch.get_num_threads()
    place = f"{describe_device(torch.device('cpu'))}, {threads} threads"
    place += ", CPU time" if arguments.cpu_seconds else ""
    print(f"\n{recordings.origin}; {place}, batches of {arguments.batch_size}")
    print("| model | clips/s (median) | times PyTorch (median of pairs, range) | accuracy |\n|---|---|---|---|")
    for name, times in seconds.items():
        ratios = [before / after for before, after in zip(seconds["pytorch"], times, strict=True)]
        results[name] = {"seconds": times, "ratios": ratios, "accuracy": accuracy[name]}
        print(
            f"| {name} | {count / statistics.median(times):.1f} | {statistics.median(ratios):.2f} "
            f"({min(ratios):.2f} to {max(ratios):.2f}) | {accuracy[name]:.4f} |"
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps({"clips": count, "threads": threads, **results}, indent=2))


def print_parity(formats: list[str]) -> None:
    """Export a tiny model of every architecture, and print a table of the differences."""
    from tests.tiny import ARCHITECTURES, overrides

    print("| architecture | lengths in a batch | " + " | ".join(formats) + " |\n|---|---|" + "---|" * len(formats))
    for kind in sorted(ARCHITECTURES):
        with tempfile.TemporaryDirectory() as folder:
            torch.manual_seed(0)
            model = str(Path(folder) / "model")
            source = ModelSource(model_type=kind, config_overrides=overrides(kind))
            build_for_training(source, ["a", "b", "c"], 1.0, 1.0).save(model)
            cells = [_parity_of(model, name, str(Path(folder) / name)) for name in formats]
            found = load_any(ModelSource(name_or_path=str(Path(folder) / formats[0])))
            assert isinstance(found, ExportedModel)
            alike = "equal" if found.description.shortest_in_batch == 1 else "any"
            print(f"| {kind} | {alike} | " + " | ".join(cells) + " |", flush=True)


def _parity_of(model: str, format: str, output: str) -> str:
    try:
        checked = export(ExportOptions(model_name_or_path=model, format=format, output=output)).description.checked
    except EarmarkError as exc:
        return f"refused: {exc}"
    return f"{checked['largest_difference']:.1g}"


if __name__ == "__main__":
    main()
