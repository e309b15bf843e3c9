"""The forms in which callers of :class:`earmark.Classifier` pass audio: one recording, or a batch of recordings.

=============================================  ====================================================================
one recording                                  comes from
=============================================  ====================================================================
``str``, ``os.PathLike``                       a file
``bytes``, ``bytearray``, ``memoryview``       the content of an audio file
an object with ``read()``                      an open binary file, ``BytesIO``, an upload; read from its start
an array, a tensor, a list of numbers          samples; the caller passes ``sampling_rate``
``(rate, samples)``, ``(samples, rate)``       gradio and scipy, soundfile and librosa; the single number is the rate
``{"array" or "raw", "sampling_rate"}``        datasets, pipelines
``{"bytes", "path"}``                          datasets with ``Audio(decode=False)``
``{"audio": any of these}``                    a row of a data set
``AudioDecoder``, ``AudioSamples``             torchcodec
=============================================  ====================================================================

Any other iterable is a batch. The rules for scale and channels are in :mod:`earmark.audio.samples`.
"""

from __future__ import annotations

import array
import math
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol, TypeGuard

import numpy as np

from earmark.audio.decode import stream_clip, to_mono_at_rate
from earmark.audio.samples import is_channels_first
from earmark.clips.clip import Clip
from earmark.errors import AudioError, InputTypeError, UsageError, first_line
from earmark.text import with_article

_ACCEPTED = (
    "a path, the bytes of an audio file, an open binary file, an array of samples, (rate, samples), or a dict with "
    '"array" and "sampling_rate"'
)
_SAMPLE_KEYS = ("array", "raw")  # used by datasets, by pipelines


class SupportsRead(Protocol):
    """A binary file that is open for reading."""

    def read(self, size: int = -1, /) -> bytes:
        """Return at most ``size`` bytes, or all."""


class SupportsArray(Protocol):
    """An array or a tensor that NumPy can convert."""

    def __array__(self, *args: object, **kwargs: object) -> object: ...


Samples = SupportsArray | Sequence[float] | Sequence[Sequence[float]]
Audio = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | SupportsRead
    | Samples
    | tuple[int, Samples]
    | tuple[Samples, int]
    | Mapping[str, Any]
)


@dataclass(frozen=True, eq=False)
class Waveform:
    """One recording that was passed as samples.

    Attributes:
        source: its name in messages.
        samples: ``(samples,)`` or ``(samples, channels)``, any floating point or integer type.
        rate_hz: sampling rate.
    """

    source: str
    samples: np.ndarray
    rate_hz: float

    def blocks(self, to_hz: int) -> Iterator[np.ndarray]:
        """Yield float32 ``(samples,)`` in mono at ``to_hz``. Nothing is computed before the block is requested.

        Raises:
            AudioError: see :func:`earmark.audio.decode.to_mono_at_rate`.
        """
        yield to_mono_at_rate(self.samples, self.rate_hz, to_hz, self.source)  # type: ignore[arg-type]  # soxr takes it


def split_batch(audio: Audio | Iterable[Audio]) -> tuple[Iterator[tuple[str, object]], bool]:
    """Split what a caller passed into recordings.

    Returns:
        The recordings, each with its name in messages (``audio``, or ``audio[3]`` in a batch), and whether it was a
        batch. The items of an iterator are consumed one by one, when they are needed.
    """
    if hasattr(audio, "columns") and not isinstance(audio, Mapping) and (_holds_objects(audio) or not _is_array(audio)):
        kind = with_article(type(audio).__name__)
        raise InputTypeError(f'audio: {kind} is a table, not a batch of recordings. Pass one column, table["path"].')
    if _is_batch(audio):
        return ((f"audio[{i}]", item) for i, item in enumerate(audio)), True
    return iter([("audio", audio)]), False


def blocks_of_audio(audio: object, where: str, sampling_rate: float | None, to_hz: int) -> Iterator[np.ndarray]:
    """Yield the samples of one recording, float32 ``(samples,)`` in mono, block by block.

    Args:
        audio: any form of one recording.
        where: its name in messages.
        sampling_rate: rate of samples without their own rate, in hertz.
        to_hz: rate of the returned samples.

    Raises:
        AudioError: the recording cannot be read.
        InputTypeError: the type is not supported.
        UsageError: samples without a sampling rate.
    """
    found = find_recording(audio, where, sampling_rate)
    yield from found.blocks(to_hz) if isinstance(found, Waveform) else stream_clip(found, to_hz)


def find_recording(audio: object, where: str, sampling_rate: float | None) -> Clip | Waveform:
    """Return the file to decode, or the samples, of one recording.

    Raises:
        InputTypeError: the type is not supported, or a dict contains itself.
        UsageError: samples without a sampling rate.
    """
    try:
        return _find_recording(audio, where, sampling_rate)
    except RecursionError as exc:
        raise InputTypeError(f"{where}: the {type(audio).__name__} contains itself. Pass {_ACCEPTED}.") from exc


