"""``earmark predict``: files and folders in, rows of labels out, streaming; a stopped job can go on."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earmark.config import PredictOptions
from earmark.data.clips import Clip
from earmark.data.decode import duration_s
from earmark.data.listing import list_audio
from earmark.errors import AudioError, DataError, UsageError
from earmark.export.load import load_any
from earmark.models.source import source_of
from earmark.predict.classifier import Classifier, Ended
from earmark.predict.rows import Rows, rows_of
from earmark.predict.sink import FolderSink, Sink, open_sink
from earmark.predict.timeline import SegmentRules, Window
from earmark.progress import Progress
from earmark.scoring.windows import Windowing

logger = logging.getLogger(__name__)

_MANY = 200  # recordings: progress counts them instead of seconds, for which each header has to be read
_SHAPES_ROWS = (
    *("model_name_or_path", "precision", "format", "rows", "top_k", "window_seconds", "hop_seconds", "aggregate"),
    *("threshold", "release_threshold", "smooth_windows", "merge_gap_seconds", "min_duration_seconds", "only_labels"),
)
# a file for each recording, beside which a program shows it
_ENDINGS = {"audacity": ".labels.txt", "raven": ".selections.txt"}


@dataclass(frozen=True)
class PredictOutcome:
    """How many recordings were labelled, and how many could not be read."""

    labelled: int
    bad: int


def predict_files(options: PredictOptions) -> PredictOutcome:
    """Label recordings and write the rows of each, in input order, as soon as they are known.

    Raises:
        DataError: nothing to label, or no recording could be read.
        AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        OutputError: the output exists or cannot be written.
        UsageError: a window, a class or a rule for segments that cannot be.
    """
    names = find_recordings(options.inputs)
    classifier = Classifier(
        load_any(source_of(options)),
        device=options.device,
        batch_size=options.batch_size,
        precision=options.precision,
    )
    job = _Job(options, classifier)
    with _open(options, names, job) as sink:
        clips = sink.left_of([Clip(source=path, path=path) for path in names])
        with _Progress(clips) as progress:
            job.run(clips, sink, progress)
    where = f", written to {options.output}" if options.output else ""
    earlier = len(names) - len(clips)
    note = f", {earlier} in an earlier job" if earlier else ""
    logger.info("%d labelled, %d could not be read%s%s", job.labelled, job.bad, note, where)
    if not job.labelled and not earlier:
        raise DataError(f"none of the {job.bad} recordings could be read")
    return PredictOutcome(job.labelled, job.bad)


@dataclass
class _Job:
    """The rows that the options ask for, recording by recording."""

    options: PredictOptions
    classifier: Classifier
    labelled: int = field(default=0, init=False)
    bad: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        options = self.options
        self.windowing: Windowing = self.classifier.windowing(options.window_seconds, options.hop_seconds)
        self.top_k = min(options.top_k, len(self.classifier.labels))
        self.rules = SegmentRules(
            options.threshold,
            options.release_threshold,
            options.smooth_windows,
            options.merge_gap_seconds,
            options.min_duration_seconds,
            options.only_labels,
        )
        self.rules.segments([], self.classifier.labels)  # a class that the model does not have, before anything is read
        kind, rate_hz = options.rows or "clips", self.classifier.sampling_rate_hz
        self.rows: Rows = rows_of(options.format or "csv", kind, self.top_k, rate_hz)

    def settings(self) -> dict[str, Any]:
        """What the rows depend on."""
        return {name: getattr(self.options, name) for name in _SHAPES_ROWS}

    def run(self, clips: Sequence[Clip], sink: Sink, progress: _Progress) -> None:
        """Label them all."""
        threads = self.options.num_workers or 2
        if self.options.rows == "clips":
            answers = self.classifier.predict_clips(
                clips, num_threads=threads, windowing=self.windowing, aggregate=self.options.aggregate
            )
            for clip, answer in answers:
                error = answer if isinstance(answer, AudioError) else None
                if not isinstance(answer, AudioError):
                    sink.write(self.rows.clip(clip.source, self.classifier.top(answer, self.top_k)))
                self._finish(clip, error, sink)
                progress.finish()
            return
        stream = self.classifier.windows_of_clips(clips, self.windowing, num_threads=threads)
        for clip in clips:
            ended: list[Ended] = []
            self._write_windows(clip, _until_end(stream, ended, progress), sink)
            self._finish(clip, ended[0].error, sink)
            progress.finish()

    def _write_windows(self, clip: Clip, windows: Iterator[Window], sink: Sink) -> None:
        if self.options.rows == "segments":
            for segment in self.rules.segments(windows, self.classifier.labels):
                sink.write(self.rows.segment(clip.source, segment))
            return
        for window in windows:
            top = self.classifier.top(window.probabilities, self.top_k)
            sink.write(self.rows.window(clip.source, window, top))

    def _finish(self, clip: Clip, error: AudioError | None, sink: Sink) -> None:
        if error is None:
            sink.finish(clip.source)
            self.labelled += 1
            return
        if self.options.on_bad_audio == "fail":
            sink.drop()
            raise error
        logger.warning("%s", error)
        sink.drop()
        sink.write(self.rows.bad(clip.source, error.reason))
        sink.finish(clip.source, error.reason)
        self.bad += 1


def _until_end(
    stream: Iterator[tuple[Clip, Window | Ended]], ended: list[Ended], progress: _Progress
) -> Iterator[Window]:
    """The windows of one recording; how it ended goes into ``ended``."""
    for _, answer in stream:
        if isinstance(answer, Ended):
            ended.append(answer)
            return
        progress.reach(answer.end_s)
        yield answer


def _open(options: PredictOptions, names: dict[str, str], job: _Job) -> AbstractContextManager[Sink]:
    head = job.rows.head()
    if options.format in _ENDINGS:
        if options.output is None and len(names) > 1:
            raise UsageError(
                f"--format {options.format}: name a folder with --output; each recording gets a file in it"
            )
        is_file = options.output is not None and Path(options.output).suffix.lower() == ".txt"
        if is_file and len(names) > 1:
            raise UsageError(f"--output {options.output}: one file for {len(names)} recordings; name a folder")
        if options.output is not None and not is_file:
            files = {source: f"{name}{_ENDINGS[options.format or '']}" for source, name in names.items()}
            return nullcontext(
                FolderSink(Path(options.output), files, head, overwrite=options.overwrite, resume=options.resume)
            )
    return open_sink(
        options.output, head=head, settings=job.settings(), overwrite=options.overwrite, resume=options.resume
    )


class _Progress:
    """Seconds of sound for few recordings, recordings for many."""

    def __init__(self, clips: Sequence[Clip]) -> None:
        self._seconds = [duration_s(clip) for clip in clips] if len(clips) <= _MANY else None
        total = len(clips) if self._seconds is None else round(sum(self._seconds))
        self._bar = Progress("predicting", total, unit="clips" if self._seconds is None else "s of sound")
        self._before_s = 0.0  # of recordings that are done
        self._number = 0

    def reach(self, end_s: float) -> None:
        """The recording at hand is heard up to here."""
        if self._seconds is not None:
            self._bar.update(max(0, round(self._before_s + end_s) - self._bar.done))

    def finish(self) -> None:
        """It is done."""
        if self._seconds is None:
            self._bar.update(1)
            return
        self._before_s += self._seconds[self._number]
        self._number += 1
        self.reach(0.0)

    def __enter__(self) -> _Progress:
        return self

    def __exit__(self, *exc: object) -> None:
        self._bar.close()


def find_recordings(inputs: Sequence[str]) -> dict[str, str]:
    """Each file, and each audio file inside each folder, in the order given, folders sorted.

    Returns:
        Path as it was given or found -> its name within the folder that was given.

    Raises:
        DataError: no inputs, or a folder without audio files. A missing file is not an error here: it becomes a row
            that says so.
    """
    found: dict[str, str] = {}
    for name in inputs:
        if not Path(name).is_dir():
            found.setdefault(name, os.path.basename(name))
            continue
        inside = list_audio(Path(name))
        if not inside:
            raise DataError(f"{name}: no audio files in this folder")
        for path in inside:
            found.setdefault(str(path), str(path.relative_to(name)))
    if not found:
        raise DataError("no recordings to label: name files or folders")
    return found
