"""What the documents promise: commands that parse, links that lead somewhere, an example that runs."""

from __future__ import annotations

import contextlib
import re
import shlex
from pathlib import Path

import pytest

from docs import reference_pages
from earmark import quickstart
from earmark.cli.command_table import COMMANDS
from earmark.errors import DeviceError
from earmark.settings.train_settings import parse_example

ROOT = Path(__file__).parents[1]
GENERATED = ROOT / "docs" / "reference"  # by reference_pages.py, in each build
DOCUMENTS = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - {*GENERATED.rglob("*.md")})
NAMES = [str(document.relative_to(ROOT)) for document in DOCUMENTS]


def blocks(document: Path, language: str) -> list[str]:
    return re.findall(rf"^```{re.escape(language)}\n(.*?)^```", document.read_text(encoding="utf-8"), flags=re.M | re.S)


def command_lines(document: Path) -> list[list[str]]:
    text = "\n".join(block for language in ("bash", "console", "") for block in blocks(document, language))
    lines = (line.removeprefix("$ ") for line in text.replace("\\\n", " ").splitlines())
    return [shlex.split(line, comments=True) for line in lines if line.startswith("earmark ")]


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_commands_parse(document: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for _, command, *words in command_lines(document):
        assert command in COMMANDS
        if "..." not in words and "--help" not in words:
            with contextlib.suppress(DeviceError):  # the last thing looked at: this machine has none
                COMMANDS[command].read(words)


def test_there_are_commands_to_parse() -> None:
    assert len(command_lines(ROOT / "README.md")) >= 4
    assert len(command_lines(ROOT / "README.zh-CN.md")) >= 4


def anchors(text: str) -> list[str]:
    """Anchors of the headings, as GitHub and the built pages have them."""
    headings = re.findall(r"^#+ (.+)$", text, flags=re.M)
    return [re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings]


@pytest.mark.parametrize("document", DOCUMENTS, ids=NAMES)
def test_links_lead_to_files(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]+)(?:#([^)]+))?\)", document.read_text(encoding="utf-8")):
        linked = (document.parent / target).resolve()
        if linked.is_relative_to(GENERATED):
            text = reference_pages.all_pages()[str(linked.relative_to(ROOT / "docs"))]
        else:
            assert linked.exists(), f"{document.name}: {target}"
            text = linked.read_text(encoding="utf-8") if anchor else ""
        if anchor:
            assert anchor in anchors(text), f"{document.name}: {target}#{anchor}"


def test_every_page_is_in_the_navigation() -> None:
    docs = ROOT / "docs"
    listed = set()
    for page in docs.rglob("*.md"):
        for entries in blocks(page, "{toctree}"):
            for entry in (line for line in entries.splitlines() if line and not line.startswith(":")):
                listed |= set(docs.rglob(f"{entry}.md"))
    pages = {document for document in DOCUMENTS if document.is_relative_to(docs)}
    assert pages - listed == {docs / "index.md"}


def test_the_trees_files_exist() -> None:
    tree = next(block for block in blocks(ROOT / "README.md", "text") if "src/earmark/" in block)
    for name in re.findall(r"[\w/.]+(?:\.py|\.sh|/)", tree):
        assert any((base / name).exists() for base in (ROOT, ROOT / "src" / "earmark", ROOT / "scripts")), name


def test_the_training_scripts_flags_parse() -> None:
    text = (ROOT / "scripts" / "run_wav2vec2.sh").read_text(encoding="utf-8")
    flags = re.findall(r"^  (--[^\n]*?) ?\\?$", text.split('run_audio_classification.py" ')[1], flags=re.M)
    words = [word for flag in flags for word in shlex.split(flag.replace("$MODEL", "x").replace("$OUTPUT_DIR", "y"))]
    settings = parse_example([*words, "--dataset_name", "superb", "--use_cpu"])
    assert settings.training.learning_rate == 3e-5
    assert settings.training.gradient_accumulation_steps == 4


def test_quickstart_and_the_example_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("espeakng_loader")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(quickstart, "_UTTERANCES", 300)
    monkeypatch.setattr(quickstart, "_EPOCHS", 1)
    outcome = quickstart.run("quickstart", device="cpu")
    assert outcome.run == Path("quickstart/run")
    assert "held-out recordings" in outcome.summary
    assert 0 <= outcome.accuracy <= 1
    (example,) = blocks(ROOT / "README.md", "python")
    capsys.readouterr()
    exec(compile(example, "README.md", "exec"), {})  # the reader's own paste
    (shown,) = (block for block in blocks(ROOT / "README.md", "text") if "Hz," in block)
    printed = capsys.readouterr().out
    scores = re.compile(r"[\d.e-]+(?=})|'[a-z_]+'(?=, 'score')")  # another model: other labels and scores
    assert scores.sub("", printed) == scores.sub("", shown)
