"""Decode a file or bytes to mono float32 samples ``(samples,)`` at the model's rate, whole or block by block.

soundfile decodes; PyAV (an extra) decodes what soundfile cannot read; soxr resamples. A recording is read to its real
end, even if its header announces another length. Faults of a recording that can still be read are collected in
:mod:`earmark.audio.incomplete`. A recording that cannot be read, or that lacks more than half of what its header
announces, raises :class:`~earmark.errors.AudioError` with the reason.
"""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import BinaryIO

import numpy as np
import soxr

from earmark.audio.content import ContentHash, hash_samples
from earmark.audio.decode_blocks import blocks_of_clip, describe_recording
from earmark.audio.decode_soundfile import Described
from earmark.audio.samples import FULL_SCALE_LIMIT, Mixer, PowerLeft, as_floats
from earmark.clips.clip import Clip
from earmark.errors import AudioError
from earmark.text import agreeing, counted

# Suffixes of formats that libsndfile (soundfile.available_formats()) or FFmpeg (av.formats_available) decodes. Left
# out: headerless samples of unknown rate (raw, pcm, al, ul, sb), and suffixes that usually mean something else in a
# folder of recordings (mat, dat, bin, str, bit, txt).
_SUFFIXES = (
    "wav wave wavex w64 rf64 bwf bw64 amb aif aiff aifc afc au snd caf flac ogg oga ogx opus spx mp1 mp2 mp3 mpa "
    "mpga m2a voc nist nis sph avr htk iff svx 8svx mpc2k paf fap pvf sds ircam sf wve xi m4a m4b m4r f4a isma mka "
    "weba aac adts loas latm ac3 eac3 ec3 amr awb 3ga wma asf xwma gsm g722 722 g723_1 tco rco sln lbc ilbc qcp dss "
    "ape apl wv tta tak shn mpc mlp thd truehd dts dtshd dsf ra rm aptx aptxhd oma aa3 at3 omg vqf osq qoa bonk rka "
    "laf lc3 mmf sox rso wsd acm adx aea ast apc brstm bfstm bcstm hca genh vag xvag svag msf mtaf mp4 m4v mov qt "
    "f4v flv webm mkv mk3d avi wmv 3gp 3g2 3gpp mpg mpeg mpe vob ts mts m2ts ogv ogm mxf nut rmvb divx dv gxf wtv "
    "swf"
)
# the files that a scan of a folder treats as recordings
AUDIO_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())

# A recording with larger samples is damaged: its power overflows float32.
_LARGEST_SAMPLE = 1e10


def read_clip(clip: Clip, sampling_rate_hz: int) -> np.ndarray:
    """Decode the part of a recording that a clip names.

    The decoder seeks to the start of the clip, so one second of a ten-hour file costs about one second.

    Args:
        clip: clip to read; its offset and duration are in seconds.
        sampling_rate_hz: rate of the returned samples.

    Returns:
        float32 ``(samples,)``, at least one sample.

    Raises:
        AudioError: the recording is missing, a folder, not readable, empty, truncated or not audio; it has NaN,
            infinite or absurdly large samples; or it ends before the clip starts or ends.
    """
    with _opened(clip) as file:
        mono, rate_hz = _at_own_rate(file, clip)
        return _resampled(mono, rate_hz, sampling_rate_hz, clip.source)


def read_clip_and_content(clip: Clip, sampling_rate_hz: int) -> tuple[np.ndarray, int]:
    """Decode like :func:`read_clip`, and hash the samples before resampling.

    Returns:
        The samples, and their content (:mod:`earmark.audio.content`).

    Raises:
        AudioError: see :func:`read_clip`.
    """
    with _opened(clip) as file:
        mono, rate_hz = _at_own_rate(file, clip)
        samples = _resampled(mono, rate_hz, sampling_rate_hz, clip.source)  # also rejects NaN
        return samples, hash_samples(mono, rate_hz)


