"""Write and find checkpoints so that an interrupted save never looks complete.

A checkpoint is written to a hidden folder and flushed to the disk; ``complete.json`` lists its files with sizes and
hashes. Then the folder is renamed to ``checkpoint-N``. After a run is killed, every ``checkpoint-N`` is either complete
or recognised as incomplete.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from earmark.errors import OutputError, UsageError
from earmark.io.atomic import replacing, sync_file, sync_folder
from earmark.io.hashes import file_sha256
from earmark.runs.folder import RunFolder

logger = logging.getLogger(__name__)

MARKER = "complete.json"
UNFINISHED = ".unfinished-checkpoint"  # subfolder of the run folder; the next save overwrites it after a killed run
_NAME = re.compile(r"checkpoint-(\d+)")
_STATE = "trainer_state.json"
_MUST_AGREE = {
    "model": "another model",
    "frozen": "a run with other frozen weights (another --freeze, or another pretrained model)",
    "rates": "a run with other groups of learning rates",
    "labels": "a model with other labels",
    "clips": "other training clips",
    "average": "a run with another setting of --ema",
}


def finish_checkpoint(written: Path, target: Path, run: Mapping[str, object]) -> None:
    """Rename a complete checkpoint to its final name.

    Args:
        written: folder with all its files, on the same file system as ``target``.
        target: its final folder, replaced if it exists.
        run: facts about the run, plain values; see :func:`check_same_run`.

    Raises:
        OSError: the disk is full or cannot be written.
    """
    files = {}
    for path in _files_in(written):
        files[path.relative_to(written).as_posix()] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
        sync_file(path)
    with replacing(written / MARKER) as part, open(part, "w", encoding="utf-8", newline="") as stream:
        json.dump({"files": files, "run": dict(run)}, stream, indent=1)
    for folder in [*(path for path in written.rglob("*") if path.is_dir()), written]:
        sync_folder(folder)
    before = target.with_name(f".old-{target.name}")
    if target.exists():  # from an earlier run; keep it until the new one is in place
        shutil.rmtree(before, ignore_errors=True)
        target.rename(before)
    written.rename(target)
    sync_folder(target.parent)
    shutil.rmtree(before, ignore_errors=True)


def why_incomplete(checkpoint: Path) -> str | None:
    """Return what is wrong with a checkpoint; ``None`` if all its files are unchanged."""
    marker = _read_marker(checkpoint)
    if marker is None:
        return f"writing it was interrupted (no readable {MARKER})"
    for name, written in marker["files"].items():
        path = checkpoint / name
        try:
            size = path.stat().st_size
            if size != written["bytes"]:
                return f"{name} has {size:,} of {written['bytes']:,} bytes"
            if file_sha256(path) != written["sha256"]:
                return f"{name} has changed since it was written"
        except OSError as exc:
            return f"{name} cannot be read ({exc.strerror})"
    return None


def newest_complete(folder: Path) -> Path | None:
    """Return the newest complete checkpoint of a run; log which newer ones are skipped, and why."""
    for checkpoint in sorted(checkpoints_in(folder), key=checkpoint_step, reverse=True):
        reason = why_incomplete(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("%s: skipped, %s", checkpoint, reason)
    return None


def checkpoints_in(folder: Path) -> list[Path]:
    """Return all ``checkpoint-N`` folders of a run, complete or not.

    Raises:
        OutputError: the folder cannot be read.
    """
    try:
        names = [name for name in os.listdir(folder) if _NAME.fullmatch(name)]
    except FileNotFoundError:
        return []
    except OSError as exc:
        raise OutputError(
            f"{folder}: cannot be searched for checkpoints ({exc.strerror}). Check its permissions."
        ) from exc
    return [folder / name for name in names if (folder / name).is_dir()]


def remove_old(folder: Path, limit: int | None, *, keep: Sequence[Path]) -> None:
    """Remove the checkpoints with the fewest steps until ``limit`` are left.

    Args:
        folder: the run folder.
        limit: number of checkpoints to keep; ``None``, 0 or -1 for all.
        keep: checkpoints to keep in any case; they count towards the limit.
    """
    if not limit or limit < 0:
        return
    kept = {path.resolve() for path in keep}
    found = sorted(checkpoints_in(folder), key=checkpoint_step)
    spare = [path for path in found if path.resolve() not in kept]
    for path in spare[: max(0, len(found) - max(limit, len(found) - len(spare)))]:
        shutil.rmtree(path, ignore_errors=True)


def set_aside_later(checkpoint: Path, folder: Path) -> None:
    """Rename the checkpoints later than the one that a run resumes from, because their steps are trained again.

    Neither ``--resume`` nor the removal of old checkpoints finds them under the new names.

    Args:
        checkpoint: the checkpoint that the run resumes from.
        folder: the run folder; nothing is renamed if the checkpoint is in another folder.

    Raises:
        OutputError: they cannot be renamed.
    """
    if checkpoint.resolve().parent != folder.resolve() or not _NAME.fullmatch(checkpoint.name):
        return
    for later in sorted(checkpoints_in(folder), key=checkpoint_step):
        if checkpoint_step(later) <= checkpoint_step(checkpoint):
            continue
        number = 1
        while (target := folder / f"abandoned-{number}-{later.name}").exists():
            number += 1
        try:
            later.rename(target)
        except OSError as exc:
            raise OutputError(
                f"{later}: cannot be renamed to {target.name} ({exc.strerror}). Rename it, then run the command again."
            ) from exc
        logger.warning("%s: set aside as %s, the run resumes from %s", later, target.name, checkpoint.name)


def checkpoint_step(checkpoint: Path) -> int:
    """Return the step N of ``checkpoint-N``."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None, checkpoint
    return int(match.group(1))


