"""What a recording is, by its first bytes. What a client or a file name says is not asked.

Only containers of this list reach a decoder. FFmpeg guesses formats among which are playlists, and these name files
and addresses that it then opens; so it is given nothing but MP4 and Matroska, known by marks that playlists lack.
"""

from __future__ import annotations

_MARKS = (
    (0, b"fLaC", "flac"),
    (0, b"OggS", "ogg"),
    (0, b"ID3", "mp3"),
    (0, b".snd", "au"),
    (0, b"caff", "caf"),
    (0, b"riff\x2e\x91\xcf\x11", "w64"),
    (0, b"NIST_1A", "nist"),
    (0, b"Creative Voice File", "voc"),
    (4, b"ftyp", "mp4"),
)
_EBML = b"\x1a\x45\xdf\xa3"

FOR_PYAV = frozenset({"mp4", "matroska"})
KNOWN = "wav, w64, aiff, au, caf, flac, ogg, opus, mp3, voc, nist, m4a, mp4, webm, mkv"


def sniff(data: bytes) -> str | None:
    """Name the container of an encoded recording; ``None`` for anything that is not in :data:`KNOWN`."""
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if data[:4] == _EBML:
        return "matroska" if b"webm" in data[:64] or b"matroska" in data[:64] else None
    # MPEG audio: eleven bits of sync, and a layer (none is AAC, which has no header to rely on)
    if len(data) > 2 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0 and data[1] & 0x06:
        return "mp3"
    return next((name for at, mark, name in _MARKS if data.startswith(mark, at)), None)
