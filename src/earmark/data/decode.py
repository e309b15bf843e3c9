"""From a file or bytes to float32 samples ``(samples,)``, mono, at the rate a model takes; whole or block by block.

soundfile decodes; what it cannot read goes to PyAV (an extra); soxr resamples. A recording that is broken in
any way raises :class:`~earmark.errors.AudioError` with the reason: nothing is repaired, shortened or replaced
on the quiet.
"""

from __future__ import annotations

import io
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import BinaryIO

import numpy as np
import soundfile
import soxr

from earmark.data.clips import Clip
from earmark.data.content import ContentHash, content_of
from earmark.data.decode_pyav import pyav_blocks
from earmark.data.samples import BLOCK, FULL_SCALE_LIMIT, Mixer, PowerLeft, as_floats
from earmark.errors import AudioError

_SUFFIXES = (
    "wav wave w64 rf64 flac ogg oga opus mp3 mp2 aif aiff aifc au snd caf voc nist sph "
    "m4a aac ac3 amr wma mp4 mov webm mka mkv avi 3gp"
)
# what a scan of a folder takes for a recording
AUDIO_SUFFIXES = frozenset(f".{suffix}" for suffix in _SUFFIXES.split())

# What is above is a damaged file even for who only measures it: its power does not fit into float32.
_LARGEST_SAMPLE = 1e10

UNKNOWN_FRAMES = 1 << 40  # from here up: libsndfile says 2**63 - 1 for a stream whose header gives no length
_ROUNDING_S = 0.1  # manifests round durations; a cut that ends further behind the end is a wrong cut

