"""A command: its settings, its help page and how its command line is read. ``command_table.py`` lists all commands."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

from earmark.distributed.launched import is_main_process
from earmark.errors import UsageError
from earmark.settings.flags import Scope, Settings, declared_flags
from earmark.settings.given_values import Given, make_settings, read_line, read_words, refuse_words, training_flags
from earmark.settings.kinds import shown
from earmark.settings.model_flags import NetworkArguments, PretrainedArguments

Parse = Callable[[Sequence[str]], Any]


@dataclass(frozen=True)
class HelpPage:
    """The help page of a command, except for its flags.

    Attributes:
        summary: its line in ``earmark --help``.
        usage: the lines of usage, without "usage:".
        groups: title of each group of flags, by its name in the settings; other groups come last, under their own name.
        text: the text between usage and flags.
        notes: the text after the flags.
        examples: the lines of examples.
    """

    summary: str
    usage: str
    groups: dict[str, str] = field(default_factory=dict)
    text: str | Callable[[], str] = ""
    notes: str = ""
    examples: str = ""


@dataclass(frozen=True)
class Command:
    """One command.

    Attributes:
        name: the word after ``earmark``.
        does: function that runs the command with its settings.
        settings: settings class; for a command with ``parse`` all classes whose flags its page shows.
        page: its help page.
        words: settings that words without a flag set, in order; a list takes all remaining words.
        training_file: whether ``--config`` also takes the file of a training run. Settings that only training has are
            left out.
        trained_model: whether the command reads from such a file which model the run started from.
        parse: reads the command line instead of this class.
        needs_files: whether ``--config`` is a flag.
        needs_training: whether it needs the packages of the extra ``train``, whatever model it is given.
    """

    name: str
    does: Callable[[Any], None]
    settings: tuple[type[Settings], ...]
    page: HelpPage
    words: tuple[str, ...] = ()
    training_file: bool = False
    trained_model: bool = False
    parse: Parse | None = None
    needs_files: bool = True
    needs_training: bool = False

    def read(self, words: Sequence[str]) -> tuple[Any, list[str]]:
        """Return the settings, and a note for each word that was translated or left out.

        Raises:
            UsageError: a flag, a word or the configuration file is wrong.
        """
        if self.parse is not None:
            return self.parse(words), []
        (cls,) = self.settings
        flags, has_words = declared_flags(cls), bool(self.words)
        if self.needs_files:
            given = read_line(words, flags, self._unused if self.training_file else None, has_words=has_words)
        else:
            given = read_words(words, flags, has_words=has_words)
        self._place_words(given)
        return make_settings(cls, given), given.notes

    def _place_words(self, given: Given) -> None:
        """Assign the words without a flag to their settings."""
        (cls,) = self.settings
        left = list(given.words)
        for name in self.words:
            kind = declared_flags(cls)[name].kind
            if kind.is_list and not kind.single_as_text:
                given.values[name] = [*given.values.get(name, ()), *left]
                left = []
            elif left and name not in given.typed and (name not in given.values or name == self.words[-1]):
                given.values[name] = declared_flags(cls)[name].read(left if kind.is_list else left[0])
                given.typed.add(name)
                left = [] if kind.is_list else left[1:]
        if left and self.words and self.words[0] in given.typed and given.words[0] == left[0]:
            first = shown(given.values[self.words[0]])
            raise UsageError(f"{left[0]} and --{self.words[0]} {first} contradict each other. Keep one of them.")
        refuse_words(left, declared_flags(cls))

    def _unused(self, names: Collection[str]) -> set[str]:
        """Return the settings that this command ignores in the configuration file of a training run."""
        own, trained = declared_flags(*self.settings), training_flags()
        unused = {name for name in names if name not in own and name in trained}
        if unused and not self.trained_model:
            unused |= {name for name in names if name in trained and Scope.TRAINING in trained[name].scope}
        return unused


def print_summary(module: str, function: str) -> Callable[[Any], None]:
    """Return a function that calls ``function`` of ``module`` with its settings and prints the summary of the result.

    The module is imported when the command runs, because most import torch, which takes seconds.
    """

    def does(options: Any) -> None:
        if is_main_process():  # the launcher's other ranks would compute and write the same results
            print(getattr(import_module(module), function)(options).summary)

    return does


def find_model_folder(settings: object) -> None:
    """Report the missing model of a command early, because loading one imports torch, which takes seconds.

    Raises:
        ModelError: the model is a folder that does not exist.
    """
    if isinstance(settings, PretrainedArguments) and not isinstance(settings, NetworkArguments):
        from earmark.models.checkpoint import local_folder

        local_folder(str(settings.model_name_or_path))
