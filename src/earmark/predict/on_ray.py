"""``earmark predict --engine ray``: run the job on the workers of a Ray cluster, for millions of recordings.

Ray distributes groups of recordings. If a worker dies, another worker scores its group again. The rows come back to
this process in order, and it writes them as in a local job: none is lost or written twice, and ``--resume`` works. Ray
is an extra.
"""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earmark.clips.clip import Clip
from earmark.errors import AudioError, DeviceError, EarmarkError, OutputError
from earmark.extras import require
from earmark.predict.inputs import ScoringProgress
from earmark.predict.job import Job, JobCounts
from earmark.predict.sink import ANY_NAME, Sink
from earmark.settings.prediction_flags import PredictOptions
from earmark.text import counted

logger = logging.getLogger(__name__)

_A_GROUP = 16  # recordings per group, the work that is repeated when a worker dies


def run_on_ray(
    options: PredictOptions, clips: Sequence[Clip], ids: Mapping[str, str], sink: Sink, progress: ScoringProgress
) -> JobCounts:
    """Score recordings on Ray.

    Args:
        options: the job. Every worker loads the model, and must be able to read the recordings under the same paths.
        clips: the recordings.
        ids: names of recordings in the format; empty if it uses their paths.
        sink: receives the rows.
        progress: counts the recordings.

    Raises:
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        DeviceError: Ray cannot start, or its workers keep failing.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # otherwise Ray sends usage statistics
    ray = require("ray")
    require("ray.data")
    try:
        ray.init(address=options.ray_address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as exc:
        raise DeviceError(f"--engine ray: Ray does not start ({str(exc).splitlines()[0]}). Check the cluster") from exc
    try:
        return _run(ray, options, clips, ids, sink, progress)
    except ray.exceptions.RayError as exc:
        raise _ours(exc) from exc
    finally:
        ray.shutdown()


def _run(
    ray: Any,
    options: PredictOptions,
    clips: Sequence[Clip],
    ids: Mapping[str, str],
    sink: Sink,
    progress: ScoringProgress,
) -> JobCounts:
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    workers = max(1, min(options.ray_workers, -(-len(clips) // _A_GROUP)))
    logger.info("ray: %s, %s", counted(workers, "worker"), counted(len(clips), "recording"))
    counts = JobCounts()
    if not clips:
        return counts
    items = [
        {"path": clip.source.encode("utf-8", ANY_NAME), "id": ids.get(clip.source, "").encode("utf-8", ANY_NAME)}
        for clip in clips
    ]
    groups = -(-len(items) // _A_GROUP)
    answers = ray.data.from_items(items, override_num_blocks=groups).map_batches(
        _Worker,
        fn_constructor_kwargs={"options": options},
        batch_size=_A_GROUP,
        concurrency=workers,
        **_resources(options.device),
    )
    for row in answers.iter_rows():
        source, reason = row["path"].decode("utf-8", ANY_NAME), row["reason"] or None
        if reason is not None and options.on_bad_audio == "fail":
            raise AudioError(source, reason)
        if reason is not None:
            logger.warning("%s: %s", source, reason)
        sink.write(row["rows"].decode("utf-8", ANY_NAME))
        unwritten = sink.finish(source, reason)
        if unwritten is not None:
            logger.warning("%s", unwritten)
        counts.unwritten += unwritten is not None
        counts.unreadable += reason is not None
        counts.scored += reason is None and unwritten is None
        progress.finish()
    return counts


def _resources(device: str) -> dict[str, object]:
    """Return the resources of a worker: an accelerator if the device needs one, else a core."""
    kind = device.partition(":")[0]
    if kind == "cuda":
        return {"num_gpus": 1}
    return {"resources": {"NPU": 1}} if kind == "npu" else {"num_cpus": 1}


def _ours(error: BaseException) -> EarmarkError:
    """Return the earmark error that stopped a worker, extracted from Ray's error."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, EarmarkError):
            return cause
        cause = getattr(cause, "cause", None) or cause.__cause__
    return DeviceError(f"--engine ray: the workers failed ({str(error).strip().splitlines()[-1]})")


class _Worker:
    """Worker process with the model. Scores groups of recordings."""

    def __init__(self, options: PredictOptions) -> None:
        self._ids: dict[str, str] = {}
        self._job = Job(dataclasses.replace(options, on_bad_audio="skip"), self._ids)

    def __call__(self, group: dict[str, Any]) -> dict[str, Any]:
        """Return rows and errors of a group, as bytes, because names need not be UTF-8."""
        names, ids = ([bytes(text).decode("utf-8", ANY_NAME) for text in group[key]] for key in ("path", "id"))
        self._ids.clear()
        self._ids.update(zip(names, ids, strict=True))
        rows = _Collected()
        self._job.run([Clip(source=name, path=name) for name in names], rows)
        return {
            "path": group["path"],
            "rows": np.array([text.encode("utf-8", ANY_NAME) for text, _ in rows.done], dtype=object),
            "reason": np.array([reason or "" for _, reason in rows.done], dtype=object),
        }


class _Collected:
    """Sink that returns the rows of each recording."""

    bad_audio: Path | None = None
    earlier_unreadable = 0
    state: Mapping[str, Any] = {}

    def __init__(self) -> None:
        self.done: list[tuple[str, str | None]] = []
        self._held: list[str] = []

    def remaining(self, clips: Sequence[Clip]) -> list[Clip]:
        """Return all recordings."""
        return list(clips)

    def write(self, rows: str) -> None:
        """Collect rows of the current recording."""
        self._held.append(rows)

    def finish(
        self, source: str, reason: str | None = None, state: Mapping[str, object] | None = None
    ) -> OutputError | None:
        """Keep the rows of the recording."""
        self.done.append(("".join(self._held), reason))
        self._held = []
        return None

    def drop(self) -> None:
        """Discard the rows of the current recording."""
        self._held = []
