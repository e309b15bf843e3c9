"""One prediction job: a model, the windows of recordings, and the rows for them. Runs here or in a worker."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from earmark.clips.clip import Clip
from earmark.errors import AudioError, UsageError
from earmark.export.description import is_export
from earmark.export.load_export import load_any
from earmark.formats.format import Rows, RowSettings
from earmark.formats.format_registry import writers_with
from earmark.formats.segments import Window
from earmark.models.checkpoint import hub_name, local_folder
from earmark.models.fingerprint import model_sha256
from earmark.models.model_source import model_source
from earmark.predict.classifier import Classifier
from earmark.predict.engine import Ended
from earmark.predict.inputs import ScoringProgress
from earmark.predict.provenance import Provenance
from earmark.predict.sink import Sink
from earmark.predict.timeline import SegmentRules, check_labels
from earmark.scoring.windows import Windowing
from earmark.settings.kinds import alternatives
from earmark.settings.prediction_flags import PredictOptions

logger = logging.getLogger(__name__)

# settings that change the rows; a resumed job must have the same values
_RESULT_SETTINGS = (
    *(
        "precision",
        "format",
        "rows",
        "top_k",
        "window_seconds",
        "hop_seconds",
        "aggregate",
        "one_table",
        "append_score",
    ),
    *("threshold", "release_threshold", "smooth_windows", "merge_gap_seconds", "min_duration_seconds", "only_labels"),
)


@dataclass
class JobCounts:
    """Numbers of recordings that were scored, could not be read, and were scored but could not be written."""

    scored: int = 0
    unreadable: int = 0
    unwritten: int = 0


class Job:
    """A job that makes rows, recording by recording.

    Args:
        options: model, windows, rules and format.
        ids: names of recordings in the format; see :class:`earmark.formats.format.Writer`.

    Raises:
        EarmarkError: the model or device cannot be used; or a window, class or rule is invalid.
    """

    def __init__(self, options: PredictOptions, ids: Mapping[str, str] | None = None) -> None:
        self.options = options
        self._source = model_source(options)
        self.classifier = Classifier(
            load_any(self._source),
            device=options.device,
            batch_size=options.batch_size,
            precision=options.precision,
        )
        self.windowing: Windowing = self.classifier.windowing(options.window_seconds, options.hop_seconds)
        self.top_k = min(options.top_k, len(self.classifier.labels))
        self.rules = SegmentRules(
            options.threshold,
            options.release_threshold,
            options.smooth_windows,
            options.merge_gap_seconds,
            options.min_duration_seconds,
            options.only_labels,
            options.include_background,
            self.classifier.background_classes,
            self.classifier.decision,
        )
        check_labels("--only_labels", options.only_labels or [], self.classifier.labels)
        kind = options.rows or "clips"
        if not self.classifier.task.has_classes and kind == "segments":
            raise UsageError(
                f"--rows segments: this model predicts {self.classifier.task.in_words}, which has no segments. "
                f"Use --rows windows with --format {alternatives(writers_with(lambda writer: writer.whole_recordings))}"
            )
        settings = RowSettings(
            kind,
            self.top_k,
            self.classifier.sampling_rate_hz,
            rejects=self.classifier.decision.rejects,
            several=self.classifier.task.has_several,
            number="" if self.classifier.task.has_classes else self.classifier.labels[0],
            one_table=options.one_table,
            append_score=options.append_score,
            ids={} if ids is None else ids,
        )
        self.rows: Rows = options.writer.rows(settings)
        self._state: Mapping[str, Any] = {}  # state of the rows after the last finished recording

        if options.aggregate == "max" and kind == "clips" and self.classifier.decision.has_thresholds:
            logger.warning(
                "--aggregate max: the model's thresholds were fitted to the mean over windows, so the highest "
                "probabilities exceed them more often"
            )

    def settings(self) -> dict[str, object]:
        """Return the settings that change the rows."""
        settings = {name: getattr(self.options, name) for name in _RESULT_SETTINGS}
        if self.options.rows == "segments" and self.classifier.background_classes:
            settings["include_background"] = self.options.include_background
        if self.options.task is not None:
            settings["task"] = self.options.task
        decision = self.classifier.decision
        return settings if decision.is_plain else {**settings, "decision": decision.fingerprint(self.classifier.labels)}

    def provenance(self) -> Provenance:
        """Return the provenance of the rows, which contains a hash of all weights."""
        name = str(self.options.model_name_or_path)
        local = local_folder(name)
        folder = local if local is not None and is_export(local) else self._source.find(name)
        return Provenance.of_now("predict", hub_name(name), model_sha256(folder), self.settings())

    def run(self, clips: Sequence[Clip], sink: Sink, progress: ScoringProgress | None = None) -> JobCounts:
        """Score recordings.

        Args:
            clips: the recordings.
            sink: receives the rows.
            progress: shows the progress of the job.

        Raises:
            AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
            OutputError: the results cannot be written.
        """
        self.rows.restore(sink.state)
        self._state = self.rows.state()
        counts = JobCounts()
        for clip, ended in self._scored(clips, sink, progress):
            self._finish(clip, ended, sink, counts)
            if progress is not None:
                progress.finish()
        return counts

    def _scored(
        self, clips: Sequence[Clip], sink: Sink, progress: ScoringProgress | None
    ) -> Iterator[tuple[Clip, Ended]]:
        """Yield each recording when its rows are in the sink."""
        threads = self.options.num_workers or 2
        if self.options.rows == "clips":
            answers = self.classifier.predict_clips(
                clips, num_threads=threads, windowing=self.windowing, aggregate=self.options.aggregate
            )
            for clip, answer in answers:
                if isinstance(answer, AudioError):
                    yield clip, Ended(0.0, answer)
                    continue
                self.rows.start(clip.source)
                sink.write(self.rows.clip(clip.source, self.classifier.top(answer, self.top_k)))
                yield clip, Ended(0.0, None)
            return
        stream = self.classifier.windows_of_clips(clips, self.windowing, num_threads=threads)
        for clip in clips:
            ended: list[Ended] = []
            self.rows.start(clip.source)
            self._write_windows(clip, _until_end(stream, ended, progress), sink)
            yield clip, ended[0]

    def _write_windows(self, clip: Clip, windows: Iterator[Window], sink: Sink) -> None:
        if self.options.rows == "segments":
            for segment in self.rules.segments(windows, self.classifier.labels):
                sink.write(self.rows.segment(clip.source, segment))
            return
        for window in windows:
            top = self.classifier.top(window.probabilities, self.top_k)
            sink.write(self.rows.window(clip.source, window, top))

    def _finish(self, clip: Clip, ended: Ended, sink: Sink, counts: JobCounts) -> None:
        error = ended.error
        if error is None:
            self.rows.end(ended.duration_s)
            self._state = self.rows.state()
            unwritten = sink.finish(clip.source, state=self._state)
            counts.scored += unwritten is None
            if unwritten is not None:
                logger.warning("%s", unwritten)
                counts.unwritten += 1
            return
        sink.drop()
        self.rows.restore(self._state)
        if self.options.on_bad_audio == "fail":
            raise error
        logger.warning("%s", error)
        sink.write(self.rows.bad(clip.source, error.reason))
        sink.finish(clip.source, error.reason, self._state)
        counts.unreadable += 1


def _until_end(
    stream: Iterator[tuple[Clip, Window | Ended]], ended: list[Ended], progress: ScoringProgress | None
) -> Iterator[Window]:
    """Yield the windows of one recording, and put its end into ``ended``."""
    for _, answer in stream:
        if isinstance(answer, Ended):
            ended.append(answer)
            return
        if progress is not None:
            progress.reach(answer.end_s)
        yield answer
