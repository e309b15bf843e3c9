"""The private names of Transformers' Trainer that earmark needs: one list, all there in the installed version."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest
from transformers import Trainer

import earmark
from earmark.errors import UsageError
from earmark.train.trainer import AudioTrainer
from earmark.train.transformers_contract import PRIVATE_NAMES, PUBLIC_METHODS, check_transformers

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


def names_used() -> set[str]:
    """Private names of Trainer that the adapter takes from an object."""
    tree = ast.parse(inspect.getsource(inspect.getmodule(AudioTrainer)))
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)} & names_of_trainer()


def bases(path: Path) -> set[str]:
    """Names of the classes that the classes of a file derive from, without their modules."""
    classes = (node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, ast.ClassDef))
    return {ast.unparse(base).split(".")[-1] for one in classes for base in one.bases}


def test_one_file_derives_from_trainer() -> None:
    deriving = [path for path in SOURCES if any(base.endswith("Trainer") for base in bases(path))]
    assert deriving == [Path(inspect.getsourcefile(AudioTrainer))]


def test_few_methods_are_overridden_that_any_release_may_rename() -> None:
    private = [name for name in methods_overridden() if is_private(name)]
    assert len(private) <= 4
    assert all("It is overridden because" in getattr(AudioTrainer, name).__doc__ for name in private)


def test_every_private_name_that_is_needed_is_listed() -> None:
    needed = {name for name in methods_overridden() if is_private(name)} | names_used()
    assert needed == set(PRIVATE_NAMES)
    assert {name for name in methods_overridden() if not name.startswith("_")} == set(PUBLIC_METHODS)


def test_the_installed_transformers_has_all_of_them() -> None:
    assert set(PRIVATE_NAMES) <= names_of_trainer()
    assert set(PUBLIC_METHODS) <= set(vars(Trainer))
    check_transformers()


@pytest.mark.parametrize("name", ["_save_checkpoint", "set_initial_training_values"])
def test_a_transformers_without_one_of_them_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Trainer, name)
    monkeypatch.setattr("transformers.__version__", "5.99.0")
    with pytest.raises(UsageError, match=rf"^transformers 5\.99\.0: Trainer has no {name}, .* Upgrade "):
        check_transformers()
