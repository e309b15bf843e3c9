"""Words and files of settings, read as the commands read them."""

from __future__ import annotations

from pathlib import Path

from earmark.cli.command_table import COMMANDS
from earmark.settings.evaluation_flags import EvaluateOptions


def write(folder: Path, text: str, name: str = "recipe.yaml") -> str:
    """Write a configuration file; its path."""
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def parse_evaluate(words: list[str]) -> tuple[EvaluateOptions, list[str]]:
    return COMMANDS["evaluate"].read(words)
