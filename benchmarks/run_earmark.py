"""Run ``earmark train``, ``predict`` or ``embed``, and print the same line of JSON as the plain scripts at the end.

    python benchmarks/run_earmark.py train FLAGS

``compare.py`` runs earmark with this script, so that time and memory of both sides are measured in the same way. The
script runs the command as a user would, without changes.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import logging
import sys
import time
from pathlib import Path

from plain_common import accuracy_by_folder, peak_memory_bytes, print_results

from earmark.cli.main import main as earmark


class TimedText(io.StringIO):
    """Standard output that records the times of the first and the last write."""

    first_s = last_s = first_cpu_s = last_cpu_s = 0.0

    def write(self, text: str) -> int:
        """Store the text and the time."""
        self.last_s, self.last_cpu_s = time.perf_counter(), time.process_time()
        self.first_s, self.first_cpu_s = self.first_s or self.last_s, self.first_cpu_s or self.last_cpu_s
        return super().write(text)


def train(words: list[str]) -> dict[str, object]:
    """Train, and return the results in the run folder."""
    exit_on_failure(earmark(["train", *words]))
    folder = Path(words[words.index("--output_dir") + 1])
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    return {
        "train_clips": metrics["train"]["clips"],
        "train_seconds": metrics["train"]["training_s"],
        "clips_per_second": metrics["train"]["samples_per_second"],
        "accuracy": metrics["validation"]["accuracy"],
        "device": json.loads((folder / "environment.json").read_text(encoding="utf-8"))["device"],
    }


def predict(words: list[str]) -> dict[str, object]:
    """Label recordings. The head of the table is written after the model is loaded, and its last row at the end."""
    with contextlib.redirect_stdout(TimedText()) as table:
        exit_on_failure(earmark(["predict", *words]))
    rows = list(csv.DictReader(io.StringIO(table.getvalue())))
    seconds = table.last_s - table.first_s
    return {
        "clips": len(rows),
        "predict_seconds": seconds,
        "cpu_seconds": table.last_cpu_s - table.first_cpu_s,
        "clips_per_second": len(rows) / seconds,
        "accuracy": accuracy_by_folder((row["path"], row["label"]) for row in rows),
    }


class BeginningOfWork(logging.Handler):
    """Records when earmark logs the precision of the embeddings, just before it starts to compute them."""

    start_s = start_cpu_s = 0.0
    precision = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Store the time of that message."""
        if "embeddings are computed in" in record.msg:
            self.start_s, self.start_cpu_s = time.perf_counter(), time.process_time()
            self.precision = str(record.args[0]) if record.args else ""


def embed(words: list[str]) -> dict[str, object]:
    """Compute embeddings; the time includes everything from the first recording to the finished file."""
    beginning = BeginningOfWork()
    logging.getLogger("earmark.predict.embed").addHandler(beginning)
    exit_on_failure(earmark(["embed", *words]))
    seconds, cpu_seconds = time.perf_counter() - beginning.start_s, time.process_time() - beginning.start_cpu_s
    table = Path(f"{words[words.index('--output') + 1]}.rows.csv").read_text(encoding="utf-8")
    count = len(table.splitlines()) - 1
    return {
        "clips": count,
        "embed_seconds": seconds,
        "cpu_seconds": cpu_seconds,
        "clips_per_second": count / seconds,
        "precision": beginning.precision,
    }


def exit_on_failure(code: int) -> None:
    """Exit with earmark's exit code if it is not 0."""
    if code:
        sys.exit(code)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    results = {"train": train, "predict": predict, "embed": embed}[command](rest)
    print_results({**results, "peak_memory_bytes": peak_memory_bytes()})
