"""The reference is made from the declarations: what is declared is on its page."""

from __future__ import annotations

import inspect
import re
from dataclasses import dataclass
from pathlib import Path

import earmark
from docs import reference_pages
from earmark import errors
from earmark.cli.command import Command, HelpPage
from earmark.cli.command_table import COMMANDS
from earmark.formats.format import Format, Rows, RowSettings, Writer
from earmark.formats.format_registry import FORMATS
from earmark.formats.segments import Segment
from earmark.settings.flags import Settings, above, declared_flags, flag
from earmark.sources.source_registry import SOURCES


@dataclass
class ToySettings(Settings, page="hearing"):
    pitch_hz: float = flag(440.0, "Pitch to listen for, as in --format toy.", check=above(0), aliases=("pitch",))
    birds: list[str] = flag([], "Birds to listen for.", metavar="BIRD")


class ToyRows(Rows):
    """A toy."""

    def segment(self, source: str, segment: Segment) -> str:
        return f"{source} sings {segment.label}\n"


def toy_rows(settings: RowSettings) -> Rows:
    return ToyRows(settings)


def test_a_flag_is_on_the_page_of_its_command() -> None:
    page = HelpPage("listen", "earmark hum FILE", groups={"hearing": "what it hears"}, notes="See --birds.")
    text = reference_pages.command_page(Command("hum", print, (ToySettings,), page))
    assert text.startswith("# earmark hum\n\nListen.\n\n```text\nearmark hum FILE\n```")
    assert "## What it hears" in text
    pitch = "::::{option} --pitch_hz X, --pitch X (number; default: 440)\nPitch to listen for, as in `--format` toy.\n"
    assert pitch in text
    assert "::::{option} --birds BIRD... (list of text)\nBirds to listen for.\n" in text
    assert "See `--birds`." in text


def test_every_flag_of_every_command_has_an_entry() -> None:
    pages = reference_pages.all_pages()
    for name, command in COMMANDS.items():
        text = pages[f"reference/commands/{name}.md"]
        documented = set(re.findall(r"^::::\{option\} --(\w+)", text, flags=re.M))
        positional = {word for word in command.words if word not in documented}
        assert set(declared_flags(*command.settings)) - positional <= documented, name


def test_sentences_between_examples_are_comments() -> None:
    page = HelpPage(
        "listen", "earmark hum FILE", examples="to one bird:\n  earmark hum a.wav\nto two:\n  earmark hum b.wav"
    )
    text = reference_pages.command_page(Command("hum", print, (ToySettings,), page))
    assert "```bash\n# To one bird\nearmark hum a.wav\n\n# To two\nearmark hum b.wav\n```" in text


def test_a_format_and_every_source_are_on_the_page_of_files() -> None:
    toy = Format("toy", suffixes=(".toy",), writer=Writer(toy_rows, suffix=".toy"))
    text = reference_pages.files_page((*FORMATS, toy), SOURCES)
    assert "`toy` (read from `.toy`; written with `--format toy`)\n: " in text
    assert str(Path.cwd()) not in text
    assert "### toy\n\n```text\nrecordings/morning.wav sings wren\nrecordings/morning.wav sings robin\n```" in text
    assert "| `run_config.yaml` |" in text
    for source in SOURCES:
        assert source.name in text.replace("`", "")


def test_every_public_name_is_on_the_page_of_python() -> None:
    text = reference_pages.all_pages()["reference/python.md"]
    for name in (one for one in earmark.__all__ if not one.startswith("_")):
        kind = "class" if inspect.isclass(getattr(earmark, name)) else "function"
        assert f"## {name}\n\n```{{eval-rst}}\n.. auto{kind}:: {name}\n" in text


def test_documented_members_exist_and_no_machinery_is_shown() -> None:
    for name, members in reference_pages.MEMBERS.items():
        assert all(hasattr(getattr(earmark, name), member) for member in members)
    text = reference_pages.all_pages()["reference/python.md"]
    assert (
        text.index("Classifier.from_pretrained") < text.index("Classifier.predict\n") < text.index("Classifier.embed")
    )
    assert "windowing" not in text


def test_every_error_is_on_the_page_of_errors() -> None:
    text = reference_pages.errors_page()
    assert (
        f"`{errors.Stopped.__name__}` (subclass of `EarmarkError`, exit code 75)\n: A signal stopped training" in text
    )
    assert "`DataError` (subclass of `EarmarkError`, exit code 2)\n: " in text
    assert "`EI0002`\n: " in text
    assert "out of memory" in text


def test_pages_are_written_once_and_old_ones_removed(tmp_path: Path) -> None:
    docs = tmp_path
    reference_pages.write_pages(docs)
    page, old = docs / "reference" / "errors.md", docs / "reference" / "commands" / "gone.md"
    written_ns = page.stat().st_mtime_ns
    old.write_text("# earmark gone", encoding="utf-8")
    reference_pages.write_pages(docs)
    assert page.stat().st_mtime_ns == written_ns
    assert not old.exists()
