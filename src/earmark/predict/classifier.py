"""The public class: a trained model that answers for files, bytes and arrays."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
import torch

from earmark.data.clips import Clip
from earmark.data.decode import decode_bytes, read_clip, to_mono_at_rate
from earmark.data.reading import read_in_order
from earmark.device import select_device
from earmark.errors import AudioError, UsageError
from earmark.export.load import ExportedModel, load_any
from earmark.models.build import AudioModel, ModelSource
from earmark.models.forward import cast_in_place
from earmark.scoring.forward import Scorer, TorchScorer, score, softmax

_DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


class Prediction(TypedDict):
    """One class and its probability."""

    label: str
    score: float


Audio = str | os.PathLike[str] | bytes | np.ndarray


class Classifier:
    """A trained audio classifier.

    Example::

        classifier = earmark.Classifier.from_pretrained("runs/commands")
        classifier.predict("yes.wav")          # [{'label': 'yes', 'score': 0.98}]

    Attributes:
        scorer: the model and its limits (``max_samples``: the longest window at once), for the loop that scores.
        labels: class names, index by index.
        sampling_rate_hz: rate the model works at; recordings of any other rate are resampled.
    """

    def __init__(
        self, audio: AudioModel | ExportedModel, *, device: str = "auto", batch_size: int = 32, precision: str = "fp32"
    ) -> None:
        if precision not in _DTYPES:
            raise UsageError(f"precision {precision}: expected {', '.join(_DTYPES)}")
        self.scorer = _scorer(audio, device, precision)
        self.labels = audio.labels
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
        **source: Any,
    ) -> Classifier:
        """Load a run folder, a checkpoint folder, the folder of an export, or a model from the hub.

        Args:
            name_or_path: folder or hub name.
            device: ``auto``, ``cpu``, ``npu:0``, ``cuda:1``...
            batch_size: clips in one forward pass.
            precision: ``fp32``, ``bf16`` or ``fp16``: what is computed in; an export has its own.
            **source: ``revision``, ``token``, ``cache_dir``, ``allow_pickle``, ``trust_remote_code``.

        Raises:
            UsageError: no such precision, or one for an export.
            ModelError: no such model, or it has no trained head.
            NetworkError: the hub cannot be reached.
            DeviceError: no such device.
        """
        audio = load_any(ModelSource(name_or_path=str(name_or_path), **source))
        return cls(audio, device=device, batch_size=batch_size, precision=precision)

    def predict(
        self, audio: Audio | Sequence[Audio], *, sampling_rate: int | None = None, top_k: int = 1
    ) -> list[Prediction] | list[list[Prediction]]:
        """Name the most likely classes.

        Args:
            audio: a path, the bytes of an audio file, or samples of shape ``(samples,)`` or ``(samples, channels)``
                (floating point in [-1, 1], or integers scaled by their type); or a list of these.
            sampling_rate: rate of the samples in hertz; needed for arrays, and only for them.
            top_k: how many classes to name, at most all of them.

        Returns:
            ``top_k`` predictions, most likely first; a list of such lists for a list.

        Raises:
            AudioError: a recording cannot be read.
            UsageError: an array without a sampling rate.
        """
        several = isinstance(audio, (list, tuple))
        items: list[Any] = list(audio) if isinstance(audio, (list, tuple)) else [audio]
        waveforms = (self._waveform(item, sampling_rate) for item in items)
        answers = [self.top(row, top_k) for row in self._probabilities(waveforms)]
        return answers if several else answers[0]

    def predict_proba(self, audio: Sequence[Audio], *, sampling_rate: int | None = None) -> np.ndarray:
        """Probabilities float32 (N, C) of N recordings, columns in the order of ``labels``."""
        rows = list(self._probabilities(self._waveform(item, sampling_rate) for item in audio))
        return np.stack(rows) if rows else np.empty((0, len(self.labels)), np.float32)

    def predict_clips(
        self, clips: Iterable[Clip], *, num_threads: int = 2
    ) -> Iterator[tuple[Clip, np.ndarray | AudioError]]:
        """Stream probabilities float32 (C,) for clips, or the reason there are none, in order."""
        waiting: list[tuple[Clip, AudioError | None]] = []

        def readable() -> Iterator[np.ndarray]:
            for clip, result in read_in_order(clips, self.sampling_rate_hz, num_threads=num_threads):
                waiting.append((clip, result if isinstance(result, AudioError) else None))
                if not isinstance(result, AudioError):
                    yield result

        for row in self._probabilities(readable()):
            # broken clips wait here until the readable clip behind them has its answer, so the order is kept
            while waiting[0][1] is not None:
                clip, error = waiting.pop(0)
                yield clip, error  # type: ignore[misc]
            yield waiting.pop(0)[0], row
        for clip, error in waiting:
            assert error is not None, f"{clip.source} was read but not scored"
            yield clip, error

    def top(self, probabilities: np.ndarray, top_k: int = 1) -> list[Prediction]:
        """The ``top_k`` most likely classes of ``probabilities`` (C,), most likely first."""
        order = np.argsort(-probabilities, kind="stable")[:top_k]
        return [{"label": self.labels[i], "score": float(probabilities[i])} for i in order]

    def _probabilities(self, waveforms: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for logits in score(self.scorer, waveforms, batch_size=self.batch_size):
            yield softmax(logits)

    def _waveform(self, audio: Audio, sampling_rate: int | None) -> np.ndarray:
        if isinstance(audio, (bytes, bytearray, memoryview)):
            return decode_bytes(bytes(audio), self.sampling_rate_hz)
        if isinstance(audio, (str, os.PathLike)):
            return read_clip(Clip(source=str(audio), path=str(Path(audio))), self.sampling_rate_hz)
        if sampling_rate is None:
            raise UsageError("samples in an array carry no rate: pass sampling_rate=, in hertz")
        return to_mono_at_rate(np.asarray(audio), sampling_rate, self.sampling_rate_hz, "<array>")


def _scorer(audio: AudioModel | ExportedModel, device: str, precision: str) -> Scorer:
    if isinstance(audio, ExportedModel):
        if precision != "fp32":
            raise UsageError(f"precision {precision}: {audio.folder} computes in what it was exported in")
        return audio.scorer(device)
    place = select_device(device)
    model = audio.model.to(place).eval()
    if (dtype := _DTYPES[precision]) is not None:
        cast_in_place(model, dtype)
    return TorchScorer(model, audio.frontend, place)
