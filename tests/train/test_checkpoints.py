from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from earmark.errors import OutputError, UsageError
from earmark.train.checkpoints import (
    MARKER,
    check_same_run,
    find_checkpoint_to_resume,
    finish_checkpoint,
    label_order,
    newest_complete,
    remove_old,
    why_incomplete,
)

FACTS = {
    "model": "m",
    "frozen": "no frozen weights",
    "rates": "one rate",
    "labels": ["a", "b"],
    "clips": "3 clips",
    "settings": {"seed": 0, "max_steps": -1},
}


def write(folder: Path, steps: int) -> Path:
    aside = folder / "aside"
    (aside / "inner").mkdir(parents=True)
    (aside / "model.safetensors").write_bytes(b"weights" * 100)
    (aside / "inner" / "rng_state.pth").write_bytes(b"random")
    (aside / "trainer_state.json").write_text("{}")
    (aside / "scheduler.pt").write_bytes(b"schedule")
    target = folder / f"checkpoint-{steps}"
    finish_checkpoint(aside, target, FACTS)
    assert not aside.exists()
    return target


def test_a_finished_checkpoint_is_whole(tmp_path: Path) -> None:
    assert why_incomplete(write(tmp_path, 3)) is None


def test_it_replaces_one_of_the_same_step(tmp_path: Path) -> None:
    old = write(tmp_path, 3)
    (old / "stale").touch()
    assert why_incomplete(write(tmp_path, 3)) is None
    assert not (old / "stale").exists()


def cut_weights(checkpoint: Path) -> None:
    path = checkpoint / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def change_a_bit(checkpoint: Path) -> None:
    path = checkpoint / "inner" / "rng_state.pth"
    path.write_bytes(b"randon")


def remove_state(checkpoint: Path) -> None:
    (checkpoint / "trainer_state.json").unlink()


def remove_marker(checkpoint: Path) -> None:
    (checkpoint / MARKER).unlink()


def cut_marker(checkpoint: Path) -> None:
    path = checkpoint / MARKER
    path.write_bytes(path.read_bytes()[:20])


DAMAGE = {
    cut_weights: "model.safetensors has 699 of 700 bytes",
    change_a_bit: "inner/rng_state.pth has changed since it was written",
    remove_state: "trainer_state.json cannot be read (No such file or directory)",
    remove_marker: "writing it was interrupted",
    cut_marker: "writing it was interrupted",
}


