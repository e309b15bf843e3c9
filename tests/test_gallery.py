"""The gallery trains a run once for each state of the source, and notices a test that changes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import gallery as gallery_module
from tests.gallery import Gallery, GalleryRun, state_of_the_source

NAME = "single_label tc_resnet folds"


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that are run in place of training; each writes a file."""
    run: list[list[str]] = []

    def train(words: list[str]) -> int:
        run.append(words)
        folder = Path(words[words.index("--output_dir") + 1])
        folder.mkdir()
        (folder / "model").write_text("trained")
        return 0

    monkeypatch.setattr(gallery_module, "main", train)
    return run


def test_a_run_is_trained_once_and_kept_between_sessions(tmp_path: Path, trainings: list[list[str]]) -> None:
    first = Gallery(tmp_path)[NAME]
    again = Gallery(tmp_path)
    assert again[NAME] == again[NAME] == first
    again.close()
    assert trainings == [first.command(first.folder)]
    assert Path(first.data_flags[1]).is_file()


def test_a_session_that_was_killed_or_another_state_of_the_source_trains_again(
    tmp_path: Path, trainings: list[list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = Gallery(tmp_path)[NAME]
    (first.folder.parent / "complete.json").unlink()
    assert Gallery(tmp_path)[NAME] == first
    assert len(trainings) == 2
    for state in ("a", "b", "c"):
        monkeypatch.setattr(gallery_module, "state_of_the_source", lambda state=state: state)
        assert Gallery(tmp_path)[NAME] != first
    assert len(trainings) == 5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "c"]  # older states are removed


def change(run: GalleryRun) -> None:
    (run.folder / "model").write_text("changed")


def add(run: GalleryRun) -> None:
    (run.data / "new.wav").write_text("new")


def change_a_copy(run: GalleryRun) -> None:
    (run.copy(run.folder.parents[2] / "copy") / "model").write_text("changed")


@pytest.mark.parametrize(("act", "seen"), [(change, True), (add, True), (change_a_copy, False)])
def test_a_run_that_a_test_changed_fails_the_session_and_is_trained_again(
    act, seen: bool, tmp_path: Path, trainings: list[list[str]]
) -> None:
    gallery = Gallery(tmp_path)
    act(gallery[NAME])
    if seen:
        with pytest.raises(AssertionError, match=f"tests changed runs of the gallery: \\['{NAME}'\\]"):
            gallery.close()
    else:
        gallery.close()
    Gallery(tmp_path)[NAME].copy(tmp_path / "again")
    assert len(trainings) == 1 + seen


def test_a_training_that_fails_shows_its_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(words: list[str]) -> int:
        print("out of luck")
        return 2

    monkeypatch.setattr(gallery_module, "main", fails)
    with pytest.raises(AssertionError, match="out of luck"):
        Gallery(tmp_path)[NAME]


def test_the_state_depends_on_the_source_and_the_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = state_of_the_source()
    assert before == state_of_the_source()
    monkeypatch.setenv("OMP_NUM_THREADS", "17")
    assert state_of_the_source() != before
    monkeypatch.undo()
    (tmp_path / "src" / "earmark").mkdir(parents=True)
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "tiny.py").touch()
    (tmp_path / "tests" / "gallery.py").touch()
    monkeypatch.setattr(gallery_module, "_ROOT", tmp_path)
    monkeypatch.setattr(gallery_module, "__file__", str(tmp_path / "tests" / "gallery.py"))
    states = [state_of_the_source()]
    for text in ("a = 1", "a = 2"):
        (tmp_path / "src" / "earmark" / "new.py").write_text(text)
        states.append(state_of_the_source())
    assert len(set(states)) == 3


@pytest.mark.parametrize("name", gallery_module.RUNS)
def test_every_run_trains(name: str, gallery: Gallery) -> None:
    assert (gallery[name].folder / "run_config.yaml").is_file()