def _find_recording(audio: Any, where: str, sampling_rate: float | None) -> Clip | Waveform:
    if isinstance(audio, (str, os.PathLike)):
        path = os.fsdecode(audio)
        return Clip(source=path, path=path)
    if _is_encoded(audio):
        data = bytes(audio)
        return Clip(source=source_name(audio, where), read_bytes=lambda: data)
    if isinstance(audio, Mapping):
        return _from_mapping(audio, where, sampling_rate)
    if callable(getattr(audio, "read", None)):
        source = source_name(audio, where)
        return Clip(source=source, read_bytes=partial(_read_file, audio, source))
    if _is_decoder(audio):
        audio = audio.get_all_samples()
    if _is_decoded(audio):
        return Waveform(source_name(audio, where), as_samples(audio.data, where).T, _rate_hz(audio.sample_rate, where))
    if (pair := _pair(audio)) is not None:
        samples, rate = pair
        return _waveform(samples, rate, where)
    if sampling_rate is None and _is_samples(audio):
        raise UsageError(f"{where}: samples need a sampling rate. Pass sampling_rate=, in hertz, or (rate, samples).")
    return _waveform(audio, sampling_rate, where, is_one_recording=False)


def source_name(audio: object, where: str = "audio") -> str:
    """Return the path or file name of a recording; without one, its position in a batch or its type."""
    name = None
    if isinstance(audio, (str, os.PathLike)):
        name = os.fsdecode(audio)
    elif isinstance(audio, Mapping):
        name = audio.get("path")
    elif hasattr(audio, "read"):
        name = getattr(audio, "name", None)
    if isinstance(name, str) and name:
        return name
    return where if where != "audio" else f"<{type(audio).__name__}>"


def _is_encoded(audio: object) -> bool:
    """Return whether this is the content of an audio file. A memory view of wider elements holds samples."""
    return isinstance(audio, (bytes, bytearray)) or (isinstance(audio, memoryview) and audio.itemsize == 1)


def _is_batch(audio: object) -> TypeGuard[Iterable[object]]:
    if isinstance(audio, (str, os.PathLike, Mapping)) or _is_encoded(audio) or callable(getattr(audio, "read", None)):
        return False
    if _is_decoder(audio) or _is_decoded(audio) or _pair(audio) is not None:
        return False
    if isinstance(audio, (list, tuple)):
        return not (audio and _is_number(audio[0]))
    if _is_array(audio):
        return getattr(audio, "ndim", 1) > 0 and _holds_objects(audio)
    return isinstance(audio, Iterable)


def _is_decoder(audio: object) -> bool:
    """Return whether this is torchcodec's AudioDecoder, or a class with its interface."""
    return callable(getattr(audio, "get_all_samples", None))


def _is_decoded(audio: object) -> bool:
    """Return whether this is torchcodec's AudioSamples, whose ``data`` is (channels, samples)."""
    return hasattr(audio, "sample_rate") and hasattr(audio, "data")


def _pair(audio: object) -> tuple[object, object] | None:
    """Return samples and rate of a pair in either order; ``None`` for anything else."""
    if isinstance(audio, (list, tuple)) and len(audio) == 2 and _is_rate(audio[0]) != _is_rate(audio[1]):
        rate, samples = audio if _is_rate(audio[0]) else (audio[1], audio[0])
        if _is_samples(samples) and not _holds_objects(samples):
            return samples, rate  # a rate in text is refused later
    if isinstance(audio, (list, tuple)) and len(audio) == 2 and _is_number(audio[0]) != _is_number(audio[1]):
        return (audio[1], audio[0]) if _is_number(audio[0]) else (audio[0], audio[1])
    return None


def _from_mapping(audio: Mapping[str, object], where: str, sampling_rate: float | None) -> Clip | Waveform:
    for key in _SAMPLE_KEYS:
        if audio.get(key) is not None:
            rate = sampling_rate if audio.get("sampling_rate") is None else audio["sampling_rate"]
            if rate is None:
                raise UsageError(f'{where}: the dict has "{key}" without "sampling_rate". Add it, in hertz.')
            return _waveform(audio[key], rate, where)
    for key in ("bytes", "path", "audio"):  # datasets gives the bytes, and the path as a name
        if audio.get(key) is not None:
            found = _find_recording(audio[key], where, sampling_rate)
            return replace(found, source=source_name(audio, where)) if key == "bytes" else found
    keys = ", ".join(map(repr, list(audio)[:8])) or "none"
    raise InputTypeError(
        f'{where}: a dict with the keys {keys} is not a recording. Pass "array" or "raw" with "sampling_rate", or '
        '"bytes", or "path".'
    )


def _waveform(samples: object, rate: object, where: str, *, is_one_recording: bool = True) -> Waveform:
    """Return samples that can be mixed and resampled.

    Args:
        samples: any array.
        rate: its sampling rate.
        where: its name in messages.
        is_one_recording: whether to accept ``(channels, samples)``, the shape used by torchaudio and librosa. A bare
            array of this shape may be a batch of clips, which must not be averaged.
    """
    source = source_name(samples, where)
    found = as_samples(samples, where)
    if is_channels_first(found.shape):
        if not is_one_recording:
            raise AudioError(
                source,
                f"shape {found.shape} looks like (channels, samples), or like several clips. Pass the transpose, "
                "(samples, channels), or a list of clips",
            )
        found = found.T
    return Waveform(source, found, _rate_hz(rate, where))


