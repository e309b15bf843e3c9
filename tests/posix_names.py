"""What of Python's standard library is missing on Windows, from the type stubs that come with mypy."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "src" / "earmark"


@cache
def missing_on_windows() -> dict[str, list[str] | None]:
    """For each module that earmark imports the names that it lacks on Windows; ``None`` where there is no module."""
    missing: dict[str, list[str] | None] = {}
    for module in sorted({name for path in PACKAGE.rglob("*.py") for name in _imported(path)}):
        stub = _stub(module)
        if stub is None:
            continue
        there, here = _names(stub, "win32"), _names(stub, "linux")
        if not there:
            missing[module] = None
        elif here - there:
            missing[module] = sorted(here - there)
    return missing


def _imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def _stub(module: str) -> ast.Module | None:
    spec = find_spec("mypy")
    assert spec is not None
    assert spec.origin is not None
    place = Path(spec.origin).parent.joinpath("typeshed", "stdlib", *module.split("."))
    for path in (place.with_suffix(".pyi"), place / "__init__.pyi"):
        if path.is_file():
            return ast.parse(path.read_text(encoding="utf-8"))
    return None


def _names(stub: ast.Module, platform: str) -> set[str]:
    return set(_defined(stub.body, platform))


def _defined(body: list[ast.stmt], platform: str) -> Iterator[str]:
    """The names that a body defines, with the members of enumerations that are names of the module, too (signal)."""
    for node in body:
        if isinstance(node, ast.If):
            holds = _holds(node.test, platform)
            if holds is not False:
                yield from _defined(node.body, platform)
            if holds is not True:
                yield from _defined(node.orelse, platform)
        elif isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node.name
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.ImportFrom) and node.module != "typing" and node.level == 0:
            yield from (alias.asname or alias.name for alias in node.names if _is_public(node, alias))


def _is_public(node: ast.ImportFrom, alias: ast.alias) -> bool:
    """Whether an import of a stub defines a name of the module: ``import X as X``, or of its module in C."""
    return alias.asname == alias.name or (node.module or "").startswith("_socket")


def _holds(test: ast.expr, platform: str) -> bool | None:
    """What a condition on ``sys.platform`` comes to; ``None`` for others, such as those on versions."""
    if isinstance(test, ast.BoolOp):
        parts = [_holds(part, platform) for part in test.values]
        decided = not isinstance(test.op, ast.And)
        return decided if decided in parts else (None if None in parts else not decided)
    if not (isinstance(test, ast.Compare) and ast.unparse(test.left) == "sys.platform"):
        return None
    equal = ast.literal_eval(test.comparators[0]) == platform
    return equal if isinstance(test.ops[0], ast.Eq) else not equal
