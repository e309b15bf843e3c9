"""Write the result files of Transformers' examples, such as ``eval_results.json``, for scripts that read them.

Names, keys and layout are the same as in ``Trainer.save_metrics`` and ``Trainer.save_state``. The metrics come from
``metrics.json``, so nothing is scored twice.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from earmark.errors import DataError
from earmark.runs.folder import RunFolder, finite, read_json, write_json
from earmark.runs.judged import Judged
from earmark.tasks.figures import Figures

if TYPE_CHECKING:
    from transformers import TrainerState

_TRAIN, _EVAL = "train", "eval"


def speed(prefix: str, seconds: float, *, samples: float, steps: float) -> dict[str, float]:
    """Return ``PREFIX_runtime``, ``PREFIX_samples_per_second`` and ``PREFIX_steps_per_second``, rounded as in Trainer.

    Args:
        prefix: ``train`` or ``eval``.
        seconds: duration of the work.
        samples: clips that were trained on or scored.
        steps: optimizer steps, or batches.
    """
    runtime = {f"{prefix}_runtime": round(seconds, 4)}
    if seconds <= 0:
        return runtime
    rates = {f"{prefix}_samples_per_second": samples / seconds, f"{prefix}_steps_per_second": steps / seconds}
    return {**runtime, **{name: round(rate, 3) for name, rate in rates.items()}}


def scalars(figures: Figures) -> dict[str, float]:
    """Return the metrics of ``metrics.json`` that are single numbers."""
    return {name: value for name, value in figures.to_dict().items() if isinstance(value, (int, float))}


def eval_results(judged: Judged, *, clips_a_batch: int, epoch: float | None = None) -> dict[str, Any]:
    """Return the content of ``eval_results.json``.

    Args:
        judged: the scored split.
        clips_a_batch: batch size over all devices.
        epoch: number of trained epochs; ``None`` if this command did not train the model.
    """
    clips = judged.metrics.num_clips
    values = {**judged.extra, **judged.custom, **scalars(judged.metrics)}
    measured = speed(_EVAL, judged.scored_s, samples=clips, steps=math.ceil(clips / clips_a_batch))
    trained = {} if epoch is None else {"epoch": epoch}
    named = {f"{_EVAL}_{name}": value for name, value in values.items()}
    return {**named, **measured, f"{_EVAL}_samples": clips, **trained}


def write_results(folder: RunFolder, train: Mapping[str, object], evaluation: Mapping[str, object] | None) -> None:
    """Write the result files of a training run.

    Args:
        folder: the run folder.
        train: content of ``train_results.json``.
        evaluation: content of ``eval_results.json``. ``None`` without an evaluation: then an old file is removed,
            because its model has been replaced.
    """
    _write(folder.train_results, train)
    if evaluation is None:
        folder.eval_results.unlink(missing_ok=True)
    else:
        _write(folder.eval_results, evaluation)
    _write(folder.all_results, {**train, **(evaluation or {})})


def write_eval_results(folder: RunFolder, evaluation: Mapping[str, object], *, keep_train: bool = False) -> None:
    """Write the result files of an evaluation.

    Args:
        folder: folder for the files.
        evaluation: content of ``eval_results.json``.
        keep_train: whether to keep the training results in ``all_results.json``, because the folder is a run.
    """
    _write(folder.eval_results, evaluation)
    train = _read(folder.train_results) if keep_train else {}
    _write(folder.all_results, {**train, **evaluation})


def print_results(folder: RunFolder, *splits: str) -> None:
    """Print result files in the format of ``Trainer.log_metrics``, as Transformers' example does.

    Args:
        folder: folder of the files.
        *splits: ``train`` or ``eval``; a split without a file is skipped.
    """
    from transformers import Trainer

    files = {_TRAIN: folder.train_results, _EVAL: folder.eval_results}
    for split in splits:
        values = {name: value for name, value in _read(files[split]).items() if isinstance(value, (int, float))}
        if values:
            Trainer.log_metrics(cast("Trainer", _MainProcess), split, values)


class _MainProcess:
    """The part of a trainer that ``Trainer.log_metrics`` uses."""

    @staticmethod
    def is_world_process_zero() -> bool:
        """Return True, because only one process prints result files."""
        return True


def earlier_train_results(folder: RunFolder) -> dict[str, object]:
    """Return the content of ``train_results.json``; empty if the file is missing or damaged."""
    return _read(folder.train_results)


def write_state(folder: RunFolder, state: TrainerState) -> None:
    """Write ``trainer_state.json``: step, epoch, best checkpoint and the training log."""
    _write(folder.trainer_state, asdict(state))


def _write(path: Path, values: Mapping[str, object]) -> None:
    write_json(path, finite(dict(sorted(values.items()))))


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except DataError:
        return {}
    return found if isinstance(found, dict) else {}
