"""Read values from command lines, settings files and Python keywords, with the same error messages for all.

The order is defaults < configuration file < flags. Old names are translated and values are read in one place.
"""

from __future__ import annotations

import enum
import numbers
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from earmark.errors import UsageError
from earmark.settings.config_files import GIVEN, read_config_file
from earmark.settings.flags import Flag, Scope, Settings, declared_flags, flag
from earmark.settings.kinds import is_bool_word, shown
from earmark.settings.legacy import LEGACY_FLAGS, translate
from earmark.text import counted, suggestion

T = TypeVar("T", bound=Settings)
Unused = Callable[[Collection[str]], Collection[str]]

# A word of this form after a flag with an optional number is the flag's value, even if the flag then refuses it.
_NUMBER = re.compile(r"[-+]?(\d+\.?|\d*\.\d+)(e[-+]?\d+)?", re.IGNORECASE)

# Other names that people try for a flag. A name that two flags share means the first of them that the command has.
_OTHER_NAMES = {
    "data_dir": "data dataset recordings",
    "inputs": "data recordings",
    "train_file": "train_data",
    "eval_file": "eval_data val_file valid_file validation_file",
    "model_name_or_path": "model model_name checkpoint ckpt pretrained",
    "output_dir": "output output_file out out_dir save_dir",
    "output": "output_dir output_file out out_dir",
    "num_train_epochs": "epoch epochs num_epochs",
    "max_steps": "steps num_steps",
    "per_device_train_batch_size": "batch batch_size bs",
    "per_device_eval_batch_size": "batch batch_size bs",
    "batch_size": "batch bs",
    "learning_rate": "lr rate",
    "warmup_steps": "warmup",
    "weight_decay": "wd",
    "optim": "optimizer",
    "early_stopping_patience": "patience",
    "dataloader_num_workers": "workers num_workers",
    "num_workers": "workers",
    "preprocessing_num_workers": "workers num_workers",
    "device": "gpu gpus",
    "window_seconds": "window window_size",
}


@dataclass
class Given:
    """Values that the user gave.

    Attributes:
        values: value of each setting.
        words: words that are not flags, in their order.
        typed: names of the settings given on a command line or as Python keywords, including those with their default
            value.
        from_file: names of the settings whose value is from a configuration file.
        notes: one line for each word that was translated or left out.
    """

    values: dict[str, Any] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)
    typed: set[str] = field(default_factory=set)
    from_file: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)


def read_words(words: Sequence[str], flags: Mapping[str, Flag], *, has_words: bool = True) -> Given:
    """Read the words of a command line.

    Args:
        words: flags may be anywhere; words after a bare ``--`` are never flags.
        flags: the known flags by name; if flags that Transformers has dropped are among them, they are translated.
        has_words: whether words that are not flags are allowed, so that the word after a switch may be one.

    Raises:
        UsageError: a flag is unknown (the message suggests the nearest one), has no value, or has a wrong value.
    """
    words = list(words)
    at = words.index("--") if "--" in words else len(words)
    others: list[str] = []
    spelled = {alias: one for one in flags.values() for alias in (one.name, *one.aliases)}
    texts: list[tuple[Flag, list[str]]] = []
    for written, name, values in _grouped(words[:at], spelled, others, has_words):
        if name not in spelled:
            raise UsageError(f"unknown flag {written}{_advice(name.strip('_'), spelled)}")
        texts.append((spelled[name], values))
    given = _read_texts(texts, flags)
    given.words = [*others, *words[at + 1 :]]
    return given


def _read_texts(texts: Iterable[tuple[Flag, list[str]]], flags: Mapping[str, Flag]) -> Given:
    """Read flags with their values, both as the user gave them; the last value counts, unless a flag is repeated."""
    given = Given()
    last: dict[str, list[str]] = {}
    for one, values in texts:
        if one.name in last and not one.repeated and last[one.name] != values:
            change = f", {' '.join(values)}, replaces {' '.join(last[one.name])}"
            change = " is used" if Scope.SECRET in one.scope else change
            given.notes.append(f"--{one.name} is given twice; the last value{change}")
        last[one.name] = [*(last.get(one.name, []) if one.repeated else []), *values]
    current, notes = translate(last)
    given.notes += notes
    for name, values in current.items():
        one = flags[name]
        given.values[name] = one.read(values if one.kind.is_list else values[0])
    given.typed = set(given.values)
    return given