def stream_clip(clip: Clip, sampling_rate_hz: int) -> Iterator[np.ndarray]:
    """Decode like :func:`read_clip`, sample for sample, but block by block: a ten-hour file takes little memory.

    Args:
        clip: clip to read.
        sampling_rate_hz: rate of the returned samples.

    Yields:
        float32 ``(samples,)``, never empty; at least one sample in total.

    Raises:
        AudioError: see :func:`read_clip`. It may be raised after the first blocks: a truncated recording first yields
            the samples that it has.
    """
    with _opened(clip) as file:
        blocks = blocks_of_clip(file, clip)
        first, rate_hz = next(blocks)
        resampler = None
        if rate_hz != sampling_rate_hz and rate_hz > 0:
            resampler = soxr.ResampleStream(rate_hz, sampling_rate_hz, 1, dtype="float32", quality="HQ")
        mixer = Mixer(clip.source)
        given = start = 0
        for block, _ in chain([(first, rate_hz)], blocks):
            mono = _checked(mixer.mono(block), rate_hz, clip.source, start)
            start += len(mono)
            ready = mono if resampler is None else resampler.resample_chunk(mono)
            given += len(ready)
            if len(ready):
                yield ready
        if resampler is not None:
            rest = resampler.resample_chunk(np.empty(0, np.float32), last=True)
            # as in _resampled: too few samples for one sample at the lower rate
            if len(rest) or not given:
                yield rest if len(rest) else mono.mean(keepdims=True)


