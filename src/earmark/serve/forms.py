"""Three forms of a request: the bytes of a recording, a multipart form, or the JSON of Hugging Face's inference API.

The JSON form follows https://huggingface.co/docs/inference-providers/tasks/audio-classification: ``inputs`` is the
recording in base64, and ``parameters`` may have ``top_k`` and ``function_to_apply``. ``options`` from older clients are
ignored, because they control a queue and a cache that this server does not have. Nothing here opens a path or a URL:
the recording is in the request.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import HTTPException
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from earmark.text import nearest_name

FUNCTIONS = ("softmax", "sigmoid", "none")
DEFAULT_TOP_K = 5
_MOST_PARTS = 16
_MOST_PART_HEADERS = 16
_JSON_KEYS = ("inputs", "parameters", "options")
_DATA_URI = re.compile(r"\s*data:.{0,200}?;base64,", re.IGNORECASE | re.DOTALL)  # the type may contain commas
# UTF-8, UTF-16 or UTF-32, with or without a byte order mark
_JSON = re.compile(
    rb"(\xef\xbb\xbf)?[ \t\r\n]*[{\[]|\xff\xfe(\0\0)?([ \t\r\n]\0+)*[{\[]\0|(\0\0)?\xfe\xff(\0+[ \t\r\n])*\0+[{\[]"
    rb"|(\0[ \t\r\n])*\0[{\[]"
)
_LONGEST_PATH = 4096
_CURL_DATA = b"application/x-www-form-urlencoded"  # content type that curl sends for -d and --data-binary
_TO_STANDARD_ALPHABET = bytes.maketrans(b"-_", b"+/")
_MOST_COMMAS = 1000  # requests have few; a million values would take a hundred megabytes of Python objects


class UnknownSettingError(HTTPException):
    """A setting that the route does not have.

    Args:
        name: name sent by the client.
        known: known names.
        what: the kind of name that was expected.

    Attributes:
        logged: message for the log, without the name, because client text is not logged.
    """

    logged = "unknown setting"

    def __init__(self, name: str, known: Collection[str], what: str = "a setting of this route") -> None:
        near = nearest_name(name, known)
        hint = f"Did you mean {near}?" if near else f"Use one of {', '.join(known)}."
        super().__init__(400, f"{json.dumps(name[:50])}: not {what}. {hint}")


class RepeatedSettingError(HTTPException):
    """A setting that occurs more than once in a request.

    Args:
        name: name sent by the client.

    Attributes:
        logged: message for the log, without the name, because client text is not logged.
    """

    logged = "repeated setting"

    def __init__(self, name: str) -> None:
        super().__init__(400, f"{json.dumps(name[:50])}: given more than once. Send each setting once.")


def single_settings(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return the settings of a query.

    Raises:
        RepeatedSettingError: 400, a setting occurs more than once.
    """
    settings: dict[str, str] = {}
    for name, value in pairs:
        if name in settings:
            raise RepeatedSettingError(name)
        settings[name] = value
    return settings


