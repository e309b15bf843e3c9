"""Reference pages of the documentation, generated from the code: commands, Python, errors, files.

``docs/conf.py`` writes them into ``docs/reference/`` before each build; git ignores that folder.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import earmark
from earmark import errors, faults
from earmark.cli.command import Command
from earmark.cli.command_table import COMMANDS
from earmark.cli.pages import flag_groups, flag_value
from earmark.errors import EarmarkError
from earmark.formats.format import Format, RowSettings
from earmark.formats.format_registry import FORMATS
from earmark.formats.segments import Segment
from earmark.runs.folder import RunFolder
from earmark.settings.flags import Flag
from earmark.settings.kinds import shown
from earmark.sources.source import Source
from earmark.sources.source_registry import SOURCES

FOLDER = "reference"
MEMBERS = {  # of the classes on the Python page, the most used first; other methods serve earmark itself
    "Classifier": (
        *("from_pretrained", "predict", "predict_proba", "predict_clips", "timeline", "iter_windows"),
        *("embed", "export", "push"),
    ),
    "Clips": ("split", "filter", "labels", "label_counts", "splits", "origin", "to_pandas"),
    "EarmarkError": (),
    "Evaluation": ("predictions", "report"),
    "Run": ("classifier", "metrics", "predictions", "report", "labels", "history", "settings", "runs"),
    "SearchResult": ("best", "best_settings"),
    "Stopped": (),
}
EXAMPLE = (("wren", 1.5, 4.0, 0.93), ("robin", 12.0, 15.5, 0.81))  # label, start and end in seconds, score


def all_pages() -> dict[str, str]:
    """Return the text of every generated page by its path below ``docs/``."""
    pages = {
        "commands.md": commands_page(COMMANDS),
        "python.md": python_page(earmark.__all__),
        "errors.md": errors_page(),
        "files.md": files_page(FORMATS, SOURCES),
    }
    pages |= {f"commands/{name}.md": command_page(command) for name, command in COMMANDS.items()}
    return {f"{FOLDER}/{path}": f"{text.rstrip()}\n" for path, text in pages.items()}


def write_pages(docs: Path) -> None:
    """Write the pages that have changed, and remove pages of earlier builds that do not exist any more."""
    pages = {docs / path: text for path, text in all_pages().items()}
    for old in (docs / FOLDER).rglob("*.md"):
        if old not in pages:
            old.unlink()
    for path, text in pages.items():
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


# ---------------------------------------------------------------- commands


def commands_page(commands: Mapping[str, Command]) -> str:
    """Return the page that lists all commands."""
    rows = [(f"[{name}](commands/{name}.md)", _cell(one.page.summary)) for name, one in commands.items()]
    toctree = "\n".join(f"commands/{name}" for name in commands)
    return f"""# Commands

Every command has a page with all its flags. `earmark COMMAND --help` prints the same text, and
`earmark train --help_all` adds the flags of Transformers' trainer.

{_table(("command", "what it does"), rows)}

Flags can be given in a YAML or JSON file with `--config FILE`; flags on the command line override the file.

## Exit codes

{_table(("code", "meaning"), exit_codes())}

