"""``earmark train``, and the command line of Transformers' ``run_audio_classification.py``."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from earmark.cli import help as pages
from earmark.progress import is_main_process

if TYPE_CHECKING:
    from earmark.cli.parsing import TrainSettings

logger = logging.getLogger(__name__)


def help_text() -> str:
    """The help page."""
    return pages.train_help()


def run(words: Sequence[str]) -> None:
    """Train as told and print how it went."""
    if "--help_all" in words:
        print(pages.train_help_all())
        return
    from earmark.cli.parsing import look_first, parse_train

    look_first(words)
    launch_if_asked(words, ["-m", "earmark", "train", *words])
    _train(parse_train(words))


def run_example(words: Sequence[str]) -> None:
    """Train, evaluate or both, as ``--do_train`` and ``--do_eval`` say."""
    from earmark.cli.parsing import evaluation_of, look_first, parse_example, with_config_flag

    look_first(with_config_flag(words))
    launch_if_asked(with_config_flag(words), ["-m", "earmark.cli.example", *words])
    settings = parse_example(words)
    if settings.training.do_train:
        _train(settings)
        return
    from earmark.evaluate.run import evaluate

    show(settings.notes)
    if is_main_process():  # the others of a launcher would score and write the same
        print(evaluate(evaluation_of(settings)).summary)


def launch_if_asked(words: Sequence[str], command: Sequence[str], *also: type) -> None:
    """With ``--num_processes``, do all the work in processes of their own and end as they do.

    Args:
        words: of the command line.
        command: what Python is started with in each process.
        *also: dataclasses of flags that the command takes beside those of training.

    Raises:
        SystemExit: with the exit code of the processes. What there is to say they have said.
    """
    from earmark.cli.parsing import parse_processes
    from earmark.train.launch import is_to_launch, launch

    num_processes, device = parse_processes(words, *also)
    if num_processes is not None and is_to_launch(num_processes, device):
        raise SystemExit(launch(command, num_processes))


def _train(settings: TrainSettings) -> None:
    from earmark.train.protocol import asks_for_several_runs, run_protocol
    from earmark.train.run import train

    show(settings.notes)
    if asks_for_several_runs(settings.data, settings.run):
        print_summary(run_protocol(settings.data, settings.model, settings.run, settings.training).summary)
        return
    if settings.run.logging_dir:
        os.environ["TENSORBOARD_LOGGING_DIR"] = settings.run.logging_dir  # where Transformers' callback looks
    print_summary(train(settings.data, settings.model, settings.run, settings.training).summary)


def print_summary(summary: str) -> None:
    """Print what a run came to; of rank 0, as the others have nothing to add."""
    if is_main_process():
        print(summary)


def show(notes: Sequence[str]) -> None:
    """Show one line for each thing that was read otherwise than it was written."""
    for note in notes:
        logger.info("note: %s", note)
