"""Run ``earmark train`` or ``earmark predict`` and end with the line of figures that the plain scripts end with.

    python benchmarks/run_earmark.py train FLAGS

``compare.py`` runs earmark through this, so that both sides are timed and weighed in the same way. The command itself
is the one a user types; nothing in it is changed.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import sys
import time
from pathlib import Path

from plain_common import accuracy_by_folder, peak_memory_bytes, print_figures

from earmark.cli.main import main as earmark


class TimedText(io.StringIO):
    """Standard output that remembers when it was first and last written to."""

    first_s = last_s = 0.0

    def write(self, text: str) -> int:
        """Keep the text and the time."""
        self.last_s = time.perf_counter()
        self.first_s = self.first_s or self.last_s
        return super().write(text)


def train(words: list[str]) -> dict[str, object]:
    """Train, and read the figures from the run folder."""
    ended_well(earmark(["train", *words]))
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
    """Label recordings; the table's head is written when the model is loaded, its last row when all is done."""
    with contextlib.redirect_stdout(TimedText()) as table:
        ended_well(earmark(["predict", *words]))
    rows = list(csv.DictReader(io.StringIO(table.getvalue())))
    seconds = table.last_s - table.first_s
    return {
        "clips": len(rows),
        "predict_seconds": seconds,
        "clips_per_second": len(rows) / seconds,
        "accuracy": accuracy_by_folder((row["path"], row["label"]) for row in rows),
    }


def ended_well(code: int) -> None:
    """Leave with earmark's exit code where it is not 0."""
    if code:
        sys.exit(code)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    figures = {"train": train, "predict": predict}[command](rest)
    print_figures({**figures, "peak_memory_bytes": peak_memory_bytes()})
