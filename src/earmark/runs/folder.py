"""Name the files of a run folder, and write them so that a reader never sees a partial file."""

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
from earmark.io.nearby_names import path_suggestion
from earmark.io.os_errors import os_errors_as

# Patterns of the files that a run writes. Only files in the folder itself that match are ever removed.
_WEIGHTS = r"model(-\d+-of-\d+)?\.safetensors|model\.safetensors\.index\.json|pytorch_model.*\.bin"
_ADAPTER = r"adapter_config\.json|adapter_model\.safetensors"
_MODEL_FILES = rf"{_ADAPTER}|config\.json|preprocessor_config\.json|training_args\.bin|{_WEIGHTS}"
_TRAINER_ENTRIES = r"checkpoint-\d+|\.unfinished-checkpoint|trainer_state\.json|(all|train|eval)_results\.json"
_OWN_FILES = (
    r"run_config\.yaml|labels\.json|decision\.json|environment\.json|metrics\.json|results_row\.json|README\.md|bad_audio\.csv|"
    r"cross_validation\.json|profile|history\.json|report\.html|splits\.csv|predictions_\w+\.csv(\.earmark\.json)?|"
    r"evaluation_(validation|test|unseen)(_\d+)?"
)
_WRITTEN = re.compile(f"{_MODEL_FILES}|{_TRAINER_ENTRIES}|{_OWN_FILES}")
_TENSORBOARD = "events.out.tfevents*"  # in the subfolder runs/, where Transformers writes them


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder.

    Attributes:
        path: the folder. It contains the model (``config.json``, ``model.safetensors``, ``preprocessor_config.json``)
            directly, so that it loads as a checkpoint.
    """

    path: Path

    @property
    def config(self) -> Path:
        """All settings of the run, which ``--config`` reads."""
        return self.path / "run_config.yaml"

    @property
    def labels(self) -> Path:
        """Class names in the order of their indices."""
        return self.path / "labels.json"

    @property
    def decision(self) -> Path:
        """Fitted temperature and thresholds, if there are any."""
        return self.path / "decision.json"

    @property
    def environment(self) -> Path:
        """Package versions and the device."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> Path:
        """All metrics by split: ``train``, ``validation``, ``test``."""
        return self.path / "metrics.json"

    @property
    def results_row(self) -> Path:
        """The run's row of a results table."""
        return self.path / "results_row.json"

    @property
    def bad_audio(self) -> Path:
        """Recordings that were skipped, with the reasons."""
        return self.path / "bad_audio.csv"

    @property
    def splits(self) -> Path:
        """Content hashes of the clips in each split; see :mod:`earmark.runs.split_record`."""
        return self.path / "splits.csv"

    @property
    def split_settings(self) -> Path:
        """In an export: settings of the run that determine its splits."""
        return self.path / "split_settings.yaml"

    @property
    def card(self) -> Path:
        """The model card."""
        return self.path / "README.md"

    @property
    def history(self) -> Path:
        """Training log: losses, learning rates and validation metrics by step."""
        return self.path / "history.json"

    @property
    def report(self) -> Path:
        """Page with metrics, charts and audio examples."""
        return self.path / "report.html"

    @property
    def evaluation(self) -> Path:
        """Model and clips of an evaluation."""
        return self.path / "evaluation.json"

    @property
    def cross_validation(self) -> Path:
        """Metrics of all runs of a cross-validation or of several seeds, in the folder that contains the runs."""
        return self.path / "cross_validation.json"

    @property
    def all_results(self) -> Path:
        """Training and validation metrics under Transformers' names; see :mod:`earmark.runs.example_results`."""
        return self.path / "all_results.json"

    @property
    def train_results(self) -> Path:
        """Training metrics of :attr:`all_results`."""
        return self.path / "train_results.json"

    @property
    def eval_results(self) -> Path:
        """Validation metrics of :attr:`all_results`; only for a run with ``do_eval``."""
        return self.path / "eval_results.json"

    @property
    def trainer_state(self) -> Path:
        """Final state of Transformers' Trainer: step, epoch, best checkpoint, training log."""
        return self.path / "trainer_state.json"

    @property
    def profile(self) -> Path:
        """Folder of the trace and the table of ``--profile``."""
        return self.path / "profile"

    def predictions(self, split: str) -> Path:
        """Return the file with one row per clip of a split."""
        return self.path / f"predictions_{split}.csv"

    def is_run(self) -> bool:
        """Return whether the folder holds a run, finished or not: training writes the settings first."""
        return self.config.is_file()

    def foreign_files(self) -> list[str]:
        """Return the files that a run would overwrite although no run of earmark wrote them, sorted."""
        if self.is_run() or not self.path.is_dir():
            return []
        return sorted(entry.name for entry in self.path.iterdir() if _WRITTEN.fullmatch(entry.name))


