"""The files of a run folder, their names in one place, written so that a reader never sees half of one."""

from __future__ import annotations

import json
import math
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark.errors import DataError, OutputError
from earmark.io.atomic import writing
from earmark.io.os_errors import os_errors_as

# What a run writes; the patterns are matched against names in the folder itself, and nothing else is ever removed.
_WEIGHTS = r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|pytorch_model.*\.bin"
_ADAPTER = r"adapter_config\.json|adapter_model\.safetensors"
_MODEL_FILES = rf"{_ADAPTER}|config\.json|preprocessor_config\.json|training_args\.bin|{_WEIGHTS}"
_TRAINER_ENTRIES = r"checkpoint-\d+|\.unfinished-checkpoint|trainer_state\.json|(all|train|eval)_results\.json"
_OWN_FILES = (
    r"run_config\.yaml|labels\.json|decision\.json|environment\.json|metrics\.json|results_row\.json|README\.md|bad_audio\.csv|"
    r"cross_validation\.json|history\.json|report\.html|splits\.csv|predictions_\w+\.csv(\.earmark\.json)?|"
    r"evaluation_(validation|test|unseen)(_\d+)?"
)
_WRITTEN = re.compile(f"{_MODEL_FILES}|{_TRAINER_ENTRIES}|{_OWN_FILES}")
_TENSORBOARD = "events.out.tfevents*"  # inside runs/, where Transformers puts them


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder.

    Attributes:
        path: the folder. The model itself (``config.json``, ``model.safetensors``, ``preprocessor_config.json``) lies
            in it directly, so that the folder loads as a checkpoint.
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the run; ``--config`` reads it back."""
        return self.path / "run_config.yaml"

    @property
    def labels(self) -> Path:
        """Class names, index by index."""
        return self.path / "labels.json"

    @property
    def decision(self) -> Path:
        """How the model answers, where something was fitted for that."""
        return self.path / "decision.json"

    @property
    def environment(self) -> Path:
        """Package versions and the device."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """All figures: ``train``, ``validation``, ``test``."""
        return self.path / "metrics.json"

    @property
    def results_row(self) -> Path:
        """The run's row of a results table."""
        return self.path / "results_row.json"

    @property
    def bad_audio(self) -> Path:
        """Recordings that were left out, and why."""
        return self.path / "bad_audio.csv"

    @property
    def splits(self) -> Path:
        """Which clips, by content, were in which split; see :mod:`earmark.runs.split_record`."""
        return self.path / "splits.csv"

    @property
    def split_settings(self) -> Path:
        """In an export: settings of the run that decide which clips its splits hold."""
        return self.path / "split_settings.yaml"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def history(self) -> Path:
        """What was logged while training: losses, rates and validation figures, step by step."""
        return self.path / "history.json"

    @property
    def report(self) -> Path:
        """The figures as a page, with sound."""
        return self.path / "report.html"

    @property
    def evaluation(self) -> Path:
        """Which model and which clips an evaluation is of."""
        return self.path / "evaluation.json"

    @property
    def cross_validation(self) -> Path:
        """Figures of all runs of a cross-validation, or of several seeds, in the folder that holds theirs."""
        return self.path / "cross_validation.json"

    @property
    def all_results(self) -> Path:
        """Training and validation figures under Transformers' names; see :mod:`earmark.runs.example_results`."""
        return self.path / "all_results.json"

    @property
    def train_results(self) -> Path:
        """The training figures of :attr:`all_results`."""
        return self.path / "train_results.json"

    @property
    def eval_results(self) -> Path:
        """The validation figures of :attr:`all_results`; only of a run with ``do_eval``."""
        return self.path / "eval_results.json"

    @property
    def trainer_state(self) -> Path:
        """State of Transformers' Trainer at the end: step, epoch, best checkpoint, everything that was logged."""
        return self.path / "trainer_state.json"

    def predictions(self, split: str) -> Path:
        """One row for each clip of a split."""
        return self.path / f"predictions_{split}.csv"

    def is_run(self) -> bool:
        """Whether a run, finished or not, is in the folder: its settings are the first thing that training writes."""
        return self.config.is_file()

    def foreign_files(self) -> list[str]:
        """Return the files that a run would overwrite although no run of earmark wrote them, sorted."""
        if self.is_run() or not self.path.is_dir():
            return []
        return sorted(entry.name for entry in self.path.iterdir() if _WRITTEN.fullmatch(entry.name))


