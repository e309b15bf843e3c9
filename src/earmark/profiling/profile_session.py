"""Profile some steps of a run, and write the trace, a table and what bounds the run into a folder."""

from __future__ import annotations

import dataclasses
import gzip
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from earmark.device import describe_device, find_profiler
from earmark.errors import OutputError, first_line
from earmark.io.atomic import writing, writing_bytes
from earmark.io.os_errors import os_errors_as
from earmark.profiling.attribution import StepProfile, attribute
from earmark.profiling.bounds import Advice, Peak
from earmark.profiling.matmul_peak import matmul_peak, synchronize
from earmark.profiling.part_ranges import PartRanges
from earmark.profiling.profile_report import ProfileReport
from earmark.profiling.trace_events import read_events
from earmark.runs.folder import write_json
from earmark.text import counted

logger = logging.getLogger(__name__)

TRACE, TABLE, RESULTS = "trace.json.gz", "profile.txt", "profile.json"

_DTYPES = {
    "float": ("fp32", torch.float32),
    "c10::BFloat16": ("bf16", torch.bfloat16),
    "c10::Half": ("fp16", torch.float16),
}
_MEASURED = "measured on this device with square matrix products"


@dataclass(frozen=True)
class ProfileRequest:
    """What to profile.

    Attributes:
        steps: number of steps to profile.
        warm_up: number of steps before the profiled ones.
        step: noun for a step: ``training step``.
        folder: folder for the files.
        advice: flags of the profiled command, for the advice.
    """

    steps: int
    warm_up: int
    step: str
    folder: Path
    advice: Advice


class ProfileSession:
    """Profiles the steps after a warm-up.

    Args:
        request: what to profile.
        device: the device of the model.

    Attributes:
        ranges: ranges around the model and other pieces of a step; removed with the last profiled step.
        report: the result; ``None`` before the last profiled step, or if there was none.

    Raises:
        DeviceError: this installation cannot profile the device.
        OutputError: the folder cannot be made.
    """

    def __init__(self, request: ProfileRequest, device: torch.device) -> None:
        self.request = request
        self.ranges = PartRanges()
        self.report: ProfileReport | None = None
        self._device = device
        self._done = 0
        self._began = self._ended = (0.0, 0.0)  # wall-clock time, and CPU time of the main thread, in seconds
        module, activities = find_profiler(device)
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch 2.13 logs lines of its own
        with os_errors_as(OutputError, f"{request.folder}: the folder for the profile cannot be made"):
            request.folder.mkdir(parents=True, exist_ok=True)
        schedule = module.schedule(wait=max(request.warm_up - 1, 0), warmup=1, active=request.steps, repeat=1)
        self._profiler: Any = module.profile(activities=activities, schedule=schedule, record_shapes=True)
        self._profiler.start()

    @property
    def is_open(self) -> bool:
        """Whether steps are still to be profiled."""
        return self._profiler is not None

    def step(self) -> None:
        """End a step."""
        if not self.is_open:
            return
        self._done += 1
        if self._done in (self.request.warm_up, self.request.warm_up + self.request.steps):
            synchronize(self._device)  # so that work belongs to the step that started it
        if self._done == self.request.warm_up:
            self._began = time.perf_counter(), time.thread_time()
        self._ended = time.perf_counter(), time.thread_time()
        with self._failures_logged():
            self._profiler.step()
        if self._done == self.request.warm_up + self.request.steps:
            self.close()

    def close(self) -> None:
        """Write what was profiled. If that fails, log a warning and let the run continue."""
        self.ranges.remove()
        if self.is_open:
            self._end()
        with suppress(OSError):
            self.request.folder.rmdir()  # an empty folder: nothing was profiled

    def _end(self) -> None:
        profiler, self._profiler = self._profiler, None
        profiled = self._done - self.request.warm_up
        with self._failures_logged():
            profiler.stop()
            if profiled < 1:
                self._warn_of_nothing()
                return
            self.report = self._write(profiler, profiled)
            logger.info("profile: %s", self.request.folder / TABLE)
            for line in self.report.bounds:
                logger.info("profile: %s", line)

    @contextmanager
    def _failures_logged(self) -> Iterator[None]:
        """Log an error as a warning and end the profile, because the run is worth more than its profile."""
        try:
            yield
        except Exception as exc:  # torch's profiler and its trace may fail in any way
            self.ranges.remove()
            profiler, self._profiler = self._profiler, None
            if profiler is not None:
                with suppress(Exception):
                    profiler.stop()
            failed = f"the profile failed ({type(exc).__name__}: {first_line(exc)}). The run continues without it"
            logger.warning("--profile: %s", exc if isinstance(exc, OutputError) else failed)

    def _warn_of_nothing(self) -> None:
        logger.warning(
            "--profile: nothing was profiled, because the run had %s and the first %s the warm-up. Give it more clips",
            counted(self._done, self.request.step),
            "is" if self.request.warm_up == 1 else f"{self.request.warm_up} are",
        )

    def _write(self, profiler: Any, profiled: int) -> ProfileReport:
        folder = self.request.folder
        with os_errors_as(OutputError, f"{folder}: the trace cannot be written"), TemporaryDirectory() as temporary:
            plain = Path(temporary) / "trace.json"
            profiler.export_chrome_trace(str(plain))
            profile = attribute(read_events(json.loads(plain.read_text(encoding="utf-8"))), profiled)
            with (
                open(plain, "rb") as source,
                writing_bytes(folder / TRACE) as stream,
                gzip.open(stream, "wb", compresslevel=5) as packed,
            ):
                shutil.copyfileobj(source, packed)
        (began_s, began_cpu_s), (ended_s, ended_cpu_s) = self._began, self._ended
        profile = dataclasses.replace(profile, ran=(ended_cpu_s - began_cpu_s) / (ended_s - began_s))
        report = ProfileReport(self._title(profile), profile, self._peak(profile), self.request.advice, TRACE)
        with writing(folder / TABLE) as text:
            text.write(report.to_text())
        write_json(folder / RESULTS, report.to_dict())
        return report

    def _title(self, profile: StepProfile) -> str:
        what = counted(profile.steps, self.request.step)
        return f"{what} after a warm-up of {self.request.warm_up}, {describe_device(self._device)}"

    def _peak(self, profile: StepProfile) -> Peak | None:
        if profile.dtype not in _DTYPES:
            return None
        name, dtype = _DTYPES[profile.dtype]
        try:
            return Peak(matmul_peak(self._device, dtype), name, _MEASURED)
        except RuntimeError as exc:  # such as torch.OutOfMemoryError, because the model of the run is still loaded
            logger.warning("--profile: the peak of the device could not be measured (%s)", first_line(exc))
            return None