def run_folders(model: str | Path | None) -> list[RunFolder]:
    """Return the folders that may hold the files of a model's run: the model's, and its parent for a checkpoint.

    Args:
        model: a folder, which may begin with ``~``; a name on the hub, which is not a folder; or ``None``.
    """
    if model is None:
        return []
    folder = Path(model).expanduser()
    return [RunFolder(folder), *([RunFolder(folder.parent)] if folder.name.startswith("checkpoint-") else [])]


def prepare_output_dir(folder: RunFolder, *, overwrite: bool, resume: bool) -> None:
    """Prepare a folder for a new run.

    Args:
        folder: folder for the run.
        overwrite: whether to remove the files of an earlier run; other files stay.
        resume: whether to continue the earlier run.

    Raises:
        OutputError: the folder holds a run; or it is not a run and has files with a run's names, such as pretrained
            weights or a README, which even ``overwrite`` does not replace; or it cannot be written.
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
        foreign: files in it with a run's names that no run of earmark wrote.
        is_run: whether it holds a run that is neither resumed nor replaced.

    Raises:
        OutputError: the folder holds other files or a run.
    """
    if foreign:
        raise OutputError(
            f"{path}: is not a run of earmark and holds {', '.join(foreign[:3])}, which a run would overwrite. Give "
            "another --output_dir."
        )
    if is_run:
        raise OutputError(
            f"{path}: holds a run already. Name another --output_dir, add --resume to continue the run, or "
            "--overwrite_output_dir to replace it (in Python, resume=True or overwrite_output_dir=True)."
        )


def check_is_no_file(path: Path) -> None:
    """Check that ``path`` can be an output folder.

    Raises:
        OutputError: a file has this name, or the name is invalid.
    """
    # The name may be too long, or a parent folder may not be readable.
    with os_errors_as(OutputError, f"{path}: cannot be the output folder", ". Give another --output_dir."):
        is_file = path.exists() and not path.is_dir()
    if is_file:
        raise OutputError(f"{path}: a file is in the way of the output folder. Give another --output_dir.")


def prepare_folder(path: Path) -> None:
    """Create a folder if needed, and check that it can be written.

    Raises:
        OutputError: the folder cannot be created or written.
    """
    with os_errors_as(OutputError, f"{path}: cannot write into the output folder"):
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass


def _remove_run(path: Path) -> None:
    mine = [entry for entry in path.iterdir() if _WRITTEN.fullmatch(entry.name)]
    mine.sort(key=lambda entry: entry.name == "run_config.yaml")  # removed last, because it marks the folder as a run
    for entry in [*mine, *path.glob(f"runs/*/{_TENSORBOARD}"), *path.glob(f"runs/{_TENSORBOARD}")]:
        with os_errors_as(OutputError, f"{entry}: cannot remove this file of the earlier run"):
            shutil.rmtree(entry) if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def write_json(path: Path, value: object) -> None:
    """Write JSON atomically.

    Raises:
        OutputError: the file cannot be written.
    """
    with writing(path) as stream:
        json.dump(value, stream, indent=2, ensure_ascii=False, allow_nan=False)
        stream.write("\n")


def finite(value: object) -> object:
    """Return plain values with ``None`` in place of NaN and infinity, which JSON does not have."""
    if isinstance(value, Mapping):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        DataError: the file is missing or damaged.
    """
    return _read(path, json.loads)


def _read(path: Path, parse: Callable[[str], Any]) -> Any:
    try:
        return parse(path.read_text(encoding="utf-8"))
    except FileNotFoundError as exc:
        if path.parent.is_dir():
            raise DataError(
                f"{path.parent}: not a finished run, because it has no {path.name}. Name a run folder, or train again."
            ) from exc
        raise DataError(f"{path.parent}: no such folder{path_suggestion(path.parent, folders=True)}") from exc
    except (OSError, ValueError) as exc:
        raise DataError(f"{path}: the file is damaged ({exc}). Train or evaluate again to replace it.") from exc
