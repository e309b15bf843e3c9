"""One prediction job: a model, how recordings are heard, and the rows that come of it. Runs here or in a worker."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from earmark.data.clips import Clip
from earmark.errors import AudioError
from earmark.export.load import load_any
from earmark.models.source import source_of
from earmark.options import PredictOptions
from earmark.predict.classifier import Classifier
from earmark.predict.engine import Ended
from earmark.predict.inputs import HeardProgress
from earmark.predict.rows import Rows, rows_of
from earmark.predict.sink import Sink
from earmark.predict.timeline import SegmentRules, Window
from earmark.scoring.windows import Windowing

logger = logging.getLogger(__name__)

_SHAPES_ROWS = (
    *("model_name_or_path", "precision", "format", "rows", "top_k", "window_seconds", "hop_seconds", "aggregate"),
    *("threshold", "release_threshold", "smooth_windows", "merge_gap_seconds", "min_duration_seconds", "only_labels"),
)


class Job:
    """The rows that the options ask for, recording by recording.

    Args:
        options: model, windows, rules and form.

    Raises:
        EarmarkError: the model or the device cannot be used; a window, a class or a rule that cannot be.
    """

    def __init__(self, options: PredictOptions) -> None:
        self.options = options
        self.classifier = Classifier(
            load_any(source_of(options)),
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
            self.classifier.decision,
        )
        self.rules.segments([], self.classifier.labels)  # a class that the model does not have, before anything is read
        kind, rate_hz = options.rows or "clips", self.classifier.sampling_rate_hz
        self.rows: Rows = rows_of(
            options.format or "csv", kind, self.top_k, rate_hz, rejects=self.classifier.decision.rejects
        )

        if options.aggregate == "max" and kind == "clips" and self.classifier.decision.rejects:
            logger.warning(
                "--aggregate max: the model's thresholds were fitted to the mean over windows; the highest "
                "probabilities pass them more often"
            )

    def settings(self) -> dict[str, Any]:
        """What the rows depend on."""
        settings = {name: getattr(self.options, name) for name in _SHAPES_ROWS}
        decision = self.classifier.decision
        return settings if decision.is_plain else {**settings, "decision": decision.fingerprint(self.classifier.labels)}

    def run(self, clips: Sequence[Clip], sink: Sink, progress: HeardProgress | None = None) -> tuple[int, int]:
        """Label recordings.

        Args:
            clips: what to label.
            sink: takes the rows.
            progress: is told how far this has come.

        Returns:
            How many were labelled, and how many could not be read.

        Raises:
            AudioError: a recording cannot be read, under ``on_bad_audio=fail``.
        """
        counts = Counter[bool]()
        for clip, error in self._answered(clips, sink, progress):
            self._finish(clip, error, sink)
            counts[error is None] += 1
            if progress is not None:
                progress.finish()
        return counts[True], counts[False]

    def _answered(
        self, clips: Sequence[Clip], sink: Sink, progress: HeardProgress | None
    ) -> Iterator[tuple[Clip, AudioError | None]]:
        """Each recording when its rows are in the sink."""
        threads = self.options.num_workers or 2
        if self.options.rows == "clips":
            answers = self.classifier.predict_clips(
                clips, num_threads=threads, windowing=self.windowing, aggregate=self.options.aggregate
            )
            for clip, answer in answers:
                error = answer if isinstance(answer, AudioError) else None
                if not isinstance(answer, AudioError):
                    sink.write(self.rows.clip(clip.source, self.classifier.top(answer, self.top_k)))
                yield clip, error
            return
        stream = self.classifier.windows_of_clips(clips, self.windowing, num_threads=threads)
        for clip in clips:
            ended: list[Ended] = []
            self._write_windows(clip, _until_end(stream, ended, progress), sink)
            yield clip, ended[0].error

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
            return
        if self.options.on_bad_audio == "fail":
            sink.drop()
            raise error
        logger.warning("%s", error)
        sink.drop()
        sink.write(self.rows.bad(clip.source, error.reason))
        sink.finish(clip.source, error.reason)


def _until_end(
    stream: Iterator[tuple[Clip, Window | Ended]], ended: list[Ended], progress: HeardProgress | None
) -> Iterator[Window]:
    """The windows of one recording; how it ended goes into ``ended``."""
    for _, answer in stream:
        if isinstance(answer, Ended):
            ended.append(answer)
            return
        if progress is not None:
            progress.reach(answer.end_s)
        yield answer
