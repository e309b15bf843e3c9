"""What the documents promise: commands that parse, links that lead somewhere, an example that runs."""

from __future__ import annotations

import contextlib
import functools
import re
import shlex
from pathlib import Path

import pytest
import soundfile

from docs import reference_pages
from earmark import quickstart
from earmark.cli.command_table import COMMANDS
from earmark.cli.main import main
from earmark.device import ACCELERATORS
from earmark.errors import DeviceError, MissingExtraError
from earmark.faults import explain
from earmark.formats.format_registry import writers
from earmark.settings.train_settings import parse_example
from tests.docs.markdown import fenced, prose, shell_lines
from tests.tiny import RATE_HZ, tone

ROOT = Path(__file__).parents[1]
README, CHINESE = ROOT / "README.md", ROOT / "README.zh-CN.md"
DOCS = ROOT / "docs"
GENERATED = DOCS / "reference"  # by reference_pages.py, in each build
DOCUMENTS = sorted({*ROOT.glob("*.md"), *DOCS.rglob("*.md")} - {*GENERATED.rglob("*.md")})
EARMARK = re.compile(r"(?:\w+=\S+ )*(?:\.venv/bin/)?earmark |.* -m earmark ")  # before the name of a command
EXAMPLE = re.compile(r".*\brun_audio_classification\.py (?=--)")


CHINESE_PAGES = [DOCS / "zh" / f"{page}.md" for page in ("get_started", "ascend", "training", "deployment", "faq")]


