"""Decode a clip block by block: find the layout, choose the decoder, report faults.

soundfile reads the clip if it can. If not, PyAV tries the demuxer of the container before the clip is refused.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from earmark.audio.containers import ONLY_PYAV, headerless_demuxer
from earmark.audio.decode_pyav import PyavReader
from earmark.audio.decode_soundfile import Described, MoreThereError, NotForSoundfileError, SoundfileReader, describe
from earmark.audio.find_layout import Found, find_layout
from earmark.audio.incomplete import INCOMPLETE
from earmark.audio.layout import file_size
from earmark.audio.pieces import Pieces
from earmark.clips.clip import Clip
from earmark.errors import AudioError, MissingExtraError
from earmark.extras import require

_ROUNDING_S = 0.1  # manifests round durations, so a clip may end this much later than its recording, but not more
_COMPRESSED = ("ogg", "mp3", "flac")  # containers in which PyAV may find samples even if soundfile finds none

Block = tuple[np.ndarray, int]


def blocks_of_clip(file: BinaryIO, clip: Clip) -> Iterator[Block]:
    """Decode a clip.

    Args:
        file: the encoded recording, as an unbuffered file or ``io.BytesIO``.
        clip: offset and duration in seconds; its path or source is its name in messages.

    Yields:
        float32 (samples, channels) at the recording's own rate, and that rate in Hz; at least one sample.

    Raises:
        AudioError: the recording cannot be used, or the clip's offset or duration is wrong.
    """
    offset_s, duration_s = clip.offset_s, clip.duration_s
    if not (math.isfinite(offset_s) and offset_s >= 0):
        raise AudioError(clip.source, f"the offset is {offset_s} s. Use 0 or more")
    if duration_s is not None and not (math.isfinite(duration_s) and duration_s > 0):
        raise AudioError(clip.source, f"the duration is {duration_s} s. Use a value above 0")
    found = find_layout(file, seeking=offset_s > 0, decoding=True)
    if found.container is None and not file_size(file):
        raise AudioError(clip.source, "the file is empty (0 bytes)")
    given, rate_hz = 0, None
    try:
        for block, rate_hz in _with_soundfile(file, clip, found, 0):
            given += len(block)
            yield block, rate_hz
        return
    except MoreThereError:
        found = find_layout(file, thorough=True)
    except NotForSoundfileError as exc:
        if found.container != "mp3" or found.is_thorough:
            yield from _with_pyav(file, clip, found, (given, rate_hz), exc)
            return
        found = find_layout(file, thorough=True)  # libsndfile stops at damage; this layout skips it
    try:
        for block, rate_hz in _with_soundfile(file, clip, found, given):
            given += len(block)
            yield block, rate_hz
    except NotForSoundfileError as exc:
        yield from _with_pyav(file, clip, found, (given, rate_hz), exc)


def describe_recording(file: BinaryIO) -> Described | None:
    """Return length, rate and channels of a recording without decoding it; ``None`` if they are unknown."""
    if not file_size(file):
        return None
    try:
        return describe(file, find_layout(file).layout)
    except (NotForSoundfileError, AudioError):
        return None


def _with_soundfile(file: BinaryIO, clip: Clip, found: Found, skip: int) -> Iterator[Block]:
    """Yield the clip's blocks without its first ``skip`` frames.

    Raises:
        NotForSoundfileError: soundfile cannot read the clip, or not all of it.
        MoreThereError: the recording continues after the end that its header gives.
    """
    if found.container in ONLY_PYAV:
        raise NotForSoundfileError
    if found.layout.refusal:
        raise AudioError(clip.source, found.layout.refusal)
    reader = SoundfileReader(file, found.layout, clip.source, found.container)
    with reader as (frames, rate_hz, _):
        if not frames:
            if found.container in _COMPRESSED:
                raise NotForSoundfileError("holds no samples")
            raise AudioError(clip.source, "holds no samples")
        start = round(clip.offset_s * rate_hz)
        wanted = frames - start if clip.duration_s is None else max(1, round(clip.duration_s * rate_hz))
        if frames < start + max(wanted, 1) and not found.is_thorough:
            raise MoreThereError
        check_cut(clip, frames - start, wanted, rate_hz)
        given = 0
        try:
            for block in reader.blocks(start + skip, min(wanted, frames - start) - skip):
                given += len(block)
                yield block, rate_hz
        finally:
            INCOMPLETE.note(clip, [*found.layout.faults, *reader.faults])
        if not skip and not given:
            raise NotForSoundfileError("no samples can be decoded")


def _with_pyav(
    file: BinaryIO, clip: Clip, found: Found, given: tuple[int, int | None], cause: NotForSoundfileError
) -> Iterator[Block]:
    """Yield the rest of the clip, decoded by PyAV.

    Args:
        file: the recording.
        clip: the clip.
        found: container and layout of the recording.
        given: number of frames that soundfile has decoded, and their rate; ``None`` if it has decoded none.
        cause: why soundfile cannot read the rest.
    """
    try:
        require("av")
    except MissingExtraError as exc:
        _without_pyav(clip, found, given, cause, exc)
        return
    reason, (skip, own_hz) = cause.reason, given
    streams = found.layout.streams
    pieces = streams[0].pieces if len(streams) == 1 and not streams[0].zeros else None
    target: Any = Pieces(file, pieces) if pieces else file
    reader = PyavReader(target, clip.source, found.container, headerless_demuxer(clip.path or ""), own_hz)
    there, rate_hz = 0, own_hz or 0
    try:
        for block, rate_hz in reader.blocks(clip.offset_s, clip.duration_s):
            there += len(block)
            rest = block[max(0, skip - there + len(block)) :]
            if len(rest):
                yield rest, rate_hz
    except AudioError as exc:
        if reason and exc.__cause__ is not None:  # FFmpeg's message adds nothing to soundfile's
            raise AudioError(clip.source, f"damaged or cut short ({reason})") from exc
        raise
    fallen_short = [cause.fault] if cause.fault and there <= skip else []
    INCOMPLETE.note(clip, [*found.layout.faults, *reader.faults, *fallen_short])
    wanted = round(clip.duration_s * rate_hz) if clip.duration_s is not None else 1
    there = max(there, skip)
    if not there and clip.offset_s == 0:
        raise AudioError(clip.source, f"damaged ({reason})" if reason else "holds no samples")
    check_cut(clip, there, wanted, rate_hz)


def _without_pyav(
    clip: Clip, found: Found, given: tuple[int, int | None], cause: NotForSoundfileError, advice: MissingExtraError
) -> None:
    """Accept the part of a damaged recording that soundfile has decoded, because PyAV is not installed.

    Raises:
        AudioError: soundfile has decoded nothing, or not the whole clip.
    """
    count, rate_hz = given
    if not count or not rate_hz:
        said = f"damaged ({cause.reason})" if cause.reason else "not a format that soundfile reads"
        raise AudioError(clip.source, f"{said}; {advice}") from advice
    end_s = clip.offset_s + count / rate_hz
    fault = cause.fault or cause.reason or "damaged"
    INCOMPLETE.note(clip, [*found.layout.faults, f"{fault}; without PyAV nothing is decoded after {end_s:.3f} s"])
    check_cut(clip, count, round(clip.duration_s * rate_hz) if clip.duration_s is not None else 1, rate_hz)


def check_cut(clip: Clip, there: int, wanted: int, rate_hz: int) -> None:
    """Check that a clip is inside its recording. ``there`` is the number of frames after the offset.

    Raises:
        AudioError: the clip starts or ends after the end of the recording.
    """
    offset_s = clip.offset_s
    if there <= 0:
        end = f" ({offset_s + there / rate_hz:.3f} s)" if there < 0 else ""
        raise AudioError(clip.source, f"the offset {offset_s} s is after the end of the recording{end}")
    if wanted - there > _ROUNDING_S * rate_hz:
        raise AudioError(
            clip.source,
            f"the clip ends at {offset_s + wanted / rate_hz:.3f} s, but its file ends at "
            f"{offset_s + there / rate_hz:.3f} s",
        )
