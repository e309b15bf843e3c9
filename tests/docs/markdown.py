"""Code blocks of Markdown pages, and the comments between them."""

from __future__ import annotations

import re
from pathlib import Path

_BLOCK = re.compile(r"^```([^\n]*)\n(.*?)^```|^<!-- before:(.*?)-->", flags=re.M | re.S)
BEFORE = "before"  # kind of a comment whose code prepares the commands behind it


def parts(document: Path) -> list[tuple[str, str]]:
    """The language and the text of each code block, and the code of each hidden preparation, in their order."""
    found = _BLOCK.findall(document.read_text(encoding="utf-8"))
    return [(BEFORE, comment) if comment else (language, text) for language, text, comment in found]


def fenced(document: Path) -> list[tuple[str, str]]:
    """The language and the text of each code block."""
    return [(language, text) for language, text in parts(document) if language != BEFORE]


def prose(document: Path) -> str:
    """The text of a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.M | re.S)


def shell_lines(text: str) -> list[str]:
    """The lines of a code block, without prompts, with continued lines joined."""
    joined = re.sub(r" *\\\n *", " ", text)
    return [line.removeprefix("$ ") for line in joined.splitlines()]