def as_samples(samples: object, where: str) -> np.ndarray:
    """Convert an array, a tensor on any device or a list of numbers to a NumPy array of a common dtype.

    Half precision becomes float32, extended precision float64, and the byte order becomes native. Values, shape and all
    other types are kept.

    Raises:
        InputTypeError: the array contains no numbers.
    """
    if not _is_samples(samples):
        raise InputTypeError(_refusal(samples, where))
    try:
        found = _to_numpy(samples)
    except (TypeError, ValueError, RuntimeError, OverflowError) as exc:
        kind = with_article(type(samples).__name__)
        raise InputTypeError(
            f"{where}: {kind} cannot be read as samples ({first_line(exc)}). Pass a NumPy array of numbers."
        ) from exc
    if found.dtype.kind not in "fiu":
        raise InputTypeError(
            f"{where}: samples of type {found.dtype} are not audio. "
            "Pass floats within [-1, 1], or int16, int32 or uint8."
        )
    if found.dtype.kind == "f" and found.dtype.itemsize not in (4, 8):
        return found.astype(np.float32 if found.dtype.itemsize < 4 else np.float64)
    return found.astype(found.dtype.newbyteorder("="), copy=False)


def _to_numpy(samples: object) -> np.ndarray:
    torch = sys.modules.get("torch")  # a caller who passes a tensor has imported torch
    if torch is not None and isinstance(samples, torch.Tensor):
        tensor = samples.detach().cpu()
        is_half = tensor.is_floating_point() and tensor.element_size() < 4
        converted: np.ndarray = (tensor.float() if is_half else tensor).numpy()
        return converted
    if isinstance(samples, np.ma.MaskedArray) and np.ma.is_masked(samples):
        raise ValueError("some of its samples are masked")
    return np.asarray(samples)


def _is_samples(audio: object) -> bool:
    return (isinstance(audio, (list, tuple)) and len(audio) > 0) or _is_array(audio)


def _is_array(audio: object) -> bool:
    return isinstance(audio, (array.array, memoryview)) or hasattr(audio, "__array__")


def _holds_objects(audio: object) -> bool:
    """Return whether an array or a column of a table holds paths or other objects instead of numbers."""
    dtype = getattr(audio, "dtype", None)
    if isinstance(audio, np.ndarray) or hasattr(audio, "to_numpy"):  # pandas has text types of its own
        dtype = np.asarray(audio).dtype
    return isinstance(dtype, np.dtype) and dtype.kind in "OUST"


def _is_number(value: object) -> bool:
    if isinstance(value, (str, bytes)):  # also numpy.str_, which has no dimensions
        return False
    return isinstance(value, (int, float, complex)) or getattr(value, "ndim", None) == 0


def _is_rate(value: object) -> bool:
    """Return whether this is a number in text, ``"16000"``."""
    return isinstance(value, str) and value.strip().replace(".", "", 1).isdecimal()


def _rate_hz(rate: Any, where: str) -> float:
    try:
        if isinstance(rate, (str, bytes, bool, complex)):
            raise TypeError
        value = float(rate)
    except (TypeError, ValueError) as exc:
        raise InputTypeError(
            f"{where}: the sampling rate is {rate!r:.40}, not a number. Pass it in hertz, for example 16000."
        ) from exc
    if not (math.isfinite(value) and value > 0):
        raise UsageError(f"{where}: a sampling rate of {value:g} Hz is impossible. Pass a number above 0.")
    return int(value) if value.is_integer() else value


def _read_file(file: Any, source: str) -> bytes:
    """Read an open file from its start, and restore its position.

    A file that cannot seek is read from its current position.
    """
    try:
        position = file.tell() if _is_seekable(file) else None
        if position is not None:
            file.seek(0)
        data = file.read()
        if position is not None:
            file.seek(position)
    except Exception as exc:  # the file is closed, or the caller's object raises any other error
        raise AudioError(source, f"cannot be read ({first_line(exc)})") from exc
    if isinstance(data, (bytes, bytearray, memoryview)):
        return bytes(data)
    if hasattr(data, "close") and hasattr(data, "cr_code"):
        data.close()  # avoids the warning about a coroutine that is never awaited
        raise InputTypeError(f"{source}: read() is asynchronous. Pass the bytes: await it first.")
    raise InputTypeError(f'{source}: read() gives {type(data).__name__}, not bytes. Open the file with mode "rb".')


def _is_seekable(file: object) -> bool:
    seekable = getattr(file, "seekable", None)
    return callable(seekable) and bool(seekable())


def _refusal(audio: object, where: str) -> str:
    if isinstance(audio, (str, os.PathLike)) or _is_encoded(audio):
        return f"{where}: a file has its own sampling rate. Pass the file alone, without a rate."
    what = "None" if audio is None else f"an object of type {type(audio).__name__}"
    return f"{where}: {what} is not a recording. Pass {_ACCEPTED}."
