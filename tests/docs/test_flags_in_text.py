"""What the text says about flags holds for the code: they exist, and have the defaults that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from earmark.cli.command_table import COMMANDS
from earmark.settings.flags import declared_flags
from earmark.settings.kinds import shown
from earmark.settings.legacy import LEGACY_FLAGS
from tests.docs.markdown import prose

ROOT = Path(__file__).parents[2]
GENERATED = ROOT / "docs" / "reference"
PAGES = sorted({*ROOT.glob("README*.md"), *(ROOT / "docs").rglob("*.md")} - {*GENERATED.rglob("*.md")})
DECLARED = [one for command in COMMANDS.values() for one in declared_flags(*command.settings).values()]
FLAGS = {one.name: one for one in DECLARED}
NAMES = {*FLAGS, *LEGACY_FLAGS, *(alias for one in DECLARED for alias in one.aliases)}
NAMES |= {"config", "debug", "help", "help_all", "version"}
OF_OTHER_PROGRAMS = {  # named alone in a sentence; command lines of these programs are in blocks
    "asked", "constraint", "load", "master_addr", "max_restarts", "rdzv_endpoint", "rounds", "shutdown_timeout",
    "signal", "slow", "costs", "limit_s", "model", "tiny",
}  # fmt: skip


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def named_flags(text: str) -> Iterator[str]:
    """Names of flags in code between backticks; ``--reject_...`` stands for many, ``--gpus-per-node`` is not ours."""
    for span in re.findall(r"`([^`\n]+)`", text):
        if not re.match(r"(python|scripts|pip|benchmarks|curl|docker)\b", span):
            yield from re.findall(r"(?<![\w-])--([a-z]\w*)(?![\w-]|\.\.\.)", span)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_flags_in_the_text_exist(page: Path) -> None:
    assert set(named_flags(prose(page))) - NAMES - OF_OTHER_PROGRAMS == set()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_defaults_in_the_text_are_those_of_the_code(page: Path) -> None:
    for flag, value in re.findall(r"`--(\w+)`,? \((?:default:? )?`?(-?\d[\d.,-]*)`?(?: by default)?\)", prose(page)):
        if FLAGS[flag].default is not None:
            assert shown(FLAGS[flag].default) == value.removesuffix(".0"), flag


def test_there_are_defaults_and_wrong_flags_are_found() -> None:
    assert list(named_flags("`--batch_siez 3`, `--reject_...`, `--gpus-per-node=8`, `pip install --quiet`")) == [
        "batch_siez"
    ]
    assert len(re.findall(r"`--(\w+)` \((-?\d[\d.,-]*)\)", prose(ROOT / "docs" / "augmentation.md"))) >= 5
