"""Every tutorial is followed from top to bottom, on generated sounds, and prints what it shows."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.page_commands import PageCommands, assert_shows
from tests.npu.conftest import Npu

TUTORIALS = Path(__file__).parents[2] / "docs" / "tutorials"


@pytest.fixture(scope="module", autouse=True)
def libraries() -> None:
    """Import what training needs once, apart from the tests."""
    import earmark.train.train_model  # noqa: F401


def shortened(words: list[str]) -> list[str]:
    """A training of few steps."""
    trains_long = words[0] == "train" and not {"--max_steps", "--few_shot"} & set(words)
    return [*words, "--max_steps", "4"] if trains_long else words


def with_two_cards(words: list[str]) -> list[str]:
    """A training on as many cards as the stand-in has."""
    return ["2" if word == "8" else "16" if word == "128" else word for word in shortened(words)]


@pytest.mark.parametrize(("page", "least"), [("own_folder", 5), ("long_recordings", 8), ("multi_label", 5)])
def test_the_tutorial_prints_what_it_shows(
    page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert PageCommands(shortened).follow(TUTORIALS / f"{page}.md") >= least


@pytest.mark.slow
@pytest.mark.parametrize(("page", "least"), [("few_clips", 7), ("deploy", 7)])
def test_the_tutorial_with_a_server_prints_what_it_shows(
    page: str, least: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("uvicorn")
    if page == "deploy":
        pytest.importorskip("onnxscript")
        if shutil.which("curl") is None:
            pytest.skip("no curl on this machine")
    monkeypatch.chdir(tmp_path)
    assert PageCommands(shortened).follow(TUTORIALS / f"{page}.md") >= least


@pytest.mark.slow
@pytest.mark.timeout(1200)  # eight processes that import torch, on a machine that may be busy
def test_the_tutorial_of_ascend_prints_what_it_shows(npu: Npu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    followed = PageCommands(with_two_cards, lambda words: npu.earmark(*words))
    assert followed.follow(TUTORIALS / "ascend.md") >= 5


def test_every_tutorial_is_followed() -> None:
    text = Path(__file__).read_text(encoding="utf-8")
    assert [page.stem for page in TUTORIALS.glob("*.md") if page.stem not in text] == []


def test_a_line_that_is_not_printed_fails() -> None:
    assert_shows(["a 1", "...", "c 2"], "a 3\nb\nc 4")
    with pytest.raises(AssertionError, match="not printed: b"):
        assert_shows(["c 2", "b"], "b\nc 4")
