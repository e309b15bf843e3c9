"""``earmark search``."""

from __future__ import annotations

from collections.abc import Sequence

from earmark.cli import help as pages
from earmark.options import SearchOptions

_HEAD = """\
earmark search: train many times with settings that Optuna chooses, and say which were best (earmark[search])

usage: earmark search --search_space SPACE [flags of earmark train]
"""

_TAIL = """\
every flag of earmark train works too: earmark train --help. Trials are judged on the validation clips by
--metric_for_best_model; the test split is not touched. The same command goes on after a stop

examples
  earmark search --data_dir recordings --model_type tc_resnet --output_dir runs/search --trials 10 \\
    --search_space "learning_rate=1e-3:1e-2:log,num_train_epochs=2:6,label_smoothing_factor=0|0.1"
  earmark train --config runs/search/best.yaml
"""


def help_text() -> str:
    """The help page."""
    return pages.page_of(SearchOptions, _HEAD, _TAIL)


def run(words: Sequence[str]) -> None:
    """Search as told and print the trials."""
    from earmark.cli.parsing import look_first, parse_search
    from earmark.cli.train import launch_if_asked, print_summary, show

    look_first(words, SearchOptions)
    launch_if_asked(words, ["-m", "earmark", "search", *words], SearchOptions)
    options, settings = parse_search(words)
    from earmark.train.search import search

    show(settings.notes)
    print_summary(search(options, settings.data, settings.model, settings.run, settings.training).summary)
