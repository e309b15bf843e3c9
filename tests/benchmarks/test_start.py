"""``benchmarks/start.py``: what it refuses before it measures, and how it names a command that fails."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script() -> Iterator[ModuleType]:
    pytest.importorskip("resource", reason="measures child processes as POSIX does")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("start")


def refusal(script: ModuleType, capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    with pytest.raises(SystemExit) as exit:
        script.main(list(words))
    assert exit.value.code == 2
    return capsys.readouterr().err.splitlines()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rounds", "0"], "--rounds 0: must be at least 1."),
        (["--only", "zzz"], "--only zzz: no row has this in its name. The rows are: import torch; predict, "),
        (["--before", "gone"], "--before gone: has no folder earmark. Give the src folder of another version."),
    ],
)
def test_words_that_cannot_work(
    words: list[str], message: str, script: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert refusal(script, capsys, *words)[-1].startswith(f"start.py: error: {message}")


@pytest.mark.parametrize(("package", "extra"), [("torch", "train"), ("fastapi", "serve")])
def test_a_missing_package_is_one_line(
    package: str, extra: str, script: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == package else find(name))
    monkeypatch.setitem(script.sys.modules, package, None)
    (line,) = refusal(script, capsys)
    assert line.startswith("start.py: error: ")
    assert package in line
    assert f"pip install 'earmark[{extra}]'" in line


def test_rows_of_other_commands_need_no_server(script: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(script.sys.modules, "fastapi", None)
    assert script.parse(["--only", "predict"]).only == "predict"


def test_a_command_that_fails_is_named(script: ModuleType, tmp_path: Path) -> None:
    rows = script.rows(tmp_path, "predict, tc_resnet")
    assert list(rows) == ["import torch", "predict, tc_resnet"]
    source = BENCHMARKS.parent / "src"
    with pytest.raises(SystemExit, match=r"^start\.py: error: predict, tc_resnet \(.*src\) failed: earmark: error: "):
        script.measure("predict, tc_resnet", rows["predict, tc_resnet"], source)  # the model was not made
