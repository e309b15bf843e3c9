"""``earmark train``, and the command line of Transformers' ``run_audio_classification.py``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from earmark.cli.command import Command, HelpPage
from earmark.distributed.launched import is_main_process
from earmark.settings.train_settings import (
    TRAIN_CLASSES,
    TrainSettings,
    check_sources,
    evaluation_options,
    parse_example,
    parse_train,
)

logger = logging.getLogger(__name__)


def run_example(words: Sequence[str]) -> None:
    """Train, evaluate or both, as ``--do_train`` and ``--do_eval`` say."""
    settings = parse_example(words)
    launch_if_asked(settings, ["-m", "earmark.cli.example"])
    if settings.training.do_train:
        _train_here(settings, print_blocks=True)
        return
    from earmark.evaluate.evaluate_model import evaluate

    if is_main_process():  # the launcher's other ranks would compute and write the same results
        outcome = evaluate(evaluation_options(settings))
        _print_results(outcome.folder, "eval")
        print(outcome.summary)


def launch_if_asked(settings: TrainSettings, command: Sequence[str]) -> None:
    """Check what can be checked at once and, with ``--num_processes``, do all the work in other processes.

    Args:
        settings: settings of the run.
        command: words between ``python`` and the flags, for the processes to start.

    Raises:
        DataError: a folder or manifest does not exist.
        SystemExit: with the exit code of the processes, which have shown their messages.
    """
    check_sources(settings.data)
    number = settings.run.num_processes
    if number is not None:
        from earmark.device import check_processes_fit
        from earmark.distributed.launch import is_to_launch, launch

        if is_to_launch(number):
            check_processes_fit(settings.run.device, number)
            raise SystemExit(launch([*command, *settings.words], number))
    show(settings.notes)


def _train(settings: TrainSettings) -> None:
    launch_if_asked(settings, ["-m", "earmark", "train"])
    _train_here(settings)


def _train_here(settings: TrainSettings, *, print_blocks: bool = False) -> None:
    from earmark.train.early_checks import check_before_torch

    clips = check_before_torch(settings, has_several_runs=settings.has_several_runs)
    from earmark.train.custom import CustomParts
    from earmark.train.protocol import run_protocol
    from earmark.train.train_model import train

    if settings.has_several_runs:
        print_summary(run_protocol(settings).summary)
        return
    outcome = train(settings, custom=CustomParts(clips=clips))
    if print_blocks:
        _print_results(outcome.folder, "train", "eval")
    print_summary(outcome.summary)


def _print_results(folder: Path, *splits: str) -> None:
    """Print the result files as Transformers' example does, for scripts that read its output; on rank 0 only."""
    from earmark.runs.example_results import print_results
    from earmark.runs.folder import RunFolder

    if is_main_process():
        print_results(RunFolder(folder), *splits)


def print_summary(summary: str) -> None:
    """Print the results of a run, on rank 0 only."""
    if is_main_process():
        print(summary)


def show(notes: Sequence[str]) -> None:
    """Log a note for each word that was translated or left out."""
    for note in notes:
        logger.info("note: %s", note)


_PAGE = HelpPage(
    summary="train a classifier on labelled recordings, evaluate it, write a run folder",
    usage="""
earmark train --data_dir DIR (--model_name_or_path MODEL | --model_type TYPE) --output_dir DIR [flags]
earmark train --config recipe.yaml [flags]""",
    groups={
        "data": "data",
        "model": "model",
        "training": "training",
        "loss": "loss",
        "decision": "predictions, fitted on validation clips",
        "augmentation": "augmentation",
        "output": "output",
        "run": "run",
    },
    examples="""
class folders, a small network from scratch, on a laptop:
  earmark train --data_dir recordings --model_type tc_resnet --output_dir runs/first
a recipe, with one setting changed:
  earmark train --config recipes/superb_ks_wav2vec2_base.yaml --data_dir speech_commands_v0.01 --seed 1
the same on 8 devices:
  torchrun --nproc_per_node 8 -m earmark train --config recipes/superb_ks_wav2vec2_base.yaml""",
)
COMMAND = Command("train", _train, TRAIN_CLASSES, _PAGE, parse=parse_train, needs_training=True)
