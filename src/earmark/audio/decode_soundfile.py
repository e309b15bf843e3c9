"""Decode the streams of a recording with libsndfile, one after the other, block by block, to their real end."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
import soxr

from earmark.audio import samples
from earmark.audio.layout import TRIFLE_S, Layout, Stream, cut_short, file_size, missing, read_at
from earmark.audio.layout_announced import ANNOUNCING
from earmark.audio.layout_flac import stream_info
from earmark.audio.layout_ogg import lost_at_start_s
from earmark.errors import AudioError

UNKNOWN_FRAMES = 1 << 40  # libsndfile returns 2**63 - 1 if the header gives no length

# libsndfile's error codes: unknown format, unsupported encoding, no file (also for an MP3 without frames), encoding not
# implemented
_NOT_FOR_SOUNDFILE = {1, 4, 7, 18}
# lines in libsndfile's log about sizes in the header that differ from the file
_CUT_SHORT = re.compile(r"^\s*(?:data|SSND|BODY|Data Size|riff)\s*:\s*(\d+) \(should be (\d+)\)", re.MULTILINE)
_STREAMED_BYTES = 0x7FFFF000  # programs that write to a pipe use such sizes for "unknown"
# Frames to decode before the first wanted frame. After a seek, libsndfile 1.2.2 returns wrong samples until the next
# MPEG frame, whose bits may be in earlier frames. In the last page of a Vorbis stream, libsndfile is 128 frames off (a
# page has up to 255 packets of 1,024 frames). Opus needs 80 ms to settle (RFC 7845, section 4.6).
_PREROLL = {
    "VORBIS": 255 * 1024,
    "OPUS": 48_000,
    "MPEG_LAYER_III": 24 * 1152,
    "MPEG_LAYER_II": 2304,
    "MPEG_LAYER_I": 768,
}
_PREROLL["GSM610"] = 1 << 62  # libsndfile cannot seek in GSM 6.10
_CHECKED_BY_LAYOUT = frozenset({"flac", "ogg", "mp3", "wav", "w64", *ANNOUNCING})


class NotForSoundfileError(Exception):
    """soundfile cannot read this format, or cannot read the rest of the recording. PyAV may be able to.

    Attributes:
        reason: libsndfile's message, if it knows the format.
        fault: what is missing from the recording if PyAV cannot read more either.
    """

    def __init__(self, reason: str | None = None, fault: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fault = fault


class MoreThereError(Exception):
    """The file continues after the end that its header announces, so a thorough layout is needed."""


class Described(NamedTuple):
    """Length and shape of a stream, from its header.

    Attributes:
        num_frames: length in frames, at its own rate.
        rate_hz: sampling rate.
        channels: number of channels.
    """

    num_frames: int
    rate_hz: int
    channels: int


class SequentialFile(soundfile.SoundFile):
    """Sound file read from start to end. SoundFile itself seeks before each read, which is slow and inexact in MP3."""

    __setattr__ = object.__setattr__  # SoundFile searches its writable tags for every attribute name

    def seekable(self) -> bool:
        """Return False, so that SoundFile does not seek before reading."""
        return False


def open_stream(file: BinaryIO, stream: Stream) -> SequentialFile:
    """Open a stream of a recording.

    Raises:
        NotForSoundfileError: libsndfile cannot read it.
    """
    try:
        sound = SequentialFile(stream.opened(file), closefd=False)
    except soundfile.LibsndfileError as exc:
        raise NotForSoundfileError(_reason(exc)) from exc
    if sound.frames >= UNKNOWN_FRAMES and stream.num_frames is None:
        sound.close()
        raise NotForSoundfileError("its header gives no length")
    return sound


def describe(file: BinaryIO, layout: Layout) -> Described:
    """Return length, rate and channels of a recording: all streams together, at the rate of the first.

    Raises:
        NotForSoundfileError: libsndfile cannot read it.
    """
    streams = [_described(file, stream) for stream in layout.streams]
    first = streams[0]
    frames = sum(_at_rate(one, first.rate_hz) for one in streams)
    return Described(frames, first.rate_hz, first.channels)


def _described(file: BinaryIO, stream: Stream) -> Described:
    with open_stream(file, stream) as sound:
        return Described(_frames(sound, stream), sound.samplerate, sound.channels)


def _frames(sound: soundfile.SoundFile, stream: Stream) -> int:
    return int(sound.frames if stream.num_frames is None else stream.num_frames)


def _at_rate(one: Described, rate_hz: int) -> int:
    return one.num_frames if one.rate_hz == rate_hz else round(one.num_frames * rate_hz / one.rate_hz)


class SoundfileReader:
    """Reader for the streams of a recording.

    Args:
        file: the recording.
        layout: its streams.
        source: name of the recording in messages.
        container: its name in :mod:`earmark.audio.containers`.

    Attributes:
        faults: problems found while reading.

    Raises:
        NotForSoundfileError: libsndfile cannot read it.
    """

    def __init__(self, file: BinaryIO, layout: Layout, source: str, container: str | None) -> None:
        self._file, self._layout, self._source, self._container = file, layout, source, container
        self._heads = [] if len(layout.streams) == 1 else [_described(file, stream) for stream in layout.streams]
        self.faults: list[str] = []

    def __enter__(self) -> Described:
        """Open the recording for reading once. Return its length, rate and channels."""
        if self._heads:
            first = self._heads[0]
            return Described(sum(_at_rate(one, first.rate_hz) for one in self._heads), first.rate_hz, first.channels)
        (stream,) = self._layout.streams
        self._sound = sound = open_stream(self._file, stream)
        try:
            self._check_log(sound)
        except AudioError:
            sound.close()
            raise
        return Described(_frames(sound, stream), sound.samplerate, sound.channels)

    def __exit__(self, *_: object) -> None:
        """Close the recording."""
        if not self._heads:
            self._sound.close()

    def blocks(self, start: int, count: int) -> Iterator[np.ndarray]:
        """Yield ``count`` frames from ``start`` as float32 (frames, channels); fewer if the recording ends earlier.

        Raises:
            NotForSoundfileError: libsndfile cannot read the rest.
            MoreThereError: the recording continues after its announced end.
        """
        if self._heads:
            return self._blocks_of_all(start, count)
        return self._stream_blocks(self._sound, self._layout.streams[0], start, count)

    def _blocks_of_all(self, start: int, count: int) -> Iterator[np.ndarray]:
        """Yield frames across several streams, at the rate and with the channels of the first."""
        rate_hz, channels, at, stop = self._heads[0].rate_hz, self._heads[0].channels, 0, start + count
        for stream, head in zip(self._layout.streams, self._heads, strict=True):
            end = at + _at_rate(head, rate_hz)
            first, last = max(start, at) - at, min(stop, end) - at
            if first < last:
                for block in self._joined_blocks(stream, head, first, last - first, rate_hz):
                    yield _with_channels(block, channels)
            at = end

    def _joined_blocks(
        self, stream: Stream, head: Described, start: int, count: int, rate_hz: int
    ) -> Iterator[np.ndarray]:
        """Yield frames of one of several streams, at the rate of the first."""
        with open_stream(self._file, stream) as sound:
            if head.rate_hz == rate_hz:
                yield from self._stream_blocks(sound, stream, start, count)
                return
            whole = list(self._stream_blocks(sound, stream, 0, head.num_frames))
            converted = soxr.resample(np.concatenate(whole), head.rate_hz, rate_hz, quality="HQ")
            yield converted[start : start + count]

    def _stream_blocks(self, sound: SequentialFile, stream: Stream, start: int, count: int) -> Iterator[np.ndarray]:
        if near := stream.near(start):
            rest, left_out = near
            with open_stream(self._file, rest) as sound:
                yield from self._stream_blocks(sound, rest, start - left_out, count)
            return
        frames = _frames(sound, stream)
        at, stop = start, min(start + count, frames)
        try:
            for block in _read(sound, at, stop):
                yield block
                at += len(block)
        except soundfile.LibsndfileError as exc:
            if sound.format != "FLAC":
                raise NotForSoundfileError(_reason(exc) or "damaged") from exc
            for block in self._salvaged(stream, at, stop, frames):
                yield block
                at += len(block)
        if at < stop:
            self._note_shortfall(sound, frames, at)
        elif stop == frames and self._goes_on():
            raise MoreThereError
        if self._container == "ogg" and start == 0 and at == frames and stream.pieces is None:
            lost_s = lost_at_start_s(self._file, file_size(self._file), frames, sound.samplerate)
            self.faults += [f"{lost_s:.3f} s at the start are damaged and left out"] if lost_s else []

    def _note_shortfall(self, sound: soundfile.SoundFile, frames: int, there: int) -> None:
        if self._layout.end:
            raise MoreThereError
        fault = missing(frames, there, sound.samplerate)
        if sound.format in ("MP3", "OGG") and frames - there > TRIFLE_S * sound.samplerate:
            raise NotForSoundfileError(f"decoding stops at {there / sound.samplerate:.3f} s", fault)
        refusal = cut_short(frames, there, sound.samplerate)
        if refusal and len(self._layout.streams) == 1:
            raise AudioError(self._source, refusal)
        if fault and not self._layout.faults:
            self.faults.append(fault)

    def _goes_on(self) -> bool:
        """Return whether the file has much more data than was read."""
        return self._layout.end > 0 and self._file.tell() + self._layout.read_ahead < self._layout.end

    def _check_log(self, sound: soundfile.SoundFile) -> None:
        """Check formats that have no layout module: libsndfile reads what it finds and only logs missing data."""
        if self._container in _CHECKED_BY_LAYOUT:
            return
        found = _CUT_SHORT.search(sound.extra_info)
        if found is None or not int(found[2]) < int(found[1]) < _STREAMED_BYTES:
            return
        announced, there = int(found[1]), int(found[2])
        per_second = max(1.0, there * sound.samplerate / max(1, sound.frames))
        if refusal := cut_short(announced, there, per_second):
            raise AudioError(self._source, refusal)
        self.faults += [fault] if (fault := missing(announced, there, per_second)) else []

    def _salvaged(self, stream: Stream, start: int, stop: int, frames: int) -> Iterator[np.ndarray]:
        """Yield the frames of a damaged FLAC stream from ``start``, with silence in place of damaged frames.

        Frames that are missing at the end of the stream are not replaced.
        """
        head = stream.pieces[0] if stream.pieces else None
        info = stream_info(head if isinstance(head, bytes) else read_at(self._file, head.start if head else 0, 42))
        if info is None:
            raise NotForSoundfileError("damaged")
        grid, at, channels = info.block or 4096, start, 1
        while at < stop:
            end = min(stop, (at // grid + 1) * grid)
            if (block := self._one_block(stream, at, end)) is not None:
                channels = block.shape[1]
                yield block
                at = end
                continue
            bad_from = at
            while at < stop and self._one_block(stream, at, end) is None:
                at, end = end, min(stop, end + grid)
            if at == frames:
                return
            self.faults.append(
                f"{(at - bad_from) / info.rate_hz:.3f} s at {bad_from / info.rate_hz:.3f} s are damaged and silent"
            )
            yield np.zeros((at - bad_from, channels), np.float32)
            try:
                with open_stream(self._file, stream) as sound:
                    for block in _read(sound, at, stop):
                        yield block
                        at += len(block)
            except soundfile.LibsndfileError:
                continue

    def _one_block(self, stream: Stream, start: int, stop: int) -> np.ndarray | None:
        try:
            with open_stream(self._file, stream) as sound:
                blocks = list(_read(sound, start, stop))
        except (soundfile.LibsndfileError, NotForSoundfileError):
            return None
        return blocks[0] if blocks and len(blocks[0]) == stop - start else None


def _read(sound: SequentialFile, start: int, stop: int) -> Iterator[np.ndarray]:
    """Yield float32 blocks (frames, channels) from frame ``start`` to ``stop``, or to the end of the stream."""
    skip = min(start, _PREROLL.get(sound.subtype, 0)) if start else 0
    if start > skip:
        sound.seek(start - skip)
    while skip:
        skip -= len(sound.read(min(skip, samples.BLOCK), dtype="float32")) or skip
    while start < stop:
        block = np.empty((min(stop - start, samples.BLOCK), sound.channels), np.float32)
        if not (count := sound.buffer_read_into(block, "float32")):
            return
        yield block[:count]
        start += count


def _with_channels(block: np.ndarray, channels: int) -> np.ndarray:
    """Return a block with the channel count of the first stream. Each channel is the mean of the block's channels."""
    if block.shape[1] == channels:
        return block
    return np.repeat(block.mean(axis=1, keepdims=True), channels, axis=1)


def _reason(exc: soundfile.LibsndfileError) -> str | None:
    if exc.code in _NOT_FOR_SOUNDFILE:
        return None
    return str(exc.error_string).strip().removeprefix("Error :").strip().rstrip(".") or "damaged"
