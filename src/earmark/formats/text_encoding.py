"""Decode the bytes of a table file to text: encodings, and files that are not text."""

from __future__ import annotations

import codecs
from pathlib import Path

from earmark.errors import DataError
from earmark.formats.sheet import Reason
from earmark.io.nearby_names import path_suggestion

# longest first, because the byte order mark of UTF-32 starts with that of UTF-16
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# first bytes of files that are not text, what they are, and what to do
_OTHER_FORMATS = (
    (b"PK\x03\x04", "an Excel workbook or another zip archive", "Save the sheet as CSV (UTF-8), or unpack the archive"),
    (b"\xd0\xcf\x11\xe0", "an Excel workbook", "Save the sheet as CSV (UTF-8)"),
    (b"\x1f\x8b", "compressed with gzip", "Unpack it first"),
    (b"BZh", "compressed with bzip2", "Unpack it first"),
    (b"\xfd7zXZ\x00", "compressed with xz", "Unpack it first"),
    (b"PAR1", "a Parquet file", "Rename it to end in .parquet"),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table as CSV"),
    (b"ARROW1", "an Arrow file", "Save the table as Parquet or CSV"),
)
_LOOKED_AT = 4096  # bytes checked for UTF-16 without a byte order mark


def existing(path: Path) -> Path:
    """Return ``path`` if it is a file.

    Raises:
        DataError: the path is a folder, or does not exist.
    """
    if path.is_file():
        return path
    if path.is_dir():
        raise DataError(f"{path}: is a folder, not a manifest. Pass it as --data_dir")
    raise DataError(f"{path}: no such file{path_suggestion(path, folders=False)}")


def decoded_text(path: Path) -> tuple[str, list[Reason]]:
    """Read a table file as text with ``\\n`` line endings. Also return how it was read if it was not plain UTF-8.

    Raises:
        DataError: the file cannot be read, is empty, is not text, or its encoding is unknown.
    """
    try:
        data = path.read_bytes()
    except OSError as exc:
        raise DataError(f"{path}: cannot be read ({exc.strerror}). Fix its permissions") from exc
    for first, what, fix in _OTHER_FORMATS:
        if data.startswith(first):
            raise DataError(f"{path}: is {what}, not text. {fix}")
    reasons = []
    encoding = _utf16(data)
    if encoding is None:
        text = _utf8(data, path)
    else:
        try:
            text = data.decode(encoding).removeprefix("\ufeff")
        except UnicodeDecodeError as exc:
            raise DataError(f"{path}: looks like {encoding.upper()}, but is damaged. Save it as UTF-8") from exc
        reasons.append(Reason(f"{path}: read as {encoding.upper()} because of its first bytes"))
    if not text.strip():
        raise DataError(f"{path}: the file is empty. Add rows")
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        if "\n" not in text:
            text = text.replace("\r", "\n")
    return text, reasons


def _utf8(data: bytes, path: Path) -> str:
    if (index := data.find(b"\0")) >= 0:
        row = data.count(b"\n", 0, index) + 1
        raise DataError(
            f"{path} row {row}: contains a zero byte, so the file is damaged. Remove the byte, or save the file again"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        row = data.count(b"\n", 0, exc.start) + 1
        raise DataError(f"{path} row {row}: byte 0x{data[exc.start]:02x} is not UTF-8. Save the file as UTF-8") from exc


def _utf16(data: bytes) -> str | None:
    """Return the encoding if it is UTF-16 or UTF-32; ``None`` for other encodings.

    Without a byte order mark, many zero bytes mean UTF-16: each of its line breaks and ASCII characters contains one,
    while zero bytes are rare in damaged UTF-8.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return encoding
    head = data[: _LOOKED_AT - _LOOKED_AT % 2]
    if b"\0" not in head or len(data) % 2:
        return None
    even, odd = head[::2].count(0), head[1::2].count(0)
    breaks = head.count(b"\n")
    after, before = head.count(b"\n\0"), head.count(b"\0\n")
    if max(even, odd) * 8 < len(head) and max(after, before) * 2 <= breaks:
        return None
    return "utf-16-le" if odd > even else "utf-16-be"
