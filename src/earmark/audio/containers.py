"""Detect the container of a recording by its first bytes. File names and content types are not used.

FFmpeg also recognises playlists, and a playlist makes it open other files and URLs. So FFmpeg is always restricted: to
one demuxer if the container is known here, otherwise to :data:`PROBED`, a list without playlists.
"""

from __future__ import annotations

from typing import BinaryIO

from earmark.audio.mpeg_header import has_frames, is_adts

_MARKS = (
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b".snd", "au"),
    (0, b"caff", "caf"),
    (0, b"riff\x2e\x91\xcf\x11", "w64"),
    (0, b"NIST_1A", "nist"),
    (0, b"Creative Voice File", "voc"),
    (0, b"2BIT", "avr"),
    (0, b"\xf0\x7e", "sds"),
    (0, b"Extended Instrument: ", "xi"),
    (4, b"ftyp", "mp4"),
    (0, b"TTA1", "tta"),
    (0, b"MAC ", "ape"),
    (0, b"wvpk", "wavpack"),
)
_BY_START = {mark: name for at, mark, name in _MARKS if not at and len(mark) == 4}
_EBML = b"\x1a\x45\xdf\xa3"
KNOWN = "wav, w64, aiff, au, caf, flac, ogg, opus, mp3, aac, voc, nist, m4a, mp4, webm, mkv, tta, ape, wv"

# container -> FFmpeg's name of its demuxer
DEMUXERS = {
    "wav": "wav", "w64": "w64", "aiff": "aiff", "au": "au", "caf": "caf", "flac": "flac", "ogg": "ogg", "mp3": "mp3",
    "voc": "voc", "nist": "nistsphere", "avr": "avr", "sds": "sds", "mp4": "mov", "matroska": "matroska",
    "aac": "aac", "tta": "tta", "ape": "ape", "wavpack": "wv",
}  # fmt: skip
ONLY_PYAV = frozenset({"mp4", "matroska", "aac", "tta", "ape", "wavpack"})
# Demuxers that FFmpeg may choose from if the container is unknown. None of them opens other files.
PROBED = (
    "aac,ac3,eac3,amr,amrnb,amrwb,asf,avi,mp3,mov,matroska,ogg,flac,wav,w64,aiff,au,caf,voc,nistsphere,mpegts,mpeg,"
    "flv,ape,tta,wv,tak,dsf,iff,ircam,sox,truehd,dts,dtshd,loas,rm,mpc,mpc8,qcp,oma,act,aea,epaf,pvf,shn,"
    "nut,ast,wtv,swf,gxf,adx,mmf,mxf,xwma,mlp,qoa,osq,bonk,rka,laf,lc3,wsd,acm,ilbc,brstm,bfstm,hca,genh,vag,xvag,"
    "svag,msf,mtaf,vqf,dv,apc,apac,dss,avr,sds,wve"
)
# Formats that have no header, or one that FFmpeg does not detect, are known only by the file's suffix.
_HEADERLESS = {
    ".gsm": "gsm", ".g722": "g722", ".722": "g722", ".g723_1": "g723_1", ".tco": "g723_1", ".rco": "g723_1",
    ".aptx": "aptx", ".aptxhd": "aptx_hd", ".sln": "sln", ".rso": "rso",
}  # fmt: skip

_ID3 = b"ID3"


def sniff(data: bytes) -> str | None:
    """Return the container of an encoded recording; ``None`` if it is unknown.

    An ID3 tag before the recording, common in MP3 files, is skipped if ``data`` holds all of it.
    """
    if found := _BY_START.get(data[:4]):  # fast path for common formats, because this runs for every decoded clip
        return found
    start = 0
    while (length := id3_length(data[start : start + 10])) and start + length < len(data):
        start += length
    while start and data[start : start + 1] == b"\0":  # padding after the tag
        start += 1
    found = _sniff(data[start : start + 80])
    if found is None and data.startswith(_ID3):
        # if the tag is longer than ``data``, MP3 is most likely
        return "mp3" if not start or has_frames(data[start:]) else None
    return found


def id3_length(head: bytes) -> int:
    """Return the length in bytes of the ID3v2 tag that starts with ``head`` (10 bytes); 0 if there is none."""
    if len(head) < 10 or not head.startswith(_ID3) or max(head[6:10]) > 127:
        return 0
    size = head[6] << 21 | head[7] << 14 | head[8] << 7 | head[9]
    return 10 + size + (10 if head[5] & 0x10 else 0)


def audio_start(file: BinaryIO) -> int:
    """Return where the recording starts in ``file``, after ID3 tags and the zeros that follow them."""
    start = 0
    while True:
        file.seek(start)
        length = id3_length(file.read(10))
        if not length:
            break
        start += length
    if start:
        file.seek(start)
        start += len(head := file.read(1 << 16)) - len(head.lstrip(b"\0"))
    return start


def headerless_demuxer(name: str) -> str | None:
    """Return FFmpeg's demuxer for a file that can be recognised only by its suffix."""
    return next((demuxer for suffix, demuxer in _HEADERLESS.items() if name.lower().endswith(suffix)), None)


def _sniff(data: bytes) -> str | None:
    if data[:4] in (b"RIFF", b"RIFX", b"RF64", b"BW64") and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if data[:4] == _EBML:
        return "matroska" if b"webm" in data[:64] or b"matroska" in data[:64] else None
    # MPEG audio: eleven sync bits and a layer
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "mp3"
    if is_adts(data):
        return "aac"
    return next((name for at, mark, name in _MARKS if data.startswith(mark, at)), None)