@dataclass(frozen=True)
class Question:
    """The recording and settings of one request.

    Attributes:
        audio: the encoded recording.
        parameters: settings as sent, text or numbers.
        hint: text to append to the message if the recording cannot be read.
    """

    audio: bytes
    parameters: Mapping[str, Any]
    hint: str = ""

    def refuse_unknown(self, known: Collection[str]) -> None:
        """Check the names of all settings.

        Raises:
            UnknownSettingError: 400, the route does not have a setting.
        """
        for name in self.parameters:
            if name not in known:
                raise UnknownSettingError(name, known)

    def top_k(self) -> int:
        """Return the number of classes in the response.

        Raises:
            HTTPException: 400, not a positive whole number.
        """
        value = self.parameters.get("top_k")
        if value is None:
            return DEFAULT_TOP_K
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 10:
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise HTTPException(400, "top_k: invalid value. Send a whole number of at least 1")
        return value

    def number(self, name: str) -> float | None:
        """Return the value of a numeric setting; ``None`` if it is not given.

        Raises:
            HTTPException: 400, not a number.
        """
        value = self.parameters.get(name)
        if value is None:
            return None
        try:
            number = float(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not math.isfinite(number):
            raise HTTPException(400, f"{name}: invalid value. Send a number")
        return number

    def flag(self, name: str) -> bool:
        """Return the value of a boolean setting; False if it is not given.

        Raises:
            HTTPException: 400, not true or false.
        """
        value = self.parameters.get(name)
        if value is None or isinstance(value, bool):
            return bool(value)
        if value not in ("true", "false"):
            raise HTTPException(400, f"{name}: not a boolean. Send true or false")
        return bool(value == "true")

    def function(self, own: str) -> str:
        """Return the name of the function from logits to scores: one of :data:`FUNCTIONS`.

        Args:
            own: the model's function, used by default.

        Raises:
            HTTPException: 400, unknown function.
        """
        value = self.parameters.get("function_to_apply") or own
        if value not in FUNCTIONS:
            raise HTTPException(400, f"function_to_apply: unknown function. Send one of {', '.join(FUNCTIONS)}")
        return str(value)


def read_question(body: bytes, content_type: str, query: Mapping[str, str]) -> Question:
    """Detect the form from the body. Only a multipart form needs its content type, which has the boundary.

    Raises:
        HTTPException: 400, the form is invalid.
    """
    kind, options = parse_options_header(content_type.encode("latin-1", "replace"))
    if kind == b"multipart/form-data":
        audio, fields = _read_multipart(body, options.get(b"boundary", b""))
        return Question(audio, {**query, **fields})
    if _JSON.match(body):
        audio, parameters = _read_json(body)
        return Question(audio, {**query, **parameters})
    if not body:
        raise HTTPException(400, "the body is empty. Send the bytes of a recording")
    return Question(body, query, _hint(body, kind))


def _hint(body: bytes, kind: bytes) -> str:
    """Return a hint for a body that is not a recording: curl -d sends a file name, or a file without line breaks."""
    try:
        is_text = len(body) <= _LONGEST_PATH and body.decode().rstrip("\r\n").isprintable()
    except UnicodeDecodeError:
        is_text = False
    if is_text:
        return ". The body is text. Send the bytes of the recording: curl --data-binary @FILE"
    return ". If curl -d sent it, use curl --data-binary @FILE: -d damages recordings" if kind == _CURL_DATA else ""


def _read_json(body: bytes) -> tuple[bytes, dict[str, object]]:
    if body.count(b",") + body.count(b"[") + body.count(b"{") > _MOST_COMMAS:
        raise HTTPException(400, "too many values. Send inputs and parameters")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as exc:
        raise HTTPException(400, "invalid JSON. Fix its syntax") from exc
    for name in value if isinstance(value, dict) else ():
        if name not in _JSON_KEYS:
            raise UnknownSettingError(name, _JSON_KEYS, "a key of the JSON (settings go into parameters)")
    inputs = value.get("inputs") if isinstance(value, dict) else None
    parameters = value.get("parameters") if isinstance(value, dict) else None
    parameters = {} if parameters is None else parameters
    if not isinstance(inputs, str) or not isinstance(parameters, dict):
        raise HTTPException(400, 'no recording. Send {"inputs": BASE64, "parameters": {...}}')
    return decode_base64(inputs), parameters


def decode_base64(text: str) -> bytes:
    """Decode base64, also as a data URI, with line breaks, in the URL alphabet, or without padding.

    Raises:
        HTTPException: 400, not base64.
    """
    head = _DATA_URI.match(text)
    try:
        data = text[head.end() if head else 0 :].encode("ascii").translate(_TO_STANDARD_ALPHABET, b" \t\r\n")
        data = data.rstrip(b"=")
        return base64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise HTTPException(400, "inputs: not base64. Send the recording itself in base64, not a path or URL") from exc


@dataclass
class _Form:
    """The parts of a multipart body, collected by the parser's callbacks."""

    fields: dict[str, bytes] = field(default_factory=dict)
    files: list[bytes] = field(default_factory=list)
    _count: int = 0
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytes = b""
    _value: bytes = b""
    _data: list[bytes] = field(default_factory=list)

    def on_part_begin(self) -> None:
        self._count += 1
        if self._count > _MOST_PARTS:
            raise HTTPException(400, f"the form has more than {_MOST_PARTS} parts. Send fewer")
        self._headers, self._data = {}, []

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""
        if len(self._headers) > _MOST_PART_HEADERS:
            raise HTTPException(400, "a part of the form has too many headers. Send fewer")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        self._data.append(data[start:end])

    def on_part_end(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        content = b"".join(self._data)
        if b"filename" in options or name in ("file", "inputs"):
            self.files.append(content)
        elif name in self.fields:
            raise RepeatedSettingError(name)
        else:
            self.fields[name] = content


def _read_multipart(body: bytes, boundary: bytes) -> tuple[bytes, dict[str, str]]:
    form = _Form()
    names = ("part_begin", "header_field", "header_value", "header_end", "part_data", "part_end")
    callbacks: Any = {f"on_{name}": getattr(form, f"on_{name}") for name in names}
    try:
        parser = MultipartParser(boundary, callbacks)
        parser.write(body)
        parser.finalize()
    except FormParserError as exc:
        raise HTTPException(400, "invalid multipart form. Fix its syntax") from exc
    if len(form.files) != 1:
        raise HTTPException(400, f"the form has {len(form.files)} files. Send one file")
    return form.files[0], {name: value[:100].decode("utf-8", "replace") for name, value in form.fields.items()}