```{{toctree}}
:hidden:

{toctree}
```
"""


def exit_codes() -> list[tuple[str, str]]:
    """Return what each exit code of the command line means."""
    return [
        ("0", "Done."),
        ("1", "A defect of earmark. The traceback is printed: please report it."),
        (str(EarmarkError.exit_code), "An error that you can fix. One line says what is wrong and what to do."),
        (
            str(errors.Stopped.exit_code),
            "SIGTERM or SIGINT stopped training after a checkpoint was saved. Continue with `--resume`.",
        ),
        ("130", "Interrupted."),
    ]


def command_page(command: Command) -> str:
    """Return the page of a command, with all its flags in the groups of its help page."""
    page = command.page
    text = page.text if isinstance(page.text, str) else page.text()
    parts = [f"# earmark {command.name}", _sentence(page.summary), _literal(page.usage)]
    parts += [_prose(text)] if text else []
    parts += ["## Examples", _literal(_commands(page.examples), "bash")] if page.examples else []
    parts += ["## Notes", _prose(page.notes)] if page.notes else []
    parts += [f":::{{program}} earmark {command.name}\n:::"]
    for title, flags in flag_groups(command, everything=True).items():
        parts += [f"## {_first_up(title)}", *(_option(one) for one in flags)]
    return "\n\n".join(parts)


def _commands(examples: str) -> str:
    """Return the examples of a help page as a script: sentences above indented commands become comments."""
    lines = examples.strip("\n").split("\n")
    if not any(line.endswith(":") for line in lines):
        return "\n".join(lines)
    script = [line[2:] if line.startswith("  ") else f"\n# {_first_up(line.rstrip(':'))}" for line in lines]
    return "\n".join(script).strip("\n")


def _prose(text: str) -> str:
    """Return the text of a help page as Markdown; paragraphs with columns stay as they are."""
    paragraphs = text.strip("\n").split("\n\n")
    return "\n\n".join(_literal(one) if "  " in one else _escaped(one) for one in paragraphs)


def _option(one: Flag) -> str:
    """Return the entry of a flag: names, value, type and default in one line, and the help below."""
    value = flag_value(one)
    names = ", ".join(f"--{name} {value}".rstrip() for name in (one.name, *one.aliases))
    facts = [] if one.kind.base is bool or value == "|".join(one.kind.choices) else [_type(one)]
    if not (one.default is None or one.default in ("", [])):
        facts.append(f"default: {shown(one.default)}")
    line = f"{names} ({'; '.join(facts)})" if facts else names
    return f"::::{{option}} {line}\n{_escaped(one.help)}\n::::"


def _type(one: Flag) -> str:
    if one.choices:
        return f"one of {'|'.join(one.choices)}"
    names = {int: "whole number", float: "number", str: "text", dict: "JSON object"}
    several = "list of " if one.kind.is_list else ""
    return several + names[one.kind.base]


# ---------------------------------------------------------------- Python


def python_page(names: Sequence[str]) -> str:
    """Return the page of the public names, whose text comes from their docstrings."""
    parts = [
        "# Python API",
        "How to use these functions, with examples and their output: [Python](../python.md).",
        "```{eval-rst}\n.. currentmodule:: earmark\n```",
    ]
    for name in sorted((one for one in names if not one.startswith("_")), key=str.casefold):
        thing = getattr(earmark, name)
        entry = _class_entry(name, thing) if inspect.isclass(thing) else f".. autofunction:: {name}"
        parts.append(f"## {name}\n\n```{{eval-rst}}\n{entry}\n```")
    entry = "\n".join(f".. autofunction:: earmark.runtime.{name}" for name in ("load", "serve"))
    parts.append(f"## earmark.runtime\n\n```{{eval-rst}}\n.. automodule:: earmark.runtime\n\n{entry}\n```")
    return "\n\n".join(parts)


def _class_entry(name: str, thing: type) -> str:
    lines = [f".. autoclass:: {name}\n   :exclude-members: __init__, __new__"]
    for member in MEMBERS[name]:
        kind = "property" if isinstance(inspect.getattr_static(thing, member), property) else "method"
        lines.append(f"\n   .. auto{kind}:: {name}.{member}")
    return "\n".join(lines)


# ---------------------------------------------------------------- errors


def errors_page() -> str:
    """Return the page of the classes of errors, their exit codes, and the library errors that earmark explains."""
    classes = [one for one in vars(errors).values() if inspect.isclass(one) and issubclass(one, EarmarkError)]
    entries = [(_error_title(one), _doc(one)) for one in classes]
    codes = [(f"`{code}`", _remedy(means, fix)) for code, (means, fix) in faults.codes().items()]
    texts = [(_pattern(one.pattern), _remedy(one.means, one.fix)) for one in faults.texts()]
    return f"""# Errors

An error that you can fix is one line: where it is, what is wrong, what to do. `--debug` adds the traceback. In Python,
each error is an exception of one of these classes, and `except earmark.EarmarkError` catches all of them.

{_definitions(entries)}

## Error codes of CANN and HCCL

earmark explains these codes when an Ascend card fails. `earmark doctor` checks a machine before you
use it ([doctor](../doctor.md)).

{_definitions(codes)}

## Error texts of libraries

{_definitions(texts)}
"""


def _error_title(error: type[EarmarkError]) -> str:
    bases = " and ".join(f"`{base.__name__}`" for base in error.__bases__)
    return f"`{error.__name__}` (subclass of {bases}, exit code {error.exit_code})"


def _remedy(means: str, fix: str) -> str:
    return f"{_sentence(_cell(means))} Fix: {_sentence(_cell(fix), first_up=False)}"


def _pattern(pattern: re.Pattern[str]) -> str:
    """Return a regular expression as text to look for: first alternative of a group, ellipsis for wildcards."""
    text = re.sub(r"\(\?P<\w+>", "(", pattern.pattern).replace("(?:", "(").replace(r"\b", "").replace("\\.", ".")
    first = re.split(r"\|(?![^(]*\))", text)[:3]
    plain = (re.sub(r"\(([^|()]*)(\|[^()]*)?\)\??", r"\1", part) for part in first)
    plain = (re.sub(r"(\[[^\]]*\]|\\\w|\.)(\*|\+|\{[\d,]+\})\??|\\\w", "…", part) for part in plain)
    return " or ".join(f"`{re.sub('…+', '…', part).strip()}`" for part in plain)


# ---------------------------------------------------------------- files


def files_page(formats: Sequence[Format], sources: Sequence[Source]) -> str:
    """Return the page of the files that earmark reads and writes."""
    written = [one for one in formats if one.writer is not None]
    return f"""# Files and formats

