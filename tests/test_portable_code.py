"""No module relies on what only Linux has: names of the standard library, default encodings, translated line breaks."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator

import pytest

from tests.posix_names import PACKAGE, missing_on_windows

SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)


def found_in_modules(check: Callable[[str], Iterator[str]]) -> list[str]:
    return [
        f"{path.relative_to(PACKAGE)}, {found}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for found in check(path.read_text(encoding="utf-8"))
    ]


def test_the_names_come_from_somewhere() -> None:
    """Guards the tests below: with no names they would find nothing."""
    missing = missing_on_windows()
    assert missing["resource"] is None
    assert {"preadv", "O_CLOEXEC", "sched_getaffinity", "fork", "sysconf", "register_at_fork"} <= set(
        missing["os"] or []
    )
    assert {"SIGKILL", "SIGHUP", "SIGUSR1", "pthread_sigmask", "sigwaitinfo"} <= set(missing["signal"] or [])
    assert not {"replace", "fsync", "O_RDWR", "getppid", "environ"} & set(missing["os"] or [])
    assert not {"SIGTERM", "SIGINT", "signal"} & set(missing["signal"] or [])


def test_names_that_windows_lacks_are_guarded() -> None:
    assert found_in_modules(unguarded) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("import resource", ["line 1: resource"]),
        ("try:\n    import resource\nexcept ImportError:\n    resource = None", []),
        ("import os\nos.preadv(1, [b''], 0)", ["line 2: os.preadv"]),
        ("import os\nx = os.preadv if hasattr(os, 'preadv') else None", []),
        ("import os\ndef f():\n    if not hasattr(os, 'fork'):\n        return\n    os.fork()", []),
        ("import os\nhasattr(os, 'fork')\ndef f():\n    os.fork()", ["line 4: os.fork"]),
        ("from signal import SIGKILL", ["line 1: signal.SIGKILL"]),
        ("import os as system\nsystem.fork()", ["line 1: os under another name"]),
    ],
)
def test_what_counts_as_guarded(code: str, found: list[str]) -> None:
    assert list(unguarded(code)) == found


def unguarded(code: str) -> Iterator[str]:
    """Where code uses what Windows lacks outside ``try`` and of functions that ask ``hasattr(module, name)``."""
    missing = missing_on_windows()
    for node, parents in walk(ast.parse(code), ()):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name in missing and alias.asname not in (None, alias.name):
                    yield f"line {node.lineno}: {alias.name} under another name"
                elif missing.get(alias.name, []) is None and not in_try(parents):
                    yield f"line {node.lineno}: {alias.name}"
        elif isinstance(node, ast.ImportFrom) and not node.level:
            for alias in node.names:
                names = missing.get(node.module or "", [])
                if (names is None or alias.name in names) and not in_try(parents):
                    yield f"line {node.lineno}: {node.module}.{alias.name}"
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            module = node.value.id
            if node.attr in (missing.get(module) or ()) and not asks(parents, module):
                yield f"line {node.lineno}: {module}.{node.attr}"


def walk(node: ast.AST, parents: tuple[ast.AST, ...]) -> Iterator[tuple[ast.AST, tuple[ast.AST, ...]]]:
    yield node, parents
    for child in ast.iter_child_nodes(node):
        yield from walk(child, (*parents, node))


def in_try(parents: tuple[ast.AST, ...]) -> bool:
    return any(
        isinstance(node, ast.Try) and any("ImportError" in ast.unparse(handler) for handler in node.handlers)
        for node in parents
    )


def asks(parents: tuple[ast.AST, ...], module: str) -> bool:
    """Whether the innermost function, or one around it, asks whether the module has a name that Windows lacks."""
    functions = [node for node in parents if isinstance(node, SCOPES[:2])]
    scopes = functions or [node for node in parents if isinstance(node, ast.Module)]
    names = missing_on_windows().get(module) or ()
    return any(
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "hasattr"
        and ast.unparse(node.args[0]) == module
        and ast.literal_eval(node.args[1]) in names
        for scope in scopes
        for node in ast.walk(scope)
    )


def test_text_files_name_their_encoding_and_line_ends() -> None:
    assert found_in_modules(careless_text_files) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ("open(path)", ["line 1: no encoding"]),
        ("open(path, 'rb')", []),
        ("open(path, 'w', encoding='utf-8')", ["line 1: no newline"]),
        ("path.open('w', encoding='utf-8', newline='')", []),
        ("path.read_text(encoding='utf-8')", []),
        ("path.write_text(words)", ["line 1: no encoding"]),
        ("path.write_text(words, encoding='utf-8')", ["line 1: no newline"]),
        ("open(path, mode, **how)", []),
    ],
)
def test_what_counts_as_careless(code: str, found: list[str]) -> None:
    assert list(careless_text_files(code)) == found


def careless_text_files(code: str) -> Iterator[str]:
    """Calls that leave the encoding, or the line endings of the files they write, to the system."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call):
            continue
        words = {keyword.arg: keyword.value for keyword in node.keywords}
        name = node.func.id if isinstance(node.func, ast.Name) else getattr(node.func, "attr", "")
        mode = mode_of(node, words, name)
        if mode is None or "b" in mode or None in words:
            continue
        if "encoding" not in words:
            yield f"line {node.lineno}: no encoding"
        elif set(mode) & set("wax+") and "newline" not in words:
            yield f"line {node.lineno}: no newline"


def mode_of(node: ast.Call, words: dict[str | None, ast.expr], name: str) -> str | None:
    """The mode in which a call opens a text file, as far as the code shows it."""
    if name in ("read_text", "write_text"):
        return name[0]
    if name != "open":
        return None
    is_method = isinstance(node.func, ast.Attribute)
    if is_method and ast.unparse(node.func) not in ("path.open", "io.open"):
        return None  # other libraries' files, as of av and tarfile
    place = 0 if ast.unparse(node.func) == "path.open" else 1
    mode = words.get("mode", node.args[place] if len(node.args) > place else ast.Constant("r"))
    return str(mode.value) if isinstance(mode, ast.Constant) else None