def stream_at_own_rate(clip: Clip, left: PowerLeft | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Decode like :func:`stream_clip`, but at the recording's own rate and even if samples are far above full scale.

    Args:
        clip: clip to read.
        left: receives each block before its channels are averaged.

    Yields:
        float32 ``(samples,)`` and the rate in Hz.

    Raises:
        AudioError: see :func:`stream_clip`.
    """
    start, mixer = 0, Mixer(clip.source)
    with _opened(clip) as file:
        for block, rate_hz in blocks_of_clip(file, clip):
            mono = _checked(mixer.mono(block), rate_hz, clip.source, start, limit=_LARGEST_SAMPLE)
            if left is not None:
                left.add(block)
            yield mono, rate_hz
            start += len(block)


def clip_content(clip: Clip) -> int:
    """Return the content of a clip (:mod:`earmark.audio.content`). Decodes it block by block and keeps no samples.

    Raises:
        AudioError: see :func:`read_clip`.
    """
    hashed, own_rate_hz = ContentHash(), 0
    for samples, rate_hz in stream_at_own_rate(clip):
        hashed.update(samples)
        own_rate_hz = rate_hz
    return hashed.value(own_rate_hz)


def power_left_in_mono(clip: Clip) -> float:
    """Return how much power is left in a mono mix of a whole recording: :attr:`PowerLeft.ratio`.

    Raises:
        AudioError: see :func:`read_clip`.
    """
    left = PowerLeft()
    with _opened(clip) as file:
        for block, _ in blocks_of_clip(file, clip):
            if block.shape[1] == 1:
                break
            left.add(block)
    return left.ratio


def describe_clip(clip: Clip) -> Described | None:
    """Return length, rate and channels of a clip's recording from its headers; ``None`` if they are unknown."""
    try:
        with _opened(clip) as file:
            return describe_recording(file)
    except AudioError:
        return None


def num_channels(clip: Clip) -> int:
    """Return the number of channels from the header; 0 if unknown."""
    found = describe_clip(clip)
    return found.channels if found else 0


def own_rate_hz(clip: Clip) -> int:
    """Return the sampling rate from the header; 0 if unknown."""
    found = describe_clip(clip)
    return found.rate_hz if found else 0


def duration_s(clip: Clip) -> float:
    """Return the length of a clip in seconds from its header, without decoding; 0 if unknown."""
    if clip.duration_s is not None:
        return clip.duration_s
    found = describe_clip(clip)
    return max(0.0, found.num_frames / found.rate_hz - clip.offset_s) if found else 0.0


@contextmanager
def _opened(clip: Clip) -> Iterator[BinaryIO]:
    """Open the encoded recording.

    Raises:
        AudioError: there is no recording, or the system cannot read it.
    """
    if clip.read_bytes is not None:
        yield io.BytesIO(_embedded(clip))
        return
    if clip.path is None:
        raise AudioError(clip.source, "has neither a path nor bytes")
    try:
        with _open_file(clip.path, clip.source) as file:
            yield file
    except FileNotFoundError as exc:
        where = "" if clip.path == clip.source else f" (looked for {clip.path})"
        raise AudioError(clip.source, f"no such file{where}") from exc
    except PermissionError as exc:
        raise AudioError(clip.source, "no permission to read it") from exc
    except OSError as exc:
        raise AudioError(clip.source, f"cannot be read ({exc.strerror or exc})") from exc


def _open_file(path: str, source: str) -> BinaryIO:
    try:
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            return open(path, "rb", buffering=0)
    except ValueError as exc:  # a path that contains NUL
        raise AudioError(source, f"is not a path ({exc})") from exc
    raise AudioError(source, f"is {'a folder' if stat.S_ISDIR(mode) else 'a pipe or device'}, not a recording")


def _embedded(clip: Clip) -> bytes:
    """Return the recording of a clip that has no file."""
    assert clip.read_bytes is not None
    try:
        return clip.read_bytes()
    except OSError as exc:
        raise AudioError(clip.source, f"cannot be read ({exc.strerror or exc})") from exc
    except ValueError as exc:  # samples in a table that are not a valid recording
        raise AudioError(clip.source, str(exc)) from exc


def decode_bytes(data: bytes, sampling_rate_hz: int, source: str = "<bytes>") -> np.ndarray:
    """Decode a whole recording held in memory.

    Args:
        data: the encoded file: wav, flac, mp3...
        sampling_rate_hz: rate of the returned samples.
        source: name of the recording in messages.

    Returns:
        float32 ``(samples,)``, at least one sample.

    Raises:
        AudioError: see :func:`read_clip`.
    """
    mono, rate_hz = _at_own_rate(io.BytesIO(data), Clip(source=source))
    return _resampled(mono, rate_hz, sampling_rate_hz, source)


def to_mono_at_rate(samples: np.ndarray, from_hz: int, to_hz: int, source: str) -> np.ndarray:
    """Mix the channels and resample (soxr, quality HQ).

    Args:
        samples: ``(samples,)`` or ``(samples, channels)``; floating point in [-1, 1], int16, int32 or uint8; see
            :mod:`earmark.audio.samples`.
        from_hz: rate of ``samples``.
        to_hz: rate of the returned samples.
        source: name of the recording in messages.

    Returns:
        float32 ``(samples,)``, at least one sample.

    Raises:
        AudioError: no samples; NaN, infinite samples or samples far above full scale; a wrong shape or type; a rate
            that is not positive.
    """
    floats, mixer = as_floats(samples, source), Mixer(source)
    if len(floats) == 0:
        raise AudioError(source, "holds no samples")
    return _resampled(mixer.mono_whole(floats), from_hz, to_hz, source)


def _resampled(mono: np.ndarray, from_hz: int, to_hz: int, source: str) -> np.ndarray:
    """Return checked float32 samples (T,) resampled to another rate."""
    _checked(mono, from_hz, source)
    if from_hz == to_hz:
        return mono
    resampled: np.ndarray = soxr.resample(mono, from_hz, to_hz, quality="HQ")
    # A few samples at a high rate can be less than one sample at a low rate; then soxr returns none.
    return resampled if len(resampled) else mono.mean(keepdims=True)


def _checked(
    mono: np.ndarray, rate_hz: int, source: str, start: int = 0, *, limit: float = FULL_SCALE_LIMIT
) -> np.ndarray:
    """Return samples that begin at sample ``start`` of the recording, after checking their values and rate."""
    if not rate_hz > 0:
        raise AudioError(source, f"the sampling rate is {rate_hz} Hz. Pass a rate above 0")
    # If any sample is NaN, maximum and minimum are NaN and the comparisons are false. Comparing each sample would take
    # twice as long.
    if not (np.maximum.reduce(mono, initial=-limit) <= limit and np.minimum.reduce(mono, initial=limit) >= -limit):
        usable = np.abs(mono) <= limit
        first = int(np.argmin(usable))
        count, first_s = int((~usable).sum()), (start + first) / rate_hz
        many, where = f"{counted(count, 'sample')} {agreeing(count, 'are')}", f"the first at {first_s:.3f} s"
        if not np.isfinite(mono[first]):
            raise AudioError(source, f"{many} NaN or infinite, {where}")
        raise AudioError(
            source,
            f"{many} above {limit:g} times full scale, {where}. Scale floats to -1 to 1 "
            "(divide 16-bit values by 32768)",
        )
    return mono


def _at_own_rate(file: BinaryIO, clip: Clip) -> tuple[np.ndarray, int]:
    """Return a clip in mono, float32 (T,), at the recording's own rate, and that rate in Hz."""
    # mixed block by block, so that many channels take no more memory than one
    mixer = Mixer(clip.source)
    blocks = blocks_of_clip(file, clip)
    first, rate_hz = next(blocks)
    mono = [mixer.mono(first), *(mixer.mono(block) for block, _ in blocks)]
    return mono[0] if len(mono) == 1 else np.concatenate(mono), rate_hz
