"""``earmark search``."""

from __future__ import annotations

from functools import partial

from earmark.cli.command import Command, HelpPage
from earmark.cli.train_command import launch_if_asked, print_summary
from earmark.settings.search_flags import SearchOptions
from earmark.settings.train_settings import TRAIN_CLASSES, TrainSettings, parse_with


def _search(both: tuple[SearchOptions, TrainSettings]) -> None:
    options, settings = both
    launch_if_asked(settings, ["-m", "earmark", "search"])
    from earmark.train.early_checks import check_before_torch

    check_before_torch(settings, has_several_runs=True)
    from earmark.train.search import search

    print_summary(search(options, settings).summary)


_PAGE = HelpPage(
    summary="train many times to find good settings",
    usage="earmark search --search_space SPACE [flags of earmark train]",
    text="""
Trains with settings that Optuna chooses by the results of earlier trials, and reports the best ones. Needs
earmark[search].""",
    notes="""
Trials are compared on the validation clips by --metric_for_best_model; the test split is not touched. The same
command resumes a stopped search.""",
    examples="""
earmark search --data_dir recordings --model_type tc_resnet --output_dir runs/search --trials 10 \\
  --search_space "learning_rate=1e-3:1e-2:log,num_train_epochs=2:6,label_smoothing_factor=0|0.1"
earmark train --config runs/search/best.yaml""",
)
COMMAND = Command(
    "search",
    _search,
    (SearchOptions, *TRAIN_CLASSES),
    _PAGE,
    parse=partial(parse_with, SearchOptions),
    needs_training=True,
)