def name(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


def blocks(document: Path, language: str) -> list[str]:
    return [text for fence, text in fenced(document) if fence == language]


def words_after(start: re.Pattern[str], document: Path) -> list[list[str]]:
    """The words behind what the pattern matches, for each command line of a document that begins so."""
    lines = [
        line
        for language in ("bash", "console", "")
        for text in blocks(document, language)
        for line in shell_lines(text)
    ]
    return [shlex.split(line[match.end() :], comments=True) for line in lines if (match := start.match(line))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_commands_parse(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for command, *words in words_after(EARMARK, document):
        assert command in COMMANDS
        if "..." not in words and "--help" not in words:
            with contextlib.suppress(
                DeviceError, MissingExtraError
            ):  # the last things looked at: this machine has none
                COMMANDS[command].read(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_command_lines_of_the_example_parse(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for words in words_after(EXAMPLE, document):
        with contextlib.suppress(DeviceError):
            parse_example(words)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_scripts_and_recipes_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for path in re.findall(r"(?<![\w/.])(?:scripts|recipes|benchmarks)/[\w.-]*\w", text):
        assert (ROOT / path).exists() or (ROOT / f"{path}.yaml").exists(), path


def test_there_are_commands_to_parse() -> None:
    assert len(words_after(EARMARK, README)) >= 10
    assert len(words_after(EXAMPLE, README)) >= 1
    for document in CHINESE_PAGES:
        assert len(words_after(EARMARK, document)) >= 2, document.name


def anchors(text: str) -> list[str]:
    """Anchors of the headings, as GitHub and the built pages have them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


all_pages = functools.cache(reference_pages.all_pages)


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_links_lead_to_files(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]+))?\)", document.read_text(encoding="utf-8")):
        linked = (document.parent / target).resolve() if target else document
        if linked.is_relative_to(GENERATED):
            text = all_pages()[str(linked.relative_to(DOCS))]
        else:
            assert linked.exists(), f"{name(document)}: {target}"
            text = linked.read_text(encoding="utf-8") if anchor else ""
        if anchor:
            assert anchor in anchors(text), f"{name(document)}: {target}#{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    listed = set()
    for page in DOCS.rglob("*.md"):
        for entries in blocks(page, "{toctree}"):
            for entry in (line for line in entries.splitlines() if line and not line.startswith(":")):
                listed |= set(DOCS.rglob(f"{entry}.md"))
    pages = {document for document in DOCUMENTS if document.is_relative_to(DOCS)}
    assert pages - listed == {DOCS / "index.md"}


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 200


def outline(document: Path) -> dict[str, list[object]]:
    """What a translation keeps: levels of headings, pictures, code without comments, sizes of tables, links."""
    text = prose(document)
    tables = re.findall(r"(?:^\|.*\|\n)+", text, flags=re.M)
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)]+)\)", text)]
    return {
        "headings": [len(level) for level in re.findall(r"^(#+) ", text, flags=re.M)],
        "pictures": re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text),
        "code": [
            (language, [line for line in shell_lines(block) if not line.startswith("# ")])
            for language, block in fenced(document)
        ],
        "tables": [[row.count("|") for row in table.splitlines()] for table in tables],
        "links": sorted({link for link in links if link and "README" not in link and "docs/zh/" not in link}),
    }


def test_both_readmes_have_the_same_structure() -> None:
    english, chinese = outline(README), outline(CHINESE)
    for part, found in english.items():
        assert chinese[part] == found, part


def test_the_comparison_says_what_earmark_has() -> None:
    rows = [row.split(" | ") for row in README.read_text(encoding="utf-8").splitlines() if row.startswith("| ")]
    cells = {row[0].removeprefix("| "): row[1] for row in rows}
    assert cells["labels with times"] == f"{len(writers())} formats"
    assert cells["device it selects"].lower().split(", ") == list(ACCELERATORS)


@pytest.mark.parametrize("index", [CHINESE, DOCS / "zh" / "index.md"], ids=name)
def test_the_chinese_pages_are_linked(index: Path) -> None:
    links = re.findall(r"\]\(([^):#]+)", index.read_text(encoding="utf-8"))
    assert set(CHINESE_PAGES) <= {(index.parent / link).resolve() for link in links}


@pytest.mark.parametrize("page", CHINESE_PAGES, ids=name)
def test_python_of_the_chinese_pages_is_in_the_english_ones(page: Path) -> None:
    """A program that both have is kept true in one place; docs/python.md is run by a test."""

    def lines(document: Path) -> set[str]:
        return {line.partition("  # ")[0] for text in blocks(document, "python") for line in text.splitlines()}

    assert lines(page) <= lines(DOCS / "python.md") | lines(DOCS / "export.md")


def test_quickstart_and_the_example_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quickstart, "_UTTERANCES", 300)
    monkeypatch.setitem(quickstart._RECIPE, "num_train_epochs", 1)
    outcome = quickstart.run("quickstart", device="cpu")
    assert outcome.run == Path("quickstart/run")
    assert "held-out recordings" in outcome.summary
    assert 0 <= outcome.accuracy <= 1
    (example,) = blocks(README, "python")
    capsys.readouterr()
    exec(compile(example, "README.md", "exec"), {})  # the reader's own paste
    (shown,) = (block for block in blocks(README, "text") if "Hz," in block)
    printed = capsys.readouterr().out
    answers = re.compile(r"(?<=> )\w+|[\d.]+$", re.M)  # another model: other labels and scores
    assert answers.sub("", printed) == answers.sub("", shown)


def quoted_errors() -> list[tuple[list[str], str]]:
    """The commands of the Chinese questions with the errors that they show."""
    shown = [text.partition("\n") for text in blocks(DOCS / "zh" / "faq.md", "text")]
    return [(shlex.split(command.removeprefix("$ earmark ")), error) for command, _, error in shown]


@pytest.mark.parametrize(
    ("words", "error"), quoted_errors(), ids=lambda value: value[0] if isinstance(value, list) else ""
)
def test_quoted_errors_are_those_of_the_commands(
    words: list[str], error: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The wording may differ from the quotation; the flags and files that it names may not."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EARMARK_SERVE_TOKEN", raising=False)
    for clip in (
        f"{data}/{label}/{i}.wav" for data in ("recordings", "broken") for label in ("cat", "dog") for i in range(3)
    ):
        (tmp_path / clip).parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / clip, tone(600.0, 0.5), RATE_HZ)
    (tmp_path / "broken/cat/9.wav").write_bytes(b"nothing")
    (tmp_path / "wav2vec2-base").mkdir()
    (tmp_path / "wav2vec2-base/config.json").write_text('{"model_type": "wav2vec2"}')
    (tmp_path / "runs/first").mkdir(parents=True)
    assert main(words) == 2
    reported = capsys.readouterr().err
    named = re.findall(r"(?<!\S)--\w+|[\w/-]*\w\.(?:wav|safetensors|gz)\b", error)
    assert named
    assert [word for word in named if word not in reported] == []


def test_errors_of_libraries_in_the_chinese_pages_are_explained() -> None:
    rows = [
        row.split(" | ")
        for page in ("faq.md", "ascend.md")
        for row in (DOCS / "zh" / page).read_text(encoding="utf-8").splitlines()
        if row.startswith("| `") and row.count(" | ") == 2
    ]
    errors = [error for cells in rows for error in re.findall(r"`([^`]+)`", cells[0])]
    known = [error for error in errors if not re.fullmatch(r"[A-Z_]*_[A-Z_]*|NPROC|MODEL", error)]
    assert len(known) >= 25
    for error in known:
        text = f"error code is {error}" if error.isdecimal() else error
        assert explain(text, of_ranks=True), error
