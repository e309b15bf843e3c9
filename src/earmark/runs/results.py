"""Make the results table with one row per run: Architecture, Pretrained model, Recipe, Device, Samples/s, Accuracy.

If some runs have several labels per clip or numbers, the last columns are Result (mAP 0.6100, MAE 2.3) and Baseline.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

from earmark.errors import DataError
from earmark.runs.folder import RunFolder, read_json, write_json
from earmark.text import and_more, markdown_table

logger = logging.getLogger(__name__)

ACCURACY = "Accuracy"
_NAMED = 3
_HEADINGS = (
    "Architecture",
    "Pretrained model",
    "Recipe",
    "Device",
    "Samples/s (training)",
)
# Earlier versions had accuracy only and wrote these keys into run folders.
_EARLIER_NAMES = {"accuracy": "value", "majority_class_rate": "baseline"}
_OF_ACCURACY, _OF_ANY = ("Accuracy", "Majority rate", "Split"), ("Result", "Baseline", "Split")


@dataclass(frozen=True)
class ResultsRow:
    """One run of the results table.

    Attributes:
        architecture: ``model_type``.
        pretrained: name of the checkpoint, or ``"from scratch"``.
        recipe: name of the run folder; empty if the model does not come from a run.
        device: name and number of devices.
        samples_per_second: clips trained per second over all devices, without evaluation; ``None`` without training.
        value: headline metric on ``split``: accuracy, mean average precision or mean absolute error; ``None`` if there
            were no clips to evaluate on.
        baseline: the same metric of a constant prediction; for accuracy, the majority-class rate of ``split``.
        split: ``test`` if the data has a test split, else ``validation``, or ``none``.
        metric: name of the headline metric.
    """

    architecture: str
    pretrained: str
    recipe: str
    device: str
    samples_per_second: float | None
    value: float | None
    baseline: float | None
    split: str
    metric: str = ACCURACY

    def save(self, folder: RunFolder) -> None:
        """Write ``results_row.json``."""
        write_json(folder.results_row, asdict(self))

    def cells(self, *, named: bool = False) -> tuple[str, ...]:
        """Return the row as text in the order of the headings; ``named`` adds the name of the metric."""
        speed = "" if self.samples_per_second is None else f"{self.samples_per_second:,.1f}"
        value, baseline = ("" if figure is None else f"{figure:.4f}" for figure in (self.value, self.baseline))
        if named and value:
            value = f"{self.metric} {value}"
        return (self.architecture, self.pretrained, self.recipe, self.device, speed, value, baseline, self.split)


def load_row(folder: str | Path) -> ResultsRow:
    """Load the row of a run; for a cross-validation or several seeds, a row of their means.

    Raises:
        DataError: the run is not finished.
    """
    run = RunFolder(Path(folder))
    if run.cross_validation.is_file():
        return _row_of_means(run)
    values = read_json(run.results_row)
    try:
        row = ResultsRow(**{_EARLIER_NAMES.get(name, name): value for name, value in values.items()})
        row.cells()
    except (TypeError, ValueError, AttributeError) as exc:
        raise DataError(f"{run.results_row}: not a results row. Train or evaluate again to replace it.") from exc
    return row


def _row_of_means(folder: RunFolder) -> ResultsRow:
    results = read_json(folder.cross_validation)
    unfinished = results["unfinished"]
    if unfinished:
        named = and_more(unfinished, _NAMED)
        raise DataError(f"{folder.path}: {named} not finished. Run the same `earmark train` command to continue.")
    rows = [load_row(folder.path / run["run"]) for run in results["runs"]]
    speed = _mean(row.samples_per_second for row in rows)
    return replace(
        rows[0],
        recipe=folder.path.resolve().name,
        samples_per_second=None if speed is None else round(speed, 1),
        value=_mean(row.value for row in rows),
        baseline=_mean(row.baseline for row in rows),
        split=f"{rows[0].split}, mean of {len(rows)} runs",
    )


def _mean(figures: Iterable[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return mean(known) if known else None


def markdown(rows: Iterable[ResultsRow]) -> str:
    """Return a Markdown table with aligned columns."""
    rows = list(rows)
    named = any(row.metric != ACCURACY for row in rows)
    headings = _HEADINGS + (_OF_ANY if named else _OF_ACCURACY)
    lines = [headings, *(tuple(cell.replace("|", "\\|") for cell in row.cells(named=named)) for row in rows)]
    return "\n".join(markdown_table(lines))


def results_table(run_dirs: Sequence[str]) -> str:
    """Return the Markdown table of several run folders, in the given order.

    A folder that is not a run gives a row for each finished run in it, sorted by name; unfinished runs are logged.

    Raises:
        DataError: a folder is not a finished run and contains none.
    """
    return markdown(load_row(run) for folder in run_dirs for run in _find_runs(Path(folder)))


def _find_runs(folder: Path) -> list[Path]:
    if not folder.is_dir() or _is_finished(folder) or RunFolder(folder).is_run():
        return [folder]
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    finished = [path for path in inside if _is_finished(path)]
    for path in inside:
        if finished and path not in finished and RunFolder(path).is_run():
            logger.info("%s: skipped, because the run is not finished", path)
    return finished or [folder]


def _is_finished(folder: Path) -> bool:
    run = RunFolder(folder)
    if run.cross_validation.is_file():
        return not read_json(run.cross_validation)["unfinished"]
    return run.results_row.is_file()