def _grouped(
    words: Sequence[str], spelled: Mapping[str, Flag], others: list[str], has_words: bool
) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each flag as written, its name and its values; words that belong to no flag go to ``others``."""
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word.startswith("-") or word == "-" or not word.strip("-"):
            others.append(word)
            continue
        written, equals, value = word.partition("=")
        # One dash or three leave an underscore at the start, so that no flag matches.
        name = written.removeprefix("--").replace("-", "_")
        one = spelled.get(name)
        negated = spelled.get(name.removeprefix("no_")) if one is None and name.startswith("no_") else None
        if negated is not None and negated.kind.base is bool:
            yield written, negated.name, ["false"]
            continue
        if one is None or equals:
            yield written, name, [value]
            continue
        values: list[str] = []
        while at < len(words) and _is_value(words[at], one, values, has_words):
            values.append(words[at])
            at += 1
        if not values and (one.kind.base is bool or one.kind.or_bool):
            values = ["true"]
        if not values and one.bare:
            values = [one.bare]
        if not values:
            raise UsageError(f"{written}: expected {one.kind.expected} after it")
        yield written, name, values


def _is_value(word: str, one: Flag, values: Sequence[str], has_words: bool) -> bool:
    """Return whether a word is a value of the flag before it."""
    if word.startswith("--"):
        return False
    if one.kind.base is bool:
        return not values and (is_bool_word(word) or not has_words)
    if one.bare:
        return not values and (_NUMBER.fullmatch(word) is not None or not has_words)
    return not values or (one.kind.is_list and not one.repeated and not word.startswith("-"))


def nearest_flag(name: str, known: Collection[str], prefix: str = "--") -> str:
    """Return ``"; did you mean --learning_rate?"`` for another name or a misspelling of a known flag, else nothing."""
    other = _by_other_name(name, known)
    return f"; did you mean {prefix}{other}?" if other else suggestion(name, known, prefix)


def _by_other_name(name: str, known: Collection[str]) -> str | None:
    return next((flag for flag, names in _OTHER_NAMES.items() if flag in known and name in names.split()), None)


def _advice(name: str, known: Collection[str]) -> str:
    if name in training_flags().keys() - known and not _by_other_name(name, known):
        return ": a flag of earmark train, not of this command. Leave it out."
    return nearest_flag(name, known)


def training_flags() -> Mapping[str, Flag]:
    """Return the flags of ``earmark train``, and those that it translates because Transformers has dropped them."""
    from earmark.settings.train_settings import TRAIN_CLASSES

    return {**LEGACY_FLAGS, **declared_flags(*TRAIN_CLASSES)}


@dataclass
class ConfigFile(Settings):
    """The flag ``--config`` of all commands that can read settings from a file."""

    config: str | None = flag(None, "Settings from a YAML or JSON file; flags override it.", metavar="FILE")


def read_line(
    words: Sequence[str], flags: Mapping[str, Flag], unused: Unused | None = None, *, has_words: bool = True
) -> Given:
    """Read a command line and the file that ``--config`` names; flags on the line override the file.

    Args:
        words: as for :func:`read_words`.
        flags: as for :func:`read_words`.
        unused: as for :func:`read_file`.
        has_words: as for :func:`read_words`.

    Raises:
        UsageError: see :func:`read_words` and :func:`read_file`.
    """
    line = read_words(words, {**flags, **declared_flags(ConfigFile)}, has_words=has_words)
    path = line.values.pop("config", None)
    line.typed.discard("config")
    if path is not None:
        file = read_file(path, flags, unused)
        line.from_file = file.values.keys() - line.values.keys()
        line.values = {**file.values, **line.values}
        line.typed |= file.typed
        line.notes = [*file.notes, *line.notes]
    return line


def read_file(path: str, flags: Mapping[str, Flag], unused: Unused | None = None) -> Given:
    """Read the settings of a configuration file, as :func:`read_values` does.

    A setting counts as typed only if the file lists it as given; only the file of a run has such a list.

    Args:
        path: a file for :func:`earmark.settings.config_files.read_config_file`.
        flags: as for :func:`read_words`.
        unused: returns the names of settings, among those of the file, that only training uses.

    Raises:
        UsageError: see :func:`read_values`, with the path in front; or the file cannot be read.
    """
    settings = read_config_file(path)
    given_names = settings.pop(GIVEN, None)
    left_out = unused(settings) if unused else set()
    try:
        given = read_values({name: value for name, value in settings.items() if name not in left_out}, flags)
    except UsageError as exc:
        raise UsageError(f"{path}: {exc}") from exc
    notes = [f"{path}: {note}" for note in given.notes]
    if left_out:
        notes.append(f"{path}: a training configuration; this command ignores {counted(len(left_out), 'setting')}")
    typed = given.values.keys() & given_names if isinstance(given_names, list) else set()
    return Given(given.values, typed=typed, notes=notes)


def read_values(values: Mapping[str, object], flags: Mapping[str, Flag]) -> Given:
    """Read a mapping from settings to values, from a file or from Python keywords.

    Single values are read as words of a command line, so that old flags are translated together with current ones.

    Args:
        values: value of each setting.
        flags: as for :func:`read_words`.

    Raises:
        UsageError: a name is unknown (the message suggests the nearest one), or a value is wrong.
    """
    texts: list[tuple[Flag, list[str]]] = []
    direct: dict[str, Any] = {}
    for key, given_value in values.items():
        name = key.replace("-", "_")
        value = given_value.value if isinstance(given_value, enum.Enum) else given_value
        if name in flags and isinstance(value, (str, bool, numbers.Number, os.PathLike)):
            texts.append((flags[name], [shown(value)]))
        elif name in flags:
            direct[name] = flags[name].read(value)
        elif isinstance(value, Mapping):
            raise UsageError(f"unknown flag --{key}: settings are not nested. Write them without {key}:.")
        else:
            raise UsageError(f"unknown flag --{key}{nearest_flag(name, flags)}")
    read = _read_texts(texts, flags)
    read.values.update(direct)
    read.typed = set(read.values)
    return read


def make_settings(cls: type[T], given: Given, *, noted: Collection[str] = ()) -> T:
    """Create a settings object from the given values of its class; the other settings get their defaults.

    A setting counts as given if it was typed, or if a file has a value other than the default: the file of a run
    holds all settings.

    A setting without effect is refused. From a file it is refused only if none of the settings that it needs is given:
    the file of a run holds them all, and the command line may turn one of them off.

    Args:
        cls: the class.
        given: the values.
        noted: names of settings that are not refused if they have no effect, but noted in ``given``.

    Raises:
        UsageError: see :class:`earmark.settings.flags.Settings`; or a setting has no effect.
    """
    flags = declared_flags(cls)
    own = {name: value for name, value in given.values.items() if name in flags}
    by_hand = {name for name, value in own.items() if name in given.typed or value != flags[name].default}
    settings = cls(**own, given=frozenset(by_hand))
    to_check = {name for name in by_hand if name not in given.from_file or not _needed(flags[name]) & own.keys()}
    settings.reject_without_effect(to_check - set(noted))
    useless = settings.without_effect(to_check)
    given.notes += [f"--{name} has no effect without {needed}" for name, needed in useless.items()]
    return settings


def _needed(one: Flag) -> set[str]:
    """Return the names of the settings that a flag needs."""
    return {need.partition("=")[0] for need in one.needs}


def refuse_words(words: Sequence[str], flags: Mapping[str, Flag]) -> None:
    """Refuse words that are neither flags nor values.

    Args:
        words: the words.
        flags: the known flags by name.

    Raises:
        UsageError: ``words`` is not empty.
    """
    if words and "data_dir" in flags and Path(words[0]).is_dir():
        raise UsageError(f"unexpected word {words[0]!r}. To name a folder of recordings, write --data_dir {words[0]}.")
    if words:
        raise UsageError(
            f"unexpected word {words[0]!r}: flags begin with --, and one value follows each. Repeat a flag that takes "
            "several values (--train_file a.csv --train_file b.csv)."
        )
