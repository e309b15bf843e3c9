"""The results table: Architecture | Pretrained model | Recipe | Device | Samples/s | Accuracy, a row a run.

Where some runs answer several labels or numbers, the columns are Result (mAP 0.6100, MAE 2.3) and Knowing nothing.
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
# what the figure and its baseline were called in files of runs while accuracy was the only one
_EARLIER_NAMES = {"accuracy": "value", "majority_class_rate": "baseline"}
_OF_ACCURACY, _OF_ANY = ("Accuracy", "Majority rate", "Split"), ("Result", "Knowing nothing", "Split")


@dataclass(frozen=True)
class ResultsRow:
    """One run of the results table.

    Attributes:
        architecture: ``model_type``.
        pretrained: name of the checkpoint, or ``"from scratch"``.
        recipe: configuration file, or the folder of the run.
        device: name and number of devices.
        samples_per_second: clips trained a second over all devices, evaluation left out; ``None`` when not trained.
        value: the figure that the result is told by, on ``split``: accuracy, mean average precision or absolute error.
        baseline: what a model that knows nothing gets; of accuracy the rate of the most frequent class of ``split``.
        split: ``test`` when the data has one, else ``validation``.
        metric: what the figure is called.
    """

    architecture: str
    pretrained: str
    recipe: str
    device: str
    samples_per_second: float | None
    value: float
    baseline: float
    split: str
    metric: str = ACCURACY

    def save(self, folder: RunFolder) -> None:
        """Write ``results_row.json``."""
        write_json(folder.results_row, asdict(self))

    def cells(self, *, named: bool = False) -> tuple[str, ...]:
        """The row as text, in the order of the headings; ``named`` with what the figure is called."""
        speed = "" if self.samples_per_second is None else f"{self.samples_per_second:,.1f}"
        value = f"{self.metric} {self.value:.4f}" if named else f"{self.value:.4f}"
        numbers = (speed, value, f"{self.baseline:.4f}")
        return (self.architecture, self.pretrained, self.recipe, self.device, *numbers, self.split)


def load_row(folder: str | Path) -> ResultsRow:
    """The row that a run saved; of a cross-validation or several seeds, one of their means.

    Raises:
        DataError: not a finished run.
    """
    run = RunFolder(Path(folder))
    if run.cross_validation.is_file():
        return _row_of_means(run)
    values = read_json(run.results_row)
    try:
        row = ResultsRow(**{_EARLIER_NAMES.get(name, name): value for name, value in values.items()})
        row.cells()
    except (TypeError, ValueError, AttributeError) as exc:
        raise DataError(f"{run.results_row}: not a results row; train or evaluate again to write it again") from exc
    return row


def _row_of_means(folder: RunFolder) -> ResultsRow:
    results = read_json(folder.cross_validation)
    unfinished = results["unfinished"]
    if unfinished:
        named = and_more(unfinished, _NAMED)
        raise DataError(f"{folder.path}: {named} not finished; the same `earmark train` continues")
    rows = [load_row(folder.path / run["run"]) for run in results["runs"]]
    speeds = [row.samples_per_second for row in rows if row.samples_per_second is not None]
    return replace(
        rows[0],
        recipe=folder.path.resolve().name,
        samples_per_second=round(mean(speeds), 1) if speeds else None,
        value=mean(row.value for row in rows),
        baseline=mean(row.baseline for row in rows),
        split=f"{rows[0].split}, mean of {len(rows)} runs",
    )


def markdown(rows: Iterable[ResultsRow]) -> str:
    """A Markdown table, columns aligned for reading as text too."""
    rows = list(rows)
    named = any(row.metric != ACCURACY for row in rows)
    headings = _HEADINGS + (_OF_ANY if named else _OF_ACCURACY)
    lines = [headings, *(tuple(cell.replace("|", "\\|") for cell in row.cells(named=named)) for row in rows)]
    return "\n".join(markdown_table(lines))


def results_table(run_dirs: Sequence[str]) -> str:
    """The Markdown table of several run folders, in the order given.

    Of a folder that is no run the finished runs in it are taken, sorted by name; the others are logged.

    Raises:
        DataError: one of them is not a finished run and holds none.
    """
    return markdown(load_row(run) for folder in run_dirs for run in _find_runs(Path(folder)))


def _find_runs(folder: Path) -> list[Path]:
    if not folder.is_dir() or _is_finished(folder) or RunFolder(folder).is_run():
        return [folder]
    inside = sorted(path for path in folder.iterdir() if path.is_dir())
    finished = [path for path in inside if _is_finished(path)]
    for path in inside:
        if finished and path not in finished and RunFolder(path).is_run():
            logger.info("%s: not finished, left out", path)
    return finished or [folder]


def _is_finished(folder: Path) -> bool:
    run = RunFolder(folder)
    if run.cross_validation.is_file():
        return not read_json(run.cross_validation)["unfinished"]
    return run.results_row.is_file()
