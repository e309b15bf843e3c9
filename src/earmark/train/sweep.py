"""Train several runs in one output folder, one after another, for cross-validation, seeds and searches.

Each run is one call of :func:`earmark.train.train_model.train` with its own folder, so it is an ordinary run. Running
the same command again keeps finished runs and resumes an interrupted one.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from accelerate.utils.memory import clear_device_cache

from earmark.distributed.ranks import on_main_process
from earmark.errors import OutputError, Stopped, UsageError
from earmark.runs.folder import RunFolder, prepare_output_dir
from earmark.runs.folder_lock import locked_folder
from earmark.settings.flags import Scope, declared_flags
from earmark.settings.train_settings import TRAIN_CLASSES, TrainSettings
from earmark.settings.training_flags import TrainingArguments
from earmark.train.custom import CustomParts
from earmark.train.start_ranks import start_ranks
from earmark.train.train_model import TrainOutcome, train

_NAMED = 4  # maximum number of changed settings in a message


class EndedEarly(Stopped):
    """A run was ended on purpose before its last step; the sweep continues."""


@contextmanager
def sweep_folder(settings: TrainSettings) -> Iterator[Path]:
    """Start the ranks of a sweep, and lock its output folder. All ranks call this.

    Raises:
        UsageError: a setting only makes sense for a single run.
        OutputError: another process uses the folder, or it cannot be written.
    """
    training = settings.training
    if str(training.resume_from_checkpoint or "none").lower() not in ("none", "false"):
        raise UsageError("--resume_from_checkpoint: only for a single run. Run the command without it to resume.")
    if training.push_to_hub:
        raise UsageError("--push_to_hub: only for a single run. Upload one later with `earmark push RUN ORG/NAME`.")
    start_ranks(settings)
    output = Path(training.output_dir or "")
    with locked_folder(output):
        yield output


def train_one(
    settings: TrainSettings, name: str, *, custom: CustomParts, with_test: bool = True, **changes: object
) -> TrainOutcome:
    """Train one run of a sweep, or resume it.

    Args:
        settings: settings of the sweep.
        name: path of the run in the output folder and in the folder of logs, e.g. ``seed_0/fold_3``.
        custom: objects and functions for the run.
        with_test: whether the model is evaluated on a test split.
        **changes: settings of this run only.

    Raises:
        Stopped: a signal ended the run.
        EarmarkError: the run raised it.
    """
    folder, logs = Path(settings.training.output_dir or "") / name, settings.run.logging_dir
    one = settings.changed(
        output_dir=str(folder),
        logging_dir=str(Path(logs) / name) if logs else None,
        run_name=_run_name(settings.training, name),
        resume=on_main_process(lambda: RunFolder(folder).is_run()),
        overwrite_output_dir=False,
        **changes,
    )
    try:
        return train(one, custom=custom, with_test=with_test)
    except EndedEarly:
        raise
    except Stopped as exc:
        raise Stopped(f"{name} {exc.at}", "Run the same command to continue.") from exc
    finally:
        free_memory()


def free_memory() -> None:
    """Free the memory of unused models, because there may be memory for one model only.

    The model of a run that failed stays in memory until its error has been handled.
    """
    gc.collect()
    clear_device_cache()


def _run_name(training: TrainingArguments, name: str) -> str | None:
    given = training.run_name
    return None if given is None or given == training.output_dir else f"{given}/{name}"


def remove_runs(folders: Iterable[Path]) -> None:
    """Remove the files of earlier runs from run folders."""
    for folder in folders:
        prepare_output_dir(RunFolder(folder), overwrite=True, resume=False)


def changed_settings(before: Mapping[str, object], now: Mapping[str, object]) -> list[str]:
    """Describe the changed settings that affect the model, its training or its clips.

    Args:
        before: saved settings; settings that it lacks, because an older version saved it, are not compared.
        now: settings of this call.
    """
    scopes = Scope.RESULT | Scope.SPLITS | Scope.TRAINING
    decisive = {"search_space", *(name for name, one in declared_flags(*TRAIN_CLASSES).items() if one.scope & scopes)}
    decisive.remove("output_dir")  # the same folder, but its path may be written differently
    return [
        f"{name} {before[name]} there, {value} here"
        for name, value in now.items()
        if name in decisive and name in before and before[name] != value
    ]


def holds_others(output: Path, what: str, changed: Sequence[str] = ()) -> OutputError:
    """Return the error for an output folder that holds something else.

    Args:
        output: the folder.
        what: noun for its content.
        changed: changed settings, see :func:`changed_settings`.
    """
    how = f" with other settings ({'; '.join(changed[:_NAMED])})" if changed else ""
    return OutputError(
        f"{output}: holds {what}{how}. Name another --output_dir, or replace it with --overwrite_output_dir."
    )