def find_checkpoint_to_resume(asked: str | bool | None, folder: Path, *, resume: bool = False) -> str | None:
    """Return the checkpoint to resume from.

    Args:
        asked: ``--resume_from_checkpoint``: a path, or ``True`` for the newest complete checkpoint of the run.
        folder: the run folder.
        resume: ``--resume``: use the newest complete checkpoint, or start from the beginning if there is none.

    Raises:
        UsageError: both flags are given.
        OutputError: the checkpoint does not exist, or is incomplete.
    """
    asked = None if str(asked).lower() in ("none", "false") else str(asked)
    if resume and asked:
        raise UsageError("--resume takes the newest complete checkpoint. Leave --resume_from_checkpoint out.")
    if asked is None and not resume:
        return None
    if asked is None or asked.lower() == "true":
        newest = newest_complete(folder)
        if newest is None and asked:
            found = len(checkpoints_in(folder))
            kind = f"complete checkpoint in {folder}, only {found} incomplete" if found else f"checkpoint in {folder}"
            raise OutputError(
                f"--resume_from_checkpoint: no {kind}. Use --resume, which starts from the beginning if there is none."
            )
        if newest:
            logger.info("resuming from %s", newest)
        else:
            logger.info("no checkpoint yet: starting from the beginning")
        return None if newest is None else _with_state(newest)
    return _checkpoint_at(Path(asked))


def _checkpoint_at(place: Path) -> str:
    flag = f"--resume_from_checkpoint {place}"
    try:
        is_folder = place.is_dir()
    except OSError as exc:  # such as a name that is too long, or a parent folder without permission
        raise OutputError(f"{flag}: cannot be read ({exc.strerror}). Check its permissions.") from exc
    if not is_folder:
        raise OutputError(f"{flag}: no such folder. Name a checkpoint, or use --resume.")
    if (place / MARKER).exists():
        reason = why_incomplete(place)
        if reason is not None:
            raise OutputError(f"{flag}: {reason}. Use --resume for the newest complete checkpoint in --output_dir.")
        return _with_state(place)
    try:
        json.loads((place / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise OutputError(
            f"{flag}: not a complete checkpoint (no {MARKER}, no readable {_STATE}). Use --resume for the newest "
            f"complete checkpoint in --output_dir."
        ) from exc
    if RunFolder(place).is_run():  # it has the trainer state of the last step, but no optimizer state
        raise OutputError(
            f"{flag}: a run folder, not a checkpoint. Name one of its checkpoint-N folders, or give --resume with "
            f"--output_dir {place} instead."
        )
    whole = _with_state(place)
    logger.warning("%s: has no %s, so earmark cannot check that it is complete", place, MARKER)
    return whole


def _with_state(checkpoint: Path) -> str:
    if not (checkpoint / "scheduler.pt").exists():
        raise OutputError(
            f"{checkpoint}: holds only the model (--save_only_model), so training cannot resume from it. Start a new "
            f"run from it with --model_name_or_path."
        )
    return str(checkpoint)


def label_order(checkpoint: str, labels: Sequence[str]) -> list[str]:
    """Return class names in the order of a checkpoint's outputs if it has the same classes, else in the given order.

    The orders differ for runs of earlier versions of earmark, which sorted whole numbers as text: 0, 1, 10, 2.
    """
    marker = _read_marker(Path(checkpoint))
    saved = marker["run"].get("labels") if marker is not None else None
    return list(saved) if isinstance(saved, list) and set(saved) == set(labels) else list(labels)


def check_same_run(checkpoint: str, run: Mapping[str, Any]) -> None:
    """Check that a checkpoint belongs to this run, and warn about differences that change the result.

    Args:
        checkpoint: its folder.
        run: facts about the resumed run. ``model``, ``labels`` and ``clips`` must be the same. ``settings`` are the
            settings that change the result, by name. ``arithmetic`` are facts that change the last bits of sums; see
            :func:`earmark.train.reproducibility.arithmetic_facts`.

    Raises:
        OutputError: the checkpoint belongs to another model or other data.
    """
    marker = _read_marker(Path(checkpoint))
    if marker is None:
        return
    before = marker["run"]
    for name, what in _MUST_AGREE.items():
        there, here = before.get(name), run.get(name)
        if there != here:
            raise OutputError(
                f"{checkpoint}: belongs to {what} ({_shown(there)} there, {_shown(here)} here). Name a checkpoint of "
                f"this run, or train into another --output_dir."
            )
    if changed := _changes(before, run, "settings"):
        logger.warning(
            "resuming with other settings: %s. The final weights will differ from those of a run that was never "
            "stopped",
            changed,
        )
    if changed := _changes(before, run, "arithmetic"):
        logger.warning(
            "resuming with other arithmetic: %s. The final weights can differ in their last bits from those of a run "
            "that was never stopped",
            changed,
        )


def _changes(before: Mapping[str, Any], run: Mapping[str, Any], kind: str) -> str:
    then, now = before.get(kind, {}), run.get(kind, {})
    return ", ".join(f"{name} {then[name]} -> {now[name]}" for name in now if name in then and then[name] != now[name])


def _shown(fact: Any) -> str:
    words = ", ".join(map(str, fact)) if isinstance(fact, list) else str(fact)
    return words if len(words) <= 80 else f"{words[:77]}..."


def _read_marker(checkpoint: Path) -> dict[str, Any] | None:
    try:
        marker = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and {"files", "run"} <= marker.keys() else None


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MARKER)
