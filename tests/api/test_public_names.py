"""What ``import earmark`` gives: public names that are documented, cheap to import, and the same all the time."""

from __future__ import annotations

import inspect
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import earmark

ROOT = Path(__file__).parents[2]
CALLABLE = [name for name in earmark.__all__ if name != "__version__"]


def in_new_process(code: str, **variables: str | None) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), **variables}
    given = {name: value for name, value in environment.items() if value is not None}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=given, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("name", CALLABLE)
def test_public_names_are_documented(name: str) -> None:
    assert name in dir(earmark)
    assert inspect.getdoc(getattr(earmark, name))
    page = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
    assert re.search(rf"\b{name}\b", page), name


@pytest.mark.parametrize("kind", ["Run", "Evaluation", "Clips"])
def test_public_methods_are_documented(kind: str) -> None:
    for name, value in vars(getattr(earmark, kind)).items():
        if not name.startswith("_"):
            assert inspect.getdoc(value), f"{kind}.{name}"


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, earmark; print(sorted({'torch', 'numpy', 'transformers', 'yaml'} & set(sys.modules)))"
    assert in_new_process(code) == "[]"
    code = "import sys, earmark; earmark.load_clips, earmark.train.__doc__; print('torch' in sys.modules)"
    assert in_new_process(code) == "False"


def test_functions_stay_functions_when_their_packages_are_imported() -> None:
    import earmark.evaluate.evaluate_model
    import earmark.train.train_model as module

    assert module.train is not earmark.train
    assert earmark.train.train_model is module
    for name in ("train", "evaluate"):
        function = getattr(earmark, name)
        assert callable(function)
        assert "settings" in inspect.signature(function).parameters
        assert "Args:" in function.__doc__
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        earmark.trian  # noqa: B018


# runs instead of torch, where torch would be imported
AT_TORCH = """
import json, os, sys

class AtTorch:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            shown("in time")
            os._exit(0)

def shown(when):
    names = ("OMP_NUM_THREADS", "EARMARK_CHOSE_OMP_NUM_THREADS")
    print(json.dumps([when, *(os.environ.get(name) for name in names)]), flush=True)

sys.meta_path.insert(0, AtTorch())
"""


def test_the_environment_is_set_before_torch_is_imported_and_not_by_the_import() -> None:
    code = f"{AT_TORCH}\nimport earmark\nshown('imported')\nearmark.Classifier\nimport torch\nshown('too late')"
    lines = in_new_process(code, OMP_NUM_THREADS=None, EARMARK_THREADS=None).splitlines()
    first, second = map(json.loads, lines)
    assert first == ["imported", None, None]
    when, threads, chosen = second
    assert when == "in time"
    assert threads == chosen
    assert int(threads) >= 1


def test_a_process_that_has_torch_keeps_its_environment() -> None:
    """A module stands in for torch: it counts as imported, and what needs more of it fails."""
    code = "import os, sys, types; sys.modules['torch'] = types.ModuleType('torch'); import earmark\n"
    code += "before = dict(os.environ)\ntry: earmark.Classifier\nexcept ImportError: pass\n"
    code += "except AttributeError: pass\nprint(before == dict(os.environ))"
    assert in_new_process(code, OMP_NUM_THREADS=None, EARMARK_THREADS="nonsense") == "True"
