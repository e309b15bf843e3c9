"""Declare flags, and derive everything else from the declarations.

A settings class is a dataclass over :class:`Settings` whose fields are made by :func:`flag`::

    max_shift_seconds: float = flag(0.1, "Longest shift of a clip, in seconds.", check=above(0), scope=Scope.RESULT)

A new flag needs only that line. Command lines, configuration files, ``--help``, and the comparisons of resumed runs, of
ranks and of trials of a search follow from it.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, get_type_hints

from earmark.errors import UsageError
from earmark.settings.kinds import Kind, alternatives, find_kind, shown
from earmark.text import suggestion

HIDDEN = "hidden"  # page of a flag that only --help_all shows


class Scope(enum.Flag):
    """What a setting affects. A setting without a scope affects what one command prints or writes."""

    NONE = 0
    RESULT = enum.auto()  # the trained weights: a resumed run should have the same value
    SEARCHED = enum.auto()  # a search may vary it: trials stay comparable
    MACHINE = enum.auto()  # machines that train together may have different values
    EPOCHS = enum.auto()  # only training by epochs; --few_shot rejects it
    ONCE = enum.auto()  # one call or one process; not saved with a run
    SECRET = enum.auto()  # a token; never saved or shown
    TRAINING = enum.auto()  # the training itself: other commands ignore it in the configuration file of a run
    SPLITS = enum.auto()  # which clips are in which split
    AFTER_LOADING = enum.auto()  # used after the table of clips is loaded; all other data settings say how to load it
    LEARNED = RESULT | SEARCHED
    TRAINED = RESULT | SEARCHED | EPOCHS


@dataclass(frozen=True)
class Check:
    """A condition that values must meet.

    Attributes:
        holds: returns whether a value meets the condition; it never gets ``None``.
        expected: completes the message ``--flag VALUE: expected ...``.
        names: the allowed values, for completion and to suggest the nearest one; empty if they are not names.
    """

    holds: Callable[[Any], bool]
    expected: str
    names: tuple[str, ...] = ()


def at_least(least: float, unit: str = "") -> Check:
    """Finite values of at least ``least``."""
    what = f"{unit or 'a whole number'} of at least {least:g}"
    return Check(lambda value: least <= value < math.inf, what)


def above(bound: float, what: str = "a number") -> Check:
    """Finite values above ``bound``."""
    return Check(lambda value: bound < value < math.inf, f"{what} above {bound:g}")


def not_negative(what: str = "0 or more") -> Check:
    """Finite values of at least 0."""
    return Check(lambda value: 0 <= value < math.inf, what)


def within(low: float, high: float, expected: str, *, low_open: bool = False, high_open: bool = False) -> Check:
    """Values between two bounds. A bound itself is allowed unless it is open."""

    def holds(value: float) -> bool:
        return (low < value if low_open else low <= value) and (value < high if high_open else value <= high)

    return Check(holds, expected)


def choice_among(names: Sequence[str]) -> Check:
    """One of many names, or one of several names besides true and false. For a few names use a ``Literal``."""
    return Check(lambda value: shown(value) in names, f"one of {', '.join(names)}", tuple(names))


def matching(pattern: str, expected: str) -> Check:
    """Text that a regular expression matches completely."""
    return Check(lambda value: re.fullmatch(pattern, str(value)) is not None, expected)


COUNT = at_least(1)
SEED = within(0, 2**32, "a whole number from 0 to 4294967295", high_open=True)
PROBABILITY = within(0, 1, "above 0 and at most 1", low_open=True)
BELOW_ONE = within(0, 1, "from 0 to below 1", high_open=True)
NOT_EMPTY = Check(lambda value: bool(str(value).strip()), "a name")


def flag(
    default: Any,
    help: str,
    *,
    check: Check | None = None,
    scope: Scope | None = None,
    page: str = "",
    metavar: str | None = None,
    aliases: tuple[str, ...] = (),
    repeated: bool = False,
    mapping: bool = False,
    commas: bool = False,
    choices: Callable[[], tuple[str, ...]] | None = None,
    only: str = "",
    needs: str = "",
    bare: str = "",
) -> Any:
    """Declare a flag.

    Args:
        default: its default; a list is copied.
        help: one or two lines that start with a noun phrase or an imperative. The default is added unless the text has
            "(default: ...)".
        check: the condition that every value except ``None`` must meet, in addition to its type.
        scope: what it affects; by default the ``scope`` of the class that declares it.
        page: title of its group on the help page; by default the ``page`` of the class that declares it.
        metavar: placeholder of its value on the page; by default its type or the end of its name.
        aliases: other spellings, without dashes.
        repeated: whether several values are given by repeating the flag (``--data_dir a --data_dir b``).
        mapping: whether a text flag also takes a mapping in files and in Python, kept as JSON.
        commas: whether a text flag also takes a list there, kept as text with commas.
        choices: returns the allowed values of a text flag, if a registry defines them instead of a ``Literal``.
        only: values of another setting with which the flag has an effect, separated by commas. The help text starts
            with them, and :meth:`Settings.reject_without` refuses the flag with other values.
        needs: settings of the same class without which the flag has no effect, separated by commas: ``check`` (it is
            true, or has a value) or ``engine=ray`` (it has this value). One of them is enough. The help text starts
            with them, and :meth:`Settings.reject_without_effect` refuses the flag without them.
        bare: value of a numeric flag that no number follows; empty if the number is required.
    """
    declared = {
        "help": help, "check": check, "scope": scope, "page": page, "metavar": metavar, "aliases": aliases,
        "repeated": repeated, "mapping": mapping, "commas": commas, "choices": choices, "only": only, "needs": needs,
        "bare": bare,
    }  # fmt: skip
    shown = scope is None or Scope.SECRET not in scope  # no token in a log through repr(); no class has this scope
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata=declared, repr=shown)
    return field(default=default, metadata=declared, repr=shown)


def changed(base: type[Settings], name: str, default: Any, help: str = "", **other: Any) -> Any:
    """Redeclare a flag of a base class with another default, help text or group.

    Args:
        base: the class that declares it.
        name: its name.
        default: its default.
        help: its help text; if empty, the help text of the base class.
        **other: other arguments of :func:`flag` that differ.
    """
    declared = dict(base.__dataclass_fields__[name].metadata)
    declared["page"] = declared["page"] or base.PAGE
    declared["scope"] = _scope(base, declared)
    return flag(default, **{**declared, **({"help": help} if help else {}), **other})


@dataclass(frozen=True)
class Flag:
    """A declared flag.

    Attributes:
        name: name of its field; the flag is the name with ``--`` in front.
        kind: type of its values.
        default: its default.
        help: its help text.
        check: the condition that every value must meet.
        scope: what it affects.
        page: title of its group on the help page; ``None`` if only ``--help_all`` shows it.
        metavar, aliases, repeated, bare: see :func:`flag`.
        only, needs: see :func:`flag`; empty if it has an effect with all other settings.
    """

    name: str
    kind: Kind
    default: Any
    help: str
    check: Check | None = None
    scope: Scope = Scope.NONE
    page: str | None = None
    metavar: str | None = None
    aliases: tuple[str, ...] = ()
    repeated: bool = False
    only: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    bare: str = ""

    @property
    def choices(self) -> tuple[str, ...]:
        """The allowed values, as written on a command line; empty if they cannot be listed."""
        if self.kind.choices or self.kind.base is not bool:
            return self.kind.choices or (self.check.names if self.check else ())
        return ("true", "false")

    def read(self, value: Any) -> Any:
        """Return a value in the type of the field, after checking it.

        Args:
            value: text from a command line or a file, or a Python value.

        Raises:
            UsageError: ``--NAME VALUE: expected ...``.
        """
        try:
            read = self.kind.read(value)
        except ValueError as exc:
            said = "null" if value is None else shown(value) or repr(value)
            raise UsageError(f"--{self.name} {said}: expected {exc}") from None
        if read is None or self.check is None or read == self.default:
            return read
        for item in read if isinstance(read, list) else [read]:
            if not self.check.holds(item):
                near = suggestion(shown(item), self.check.names)
                raise UsageError(f"--{self.name} {shown(item) or repr(item)}: expected {self.check.expected}{near}")
        return read


def declared_flags(*classes: type) -> Mapping[str, Flag]:
    """Return the flags of settings classes by name, in the order of the classes and their fields."""
    if len(classes) == 1:
        return _flags_of_class(classes[0])
    return {name: one for cls in classes for name, one in _flags_of_class(cls).items()}


@functools.cache
def _flags_of_class(cls: Any) -> Mapping[str, Flag]:
    hints = get_type_hints(cls)
    found: dict[str, Flag] = {}
    unused = {name for base in cls.__mro__ for name in vars(base).get("UNUSED", ())}
    for one in dataclasses.fields(cls):
        if "scope" not in one.metadata or one.name in unused:
            continue
        owner = next(base for base in cls.__mro__ if one.name in vars(base).get("__annotations__", {}))
        declared = {name: one.metadata[name] for name in ("help", "check", "metavar", "aliases", "repeated", "bare")}
        if only := one.metadata["only"]:
            declared.update(help=f"{only}: {one.metadata['help']}", only=tuple(only.split(", ")))
        if needs := tuple(filter(None, one.metadata["needs"].split(", "))):
            declared.update(help=f"With {_as_flags(needs)}: {one.metadata['help']}", needs=needs)
        kind = find_kind(hints[one.name], takes_mapping=one.metadata["mapping"], takes_commas=one.metadata["commas"])
        if one.metadata["choices"] is not None:
            kind = dataclasses.replace(kind, choices=one.metadata["choices"]())
        default = one.default if one.default_factory is dataclasses.MISSING else one.default_factory()
        page = one.metadata["page"] or owner.PAGE
        page = None if page == HIDDEN else page
        found[one.name] = Flag(
            name=one.name, kind=kind, default=default, scope=_scope(owner, one.metadata), page=page, **declared
        )
    return found


def _as_flags(needs: Sequence[str]) -> str:
    return alternatives([f"--{need.replace('=', ' ')}" for need in needs])


def _scope(owner: type[Settings], declared: Mapping[str, Any]) -> Scope:
    return owner.SCOPE if declared["scope"] is None else declared["scope"]


def names_with(scope: Scope, *classes: type) -> tuple[str, ...]:
    """Return the names of the flags that have all parts of a scope."""
    return tuple(name for name, one in declared_flags(*classes).items() if scope in one.scope)


@dataclass
class Settings:
    """Base of all settings classes: it reads and checks values, and remembers which were given.

    The arguments of a class are shared by its flags: ``class LossArguments(Settings, page="loss",
    scope=Scope.TRAINED)``. ``page`` is the title of their group on help pages, by default the title of the base class.
    ``scope`` is the scope of flags that the class declares without one.

    Attributes:
        given: names of the settings that the user gave, including those given with their default value.

    Raises:
        UsageError: a value is of the wrong type or out of range, a required one is missing, or two settings contradict
            each other.
    """

    PAGE: ClassVar[str] = "settings"
    SCOPE: ClassVar[Scope] = Scope.NONE
    UNUSED: ClassVar[tuple[str, ...]] = ()  # flags of base classes that would have no effect here, so they do not exist
    REQUIRED: ClassVar[tuple[str, ...]] = ()  # settings that must have a value
    MISSING: ClassVar[str] = ""  # the message if a required setting has no value

    given: frozenset[str] = field(default=frozenset(), repr=False, compare=False, kw_only=True)

    def __init_subclass__(cls, *, page: str = "", scope: Scope = Scope.NONE) -> None:
        """Set ``page`` and ``scope`` of the flags of the class."""
        super().__init_subclass__()
        cls.PAGE, cls.SCOPE = page or cls.PAGE, scope

    def __post_init__(self) -> None:
        """Read and check every value, then call :meth:`validate`."""
        for name, one in declared_flags(type(self)).items():
            setattr(self, name, one.read(getattr(self, name)))
        self.validate()

    def validate(self) -> None:
        """Check settings against each other. Classes with such checks call ``super().validate()`` first."""
        if not all(getattr(self, name) for name in self.REQUIRED):
            raise UsageError(self.MISSING)

    def is_set(self, name: str) -> bool:
        """Return whether a setting was given, or differs from its default."""
        own = declared_flags(type(self)).get(name)
        return name in self.given or (own is not None and getattr(self, name) != own.default)

    def given_defaults(self) -> list[str]:
        """Return the sorted names of the settings that were given with their default value."""
        flags = declared_flags(type(self))
        defaults = {name: flags[name].default for name in self.given & flags.keys()}
        return sorted(name for name, value in defaults.items() if value is not None and getattr(self, name) == value)

    def reject(self, names: Sequence[str], reason: Callable[[str], str]) -> None:
        """Refuse the settings ``names``, which contradict other settings.

        Raises:
            UsageError: one of ``names`` has a value; ``reason`` returns the message for it.
        """
        for name in names:
            if getattr(self, name):
                raise UsageError(reason(name))

    def reject_without(self, values: Collection[str], reason: Callable[[Flag], str]) -> None:
        """Refuse flags that have no effect with the current value of another setting.

        Raises:
            UsageError: such a flag is set; ``reason`` returns the message for it.
        """
        for name, one in declared_flags(type(self)).items():
            without = bool(one.only) and not any(value in one.only for value in values)
            if without and self.is_set(name) and getattr(self, name) is not None:
                raise UsageError(reason(one))

    def without_effect(self, names: Collection[str]) -> dict[str, str]:
        """Return the flags, by name, that have no effect because the settings that they need are not set.

        Args:
            names: the flags to check; values that are false have no effect anyway.

        Returns:
            What each of these flags needs, in words.
        """
        found = {}
        for name, one in declared_flags(type(self)).items():
            value = getattr(self, name)
            is_checked = name in names and one.needs and value is not None and value is not False
            if is_checked and not any(self._meets(need) for need in one.needs):
                found[name] = _as_flags(one.needs)
        return found

    def reject_without_effect(self, names: Collection[str]) -> None:
        """Refuse the flags that :meth:`without_effect` returns.

        Raises:
            UsageError: there is such a flag.
        """
        for name, needed in self.without_effect(names).items():
            raise UsageError(f"--{name} has no effect without {needed}. Add {needed}, or leave --{name} out.")

    def _meets(self, need: str) -> bool:
        name, _, value = need.partition("=")
        current = getattr(self, name)
        if not value:
            return bool(current)
        return value in current if isinstance(current, list) else shown(current) == value
