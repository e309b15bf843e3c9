"""Train from Python (``earmark.train``)."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from earmark.api.read_arguments import Source, model_settings, splits_and_settings
from earmark.api.startup import prepare_process
from earmark.api.trained_run import Run
from earmark.errors import Stopped, UsageError
from earmark.extras import require_training

if TYPE_CHECKING:
    from transformers import TrainerCallback

    from earmark.api.clip_table import Clips
    from earmark.predict.classifier import Classifier

logger = logging.getLogger(__name__)


def train(
    data: Source | Clips | None = None,
    *,
    model: str | os.PathLike[str] | Run | Classifier | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    callbacks: Iterable[TrainerCallback | type[TrainerCallback]] = (),
    metrics: Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]] = (),
    augmentations: Iterable[Callable[..., Any]] = (),
    **settings: Any,
) -> Run:
    """Train an audio classifier and write a run folder.

    Example::

        run = earmark.train("recordings", model="openai/whisper-tiny", output_dir="runs/first", num_train_epochs=4)
        run.metrics["validation"]["accuracy"]
        run.classifier().predict("new.wav")

    Args:
        data: folder of recordings, manifest (.csv, .tsv, .jsonl, .parquet), list of these, or clips of
            :func:`earmark.load_clips`; ``None`` if ``data_dir``, ``train_file`` or ``dataset_name`` names the data.
        model: model folder, name on the hub (``org/name``), or model type such as ``tc_resnet`` for random weights;
            also a run or a classifier to start from.
        output_dir: run folder to write.
        callbacks: instances or subclasses of Transformers' ``TrainerCallback``.
        metrics: functions to compute in addition to the built-in metrics, or functions by name. The names of their
            parameters select the arguments: ``predictions`` or ``y_pred``, ``references`` or ``y_true``, ``logits``,
            ``probabilities`` or ``y_score``. ``metric_for_best_model`` can name one of these metrics.
        augmentations: functions that change the samples of training clips: ``f(samples, sampling_rate, rng)`` with
            float32 (T,) samples; the last two parameters are optional. The random numbers of ``rng`` depend only on
            seed, epoch and clip.
        **settings: every flag of ``earmark train``, without the dashes.

    Returns:
        The run with its metrics, report and classifier. With ``folds`` or ``seeds``, it holds several runs.

    Raises:
        UsageError: a setting is unknown, a value is wrong, or settings contradict each other.
        DataError: recordings cannot be used.
        Stopped: Ctrl-C or SIGTERM stopped training after a step. A checkpoint is saved; the same call with
            ``resume=True`` continues. A second Ctrl-C raises ``KeyboardInterrupt`` at once.
        EarmarkError: anything else that a user can cause.
    """
    require_training("earmark.train")
    prepare_process()
    loaded, values = splits_and_settings(data, settings, output_dir)
    values |= model_settings(model, settings)
    from earmark.api.settings import train_settings
    from earmark.scoring.extra_metrics import named_functions
    from earmark.train.early_checks import check_before_torch

    parsed = train_settings(values)
    for note in parsed.notes:
        logger.info("note: %s", note)
    refuse_processes(parsed.run.num_processes, "train")
    several = parsed.has_several_runs
    functions = named_functions(metrics)
    clips = check_before_torch(parsed, has_several_runs=several, loaded=loaded, metrics=functions)
    from earmark.train.custom import CustomParts
    from earmark.train.protocol import run_protocol
    from earmark.train.train_model import train as train_one

    # each seed cuts different clips from the background recordings, so each of several runs loads its own clips
    custom = CustomParts.of(callbacks, functions, augmentations, loaded if several else clips)
    train_all = run_protocol if several else train_one
    try:
        outcome = train_all(parsed, custom=custom)
    except Stopped as exc:
        again = "Call earmark.train again with the same arguments" + ("" if several else " and resume=True")
        raise Stopped(exc.at, f"{again} to continue.") from exc
    return Run(outcome.folder)


def refuse_processes(number: int | None, command: str) -> None:
    """Check that a call does not ask for additional processes, which only commands start.

    Args:
        number: ``num_processes``.
        command: name of the function and of the command.

    Raises:
        UsageError: the call asks for processes.
    """
    if number is not None and number != 1:
        raise UsageError(
            f"--num_processes {number}: earmark.{command} trains in the process that calls it. Start the script with "
            f"torchrun --nproc_per_node {number}, or use the command earmark {command}."
        )
