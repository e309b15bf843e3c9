"""The public class: a trained model that labels files, bytes and samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from earmark.audio.incomplete import log_notes
from earmark.audio.reading import stream_in_order
from earmark.clips.clip import Clip
from earmark.errors import AudioError, InputTypeError, UsageError
from earmark.export.load_export import ExportedModel, load_any
from earmark.formats.segments import Window
from earmark.models.model_source import ModelSource
from earmark.predict.audio_inputs import Audio, blocks_of_audio, source_name, split_batch
from earmark.predict.engine import Ended, score_recordings
from earmark.predict.saved_model import SavedModel
from earmark.predict.scorers import embedding_scorer, make_scorer
from earmark.predict.timeline import Aggregate, Timeline
from earmark.scoring.inference import score
from earmark.scoring.windows import Windowing
from earmark.settings.flags import declared_flags
from earmark.settings.given_values import read_values
from earmark.settings.prediction_flags import PredictOptions
from earmark.sources.background import background_classes
from earmark.tasks import Task, pool
from earmark.tasks.decision import Prediction
from earmark.text import suggestion

if TYPE_CHECKING:
    from earmark.models.build_model import AudioModel

Key = TypeVar("Key")
_SOURCE = ("revision", "token", "cache_dir", "allow_pickle", "trust_remote_code")  # further arguments of ModelSource


class Classifier(SavedModel):
    """A trained audio classifier, which several threads may use at the same time.

    On a CPU, it keeps rearranged weights between calls, so do not change the weights of its model through ``.data``.

    Example::

        classifier = earmark.Classifier.from_pretrained("runs/commands")
        classifier.predict("yes.wav")          # [{'label': 'yes', 'score': 0.98}]

    Attributes:
        labels: class names, in the order of the probabilities; for a regression, the name of the number.
        sampling_rate_hz: sampling rate of the model; recordings with another rate are resampled.
        task: what the model predicts: one class, several labels, or a number (``task.name``).
        background_class: name of the background class, which means "none of the other classes"; ``None`` without one.
        background_classes: names of all classes with this meaning, such as ``silence`` and ``unknown``. Their segments
            are omitted unless requested.
        batch_size: number of windows in one forward pass.
    """

    def __init__(
        self, audio: AudioModel | ExportedModel, *, device: str = "auto", batch_size: int = 32, precision: str = "fp32"
    ) -> None:
        self.scorer = make_scorer(audio, device, precision)  # with the longest window, for the scoring loop
        self.labels = audio.labels
        self.task: Task = audio.task
        self.decision = audio.decision
        self.background_class = audio.background_class
        self.background_classes = background_classes(self.task, self.labels, self.decision, self.background_class)
        self.sampling_rate_hz = self.scorer.sampling_rate_hz
        self.batch_size = batch_size

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | os.PathLike[str],
        *,
        device: str = "auto",
        batch_size: int = 32,
        precision: str = "fp32",
        task: str | None = None,
        **source: Any,
    ) -> Classifier:
        """Load a run folder, a checkpoint folder, the folder of an export, or a model from the hub.

        Args:
            name_or_path: folder or hub name.
            device: ``auto``, ``cpu``, ``npu:0``, ``cuda:1``...
            batch_size: clips in one forward pass.
            precision: ``fp32``, ``bf16`` or ``fp16``: precision of the computation; an export has its own.
            task: ``multi_label``, ``single_label`` or ``regression``, for a model whose configuration does not contain
                it (AudioSet taggers); ``None`` for the configured task, else ``single_label``.
            **source: ``revision``, ``token``, ``cache_dir``, ``allow_pickle``, ``trust_remote_code``.

        Raises:
            UsageError: unknown precision, or a precision for an export; the model has another task.
            ModelError: the model does not exist, or has no trained head.
            NetworkError: the hub cannot be reached.
            DeviceError: the device does not exist.
        """
        unknown = next((name for name in source if name not in _SOURCE), None)
        if unknown is not None:
            raise UsageError(f"{unknown}: unknown setting{suggestion(unknown, _SOURCE)}")
        given = _checked(device=device, batch_size=batch_size, precision=precision)
        model = ModelSource(name_or_path=_model_name(name_or_path), task=task, **source)
        classifier = cls(load_any(model), **given)
        classifier._source = model
        return classifier

    def predict(
        self,
        audio: Audio | Iterable[Audio],
        *,
        sampling_rate: int | None = None,
        top_k: int = 1,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
        aggregate: str = "mean",
    ) -> list[Prediction] | list[list[Prediction]]:
        """Predict the most likely classes of whole recordings of any length, in constant memory.

        Args:
            audio: one recording, or a list, a generator or any other iterable of recordings in any of these forms:
                a path; the bytes of an audio file; an open binary file; samples of shape ``(samples,)`` or
                ``(samples, channels)`` as an array, a tensor or a list of numbers (floating point in [-1, 1], int16,
                int32 or uint8; other integers are rejected); ``(rate, samples)`` or ``(samples, rate)``; a dict of
                ``datasets`` or of pipelines. See :mod:`earmark.predict.audio_inputs`.
            sampling_rate: rate of samples without their own rate, in hertz; files and pairs have their own.
            top_k: number of classes to return, at most all.
            window_seconds: length of the windows; ``None`` for the longest that the model accepts.
            hop_seconds: distance between starts of windows; ``None`` for their length.
            aggregate: ``mean`` or ``max`` of the windows' probabilities.

        Returns:
            ``top_k`` predictions, most likely first; for a batch, a list of such lists. If the most likely class is
            below its threshold, its label is the model's label for rejected clips, and the class is under
            ``below_threshold``. With several labels, each prediction has ``present``, and present labels that are not
            among the first ``top_k`` are appended. A regression returns one prediction, whose ``score`` is the number.

        Raises:
            AudioError: a recording cannot be read.
            InputTypeError: the type is not supported; also a ``TypeError``.
            UsageError: samples have no sampling rate, or the model does not accept the window.
        """
        top_k = _checked(top_k=top_k)["top_k"]
        windowing = self.windowing(window_seconds, hop_seconds)
        items, is_batch = split_batch(audio)
        rows = self._aggregated(self._recordings(items, sampling_rate), windowing, aggregate)
        answers = [self.top(_value(row), top_k) for _, row in rows]
        return answers if is_batch else answers[0]

    def predict_proba(self, audio: Audio | Iterable[Audio], *, sampling_rate: int | None = None) -> np.ndarray:
        """Return probabilities or numbers, float32 (N, C), of N recordings; columns in the order of ``labels``.

        Args:
            audio: see :meth:`predict`; one recording gives one row.
            sampling_rate: see :meth:`predict`.

        Raises:
            EarmarkError: see :meth:`predict`.
        """
        items, _ = split_batch(audio)
        recordings = self._recordings(items, sampling_rate)
        rows = [_value(row) for _, row in self._aggregated(recordings, self.windowing(), "mean")]
        return np.stack(rows) if rows else np.empty((0, len(self.labels)), np.float32)

    def embed(
        self,
        audio: Audio | Iterable[Audio],
        *,
        sampling_rate: int | None = None,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
    ) -> np.ndarray:
        """Return embeddings float32 (N, D) of N recordings: the input of the model's last layer, averaged over windows.

        Args:
            audio: see :meth:`predict`; one recording gives one row.
            sampling_rate: see :meth:`predict`.
            window_seconds: see :meth:`predict`.
            hop_seconds: see :meth:`predict`.

        Raises:
            ModelError: the model is an export, or its head uses a learned sum of layers.
            EarmarkError: see :meth:`predict`.
        """
        windowing = self.windowing(window_seconds, hop_seconds)
        scorer = embedding_scorer(self.scorer, self._source and self._source.name_or_path)
        items, _ = split_batch(audio)
        rows: list[np.ndarray] = []
        windows: list[np.ndarray] = []
        for _, answer in score_recordings(scorer, self._recordings(items, sampling_rate), windowing, self.batch_size):
            if not isinstance(answer, Ended):
                windows.append(answer.row)
                continue
            if answer.error is not None:
                raise answer.error
            rows.append(pool(np.stack(windows)).astype(np.float32))
            windows = []
        return np.stack(rows) if rows else np.empty((0, 0), np.float32)

    def timeline(
        self,
        audio: Audio,
        *,
        sampling_rate: int | None = None,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
    ) -> Timeline:
        """Score the windows of one recording. Keeps the scores of all windows; :meth:`iter_windows` does not.

        Args:
            audio: one recording; see :meth:`predict`.
            sampling_rate: rate of samples without their own rate, in hertz.
            window_seconds: length of a window; ``None`` for the longest that the model accepts.
            hop_seconds: distance between starts of windows; ``None`` for their length.

        Raises:
            AudioError: the recording cannot be read.
            InputTypeError: a batch, or a type that is not supported.
            UsageError: samples have no sampling rate, or the model does not accept the window or hop.
        """
        windows = self.iter_windows(
            audio, sampling_rate=sampling_rate, window_seconds=window_seconds, hop_seconds=hop_seconds
        )
        return Timeline(source_name(audio), list(self.labels), list(windows), self.decision, self.background_classes)

    def iter_windows(
        self,
        audio: Audio,
        *,
        sampling_rate: int | None = None,
        window_seconds: float | None = None,
        hop_seconds: float | None = None,
    ) -> Iterator[Window]:
        """Yield the windows of :meth:`timeline` one by one, as they are scored."""
        windowing = self.windowing(window_seconds, hop_seconds)
        items, is_batch = split_batch(audio)
        if is_batch:
            raise InputTypeError("audio: a timeline needs one recording, not several. Call it for each recording.")
        for _, answer in self._windows(self._recordings(items, sampling_rate), windowing):
            if isinstance(answer, Window):
                yield answer
            elif answer.error is not None:
                raise answer.error

    def windowing(self, window_seconds: float | None = None, hop_seconds: float | None = None) -> Windowing:
        """Return the window length and hop for cutting recordings, in samples of this model.

        Args:
            window_seconds: length of a window; ``None`` for the longest that the model accepts.
            hop_seconds: distance between starts of windows; ``None`` for their length.

        Raises:
            UsageError: the model does not accept the window or hop.
        """
        given = {"window_seconds": window_seconds, "hop_seconds": hop_seconds}
        asked = _checked(**{name: value for name, value in given.items() if value is not None})
        return Windowing.of_seconds(
            asked.get("window_seconds"),
            asked.get("hop_seconds"),
            longest_samples=self.scorer.max_samples,
            sampling_rate_hz=self.sampling_rate_hz,
        )

    def predict_clips(
        self,
        clips: Iterable[Clip],
        *,
        num_threads: int = 2,
        windowing: Windowing | None = None,
        aggregate: str = "mean",
    ) -> Iterator[tuple[Clip, np.ndarray | AudioError]]:
        """Yield each clip with its probabilities, or with the error if it cannot be read, in the given order.

        Args:
            clips: clips of files, such as those of a :class:`~earmark.clips.clip.ClipTable`.
            num_threads: number of threads that decode recordings.
            windowing: how to cut clips; ``None`` for the longest windows that the model accepts.
            aggregate: ``mean`` or ``max`` of the windows' probabilities.

        Yields:
            ``(clip, probabilities)``, float32 (C,), or ``(clip, error)``.
        """
        recordings = stream_in_order(clips, self.sampling_rate_hz, num_threads=num_threads)
        return self._aggregated(recordings, windowing or self.windowing(), aggregate)

    def windows_of_clips(
        self, clips: Iterable[Clip], windowing: Windowing, *, num_threads: int = 2
    ) -> Iterator[tuple[Clip, Window | Ended]]:
        """Yield the scored windows of clips in order, and an end mark after the last window of each clip.

        Args:
            clips: clips of files.
            windowing: how to cut clips; see :meth:`windowing`.
            num_threads: number of threads that decode recordings.

        Yields:
            ``(clip, window)``; after the windows of a clip, ``(clip, ended)``, where ``ended.error`` is the error if
            the clip cannot be read to its end, else ``None``.
        """
        return self._windows(stream_in_order(clips, self.sampling_rate_hz, num_threads=num_threads), windowing)

    def top(self, probabilities: np.ndarray, top_k: int = 1) -> list[Prediction]:
        """Return the ``top_k`` most likely classes for ``probabilities`` (C,), most likely first."""
        return self.decision.top(probabilities, self.labels, top_k)

    def logits(self, windows: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Yield logits float32 (C,) of windows.

        Args:
            windows: float32 (samples,) at ``sampling_rate_hz``, cut with :meth:`windowing`.
        """
        return score(self.scorer, windows, batch_size=self.batch_size)

    def _recordings(
        self, items: Iterable[tuple[str, object]], sampling_rate: int | None
    ) -> Iterator[tuple[str, Iterable[np.ndarray]]]:
        for where, audio in items:
            yield where, blocks_of_audio(audio, where, sampling_rate, self.sampling_rate_hz)
        log_notes(again=True)

    def _aggregated(
        self, recordings: Iterable[tuple[Key, Iterable[np.ndarray]]], windowing: Windowing, how: str
    ) -> Iterator[tuple[Key, np.ndarray | AudioError]]:
        """Yield one result or error for each recording."""
        whole = Aggregate(how)
        for key, answer in self._windows(recordings, windowing):
            if isinstance(answer, Window):
                whole.add(answer.probabilities)
                continue
            yield key, whole.probabilities() if answer.error is None else answer.error
            whole = Aggregate(how)

    def _windows(
        self, recordings: Iterable[tuple[Key, Iterable[np.ndarray]]], windowing: Windowing
    ) -> Iterator[tuple[Key, Window | Ended]]:
        for key, answer in score_recordings(self.scorer, recordings, windowing, self.batch_size):
            if isinstance(answer, Ended):
                yield key, answer
            else:
                yield key, Window(answer.start_s, answer.end_s, self.task.scores(answer.row))


def _value(answer: np.ndarray | AudioError) -> np.ndarray:
    if isinstance(answer, AudioError):
        raise answer
    return answer


def _checked(**values: object) -> dict[str, Any]:
    """Check arguments like the flags of ``earmark predict`` with the same names.

    Raises:
        UsageError: ``--NAME VALUE: expected ...``.
    """
    return read_values(values, declared_flags(PredictOptions)).values


def _model_name(name_or_path: object) -> str:
    if not isinstance(name_or_path, (str, os.PathLike)):
        raise InputTypeError(f"name_or_path: found {type(name_or_path).__name__}. Pass a folder, or a name on the hub.")
    return os.path.expanduser(os.fsdecode(name_or_path))