@pytest.mark.parametrize("damage", DAMAGE, ids=lambda damage: damage.__name__)
def test_a_damaged_one_is_passed_over_with_the_reason(
    damage: object, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    good, newer = write(tmp_path, 9), write(tmp_path, 10)
    damage(newer)  # type: ignore[operator]
    with caplog.at_level(logging.WARNING, "earmark"):
        assert newest_complete(tmp_path) == good
    (line,) = caplog.messages
    assert line.startswith(f"{newer}: skipped, ")
    assert DAMAGE[damage] in line  # type: ignore[index]


def test_the_most_steps_count_not_the_spelling(tmp_path: Path) -> None:
    write(tmp_path, 9)
    ten = write(tmp_path, 10)
    (tmp_path / "checkpoint-best").mkdir()
    (tmp_path / "checkpoint-11").touch()
    assert newest_complete(tmp_path) == ten


def test_resume_starts_anew_where_there_is_none(tmp_path: Path) -> None:
    assert find_checkpoint_to_resume(None, tmp_path, resume=True) is None
    assert find_checkpoint_to_resume(None, tmp_path) is None
    assert find_checkpoint_to_resume("False", tmp_path) is None
    checkpoint = write(tmp_path, 2)
    assert find_checkpoint_to_resume(None, tmp_path, resume=True) == str(checkpoint)
    assert find_checkpoint_to_resume("True", tmp_path) == str(checkpoint)
    assert find_checkpoint_to_resume(str(checkpoint), tmp_path) == str(checkpoint)


def test_what_cannot_be_gone_on_with_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no checkpoint in"):
        find_checkpoint_to_resume(True, tmp_path)
    with pytest.raises(UsageError, match="Leave --resume_from_checkpoint out"):
        find_checkpoint_to_resume("True", tmp_path, resume=True)
    with pytest.raises(OutputError, match="no such folder"):
        find_checkpoint_to_resume(str(tmp_path / "nowhere"), tmp_path)
    with pytest.raises(OutputError, match="not a complete checkpoint"):
        find_checkpoint_to_resume(str(tmp_path), tmp_path)
    checkpoint = write(tmp_path, 2)
    cut_weights(checkpoint)
    with pytest.raises(OutputError, match="699 of 700 bytes"):
        find_checkpoint_to_resume(str(checkpoint), tmp_path)
    with pytest.raises(OutputError, match=r"no complete checkpoint in .*, only 1 incomplete"):
        find_checkpoint_to_resume(True, tmp_path)


def test_one_of_transformers_is_taken_when_it_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = write(tmp_path, 2)
    remove_marker(checkpoint)
    with caplog.at_level(logging.WARNING, "earmark"):
        assert find_checkpoint_to_resume(str(checkpoint), tmp_path) == str(checkpoint)
    assert "cannot check that it is complete" in caplog.text


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("model", "n", "belongs to another model (m there, n here)"),
        (
            "frozen",
            "2 frozen weights",
            "belongs to a run with other frozen weights (another --freeze, or another pretrained",
        ),
        ("rates", "two rates", "belongs to a run with other groups of learning rates (one rate there, two rates here)"),
        ("labels", ["a"], "belongs to a model with other labels (a, b there, a here)"),
        ("clips", "4 clips", "belongs to other training clips (3 clips there, 4 clips here)"),
    ],
)
def test_another_run_s_checkpoint_is_refused(name: str, value: object, words: str, tmp_path: Path) -> None:
    checkpoint = str(write(tmp_path, 2))
    check_same_run(checkpoint, FACTS)
    with pytest.raises(OutputError) as error:
        check_same_run(checkpoint, {**FACTS, name: value})
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_changed_settings_are_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    checkpoint = str(write(tmp_path, 2))
    with caplog.at_level(logging.WARNING, "earmark"):
        check_same_run(checkpoint, FACTS)
        assert not caplog.messages
        check_same_run(checkpoint, {**FACTS, "settings": {"seed": 1, "max_steps": -1}})
    assert "resuming with other settings: seed 0 -> 1. The final weights will differ" in caplog.text


def test_other_arithmetic_is_warned_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = {**FACTS, "arithmetic": {"torch": "2.13.0", "threads": 2}}
    checkpoint = tmp_path / "checkpoint-2"
    (tmp_path / "written").mkdir()
    finish_checkpoint(tmp_path / "written", checkpoint, run)
    with caplog.at_level(logging.WARNING, "earmark"):
        check_same_run(str(checkpoint), run)
        check_same_run(str(write(tmp_path, 4)), run)  # an older checkpoint, which has no such facts
        assert not caplog.messages
        check_same_run(str(checkpoint), {**run, "arithmetic": {"torch": "2.13.0", "threads": 1}})
    assert caplog.messages == [
        "resuming with other arithmetic: threads 2 -> 1. The final weights can differ in their last bits from those of "
        "a run that was never stopped"
    ]


def test_the_limit_never_takes_what_is_to_be_kept(tmp_path: Path) -> None:
    two, four, six = (write(tmp_path, steps) for steps in (2, 4, 6))
    remove_old(tmp_path, None, keep=[])
    assert two.exists()
    remove_old(tmp_path, 2, keep=[six])
    assert [path.exists() for path in (two, four, six)] == [False, True, True]
    remove_old(tmp_path, 1, keep=[four])  # just written, by a run that went back to an earlier step
    assert [path.exists() for path in (four, six)] == [True, False]


def test_a_resumed_run_keeps_the_order_of_its_classes(tmp_path: Path) -> None:
    """Runs of earlier versions have whole numbers in the order of letters."""
    marker = {"files": {}, "run": {"labels": ["0", "1", "10", "2"]}}
    (tmp_path / MARKER).write_text(json.dumps(marker))
    assert label_order(str(tmp_path), ["0", "1", "2", "10"]) == ["0", "1", "10", "2"]
    assert label_order(str(tmp_path), ["0", "1", "2"]) == ["0", "1", "2"]
    assert label_order(str(tmp_path / "none"), ["b", "a"]) == ["b", "a"]
