"""Checkpoints that are whole or not there.

A checkpoint is written into a hidden folder, brought to the disk file by file, listed with sizes and hashes in
``complete.json``, and only then renamed to ``checkpoint-N``. Whatever moment a run is killed at, every
``checkpoint-N`` is either whole or found out.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from earmark.errors import OutputError, UsageError

logger = logging.getLogger(__name__)

MARKER = "complete.json"
UNFINISHED = ".unfinished-checkpoint"  # a folder of the run folder; what a killed run leaves in it is written over
_NAME = re.compile(r"checkpoint-(\d+)")
_STATE = "trainer_state.json"
_MUST_AGREE = {
    "model": "another model",
    "labels": "a model with other labels",
    "clips": "other training clips",
}


def finish_checkpoint(written: Path, target: Path, run: Mapping[str, Any]) -> None:
    """Give a complete checkpoint its name.

    Args:
        written: folder with all its files, on the same file system as ``target``.
        target: the folder it becomes; one that is there is replaced.
        run: facts about the run, plain values; see :func:`check_same_run`.

    Raises:
        OSError: the disk is full or does not take it.
    """
    files = {}
    for path in _files_in(written):
        files[path.relative_to(written).as_posix()] = {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        _sync(path)
    with open(written / MARKER, "w", encoding="utf-8") as stream:
        json.dump({"files": files, "run": dict(run)}, stream, indent=1)
        stream.flush()
        os.fsync(stream.fileno())
    for folder in [*(path for path in written.rglob("*") if path.is_dir()), written]:
        _sync(folder)
    if target.exists():
        shutil.rmtree(target)
    written.rename(target)
    _sync(target.parent)


def why_not_whole(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint, in words; ``None`` if every byte is as it was written."""
    marker = _marker_of(checkpoint)
    if marker is None:
        return f"it was broken off while it was written (no readable {MARKER})"
    for name, written in marker["files"].items():
        path = checkpoint / name
        try:
            size = path.stat().st_size
            if size != written["bytes"]:
                return f"{name} has {size:,} bytes of {written['bytes']:,}"
            if _sha256(path) != written["sha256"]:
                return f"{name} is not what was written"
        except OSError as exc:
            return f"{name} cannot be read ({exc.strerror})"
    return None


def newest_whole(folder: Path) -> Path | None:
    """The whole checkpoint of a run with the most steps; says which newer ones are passed over, and why."""
    for checkpoint in sorted(checkpoints_in(folder), key=steps_of, reverse=True):
        reason = why_not_whole(checkpoint)
        if reason is None:
            return checkpoint
        logger.warning("%s: passed over, %s", checkpoint, reason)
    return None


def checkpoints_in(folder: Path) -> list[Path]:
    """All ``checkpoint-N`` of a run folder, whole or not."""
    return [path for path in folder.glob("checkpoint-*") if _NAME.fullmatch(path.name) and path.is_dir()]


def steps_of(checkpoint: Path) -> int:
    """N of ``checkpoint-N``."""
    match = _NAME.fullmatch(checkpoint.name)
    assert match is not None, checkpoint
    return int(match.group(1))


def find_checkpoint_to_resume(asked: str | bool | None, folder: Path, *, resume: bool = False) -> str | None:
    """The checkpoint to go on from.

    Args:
        asked: ``--resume_from_checkpoint``: a path, or ``True`` for the newest whole one of the run.
        folder: the run folder.
        resume: ``--resume``: the newest whole one, or from the start where there is none.

    Raises:
        UsageError: both flags.
        OutputError: it is not there, or not whole.
    """
    asked = None if str(asked).lower() in ("none", "false") else str(asked)
    if resume and asked:
        raise UsageError("--resume takes the newest whole checkpoint; leave --resume_from_checkpoint out")
    if asked is None and not resume:
        return None
    if asked is None or asked.lower() == "true":
        newest = newest_whole(folder)
        if newest is None and asked:
            found = len(checkpoints_in(folder))
            cut = f" that is whole ({found} are not)" if found else ""
            raise OutputError(
                f"--resume_from_checkpoint: no checkpoint in {folder}{cut}; --resume starts anew where there is none"
            )
        logger.info("going on from %s", newest) if newest else logger.info("no checkpoint yet: starting anew")
        return None if newest is None else str(newest)
    return _checkpoint_at(Path(asked))


def _checkpoint_at(place: Path) -> str:
    flag = f"--resume_from_checkpoint {place}"
    if not place.is_dir():
        raise OutputError(f"{flag}: no such folder")
    if (place / MARKER).exists():
        reason = why_not_whole(place)
        if reason is not None:
            raise OutputError(f"{flag}: {reason}; --resume takes the newest whole one of --output_dir")
        return str(place)
    try:
        json.loads((place / _STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise OutputError(
            f"{flag}: not a whole checkpoint (no {MARKER}, no readable {_STATE}); --resume takes the newest whole one "
            "of --output_dir"
        ) from exc
    logger.warning("%s: not written by this version of earmark; taken as whole without a check", place)
    return str(place)


def check_same_run(checkpoint: str, run: Mapping[str, Any]) -> None:
    """See that a checkpoint is of this run, and say which settings have changed since.

    Args:
        checkpoint: its folder.
        run: facts of the run that goes on: ``model``, ``labels`` and ``clips`` have to be the same, ``settings`` is a
            mapping of those that decide about the course of training.

    Raises:
        OutputError: it is of another model or other data.
    """
    marker = _marker_of(Path(checkpoint))
    if marker is None:
        return
    before = marker["run"]
    for name, what in _MUST_AGREE.items():
        if before.get(name) != run[name]:
            raise OutputError(
                f"{checkpoint}: of {what} ({_shown(before.get(name))} there, {_shown(run[name])} here); name the run "
                "it belongs to, or train anew into another --output_dir"
            )
    then, now = before.get("settings", {}), run["settings"]
    changed = [f"{name} {then[name]} -> {now[name]}" for name in now if name in then and then[name] != now[name]]
    if changed:
        logger.warning(
            "going on with other settings: %s; the end is not that of a run that was never stopped", ", ".join(changed)
        )


def _shown(fact: Any) -> str:
    words = ", ".join(map(str, fact)) if isinstance(fact, list) else str(fact)
    return words if len(words) <= 80 else f"{words[:77]}..."


def _marker_of(checkpoint: Path) -> dict[str, Any] | None:
    try:
        marker = json.loads((checkpoint / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return marker if isinstance(marker, dict) and {"files", "run"} <= marker.keys() else None


def _files_in(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MARKER)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    """Bring a file, or the entries of a folder, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
