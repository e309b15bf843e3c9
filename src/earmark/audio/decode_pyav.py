"""Decode the formats that only PyAV, an extra, can read: m4a, aac, webm, the audio of a video."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any, BinaryIO

import numpy as np

from earmark.audio import samples
from earmark.audio.containers import DEMUXERS, PROBED
from earmark.audio.layout import cut_short, missing
from earmark.audio.layout_ogg import end_s as ogg_end_s
from earmark.errors import AudioError, MissingExtraError
from earmark.extras import require

_PREROLL_S = 0.5  # decoded before a clip and discarded: AAC and Opus need earlier packets to settle
_LONGEST_GAP_S = 600.0  # longest gap to fill in a FLAC stream; a longer gap means that a frame number is damaged
_TIMES_S = 0.003  # rounding error of times, which some containers store in ms
_READ_TO_END = 0.9  # if FFmpeg read less than this fraction of a file, the file is damaged, not truncated
_SHORTFALL_S = 0.1  # encoders round lengths to whole packets; a larger shortfall means truncation
# Codecs whose frames all have the same length, so that Matroska's times in ms can be rounded to frames. MP4 has exact
# times. Recordings with other codecs are decoded from their start: a clip then has the same samples as this part of the
# whole recording.
_CONSTANT = frozenset({"aac", "opus", "mp3", "mp3float", "ac3", "eac3"})


class PyavReader:
    """Reader for the first audio track of a recording.

    Args:
        file: the recording, seekable.
        source: name of the recording in messages.
        container: its name in :mod:`earmark.audio.containers`; ``None`` lets FFmpeg detect any format but playlists.
        demuxer: FFmpeg's name of the format, for files without a header.
        rate_hz: rate of the samples; ``None`` keeps the recording's own rate.

    Attributes:
        faults: problems found while reading.
    """

    def __init__(
        self,
        file: BinaryIO,
        source: str,
        container: str | None,
        demuxer: str | None = None,
        rate_hz: int | None = None,
    ) -> None:
        self._file, self._source, self._rate_hz = file, source, rate_hz
        self._demuxer = DEMUXERS.get(container or "") or demuxer
        self._is_known = container not in (None, "mp3")  # MP3 is detected by two bytes only
        self.faults: list[str] = []
        self._lost_s = 0.0
        self._lost_at_s: float | None = None
        self._channels = 1
        self._read_to = 0  # byte after the last packet

    def blocks(self, offset_s: float, duration_s: float | None) -> Iterator[tuple[np.ndarray, int]]:
        """Decode part of the recording.

        Args:
            offset_s: start, in seconds.
            duration_s: length in seconds; ``None`` for the rest.

        Yields:
            ``(samples, rate_hz)`` with float32 samples ``(samples, channels)`` as stored in the file; at least one
                block, which is empty if this part has no audio.

        Raises:
            AudioError: not a recording, truncated, or PyAV is not installed.
        """
        try:
            av = require("av")
        except MissingExtraError as exc:
            raise AudioError(self._source, f"not a format that soundfile reads; {exc}") from exc
        options = {} if self._demuxer else {"format_whitelist": PROBED}
        try:
            self._file.seek(0)
            with av.open(self._file, format=self._demuxer, options=options, metadata_errors="ignore") as container:
                if not container.streams.audio:
                    raise AudioError(self._source, "has no audio track")
                yield from joined(self._stretch(av, container, offset_s, duration_s))
        except (av.error.FFmpegError, EOFError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            what = "damaged or cut short" if self._is_known else "not audio, or damaged or cut short"
            raise AudioError(self._source, f"{what} ({reason})") from exc

    def _stretch(
        self, av: Any, container: Any, offset_s: float, duration_s: float | None
    ) -> Iterator[tuple[np.ndarray, int]]:
        stream = container.streams.audio[0]
        if stream.codec_context is None:
            raise AudioError(self._source, "not audio, or damaged: FFmpeg has no decoder for its audio track")
        rate_hz: int = self._rate_hz or stream.rate
        if not rate_hz:
            raise AudioError(self._source, "damaged: its audio track has no sampling rate")
        start = round(offset_s * rate_hz)
        stop = None if duration_s is None else start + max(1, round(duration_s * rate_hz))
        at, is_empty = 0, True
        for block, position in self._decoded(av, container, stream, rate_hz, offset_s):
            at = position if position is not None else at
            first, last = max(0, start - at), len(block) if stop is None else stop - at
            at += len(block)
            if last > first and first < len(block):
                yield block[first:last], rate_hz
                is_empty = False
            if stop is not None and at >= stop:
                break
        self._note_faults(container, stream, at / rate_hz, stop is not None)
        if is_empty:
            yield np.zeros((0, 1), np.float32), rate_hz

    def _decoded(
        self, av: Any, container: Any, stream: Any, rate_hz: int, offset_s: float
    ) -> Iterator[tuple[np.ndarray, int | None]]:
        """Yield blocks (samples, channels), each with the position of its first sample.

        The position is ``None`` if the block continues the block before.
        """
        origin_s = float((stream.start_time or 0) * stream.time_base)
        is_exact = "mov" in container.format.name
        grid = None
        sought = offset_s > _PREROLL_S and (is_exact or stream.codec_context.name in _CONSTANT)
        if sought and not is_exact:
            sought = "matroska" in container.format.name
            grid = self._first_frames(av, container, stream) if sought else None
        if sought:
            container.seek(round((origin_s + offset_s - _PREROLL_S) * av.time_base))
        resamplers: dict[tuple[str, str, int], Any] = {}
        expected: int | None = None  # start of the next frame of a FLAC stream
        silent = length = 0  # samples lost since the last decoded frame; samples of that frame
        is_first, is_flac = True, stream.codec_context.name == "flac"
        for frame in self._frames(av, container, stream):
            if isinstance(frame, float):
                count = round(frame * rate_hz)
                count = length if abs(count - length) < _TIMES_S * rate_hz else count
                silent += 0 if is_first or is_flac else count
                continue
            if silent:  # no silence after the last frame, because there the recording is truncated
                yield np.zeros((silent, self._channels), np.float32), None
                silent = 0
            position = None
            if is_first:
                position = _on_grid(frame, origin_s, rate_hz, grid) if sought else 0
            elif is_flac and frame.pts is not None and expected is not None:
                gap = round((frame.time - origin_s) * frame.sample_rate) - expected
                if 0 < gap <= _LONGEST_GAP_S * rate_hz:
                    self._lose(expected / frame.sample_rate, gap / frame.sample_rate)
                    yield np.zeros((gap, self._channels), np.float32), None
            if frame.pts is not None:
                expected = round((frame.time - origin_s) * frame.sample_rate) + frame.samples
            is_first, self._channels = False, len(frame.layout.channels)
            length = round(frame.samples * rate_hz / frame.sample_rate)
            key = (frame.format.name, frame.layout.name, frame.sample_rate)
            if key not in resamplers:
                rate = None if frame.sample_rate == rate_hz else rate_hz
                resamplers[key] = av.AudioResampler(format="fltp", layout=frame.layout, rate=rate)
            for converted in resamplers[key].resample(frame):
                yield converted.to_ndarray().T, position
                position = None

    def _frames(self, av: Any, container: Any, stream: Any) -> Iterator[Any]:
        """Yield the frames of all packets; for a packet that cannot be decoded, its duration in seconds."""
        packets = container.demux(stream)
        given = False
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                if not given:
                    raise
                self.faults.append("the file breaks off")
                return
            self._read_to = max(self._read_to, (packet.pos or 0) + packet.size)
            try:
                for frame in packet.decode():
                    given = True
                    yield frame
            except av.error.EOFError:
                return
            except av.error.FFmpegError:
                at_s = (
                    float((packet.pts - (stream.start_time or 0)) * packet.time_base) if packet.pts is not None else 0.0
                )
                seconds = float((packet.duration or 0) * packet.time_base)
                self._lose(at_s, seconds)
                yield seconds

    def _first_frames(self, av: Any, container: Any, stream: Any) -> tuple[int, int]:
        """Return the number of samples in the first frame and in the next ones."""
        found = (frame.samples for frame in self._frames(av, container, stream) if not isinstance(frame, float))
        sizes = list(islice(found, 2)) or [1024]
        self._lost_s, self._lost_at_s = 0.0, None
        return sizes[0], sizes[-1]

    def _lose(self, at_s: float, seconds: float) -> None:
        self._lost_s += seconds
        self._lost_at_s = at_s if self._lost_at_s is None else self._lost_at_s

    def _note_faults(self, container: Any, stream: Any, end_s: float, is_cut: bool) -> None:
        if self._lost_at_s is not None:
            self.faults.append(f"{self._lost_s:.3f} s at {self._lost_at_s:.3f} s are damaged and silent")
        announced_s = _announced_s(container, stream)
        if container.format.name == "ogg":  # FFmpeg does not count damaged pages
            last_page_s = ogg_end_s(self._file) - float((stream.start_time or 0) * stream.time_base)
            announced_s = max(announced_s or 0.0, last_page_s)
        if is_cut or announced_s is None or end_s >= announced_s - _SHORTFALL_S:
            return
        # If FFmpeg read less than this, it stopped at damage, and the file is not cut off. For Ogg, announced_s is the
        # position of the last page, which the file holds.
        is_cut_off = self._read_to >= _READ_TO_END * container.size and container.format.name != "ogg"
        if is_cut_off and (refusal := cut_short(announced_s, end_s, 1)):
            raise AudioError(self._source, refusal)
        if fault := missing(announced_s, end_s, 1):
            self.faults.append(fault)


def joined(packets: Iterator[tuple[np.ndarray, int]]) -> Iterator[tuple[np.ndarray, int]]:
    """Join PyAV's packets of about a thousand frames to blocks of at least ``BLOCK`` frames."""
    held: list[np.ndarray] = []
    num_frames = 0
    for packet, rate_hz in packets:
        if held and held[0].shape[1] != packet.shape[1]:
            yield np.concatenate(held), rate_hz
            held, num_frames = [], 0
        held.append(packet)
        num_frames += len(packet)
        if num_frames >= samples.BLOCK:
            yield np.concatenate(held), rate_hz
            held, num_frames = [], 0
    if held:
        yield np.concatenate(held), rate_hz


def _on_grid(frame: Any, origin_s: float, rate_hz: int, grid: tuple[int, int] | None) -> int:
    """Return the index of a frame's first sample, from its time (maybe rounded to ms) and the common frame length."""
    by_time = round(((frame.time or 0.0) - origin_s) * rate_hz)
    if grid is None:
        return by_time
    first, size = grid
    return max(0, first + round((by_time - first) / size) * size) if by_time > 0 else 0


def _announced_s(container: Any, stream: Any) -> float | None:
    """Return the length in seconds that the container announces; ``None`` if unknown.

    Only MP4, CAF, Ogg, ASF and Matroska store it; for bare AAC it is a guess from the bit rate. Matroska gives the
    length of the longest track, which is the audio only if there is no video.
    """
    if container.format.name.startswith(("mov", "caf", "ogg")) and stream.duration is not None:
        return float(stream.duration * stream.time_base)
    if container.format.name.startswith(("matroska", "asf")) and len(container.streams) == 1 and container.duration:
        return float(container.duration / 1e6)  # container times are in microseconds
    return None
