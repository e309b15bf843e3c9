"""Names that benchmarks, scripts and examples import from the package: most of these files run too long for a test."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted([*ROOT.glob("benchmarks/*.py"), *ROOT.glob("scripts/*.py"), *ROOT.glob("docs/*.py"), *ROOT.glob("*.py")])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_package_has_every_imported_name(path: Path) -> None:
    imports = (
        node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ImportFrom)
    )
    missing = [
        f"{node.module}.{one.name}"
        for node in imports
        if node.module and node.module.partition(".")[0] == "earmark"
        for one in node.names
        if not hasattr(importlib.import_module(node.module), one.name) and not is_module(f"{node.module}.{one.name}")
    ]
    assert missing == []


def is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False
