"""Types of flags: convert text and Python values to the type that the field declares."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import json
import math
import numbers
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType  # X | Y
from typing import Any, Literal, Union, get_args, get_origin

from earmark.text import with_article

_TRUE, _FALSE = ("true", "yes", "on", "t", "y", "1"), ("false", "no", "off", "f", "n", "0")
_EXPECTED: dict[type, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "one value",
    dict: "a JSON object",
}


@dataclass(frozen=True)
class Kind:
    """The type of a flag.

    Attributes:
        base: ``bool``, ``int``, ``float``, ``str`` or ``dict``; for a list, the type of its items.
        choices: the allowed values; empty if others are allowed.
        is_list: whether it takes several values.
        single_as_text: whether a list of one item is kept as the item, as in ``data_dir``; each item is kept once.
        optional: whether ``None`` is a value.
        or_text: whether a text that is not a JSON object stays text (the name of a JSON file).
        or_bool: whether true and false are values in addition to text.
        or_commas: whether it takes a list in addition to text, kept as text with commas.
    """

    base: type
    choices: tuple[str, ...] = ()
    is_list: bool = False
    single_as_text: bool = False
    optional: bool = False
    or_text: bool = False
    or_bool: bool = False
    or_commas: bool = False

    @property
    def expected(self) -> str:
        """Description of the expected values, for messages."""
        if self.choices:
            return alternatives(self.choices)
        return "several values" if self.is_list and self.base is not str else _EXPECTED[self.base]

    def read(self, value: Any) -> Any:
        """Return the value of a flag from text or from a Python value.

        Raises:
            ValueError: the value has another kind; the message says what is expected.
        """
        if value is None:
            if self.optional:
                return None
            raise ValueError("a value")
        if not self.is_list:
            return self._item(value)
        if isinstance(value, (str, os.PathLike)):
            item = self._item(value)
            return item if self.single_as_text else [item]
        if not isinstance(value, (Sequence, set, frozenset)):
            raise ValueError(self.expected)
        items = [self._item(item) for item in value]
        if not self.single_as_text:
            return items
        items = list(dict.fromkeys(items))
        if len(items) == 1:
            return items[0]
        return items or (None if self.optional else items)

    def _item(self, value: Any) -> Any:
        if isinstance(value, enum.Enum):
            value = value.value
        if self.or_commas and isinstance(value, (list, tuple)):
            return ",".join(self._text(item) for item in value)
        if isinstance(value, (list, tuple, set, frozenset)) or (isinstance(value, Mapping) and not self._takes_mapping):
            raise ValueError(f"one value, found {kind_in_words(value)}")
        read = {bool: _bool, int: _int, float: _float, str: self._text, dict: self._mapping}[self.base]
        item = read(value)
        if self.choices and item not in self.choices:
            raise ValueError(self.expected)
        return item

    @property
    def _takes_mapping(self) -> bool:
        return self.base is dict or self.or_text

    def _text(self, value: Any) -> Any:
        if self.or_bool and (isinstance(value, bool) or str(value).lower() in ("true", "false")):
            return value if isinstance(value, bool) else value.lower() == "true"
        if isinstance(value, (str, os.PathLike)):
            return os.fspath(value)
        if isinstance(value, bool):
            return str(value).lower()
        if isinstance(value, numbers.Number):
            return str(value)
        if isinstance(value, Mapping) and self.or_text:
            return json.dumps(dict(value))
        raise ValueError(f"one value, found {kind_in_words(value)}")

    def _mapping(self, value: object) -> object:
        if isinstance(value, Mapping):
            return dict(value)
        if dataclasses.is_dataclass(value):  # Transformers makes objects of some mappings
            return value
        if not isinstance(value, str):
            raise ValueError(self.expected)
        try:
            read = json.loads(value)
        except ValueError:
            read = None
        if isinstance(read, dict):
            return read
        if self.or_text and not value.lstrip().startswith("{"):  # a file name, not faulty JSON
            return value
        raise ValueError(self.expected)


def find_kind(hint: object, *, takes_mapping: bool = False, takes_commas: bool = False) -> Kind:
    """Return the kind that an annotation describes.

    Args:
        hint: a resolved annotation: one of the basic types, ``Literal``, ``list``, ``dict`` or a union of them.
        takes_mapping: whether a text flag also takes a mapping, kept as JSON.
        takes_commas: whether a text flag also takes a list, kept as text with commas.
    """
    parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    optional = type(None) in parts
    parts = tuple(part for part in parts if part is not type(None))
    lists = [part for part in parts if get_origin(part) is list or part is list]
    literals = [part for part in parts if get_origin(part) is Literal]
    if lists:
        item = find_kind(get_args(lists[0])[0])
        return Kind(item.base, item.choices, is_list=True, single_as_text=str in parts, optional=optional)
    if literals:
        return Kind(str, tuple(get_args(literals[0])), optional=optional)
    bases = [get_origin(part) or part for part in parts]
    if dict in bases:
        return Kind(dict, optional=optional, or_text=str in bases)
    base = next(one for one in (str, bool, float, int) if one in bases)
    or_bool = base is str and bool in bases
    return Kind(base, optional=optional, or_text=takes_mapping, or_bool=or_bool, or_commas=takes_commas)


def alternatives(names: Sequence[str]) -> str:
    """``"a, b or c"``."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def is_true(text: str) -> bool:
    """Return the boolean that a text stands for.

    Raises:
        ValueError: the text stands for no boolean.
    """
    word = text.strip().lower()
    if not is_bool_word(word):
        raise ValueError(_EXPECTED[bool])
    return word in _TRUE


def is_bool_word(text: str) -> bool:
    """Return whether a word can be the value of a boolean."""
    return text.strip().lower() in (*_TRUE, *_FALSE)


def _bool(value: object) -> bool:
    if isinstance(value, str):
        return is_true(value)
    if isinstance(value, bool) or type(value).__name__.startswith("bool"):
        return bool(value)
    raise ValueError(_EXPECTED[bool])


def _int(value: object) -> int:
    """Read a whole number in any notation, because JSON and YAML do not distinguish 500 from 500.0."""
    with contextlib.suppress(ValueError):  # a float would round large numbers
        if isinstance(value, (str, numbers.Integral)) and not isinstance(value, bool):
            return int(value)
    with contextlib.suppress(ValueError):
        if (number := _float(value)).is_integer():
            return int(number)
    raise ValueError(_EXPECTED[int])


def _float(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (str, numbers.Real)):
        raise ValueError(_EXPECTED[float])
    try:
        return math.inf if value == ".inf" else float(value)  # YAML writes infinity like this
    except ValueError:
        raise ValueError(_EXPECTED[float]) from None


def kind_in_words(value: object) -> str:
    """Return ``"a list"``, ``"a mapping"`` or ``"a float"``, for messages."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (Sequence, set)):
        return "a list"
    return with_article(type(value).__name__)


def shown(value: object) -> str:
    """Return a value as it is written on a command line."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and math.isfinite(value) and abs(value) < 1e15:
        return str(int(value))
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if isinstance(value, (list, tuple)):
        return " ".join(shown(item) for item in value)
    return json.dumps(value) if isinstance(value, Mapping) else str(value)
