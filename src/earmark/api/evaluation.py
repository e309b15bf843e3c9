"""Evaluate a model from Python (``earmark.evaluate``)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.api.predictions_table import PredictionsTable
from earmark.api.read_arguments import Source, loading_settings, splits_and_settings
from earmark.api.report_view import Report
from earmark.api.startup import prepare_process
from earmark.api.trained_run import Run, metrics_table
from earmark.extras import require_training
from earmark.runs.folder import RunFolder

if TYPE_CHECKING:
    from earmark.api.clip_table import Clips
    from earmark.predict.classifier import Classifier


@dataclass(frozen=True)
class Evaluation:
    """The scores of a model on a split.

    Attributes:
        folder: where metrics, predictions and report are.
        split: the split that was scored.
        metrics: all metrics of the split.
    """

    folder: Path
    split: str
    metrics: dict[str, Any] = field(repr=False)

    @property
    def report(self) -> Report:
        """The page ``report.html``, which a notebook shows."""
        return Report(RunFolder(self.folder).report)

    @property
    def predictions(self) -> PredictionsTable:
        """The predictions, clip by clip."""
        return PredictionsTable(RunFolder(self.folder).predictions(self.split))

    def _repr_html_(self) -> str:
        return metrics_table({self.split: self.metrics}, f"evaluation {self.folder}")


def evaluate(
    model: str | os.PathLike[str] | Run | Classifier,
    data: Source | Clips | None = None,
    *,
    split: str | None = None,
    output_dir: str | os.PathLike[str] | None = None,
    metrics: Iterable[Callable[..., Any]] | Mapping[str, Callable[..., Any]] = (),
    **settings: Any,
) -> Evaluation:
    """Score a trained model on labelled recordings.

    Args:
        model: a run, a classifier, a run folder, a model folder, or a name on the hub.
        data: a folder of recordings, a manifest, a list of these, or clips of :func:`earmark.load_clips`.
        split: ``validation``, ``test``, or ``unseen`` for clips that the run neither trained on nor scored;
            ``None`` for the validation split, or for the test split if ``data`` has only test clips. If the data has no
            validation split, earmark scores the clips that the run held out, which it recognizes by their samples.
        output_dir: folder for metrics and predictions; ``None`` for one inside the folder of the model.
        metrics: functions to compute in addition to the built-in metrics, as for :func:`earmark.train`.
        **settings: the flags of ``earmark evaluate``, without the dashes.

    Raises:
        UsageError: an unknown setting or a wrong value.
        DataError: there are no clips of the split, or clips have a label that the model does not know.
        EarmarkError: the model or the device cannot be used.
    """
    require_training("earmark.evaluate")
    prepare_process()
    loaded, values = splits_and_settings(data, settings, output_dir)
    if split is None:
        split = "test" if loaded is not None and loaded.train is None and loaded.validation is None else "validation"
    values |= {**loading_settings(model, settings), "split": split}
    from earmark.api.settings import evaluate_settings
    from earmark.evaluate.evaluate_model import evaluate as evaluate_split
    from earmark.scoring.extra_metrics import named_functions

    outcome = evaluate_split(evaluate_settings(values), metrics=named_functions(metrics), loaded=loaded)
    return Evaluation(outcome.folder, split, outcome.metrics)