## Run folder

`earmark train` writes these files into `--output_dir`. The folder is also a checkpoint of Transformers.

{_table(("file", "content"), run_files())}

## Formats

Formats of tables, of annotations and of results. What the columns mean: [tables](../data.md#tables) and
[predictions](../predict.md).

{_definitions(map(_format_entry, formats))}

The same two events, as `earmark predict` writes them:

{chr(10).join(_format_example(one) for one in written)}

## Sources of recordings

What `--data_dir`, `--train_file` and `--dataset_name` can name. The first source that recognizes its input reads it.

{_definitions(map(_source_entry, sources))}
"""


def run_files() -> list[tuple[str, str]]:
    """Return the files of a run folder and their content, from the properties of the class that names them."""
    folder = RunFolder(Path())
    found = [
        ("`config.json`, `model.safetensors`, `preprocessor_config.json`", "The model."),
        ("`checkpoint-N/`", "Checkpoints that `--resume` continues from."),
        ("`predictions_SPLIT.csv`", "One row for each clip of a split."),
    ]
    for name, member in vars(RunFolder).items():
        if isinstance(member, property):
            found.append((f"`{getattr(folder, name).name}`", re.sub("; see .*", ".", _doc(member))))
    return found


def _format_entry(one: Format) -> tuple[str, str]:
    made_by = inspect.getmodule(one.read or one.recognises or one.interpret or (one.writer and one.writer.rows))
    suffixes = ", ".join(f"`{suffix}`" for suffix in (*one.suffixes, *one.named_suffixes))
    read = suffixes or ("a table with its columns" if one.recognises else "")
    ways = [f"read from {read}"] if read else []
    ways += [f"written with `--format {one.name}`"] if one.writer else []
    return f"`{one.name}` ({'; '.join(ways)})", _doc(made_by)


def _format_example(one: Format) -> str:
    assert one.writer is not None
    if one.writer.convert is not None:
        return f"### {one.name}\n\nThe columns of `csv`, in a file of another type.\n"
    path = "recordings/morning.wav"
    ids = one.writer.ids([path]) if one.writer.ids else {}
    rows = one.writer.rows(RowSettings("segments", ids=ids))
    text = rows.head()
    rows.start(path)
    for label, start_s, end_s, score in EXAMPLE:
        text += rows.segment(path, Segment(start_s, end_s, one.writer.label(label), score))
    rows.end(60.0)
    text = text.replace(str(Path.cwd()), "/data")  # some formats name recordings by absolute paths
    return f"### {one.name}\n\n```text\n{text.rstrip()}\n```\n"


def _source_entry(one: Source) -> tuple[str, str]:
    only = f" Flags that only it uses: {', '.join(f'`--{name}`' for name in one.settings)}." if one.settings else ""
    return _cell(one.name), f"Used if {_cell(one.because)}.{only}"


# ---------------------------------------------------------------- text


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _definitions(entries: Iterable[tuple[str, str]]) -> str:
    """Return a definition list, which fits a phone, unlike a table with sentences in several columns."""
    return "\n\n".join(f"{term}\n: {text}" for term, text in entries)


def _cell(text: str) -> str:
    return _escaped(" ".join(text.split())).replace("|", r"\|")


def _escaped(text: str) -> str:
    """Return text as Markdown: names of flags and environment variables as code, no accidental markup."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(part if part.startswith("`") else _plain(part) for part in parts)


def _plain(text: str) -> str:
    text = re.sub(r"([\\<>*\[\]$])", r"\\\1", text)
    return re.sub(r"(?<![\w`-])(--[a-z]\w*|\w*[A-Za-z]_\w+)", r"`\1`", text)


def _doc(thing: object) -> str:
    """Return the first paragraph of a docstring, as a cell."""
    text = re.sub(r":(?:mod|attr|class|func|meth):`[~.]*([^`]+)`", r"`\1`", inspect.getdoc(thing) or "")
    return _cell(text.split("\n\n")[0].replace("``", "`"))


def _literal(text: str, language: str = "text") -> str:
    return f"```{language}\n{text.strip(chr(10))}\n```"


def _first_up(text: str) -> str:
    return text[:1].upper() + text[1:]


def _sentence(text: str, *, first_up: bool = True) -> str:
    return f"{_first_up(text.rstrip('.')) if first_up else text.rstrip('.')}."
