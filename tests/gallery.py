"""Trained runs that tests read or copy: trained once for each state of the source, and kept between sessions of pytest.

A test that needs some run takes one of ``RUNS`` from the fixture ``gallery`` instead of training its own. The folder of
a run is named by a hash of the package, of this file and of the versions it was trained with, so any change trains
again. Runs are shared: a test that changes its run takes a copy.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from filelock import FileLock

from earmark.cli.main import main
from earmark.runs.environment import describe_environment
from tests.patience import PATIENCE_S
from tests.tiny import RATE_HZ, overrides, save_model, tone, write_tones

_ROOT = Path(__file__).parents[1]
_PLACE = _ROOT / ".pytest_cache" / "gallery"  # which git ignores
_STATES_KEPT = 3
_COMPLETE = "complete.json"

TC_RESNET = ("--model_type", "tc_resnet", "--config_overrides", '{"stem_channels": 8, "channels": [8, 8]}')
WAV2VEC2 = ("--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"))
TASK_LABELS = ("high", "low", "mid")
_TONES_HZ = {"high": 3000.0, "low": 300.0, "mid": 1000.0}
_QUIET = ("--device", "cpu", "--precision", "fp32", "--disable_tqdm", "True")
_ONCE = ("--eval_strategy", "no", "--save_strategy", "no", "--report", "false")
_EVERY_SECOND = ("--eval_strategy", "steps", "--eval_steps", "2", "--save_steps", "2", "--save_total_limit", "9")
_FOURS = ("--per_device_train_batch_size", "4")


def tones(folder: Path) -> list[str]:
    """16 training and 8 validation clips of the classes low and high: with batches of 4, 4 steps an epoch."""
    return ["--data_dir", str(write_tones(folder, per_class=8, seconds=0.2))]


def speakers(folder: Path) -> list[str]:
    """24 clips of the classes low and high in one table, of six speakers in three folds, each speaker in one fold."""
    folder.mkdir()
    rows = ["path,label,fold,speaker"]
    for i in range(24):
        label, frequency_hz = (("low", 300.0), ("high", 2500.0))[i % 2]
        soundfile.write(folder / f"{i}.wav", tone(frequency_hz * (1 + 0.01 * i), 0.1, seed=i), RATE_HZ)
        speaker = i // 2 % 6
        rows.append(f"{i}.wav,{label},{speaker % 3 + 1},s{speaker}")
    (folder / "all.csv").write_text("\n".join(rows) + "\n")
    return ["--train_file", str(folder / "all.csv")]


def several_labels(folder: Path, count: int = 48) -> list[str]:
    """Clips in which some of three tones sound together, or none; the last quarter is for validation."""
    rng = np.random.default_rng(0)
    clips: list[tuple[np.ndarray, str]] = []
    for i in range(count):
        there = [name for name in TASK_LABELS if rng.random() < 0.4]
        noise = 0.01 * rng.standard_normal(RATE_HZ // 2)
        clips.append((sum((tone(_TONES_HZ[name], 0.5, seed=i) for name in there), noise), ",".join(there)))
    return _tables(folder, "label", clips)


def numbers(folder: Path, count: int = 48) -> list[str]:
    """Clips of one tone each, labelled with its pitch; the last quarter is for validation."""
    rng = np.random.default_rng(0)
    pitches_hz = [float(rng.uniform(300, 3000)) for _ in range(count)]
    clips = [(tone(pitch_hz, 0.5, seed=i), f"{pitch_hz:.1f}") for i, pitch_hz in enumerate(pitches_hz)]
    return [*_tables(folder, "pitch_hz", clips), "--label_column_name", "pitch_hz"]


def _tables(folder: Path, column: str, clips: list[tuple[np.ndarray, str]]) -> list[str]:
    """Write clips, and a quarter of them into another table than the rest; the flags that name both."""
    (folder / "wav").mkdir(parents=True)
    for i, (wave, _) in enumerate(clips):
        soundfile.write(folder / "wav" / f"{i}.wav", wave / 4, RATE_HZ)
    rows = [[f"wav/{i}.wav", label] for i, (_, label) in enumerate(clips)]
    first = len(rows) * 3 // 4
    for split, of_split in (("train", rows[:first]), ("validation", rows[first:])):
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows([["file", column], *of_split])
    return ["--train_file", str(folder / "train.csv"), "--eval_file", str(folder / "validation.csv")]


@dataclass(frozen=True)
class _Recipe:
    """How a run is made: what writes its recordings, and the flags besides those that name them."""

    data: Callable[[Path], list[str]]
    flags: tuple[str, ...]
    fits_head: bool = False


_TASK = (*TC_RESNET, "--max_steps", "6", "--per_device_train_batch_size", "8", "--max_length_seconds", "0.5")
_TASK = (*_TASK, "--ema", "0.5", *_ONCE)

# task and family, and what is special
RUNS = {
    "single_label tc_resnet": _Recipe(
        tones, (*TC_RESNET, *_FOURS, "--max_steps", "8", "--logging_steps", "1", *_EVERY_SECOND)
    ),
    "single_label wav2vec2": _Recipe(tones, (*WAV2VEC2, *_FOURS, "--max_steps", "1", *_ONCE)),
    "single_label wav2vec2 few_shot": _Recipe(tones, ("--few_shot", "--report", "false"), fits_head=True),
    "multi_label tc_resnet": _Recipe(several_labels, ("--task", "multi_label", *_TASK)),
    "regression tc_resnet": _Recipe(numbers, ("--task", "regression", *_TASK)),
    "single_label tc_resnet folds": _Recipe(
        speakers, (*TC_RESNET, *_FOURS, "--max_steps", "2", *_ONCE, "--folds", "2")
    ),
}  # fmt: skip


@dataclass(frozen=True)
class GalleryRun:
    """A run that is trained already. ``folder``, ``data`` and ``base`` are for reading only.

    Attributes:
        folder: the run folder.
        data: the folder of its recordings.
        data_flags: flags that name them.
        flags: the other flags that it was trained with, but for ``--output_dir``.
        base: the model that it started from; not there where that was random weights.
    """

    folder: Path
    data: Path
    data_flags: list[str]
    flags: list[str]
    base: Path

    def command(self, output: Path, *more: str) -> list[str]:
        """The words that train it into ``output``; flags in ``more`` win over its own."""
        return ["train", *self.data_flags, *self.flags, "--output_dir", str(output), *more]

    def copy(self, folder: Path) -> Path:
        """Copy the run folder, for a test that changes it."""
        return Path(shutil.copytree(self.folder, folder))


class Gallery:
    """Runs of :data:`RUNS`, trained when they are first asked for."""

    def __init__(self, place: Path = _PLACE) -> None:
        self.folder = place / state_of_the_source()
        self.taken: dict[str, GalleryRun] = {}
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.touch()
        _remove_old_states(place)

    def __getitem__(self, name: str) -> GalleryRun:
        """Return a run, after training it if no session has done so yet; raises ``KeyError`` for another name."""
        from tests.cpu_times import counted_as  # a plugin: pytest has to import it before other modules do

        if name not in self.taken:
            recipe, place = RUNS[name], self.folder / name.replace(" ", "-")
            with FileLock(f"{place}.lock", timeout=PATIENCE_S):
                if not (place / _COMPLETE).is_file():
                    shutil.rmtree(place, ignore_errors=True)  # of a session that was killed
                    with counted_as(f"gallery: {name}"):
                        _make(place, recipe)
                    (place / _COMPLETE).write_text(json.dumps(_listing(place)))
            self.taken[name] = _described(place, recipe, json.loads((place / "data_flags.json").read_text()))
        return self.taken[name]

    def close(self) -> None:
        """Fail if a test has changed a run instead of a copy; such a run is trained again by the next session."""
        changed = []
        for name, run in self.taken.items():
            place = run.folder.parent
            if (place / _COMPLETE).is_file() and _listing(place) != json.loads((place / _COMPLETE).read_text()):
                (place / _COMPLETE).unlink()
                changed.append(name)
        assert not changed, f"tests changed runs of the gallery: {changed}. Let them change a copy (run.copy)"


def state_of_the_source() -> str:
    """A hash of all that a run depends on: package, this file, its helpers, versions, threads and the processor."""
    facts = {**describe_environment(_processor()), "cpu_threads": os.environ.get("OMP_NUM_THREADS")}
    found = hashlib.sha256(json.dumps(facts).encode())
    files = [path for path in (_ROOT / "src" / "earmark").rglob("*") if "__pycache__" not in path.parts]
    for path in sorted([*files, Path(__file__), _ROOT / "tests" / "tiny.py"]):
        if path.is_file():
            found.update(str(path.relative_to(_ROOT)).encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:16]


def _processor() -> str:
    facts = Path("/proc/cpuinfo")
    found = re.search(r"model name.*", facts.read_text()) if facts.is_file() else None
    return found[0] if found else ""


def _remove_old_states(place: Path) -> None:
    states = sorted((path for path in place.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)
    for old in states[:-_STATES_KEPT]:
        shutil.rmtree(old, ignore_errors=True)  # another worker may remove it as well


def _make(place: Path, recipe: _Recipe) -> None:
    place.mkdir()
    data_flags = recipe.data(place / "data")
    if recipe.fits_head:
        save_model(place / "base", 0.5)
    (place / "data_flags.json").write_text(json.dumps(data_flags))
    run = _described(place, recipe, data_flags)
    with (
        (place / "log.txt").open("w") as log,  # not into what a test captures
        contextlib.redirect_stdout(log),
        contextlib.redirect_stderr(log),
    ):
        status = main(run.command(run.folder))
    assert status == 0, (place / "log.txt").read_text()


def _described(place: Path, recipe: _Recipe, data_flags: list[str]) -> GalleryRun:
    base = ["--model_name_or_path", str(place / "base")] if recipe.fits_head else []
    flags = [*base, *recipe.flags, *_QUIET]
    return GalleryRun(place / "run", place / "data", data_flags, flags, place / "base")


def _listing(place: Path) -> dict[str, list[int]]:
    """Size and time of each file, by its name."""
    found = {}
    for path in sorted(place.rglob("*")):
        if path.is_file() and path.name != _COMPLETE:
            found[path.relative_to(place).as_posix()] = [path.stat().st_size, path.stat().st_mtime_ns]
    return found
