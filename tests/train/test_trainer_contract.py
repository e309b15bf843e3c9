"""The private names of Transformers' Trainer that earmark needs: one list, all there in the installed version."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from transformers import Trainer

import earmark
from earmark.errors import UsageError
from earmark.train.trainer import PRIVATE_NAMES, AudioTrainer, check_transformers

SOURCES = sorted(Path(earmark.__file__).parent.rglob("*.py"))


def methods_overridden() -> set[str]:
    derived = AudioTrainer.__mro__[: AudioTrainer.__mro__.index(Trainer)]
    return {name for one in derived for name, value in vars(one).items() if callable(value) and hasattr(Trainer, name)}


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("__")


def names_of_trainer() -> set[str]:
    """Private methods of Trainer, and the private attributes that its methods set."""
    tree = ast.parse(inspect.getsource(Trainer).expandtabs())
    stored = {
        node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
    }
    return {name for name in stored | set(vars(Trainer)) if is_private(name)}


def derives_from_trainer(path: Path) -> bool:
    text = path.read_text(encoding="utf-8")
    return "Trainer)" in text and any(isinstance(node, ast.ClassDef) for node in ast.walk(ast.parse(text)))


def names_used() -> set[str]:
    """Private names of Trainer that a file with a class of the chain takes from an object."""
    known = names_of_trainer()
    trees = (ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES if derives_from_trainer(path))
    return {
        node.attr for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in known
    }


def test_every_private_name_that_is_needed_is_listed() -> None:
    needed = {name for name in methods_overridden() if is_private(name)} | names_used()
    assert needed == set(PRIVATE_NAMES)


def test_the_installed_transformers_has_all_of_them() -> None:
    assert set(PRIVATE_NAMES) <= names_of_trainer()
    check_transformers()


def test_a_transformers_without_one_of_them_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Trainer, "_save_checkpoint")
    monkeypatch.setattr("transformers.__version__", "5.99.0")
    with pytest.raises(UsageError, match=r"^transformers 5\.99\.0: Trainer has no _save_checkpoint, .* Upgrade "):
        check_transformers()