# libsndfile notes in its log what a header promises and what the file has
_CUT_SHORT = re.compile(r"^\s*(?:data|SSND|Data Size|riff)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED_BYTES = 0x7FFFF000  # recorders that write to a pipe put a length from here up, for "unknown"
# libsndfile's codes for: format not recognised, encoding not supported, encoding not implemented
_NOT_FOR_SOUNDFILE = {1, 4, 18}


class _NotForSoundfileError(Exception):
    """Soundfile does not know this format; PyAV may."""


def read_clip(clip: Clip, sampling_rate_hz: int) -> np.ndarray:
    """Decode the stretch of a recording that a clip names.

    A cut is sought, not decoded from the start, so one second of a ten-hour file costs about one second.

    Args:
        clip: what to read; its offset and duration are in seconds.
        sampling_rate_hz: rate wanted.

    Returns:
        float32 ``(samples,)``, at least one sample.

    Raises:
        AudioError: the recording is missing, a folder, not readable, empty, cut short, not audio, has NaN,
            infinite or absurdly large samples, or ends before the cut.
    """
    with _opened(clip) as file:
        mono, rate_hz = _at_own_rate(file, clip)
        return to_mono_at_rate(mono, rate_hz, sampling_rate_hz, clip.source)


def read_clip_and_content(clip: Clip, sampling_rate_hz: int) -> tuple[np.ndarray, int]:
    """Decode as :func:`read_clip` does, and hash the samples before they are resampled.

    Returns:
        The samples, and their content (:mod:`earmark.data.content`).

    Raises:
        AudioError: as for :func:`read_clip`.
    """
    with _opened(clip) as file:
        mono, rate_hz = _at_own_rate(file, clip)
        samples = to_mono_at_rate(mono, rate_hz, sampling_rate_hz, clip.source)  # also refuses NaN
        return samples, content_of(mono, rate_hz)


def stream_clip(clip: Clip, sampling_rate_hz: int) -> Iterator[np.ndarray]:
    """Decode as :func:`read_clip` does, sample for sample, a block at a time: a ten-hour file takes little memory.

    Args:
        clip: what to read.
        sampling_rate_hz: rate wanted.

    Yields:
        float32 ``(samples,)``, never empty; together at least one sample.

    Raises:
        AudioError: as for :func:`read_clip`, where the fault is met: a recording that is cut short gives what there is
            first.
    """
    with _opened(clip) as file:
        blocks = _blocks(file, clip)
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
            # as in to_mono_at_rate: too few samples for one at the lower rate
            if len(rest) or not given:
                yield rest if len(rest) else mono.mean(keepdims=True)


def stream_at_own_rate(clip: Clip, left: PowerLeft | None = None) -> Iterator[tuple[np.ndarray, int]]:
    """Decode as :func:`stream_clip` does, at the recording's own rate, and far above full scale too.

    Args:
        clip: what to read.
        left: told of each block before its channels are averaged.

    Yields:
        float32 ``(samples,)`` and the rate in Hz.

    Raises:
        AudioError: as for :func:`stream_clip`.
    """
    start, mixer = 0, Mixer(clip.source)
    with _opened(clip) as file:
        for block, rate_hz in _blocks(file, clip):
            mono = _checked(mixer.mono(block), rate_hz, clip.source, start, limit=_LARGEST_SAMPLE)
            if left is not None:
                left.add(block)
            yield mono, rate_hz
            start += len(block)


def clip_content(clip: Clip) -> int:
    """Return the content of a clip (:mod:`earmark.data.content`): decoded block by block, not resampled, not kept.

    Raises:
        AudioError: as for :func:`read_clip`.
    """
    hashed, own_rate_hz = ContentHash(), 0
    for samples, rate_hz in stream_at_own_rate(clip):
        hashed.update(samples)
        own_rate_hz = rate_hz
    return hashed.value(own_rate_hz)


def power_left_in_mono(clip: Clip) -> float:
    """The share of a whole recording: see :class:`PowerLeft`.

    Raises:
        AudioError: as for :func:`read_clip`.
    """
    left = PowerLeft()
    with _opened(clip) as file:
        for block, _ in _blocks(file, clip):
            if block.shape[1] == 1:
                break
            left.add(block)
    return left.share


def num_channels(clip: Clip) -> int:
    """Channels as the header has them; 0 where that cannot be told."""
    try:
        with _opened(clip) as file, soundfile.SoundFile(file) as sound:
            return int(sound.channels)
    except (AudioError, soundfile.LibsndfileError):
        return 0


def own_rate_hz(clip: Clip) -> int:
    """Sampling rate as the header has it; 0 where that cannot be told."""
    try:
        with _opened(clip) as file, soundfile.SoundFile(file) as sound:
            return int(sound.samplerate)
    except (AudioError, soundfile.LibsndfileError):
        return 0


def duration_s(clip: Clip) -> float:
    """Length of a clip in seconds as its header has it, without decoding; 0 where that cannot be told."""
    if clip.duration_s is not None:
        return clip.duration_s
    try:
        with _opened(clip) as file, soundfile.SoundFile(file) as sound:
            known = 0 < sound.frames < UNKNOWN_FRAMES
            return max(0.0, sound.frames / sound.samplerate - clip.offset_s) if known else 0.0
    except (AudioError, soundfile.LibsndfileError):
        return 0.0


@contextmanager
def _opened(clip: Clip) -> Iterator[BinaryIO]:
    """The encoded recording, at its start; what the system says of it in our words."""
    try:
        if clip.read_bytes is not None:
            yield io.BytesIO(clip.read_bytes())
            return
        if clip.path is None:
            raise AudioError(clip.source, "has neither a path nor bytes")
        if not stat.S_ISREG(os.stat(clip.path).st_mode):
            what = "a folder" if os.path.isdir(clip.path) else "a pipe or device"
            raise AudioError(clip.source, f"is {what}, not a recording")
        with open(clip.path, "rb", buffering=0) as file:
            yield file
    except FileNotFoundError as exc:
        where = "" if clip.path == clip.source else f" (looked for {clip.path})"
        raise AudioError(clip.source, f"no such file{where}") from exc
    except PermissionError as exc:
        raise AudioError(clip.source, "no permission to read it") from exc
    except OSError as exc:
        raise AudioError(clip.source, f"cannot be read ({exc.strerror or exc})") from exc
    except ValueError as exc:  # os.stat, for a path with a NUL in it
        raise AudioError(clip.source, f"is not a path ({exc})") from exc


def decode_bytes(data: bytes, sampling_rate_hz: int, source: str = "<bytes>") -> np.ndarray:
    """Decode a whole recording held in memory.

    Args:
        data: the encoded file: wav, flac, mp3...
        sampling_rate_hz: rate wanted.
        source: what messages call it.

    Returns:
        float32 ``(samples,)``, at least one sample.

    Raises:
        AudioError: as for :func:`read_clip`.
    """
    mono, rate_hz = _at_own_rate(io.BytesIO(data), Clip(source=source))
    return to_mono_at_rate(mono, rate_hz, sampling_rate_hz, source)


def to_mono_at_rate(samples: np.ndarray, from_hz: int, to_hz: int, source: str) -> np.ndarray:
    """Mix the channels and resample (soxr, quality HQ).

    Args:
        samples: ``(samples,)`` or ``(samples, channels)``; floating point in [-1, 1], int16, int32 or uint8; see
            :mod:`earmark.data.samples`.
        from_hz: rate of ``samples``.
        to_hz: rate wanted.
        source: what messages call the recording.

    Returns:
        float32 ``(samples,)``, at least one sample.

    Raises:
        AudioError: no samples, NaN, infinite ones or ones far above full scale, a shape or type that is no sound, a
            rate that is not positive.
    """
    floats, mixer = as_floats(samples, source), Mixer(source)
    if len(floats) == 0:
        raise AudioError(source, "holds no samples")
    blocks = [mixer.mono(floats[start : start + BLOCK]) for start in range(0, len(floats), BLOCK)]
    mono = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    _checked(mono, from_hz, source)
    if from_hz == to_hz:
        return mono
    resampled: np.ndarray = soxr.resample(mono, from_hz, to_hz, quality="HQ")
    # a sample or two at a high rate are less than one at a low rate, for which soxr gives none
    return resampled if len(resampled) else mono.mean(keepdims=True)


def _checked(
    mono: np.ndarray, rate_hz: int, source: str, start: int = 0, *, limit: float = FULL_SCALE_LIMIT
) -> np.ndarray:
    """The samples, which begin at sample ``start`` of the recording, if they are numbers at a rate that can be."""
    if not rate_hz > 0:
        raise AudioError(source, f"a rate of {rate_hz} Hz cannot be: rates are above 0")
    usable = np.abs(mono) <= limit  # no for NaN
    if not usable.all():
        first = int(np.argmin(usable))
        count, first_s = int((~usable).sum()), (start + first) / rate_hz
        where = f"the first at {first_s:.3f} s"
        if not np.isfinite(mono[first]):
            raise AudioError(source, f"{count} samples are NaN or infinite, {where}")
        raise AudioError(
            source,
            f"{count} samples are above {limit:g} times full scale, {where}: floats have to be within -1 to 1 "
            "(divide 16-bit values by 32768)",
        )
    return mono


def _at_own_rate(file: BinaryIO, clip: Clip) -> tuple[np.ndarray, int]:
    """The stretch that a clip names in mono, float32 (T,), at the recording's own rate, and that rate in Hz."""
    # mixed block by block, so that many channels take no more room than one
    mixer = Mixer(clip.source)
    blocks, rates = zip(*((mixer.mono(block), rate_hz) for block, rate_hz in _blocks(file, clip)), strict=True)
    samples = blocks[0] if len(blocks) == 1 else np.concatenate(blocks)
    return samples, rates[0]


def _blocks(file: BinaryIO, clip: Clip) -> Iterator[tuple[np.ndarray, int]]:
    """The stretch that a clip names: blocks (samples, channels) at the file's own rate, and that rate."""
    offset_s, duration_s = clip.offset_s, clip.duration_s
    if not (math.isfinite(offset_s) and offset_s >= 0):
        raise AudioError(clip.source, f"an offset of {offset_s} s cannot be: it is 0 or more")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise AudioError(clip.source, f"a duration of {duration_s} s cannot be: it is above 0")
    head = file.read(4)
    if not head:
        raise AudioError(clip.source, "the file is empty (0 bytes)")
    if head == b"OggS":
        _check_last_ogg_page(file, clip.source)
    file.seek(0)
    try:
        yield from _soundfile_blocks(file, clip.source, offset_s, duration_s)
        return
    except _NotForSoundfileError:  # known before there is a block
        file.seek(0)
    there = 0
    for block, rate_hz in _gathered(pyav_blocks(file, clip.source, offset_s, duration_s)):
        there += len(block)
        yield block, rate_hz
    wanted = round(duration_s * rate_hz) if duration_s is not None else 1
    _check_cut(clip.source, there, wanted, rate_hz, offset_s)


def _gathered(packets: Iterator[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
    """Join packets of about a thousand frames, as PyAV gives them, to blocks of at least ``BLOCK`` frames."""
    held: list[np.ndarray] = []
    num_frames = 0
    for packet, rate_hz in packets:
        held.append(packet)
        num_frames += len(packet)
        if num_frames >= BLOCK:
            yield np.concatenate(held), rate_hz
            held, num_frames = [], 0
    if held:
        yield np.concatenate(held), rate_hz


def _soundfile_blocks(
    file: BinaryIO, source: str, offset_s: float, duration_s: float | None
) -> Iterator[tuple[np.ndarray, int]]:
    """Blocks float32 (samples, channels)."""
    # libsndfile reads a descriptor itself, without the interpreter lock; soundfile would trust a name's ending
    target = file if isinstance(file, io.BytesIO) else file.fileno()
    try:
        with soundfile.SoundFile(target, closefd=False) as sound:
            if sound.frames >= UNKNOWN_FRAMES:
                raise _NotForSoundfileError
            _check_promised_bytes(sound.extra_info, source)
            rate_hz: int = sound.samplerate
            if sound.frames == 0:
                raise AudioError(source, "holds no samples")
            start = round(offset_s * rate_hz)
            wanted = sound.frames - start if duration_s is None else max(1, round(duration_s * rate_hz))
            _check_cut(source, sound.frames - start, wanted, rate_hz, offset_s)
            _seek(sound, start)
            for block in _read_frames(sound, min(wanted, sound.frames - start), source):
                yield block, rate_hz
    except soundfile.LibsndfileError as exc:
        if exc.code in _NOT_FOR_SOUNDFILE:
            raise _NotForSoundfileError from exc
        raise AudioError(source, f"damaged or cut short ({exc.error_string.strip().rstrip('.')})") from exc


def _seek(sound: soundfile.SoundFile, start: int) -> None:
    """Go to frame ``start``.

    libsndfile 1.2.2 arrives 128 frames off in the last page of a Vorbis stream, whose end is trimmed. So there
    this seeks a page's worth (255 packets of 1,024 frames) earlier and decodes the way to ``start``.
    """
    behind = min(start, 255 * 1024) if sound.subtype == "VORBIS" else 0
    if start > behind:
        sound.seek(start - behind)
    if behind:
        sound.read(behind, dtype="float32")


def _read_frames(sound: soundfile.SoundFile, wanted: int, source: str) -> Iterator[np.ndarray]:
    """Exactly ``wanted`` frames as float32 (samples, channels), block by block."""
    missing = wanted
    while missing:
        block = sound.read(min(missing, BLOCK), dtype="float32", always_2d=True)  # (samples, channels)
        if not len(block):
            there = wanted - missing
            raise AudioError(source, f"cut short: {wanted} frames announced, {there} there")
        yield block
        missing -= len(block)


def _check_cut(source: str, there: int, wanted: int, rate_hz: int, offset_s: float) -> None:
    """A cut must lie inside the recording; ``there`` counts the frames from the offset on."""
    if there <= 0:
        end = f" ({offset_s + there / rate_hz:.3f} s)" if there < 0 else ""
        raise AudioError(source, f"the offset of {offset_s} s is not before the end of the recording{end}")
    if wanted - there > _ROUNDING_S * rate_hz:
        raise AudioError(
            source,
            f"the cut ends at {offset_s + wanted / rate_hz:.3f} s, the recording at {offset_s + there / rate_hz:.3f} s",
        )


def _check_promised_bytes(log: str, source: str) -> None:
    """WAV, AIFF, AU, W64: libsndfile reads what is there and only logs that more was promised."""
    found = _CUT_SHORT.search(log)
    if found is None:
        return
    promised, there = int(found[1]), int(found[2])
    if there < promised < _STREAMED_BYTES:
        raise AudioError(source, f"cut short: the header promises {promised} bytes of sound, {there} are there")


def _check_last_ogg_page(file: BinaryIO, source: str) -> None:
    """Ogg: libsndfile takes the last whole page for the end, so a page that breaks off has to be looked for.

    The page header (RFC 3533) is 27 bytes, the last of which counts the lengths that follow it. A file cut
    exactly between two pages looks like one by a recorder that writes no end mark, and is taken for that.
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(max(0, size - 70_000))  # a page has at most 65,307 bytes
    tail = file.read()
    start = tail.rfind(b"OggS")
    page = tail[start:]
    count = page[26] if len(page) > 26 else 0
    whole = len(page) > 26 and len(page) >= 27 + count + sum(page[27 : 27 + count])
    if start < 0 or not whole:
        raise AudioError(source, "cut short: the last Ogg page breaks off")
