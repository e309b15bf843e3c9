"""Search hyperparameters from Python (``earmark.search``)."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.api.read_arguments import Source, model_settings, splits_and_settings
from earmark.api.startup import prepare_process
from earmark.api.trained_run import Run
from earmark.api.training import refuse_processes
from earmark.errors import ModelError, Stopped
from earmark.extras import require_training
from earmark.pages.tables import html_table

if TYPE_CHECKING:
    from earmark.api.clip_table import Clips
    from earmark.predict.classifier import Classifier

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SearchResult:
    """A finished hyperparameter search. A notebook shows its trials as a table.

    Attributes:
        folder: the output folder.
        trials: entries of ``search.json``: name (``trial``), ``state``, ``value``, ``values``, ``course`` (the metric
            by epoch) and ``why`` (the reason if it failed).
        best_trial: name of the best trial; ``None`` if none was finished.
    """

    folder: Path
    trials: list[dict[str, Any]]
    best_trial: str | None

    @property
    def best(self) -> Run:
        """The run of the best trial.

        Its validation metric is too optimistic, because it is the best of several: evaluate the run on a test split.

        Raises:
            ModelError: no trial was finished.
        """
        if self.best_trial is None:
            raise ModelError(f"{self.folder}: no trial was finished. See `trials` for the reasons.")
        return Run(self.folder / self.best_trial)

    @property
    def best_settings(self) -> dict[str, Any]:
        """The searched settings of the best trial, keywords for :func:`earmark.train`; empty if none was finished."""
        return next((dict(row["values"]) for row in self.trials if row["trial"] == self.best_trial), {})

    def _repr_html_(self) -> str:
        names = list(dict.fromkeys(name for row in self.trials for name in row["values"]))
        rows = [
            [row["trial"], row["value"], *(row["values"].get(name) for name in names), row["state"]]
            for row in self.trials
        ]
        return html_table(["trial", "validation", *names, "state"], rows, f"search {self.folder}")


def search(
    data: Source | Clips | None = None,
    *,
    search_space: str | Sequence[str] | Mapping[str, str | Sequence[object]],
    model: str | os.PathLike[str] | Run | Classifier | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    **settings: object,
) -> SearchResult:
    """Train many times to find good settings. This needs Optuna: ``pip install 'earmark[search]'``.

    Example::

        found = earmark.search(
            "recordings", model="tc_resnet", output_dir="runs/search", trials=10,
            search_space={"learning_rate": "1e-3:1e-2:log", "label_smoothing_factor": [0, 0.1]},
        )
        found.best_settings

    Args:
        data: same as for :func:`earmark.train`.
        search_space: setting to a range (``"1e-5:1e-3"``, ``"1e-5:1e-3:log"``) or a list of choices; or the text of
            ``--search_space``.
        model: same as for :func:`earmark.train`.
        output_dir: folder for the trials. If it holds a search, the same call continues it.
        **settings: ``trials``, ``prune`` and every flag of ``earmark train``, without the dashes.

    Returns:
        The trials, including the best one.

    Raises:
        UsageError: a setting is unknown or cannot be searched.
        DataError: recordings cannot be used.
        Stopped: Ctrl-C or SIGTERM stopped a trial after a step. The same call continues the search.
        EarmarkError: anything else that a user can cause.
    """
    require_training("earmark.search")
    prepare_process()
    loaded, values = splits_and_settings(data, settings, output_dir)
    values |= {**model_settings(model, settings), "search_space": _words(search_space)}
    from earmark.api.settings import search_settings
    from earmark.train.early_checks import check_before_torch

    options, parsed = search_settings(values)
    for note in parsed.notes:
        logger.info("note: %s", note)
    refuse_processes(parsed.run.num_processes, "search")
    check_before_torch(parsed, has_several_runs=True, loaded=loaded)
    from earmark.train.custom import CustomParts
    from earmark.train.search import search as run_search

    try:
        outcome = run_search(options, parsed, custom=CustomParts(clips=loaded))
    except Stopped as exc:
        again = "Call earmark.search again with the same arguments to continue."
        raise Stopped(exc.at, again) from exc
    return SearchResult(outcome.folder, outcome.rows, outcome.best)


def _words(space: str | Sequence[str] | Mapping[str, str | Sequence[object]]) -> str | list[str]:
    """Return the search space in the format of ``--search_space``."""
    if not isinstance(space, Mapping):
        return space if isinstance(space, str) else list(space)
    return [
        f"{name}={values if isinstance(values, str) else '|'.join(str(value) for value in values)}"
        for name, values in space.items()
    ]