def run_folders(model: str | Path | None) -> list[RunFolder]:
    """Return the folders in which the files of a model's run may be: its own, and for a checkpoint the run's.

    Args:
        model: a folder, in which ``~`` is the home folder; a name on the hub, which is no folder here; or ``None``.
    """
    if model is None:
        return []
    folder = Path(model).expanduser()
    return [RunFolder(folder), *([RunFolder(folder.parent)] if folder.name.startswith("checkpoint-") else [])]


def prepare_output_dir(folder: RunFolder, *, overwrite: bool, resume: bool) -> None:
    """Make the folder ready for a new run.

    Args:
        folder: where the run goes.
        overwrite: remove what an earlier run wrote there; files of any other name stay.
        resume: whether to continue the earlier run.

    Raises:
        OutputError: a run is there already, or files of a run's names that are none (whatever ``overwrite`` says:
            pretrained weights and somebody's README are not replaced), or the folder cannot be written.
    """
    path = folder.path
    check_is_no_file(path)
    is_run = path.is_dir() and folder.is_run()
    check_is_free(path, folder.foreign_files(), is_run=is_run and not resume and not overwrite)
    if is_run and not resume:
        _remove_run(path)
    prepare_folder(path)


def check_is_free(path: Path, foreign: Sequence[str], *, is_run: bool) -> None:
    """Check that a run can be written to a folder.

    Args:
        path: the folder.
        foreign: files there with a run's names that no run of earmark has written.
        is_run: whether a run is there that is neither resumed nor replaced.

    Raises:
        OutputError: it cannot.
    """
    if foreign:
        raise OutputError(
            f"{path}: is not a run of earmark and holds {', '.join(foreign[:3])}, which a run would overwrite. Give "
            "another --output_dir."
        )
    if is_run:
        raise OutputError(
            f"{path}: holds a run already. Name another --output_dir, add --resume to continue the run, or "
            "--overwrite_output_dir to replace it."
        )


def check_is_no_file(path: Path) -> None:
    """See that an output folder can be at ``path``.

    Raises:
        OutputError: a file is there, or the name cannot be one.
    """
    # a name that is too long, a parent that may not be searched
    with os_errors_as(OutputError, f"{path}: cannot be the output folder", "; give another --output_dir"):
        is_file = path.exists() and not path.is_dir()
    if is_file:
        raise OutputError(f"{path}: a file is in the way of the output folder; give another --output_dir")


def prepare_folder(path: Path) -> None:
    """Create a folder where needed and see that it can be written.

    Raises:
        OutputError: it cannot.
    """
    with os_errors_as(OutputError, f"{path}: cannot write into the output folder"):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass


def _remove_run(path: Path) -> None:
    mine = [entry for entry in path.iterdir() if _WRITTEN.fullmatch(entry.name)]
    mine.sort(key=lambda entry: entry.name == "run_config.yaml")  # last: what is left of a run is known by it
    for entry in [*mine, *path.glob(f"runs/*/{_TENSORBOARD}"), *path.glob(f"runs/{_TENSORBOARD}")]:
        with os_errors_as(OutputError, f"{entry}: cannot remove the earlier run's file"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def write_json(path: Path, value: object) -> None:
    """Write JSON, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    with writing(path) as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def finite(value: object) -> object:
    """Return plain values with ``None`` for NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Read one of the run's JSON files.

    Raises:
        DataError: it is missing or damaged.
    """
    return _read(path, json.loads)


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        what = "no such folder" if not path.parent.is_dir() else f"no {path.name} in it, so not a finished run"
        raise DataError(f"{path.parent}: {what}") from exc
    except (OSError, ValueError) as exc:
        raise DataError(f"{path}: damaged ({exc}); train or evaluate again to write it again") from exc
