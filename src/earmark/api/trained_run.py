"""Read the metrics, report, predictions and classifier of a run folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from earmark.api.predictions_table import PredictionsTable
from earmark.api.report_view import Report
from earmark.errors import DataError, ModelError
from earmark.io.nearby_names import path_suggestion
from earmark.pages.tables import html_table
from earmark.runs.folder import RunFolder, read_json

if TYPE_CHECKING:
    from earmark.predict.classifier import Classifier


@dataclass(frozen=True)
class Run:
    """A trained run. Properties read its folder when they are used.

    Attributes:
        folder: the run folder; with ``folds`` or ``seeds``, the folder that contains the runs.
    """

    folder: Path

    @property
    def metrics(self) -> dict[str, Any]:
        """Metrics by split (``metrics.json``); for several runs, the content of ``cross_validation.json``.

        Raises:
            DataError: the run is not finished.
        """
        files = RunFolder(self.folder)
        return dict(read_json(files.cross_validation if files.cross_validation.is_file() else files.metrics))

    @property
    def labels(self) -> list[str]:
        """Class names, in the order of the model's outputs."""
        return list(read_json(RunFolder(self.folder).labels))

    @property
    def history(self) -> list[dict[str, Any]]:
        """Training log: losses, learning rates and validation metrics by step."""
        return list(read_json(RunFolder(self.folder).history))

    @property
    def settings(self) -> dict[str, Any]:
        """All settings of the run."""
        from earmark.settings.config_files import saved_config

        return saved_config(RunFolder(self.folder).config)

    @property
    def report(self) -> Report:
        """The page ``report.html``, which a notebook shows."""
        return Report(RunFolder(self.folder).report)

    @property
    def runs(self) -> list[Run]:
        """The runs of a training with ``folds`` or ``seeds``; for a single run, the run itself."""
        path = RunFolder(self.folder).cross_validation
        return [Run(self.folder / row["run"]) for row in read_json(path)["runs"]] if path.is_file() else [self]

    def predictions(self, split: str = "validation") -> PredictionsTable:
        """Return the predictions of a split, clip by clip.

        Args:
            split: ``validation`` or ``test``.

        Raises:
            DataError: the run has no predictions of this split.
        """
        table = PredictionsTable(RunFolder(self.folder).predictions(split))
        len(table)  # reads the file, so a missing one fails here
        return table

    def classifier(self, **settings: Any) -> Classifier:
        """Load the model.

        Args:
            **settings: ``device``, ``batch_size``, ``precision``; see :meth:`earmark.Classifier.from_pretrained`.

        Raises:
            ModelError: the folder holds several runs, or no model.
        """
        if RunFolder(self.folder).cross_validation.is_file():
            raise ModelError(f"{self.folder}: holds several runs. Choose one: run.runs[0].classifier()")
        from earmark import Classifier

        return Classifier.from_pretrained(self.folder, **settings)

    def _repr_html_(self) -> str:
        metrics = self.metrics
        show = runs_table if RunFolder(self.folder).cross_validation.is_file() else metrics_table
        return show(metrics, f"run {self.folder}")


def metrics_table(metrics: Mapping[str, Any], caption: str) -> str:
    """Return the numbers of ``metrics.json`` as an HTML table with one column per split."""
    splits = [name for name in metrics if name != "train" and isinstance(metrics[name], Mapping)]
    names = [
        name
        for name in dict.fromkeys(name for split in splits for name in metrics[split])
        if any(isinstance(metrics[split].get(name), (int, float)) for split in splits)
    ]
    return html_table(
        ["", *splits], ([name, *(metrics[split].get(name) for split in splits)] for name in names), caption
    )


def runs_table(results: Mapping[str, Any], caption: str) -> str:
    """Return the metrics of ``cross_validation.json`` as an HTML table: the means, then each finished run."""
    spread = results["mean_and_deviation"]
    rows = [[name, "", "", *(of[name] for of in spread.values())] for name in ("mean", "deviation")]
    rows += [[run["run"], run["split"], run["num_clips"], *(run[name] for name in spread)] for run in results["runs"]]
    unfinished = f"; not finished: {', '.join(results['unfinished'])}" if results["unfinished"] else ""
    return html_table(["", "split", "clips", *spread], rows, caption + unfinished)


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Return the run in a folder that ``earmark train`` or :func:`earmark.train` wrote.

    Raises:
        DataError: the folder holds no run.
    """
    run = Run(Path(folder).expanduser())
    if not run.folder.is_dir():
        raise DataError(f"{run.folder}: no such folder{path_suggestion(run.folder, folders=True)}")
    if not RunFolder(run.folder).is_run():
        name = RunFolder(run.folder).config.name
        raise DataError(f"{run.folder}: not a run folder, because it has no {name}. Pass the output_dir of a training.")
    return run
