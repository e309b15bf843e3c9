"""Parse ``--search_space`` into ranges and choices, with the types of the flags."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from earmark.errors import UsageError
from earmark.settings.flags import Flag, Scope, declared_flags
from earmark.settings.given_values import nearest_flag

_FORMS = "NAME=LOW:HIGH, NAME=LOW:HIGH:log or NAME=A|B|C"
# float settings that are searched in whole numbers if both ends are whole
_COUNTS = {"num_train_epochs", "warmup_steps"}


@dataclass(frozen=True)
class Dimension:
    """One searched setting: a range, or choices.

    Attributes:
        name: name of the setting.
        low: lower end, inclusive; an int if all values are whole.
        high: upper end, inclusive; an int if all values are whole.
        log: whether values are drawn evenly on a log scale.
        choices: the values; empty for a range.
    """

    name: str
    low: float = 0
    high: float = 0
    log: bool = False
    choices: tuple[Any, ...] = ()

    def extremes(self) -> tuple[object, ...]:
        """Return values to check: if they are valid, every value of the dimension is valid."""
        return self.choices or (self.low, self.high)


def parse_space(words: Iterable[str], classes: Sequence[type]) -> list[Dimension]:
    """Return the dimensions of texts such as ``learning_rate=1e-5:1e-3:log,num_train_epochs=2:6,freeze=none|encoder``.

    Args:
        words: the texts, which are combined.
        classes: settings classes whose flags may be searched.

    Raises:
        UsageError: the search space is empty or malformed, a setting is unknown, or a value is invalid.
    """
    flags = declared_flags(*classes)
    found: dict[str, Dimension] = {}
    for text in (part for word in words for part in _parts(word)):
        name, equals, values = (part.strip() for part in text.partition("="))
        name = name.lstrip("-").replace("-", "_")
        if not name or not equals or not values:
            raise UsageError(f"--search_space {text}: expected {_FORMS}")
        if name not in flags:
            raise UsageError(f"--search_space {name}: not a flag of `earmark train`{nearest_flag(name, flags, '')}")
        if name in found:
            raise UsageError(f"--search_space {name}: given twice. Leave one out.")
        if Scope.SEARCHED not in flags[name].scope:
            raise UsageError(f"--search_space {name}: must be the same for all trials to compare them. Leave it out.")
        found[name] = _dimension(flags[name], values)
    if not found:
        raise UsageError(f"a search needs a search space. Add --search_space {_FORMS}, separated by commas.")
    return list(found.values())


def _parts(word: str) -> list[str]:
    """Split ``a=1:2,b=x|y,z`` into ``a=1:2`` and ``b=x|y,z``: a part without ``=`` belongs to the part before it."""
    parts: list[str] = []
    for text in word.split(","):
        if parts and text.strip() and "=" not in text:
            parts[-1] += f",{text}"
        else:
            parts.append(text.strip())
    return parts


def _dimension(one: Flag, values: str) -> Dimension:
    name = one.name
    if "|" in values or ":" not in values:
        texts = [text.strip() for text in values.split("|")]
        choices = tuple(_typed(one, text) for text in texts)
        if len(choices) < 2 or len(set(choices)) < len(choices):
            raise UsageError(f"--search_space {name}={values}: expected two or more different choices, {_FORMS}")
        return Dimension(name, choices=choices)
    ends = [text.strip() for text in values.split(":")]
    log = len(ends) == 3 and ends[2] == "log"
    if len(ends) != 2 and not log:
        raise UsageError(f"--search_space {name}={values}: expected {_FORMS}")
    if one.kind.base not in (int, float):
        raise UsageError(f"--search_space {name}={values}: takes no numbers. Give its choices: {name}=A|B.")
    low, high = (_typed(one, text) for text in ends[:2])
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UsageError(f"--search_space {name}={values}: expected two numbers, the lower one first")
    if log and low <= 0:
        raise UsageError(f"--search_space {name}={values}: a range on a log scale cannot contain 0. Start it above 0.")
    if name in _COUNTS and low.is_integer() and high.is_integer() and not any("." in text for text in ends):
        low, high = int(low), int(high)
    return Dimension(name, low, high, log)


def _typed(one: Flag, text: str) -> Any:
    """Return a value parsed like a value of the flag, or ``None`` for "none" if the flag is optional."""
    if one.kind.optional and one.kind.base is not str and text.lower() == "none":
        return None
    try:
        return one.kind.read(text)
    except ValueError as exc:
        raise UsageError(f"--search_space {one.name}: {text} is not a valid value: expected {exc}") from exc
