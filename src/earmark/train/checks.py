"""What can be known to be wrong with a run before it starts, so that hours of training do not end in an error."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from earmark.config import RunArguments
from earmark.errors import UsageError
from earmark.extras import require
from earmark.runs.folder import RunFolder, prepare_folder
from earmark.scoring.metric_folder import run_metric_folder
from earmark.scoring.metrics import compute_metrics
from earmark.train.arguments import EarmarkTrainingArguments

# Transformers' callbacks whose package is one of this project's extras.
_REPORTERS = ("tensorboard", "trackio")


def check_model_survives(model: Path | None, folder: RunFolder, *, overwrite: bool) -> None:
    """See that replacing an earlier run does not remove the model to start from.

    Args:
        model: folder of the pretrained model.
        folder: output folder.
        overwrite: whether a run in it is removed.

    Raises:
        UsageError: the model lies in the run that would be removed.
    """
    if model is None or not overwrite or not folder.is_run():
        return
    place, output = model.resolve(), folder.path.resolve()
    if place == output or output in place.parents:
        raise UsageError(
            f"--overwrite_output_dir would remove the model to start from, {model}; give another --output_dir"
        )


def check_settings(run: RunArguments, training: EarmarkTrainingArguments, labels: Sequence[str], clips: int) -> None:
    """Try what is otherwise first used at the end of an epoch, or of the run.

    Args:
        run: its metric folder and its folder for TensorBoard.
        training: its trackers, its batches and the figure that makes a model the best.
        labels: class names.
        clips: number of training clips.

    Raises:
        UsageError: a figure, a tracker or a metric that does not exist, or batches that leave no step to do.
        OutputError: the folder for TensorBoard cannot be written.
        MissingExtraError: a tracker's package is not installed.
    """
    _check_best_metric(training, labels)
    if training.train_sampling_strategy not in ("random", "sequential"):
        raise UsageError(
            f"--train_sampling_strategy {training.train_sampling_strategy}: clips of like length are put together by "
            "--bucket_waste; use random or sequential"
        )
    if training.sampler == "balanced" and training.train_sampling_strategy != "random":
        raise UsageError(
            f"--sampler balanced and --train_sampling_strategy {training.train_sampling_strategy} contradict: keep one"
        )
    for name in set(training.report_to) & set(_REPORTERS):
        require(name)
    if "tensorboard" in training.report_to and run.logging_dir:
        prepare_folder(Path(run.logging_dir))
    if run.metric:
        run_metric_folder(run.metric, np.arange(len(labels)), np.arange(len(labels)))
    batch = training.train_batch_size * training.world_size
    if training.dataloader_drop_last and clips < batch:
        raise UsageError(
            f"--dataloader_drop_last leaves nothing of {clips} training clips in batches of {batch}; lower "
            "--per_device_train_batch_size or drop the flag"
        )


def _check_best_metric(training: EarmarkTrainingArguments, labels: Sequence[str]) -> None:
    if training.metric_for_best_model is None:
        return
    one_each = compute_metrics(np.eye(len(labels), dtype=np.float32), np.arange(len(labels)), labels).to_dict()
    known = [name for name, value in one_each.items() if isinstance(value, (int, float))]
    if training.metric_for_best_model.removeprefix("eval_") not in known:
        raise UsageError(f"--metric_for_best_model {training.metric_for_best_model}: not one of {', '.join(known)}")
