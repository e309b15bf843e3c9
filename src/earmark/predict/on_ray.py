"""``earmark predict --engine ray``: the same job on the workers of a Ray cluster, for millions of recordings.

Ray shares out groups of recordings; a group whose worker dies is done again by another. The rows come back to this
process, in order, which writes them as ever: so none is lost or there twice, and ``--resume`` works. Ray is an extra.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from earmark.data.clips import Clip
from earmark.errors import AudioError, DeviceError, EarmarkError
from earmark.extras import require
from earmark.options import PredictOptions
from earmark.predict.inputs import HeardProgress
from earmark.predict.job import Job
from earmark.predict.sink import Sink
from earmark.words import counted

logger = logging.getLogger(__name__)

_A_GROUP = 16  # recordings: what is done again when a worker dies
_ANY_NAME = "surrogateescape"


def run_on_ray(options: PredictOptions, clips: Sequence[Clip], sink: Sink, progress: HeardProgress) -> tuple[int, int]:
    """Label recordings on Ray.

    Args:
        options: the job; every worker loads the model and needs to see the recordings under the same paths.
        clips: what to label.
        sink: takes the rows.
        progress: counts them.

    Returns:
        How many were labelled, and how many could not be read.

    Raises:
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        DeviceError: Ray cannot start, or its workers fail for good.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray reports its use otherwise
    ray = require("ray")
    require("ray.data")
    try:
        ray.init(address=options.ray_address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as exc:
        raise DeviceError(f"--engine ray: Ray does not start ({str(exc).splitlines()[0]})") from exc
    try:
        return _run(ray, options, clips, sink, progress)
    except ray.exceptions.RayError as exc:
        raise _ours(exc) from exc
    finally:
        ray.shutdown()


def _run(
    ray: Any, options: PredictOptions, clips: Sequence[Clip], sink: Sink, progress: HeardProgress
) -> tuple[int, int]:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    workers = max(1, min(options.ray_workers, -(-len(clips) // _A_GROUP)))
    logger.info("ray: %s, %s", counted(workers, "worker"), counted(len(clips), "recording"))
    if not clips:
        return 0, 0
    items = [{"path": clip.source.encode("utf-8", _ANY_NAME)} for clip in clips]
    groups = -(-len(items) // _A_GROUP)
    answers = ray.data.from_items(items, override_num_blocks=groups).map_batches(
        _Worker,
        fn_constructor_kwargs={"options": options},
        batch_size=_A_GROUP,
        concurrency=workers,
        **_resources(options.device),
    )
    labelled = bad = 0
    for row in answers.iter_rows():
        source, reason = row["path"].decode("utf-8", _ANY_NAME), row["reason"] or None
        if reason is not None and options.on_bad_audio == "fail":
            raise AudioError(source, reason)
        if reason is not None:
            logger.warning("%s: %s", source, reason)
        sink.write(row["rows"].decode("utf-8", _ANY_NAME))
        sink.finish(source, reason)
        progress.finish()
        labelled, bad = labelled + (reason is None), bad + (reason is not None)
    return labelled, bad


def _resources(device: str) -> dict[str, Any]:
    """What Ray reserves for a worker: a card where one is asked for, else a core."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        return {"num_gpus": 1}
    return {"resources": {"NPU": 1}} if kind == "npu" else {"num_cpus": 1}


def _ours(error: BaseException) -> EarmarkError:
    """The error of this program that a worker stopped with, out of what Ray wrapped it in."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EarmarkError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return DeviceError(f"--engine ray: the workers failed ({str(error).strip().splitlines()[-1]})")


class _Worker:
    """One process with the model; takes groups of recordings."""

    def __init__(self, options: PredictOptions) -> None:
        self._job = Job(dataclasses.replace(options, on_bad_audio="skip"))

    def __call__(self, group: dict[str, Any]) -> dict[str, Any]:
        """Rows and reasons of a group, as bytes: names need not be UTF-8."""
        names = [bytes(name).decode("utf-8", _ANY_NAME) for name in group["path"]]
        rows = _Collected()
        self._job.run([Clip(source=name, path=name) for name in names], rows)
        return {
            "path": group["path"],
            "rows": np.array([text.encode("utf-8", _ANY_NAME) for text, _ in rows.done], dtype=object),
            "reason": np.array([reason or "" for _, reason in rows.done], dtype=object),
        }


class _Collected:
    """A sink that hands the rows of each recording back."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str | None]] = []
        self._held: list[str] = []

    def left_of(self, clips: Sequence[Clip]) -> list[Clip]:
        return list(clips)

    def write(self, rows: str) -> None:
        self._held.append(rows)

    def finish(self, source: str, reason: str | None = None) -> None:
        self.done.append(("".join(self._held), reason))
        self._held = []

    def drop(self) -> None:
        self._held = []
