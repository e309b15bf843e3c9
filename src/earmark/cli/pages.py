"""Help pages, made from the declarations of flags, without importing torch or Transformers."""

from __future__ import annotations

import shutil
import textwrap

from earmark.cli.command import Command
from earmark.settings.flags import Flag, declared_flags
from earmark.settings.given_values import ConfigFile
from earmark.settings.kinds import shown

_METAVAR = {int: "N", float: "X", dict: "JSON"}
_INDENT = " " * 6
_WORDS_AND_FLAGS = ("model_name_or_path", "data_dir")  # some commands take these without a flag, others as flags


def help_page(command: Command, *, everything: bool = False) -> str:
    """Return the help page of a command.

    Args:
        command: the command.
        everything: whether to show all flags, as ``--help_all`` does.
    """
    width = max(60, min(100, shutil.get_terminal_size((100, 24)).columns))
    page = command.page
    usage = page.usage.strip().replace("\n", "\n       ")
    parts = [f"earmark {command.name}: {page.summary}", f"usage: {usage}"]
    text = page.text if isinstance(page.text, str) else page.text()
    parts += [_prose(text, width)] if text else []
    for title, flags in flag_groups(command, everything=everything).items():
        parts.append("\n".join([title, *(_entry(one, width) for one in flags)]))
    if not everything and any(one.page is None for one in declared_flags(*command.settings).values()):
        parts.append(f"flags of Transformers' trainer: earmark {command.name} --help_all")
    parts += [_prose(page.notes, width)] if page.notes else []
    parts += ["examples\n" + textwrap.indent(page.examples.strip("\n"), "  ")] if page.examples else []
    return "\n\n".join(parts)


def _prose(text: str, width: int) -> str:
    """Fill paragraphs to the width; lines with columns or an indent stay as they are."""
    parts = text.strip("\n").split("\n\n")
    return "\n\n".join(part if "  " in part else textwrap.fill(part, width) for part in parts).strip()


def flag_groups(command: Command, *, everything: bool) -> dict[str, list[Flag]]:
    """Return the flags of the page by the title of their group; the command's own flags come first."""
    titles = {title: [] for title in command.page.groups.values()}  # type: dict[str, list[Flag]]
    for one in declared_flags(*command.settings).values():
        if one.name in command.words and one.name not in _WORDS_AND_FLAGS:
            continue
        page = one.page or ("other flags of Transformers' trainer" if everything else None)
        if page is not None:
            titles.setdefault(command.page.groups.get(page, page), []).append(one)
    if command.needs_files:
        first = next(iter(titles), "flags")
        titles.setdefault(first, []).extend(declared_flags(ConfigFile).values())
    return {title: flags for title, flags in titles.items() if flags}


def _entry(one: Flag, width: int) -> str:
    names = ", ".join(f"--{name}" for name in (one.name, *one.aliases))
    text = textwrap.fill(_text(one), width, initial_indent=_INDENT, subsequent_indent=_INDENT, break_on_hyphens=False)
    return f"  {names} {flag_value(one)}".rstrip() + f"\n{text}"


def _text(one: Flag) -> str:
    """Return the help text, with the default and the note that the flag is repeated for several values."""
    text = f"{one.help} Repeat the flag for several values." if one.repeated else one.help
    unsaid = one.default is None or one.default is False or one.default in ("", [])
    if unsaid or "(default:" in one.help or (one.default == -1 and one.kind.base is int):
        return text
    return f"{text.removesuffix('.')} (default: {shown(one.default)})."


def flag_value(one: Flag) -> str:
    """Return the placeholder for the value of a flag on its page; empty for a flag without a value."""
    several = "..." if one.kind.is_list and not one.repeated else ""
    if one.metavar is not None:
        return one.metavar + several
    if one.kind.choices:
        return "|".join(one.kind.choices)
    if one.kind.base is bool:
        return "" if one.default is False else "true|false"
    word = _METAVAR.get(one.kind.base) or one.name.rsplit("_", 1)[-1].upper()
    return word.removesuffix("S") + several if several else word
