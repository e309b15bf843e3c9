"""Keep the states that training runs save, and find the first state in which two runs differ.

A run removes its old checkpoints. :class:`StateRecorder` watches the run folder from another thread and keeps each
checkpoint with hard links, which does not slow down the run. ``complete.json`` in a checkpoint holds a hash of every
file, so states are only read if their hashes differ.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file

from earmark.train.checkpoints import MARKER, checkpoints_in

_POLL_S = 0.005
# trainer_state.json is not compared, because its log has times, and losses averaged since the process started.
STATES = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "weights_in_training.safetensors")


@dataclass(frozen=True)
class Difference:
    """The first state in which two runs differ.

    Attributes:
        step: training step of the checkpoint.
        file: name of the file.
        entry: path of the tensor or number in the file, e.g. ``"state/0/exp_avg"``.
        what: the size of the difference, in words.
    """

    step: int
    file: str
    entry: str
    what: str


class StateRecorder:
    """Keep every checkpoint of a run folder in ``kept`` while the ``with`` block runs.

    A checkpoint that the run removes within a few milliseconds can be missed.

    Args:
        output: the run folder.
        kept: folder for the states, on the same file system.
    """

    def __init__(self, output: Path, kept: Path) -> None:
        self.output = output
        self.kept = kept
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> StateRecorder:
        self.kept.mkdir(parents=True, exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._end.set()
        self._thread.join()
        self.keep_new()

    def _watch(self) -> None:
        while not self._end.wait(_POLL_S):
            self.keep_new()

    def keep_new(self) -> None:
        """Keep the checkpoints that were saved since the last call."""
        with self._lock:
            for checkpoint in checkpoints_in(self.output):
                target = self.kept / checkpoint.name
                if not target.exists():
                    _link_files(checkpoint, target)


def _link_files(checkpoint: Path, target: Path) -> None:
    """Link the states of a checkpoint into ``target``; keep nothing if the run removes the checkpoint meanwhile."""
    partial = target.with_name(f".{target.name}")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        written = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))["files"]
        for name in (MARKER, *(name for name in STATES if name in written)):
            os.link(checkpoint / name, partial / name)
    except (OSError, ValueError, KeyError):
        shutil.rmtree(partial, ignore_errors=True)
    else:
        partial.rename(target)


def first_difference(one: Path, other: Path) -> tuple[int, Difference | None]:
    """Compare the states that two runs saved after the same steps.

    Args:
        one: folder of checkpoints that :class:`StateRecorder` kept.
        other: the same for the other run.

    Returns:
        The number of steps compared, and the first difference; ``None`` if all states are the same.
    """
    first, second = ({int(path.name.split("-")[1]): path for path in checkpoints_in(kept)} for kept in (one, other))
    steps = sorted(first.keys() & second.keys())
    for step in steps:
        difference = _difference_at(step, first[step], second[step])
        if difference is not None:
            return len(steps), difference
    return len(steps), None


def _difference_at(step: int, one: Path, other: Path) -> Difference | None:
    hashes = [json.loads((path / MARKER).read_text(encoding="utf-8"))["files"] for path in (one, other)]
    for name in STATES:
        if hashes[0].get(name) == hashes[1].get(name):
            continue
        if not (name in hashes[0] and name in hashes[1]):
            return Difference(step, name, "", "only one of the runs has this file")
        first, second = dict(_entries(_read(one / name))), dict(_entries(_read(other / name)))
        for entry in dict.fromkeys([*first, *second]):
            what = _what_differs(first.get(entry), second.get(entry))
            if what:
                return Difference(step, name, entry, what)
    return None  # pickles of equal values can have different bytes


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load_file(path)
    # The random states are NumPy objects, which weights_only refuses. The file is trusted: kill.py started its run.
    return torch.load(path, map_location="cpu", weights_only=False)


def _entries(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested containers with their paths."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _entries(inner, f"{place}/{key}" if place else str(key))
    elif isinstance(value, (list, tuple)):
        for i, inner in enumerate(value):
            yield from _entries(inner, f"{place}/{i}" if place else str(i))
    else:
        yield place, value


def _what_differs(one: Any, other: Any) -> str:
    """Return the difference between two leaves in words; empty if they are the same, bit by bit."""
    if type(one) is not type(other):
        return f"{type(one).__name__} and {type(other).__name__}"
    if not isinstance(one, (torch.Tensor, np.ndarray)):
        return "" if one == other or repr(one) == repr(other) else f"{one!r} and {other!r}"
    first, second = np.asarray(one), np.asarray(other)
    if first.shape != second.shape or first.dtype != second.dtype:
        return f"{first.dtype} {first.shape} and {second.dtype} {second.shape}"
    if first.tobytes() == second.tobytes():
        return ""
    apart = np.abs(first.astype(np.float64) - second.astype(np.float64))
    return f"{np.count_nonzero(first != second)} of {first.size} values, by at most {apart.max():.3g}"
