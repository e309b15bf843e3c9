"""Choose the folder of an evaluation, so that evaluations of other clips or models are kept."""

from __future__ import annotations

import logging
from itertools import count
from pathlib import Path

from earmark.clips.clip import ClipTable, fingerprint
from earmark.errors import OutputError
from earmark.models.checkpoint import hub_name
from earmark.runs.folder import RunFolder, prepare_folder, read_json
from earmark.settings.evaluation_flags import EvaluateOptions
from earmark.text import counted

logger = logging.getLogger(__name__)


def first_place(options: EvaluateOptions) -> tuple[Path, bool]:
    """Return the folder to try first, and whether the user named it.

    This is ``--output_dir``, or ``evaluation_SPLIT`` in the model's folder or in an ``--output_dir`` that is a run.
    """
    name = f"evaluation_{options.split}"
    if options.output_dir:
        folder = Path(options.output_dir)
        is_run = RunFolder(folder).is_run()
        return (folder / name if is_run else folder), not is_run
    model = Path(str(options.model_name_or_path)).expanduser()
    return (model if model.is_dir() else Path(model.name)) / name, False


def describe(options: EvaluateOptions, table: ClipTable) -> dict[str, object]:
    """Return the content of ``evaluation.json``, which identifies an evaluation."""
    model = Path(str(options.model_name_or_path)).expanduser()
    return {
        "model": str(model.resolve()) if model.exists() else hub_name(str(options.model_name_or_path)),
        "split": options.split,
        "data": table.origin,
        "clips": len(table),
        "recordings": fingerprint(table),
    }


def place_for(options: EvaluateOptions, what: dict[str, object]) -> RunFolder:
    """Return the folder for an evaluation: a new one, or the folder of the same model and clips.

    If ``evaluation_SPLIT`` holds another evaluation, ``evaluation_SPLIT_2`` and so on are tried.

    Args:
        options: settings of the evaluation.
        what: result of :func:`describe`.

    Raises:
        OutputError: the folder that the user named holds another evaluation, or it cannot be written.
    """
    first, named = first_place(options)
    for number in count(1):
        folder = RunFolder(first if number == 1 else first.with_name(f"{first.name}_{number}"))
        other = _other_there(folder, what)
        if other is None:
            prepare_folder(folder.path)
            return folder
        if named:
            raise OutputError(f"{folder.path}: holds {other}. Give another --output_dir, or delete this folder.")
        logger.info("%s: holds %s, so this evaluation goes to a new folder", folder.path, other)
    raise AssertionError("the numbers are endless")


def _other_there(folder: RunFolder, what: dict[str, object]) -> str | None:
    """Describe another evaluation in a folder; ``None`` if the folder is empty or holds the same evaluation."""
    if not folder.evaluation.is_file():
        ours = (folder.metrics, folder.environment, folder.results_row, folder.report, folder.bad_audio)
        there = [path.name for path in (*ours, *sorted(folder.path.glob("predictions_*.csv"))) if path.exists()]
        return f"{there[0]} of unknown clips" if there else None
    before = read_json(folder.evaluation)
    same = ("model", "split", "clips", "recordings")
    if not isinstance(before, dict) or any(name not in before for name in same):
        return "a damaged evaluation.json"
    if all(before[name] == what[name] for name in same):
        return None
    if before["model"] != what["model"]:
        return f"an evaluation of the model {before['model']}"
    clips = counted(before["clips"], f"{before['split']} clip")
    return f"an evaluation of other clips ({clips} of {before.get('data')})"
