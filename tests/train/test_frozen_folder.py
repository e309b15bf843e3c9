"""The folder of what a frozen part gave is removed, and a disk that is full or changes is one line."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import namedtuple
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from earmark.errors import DataError, OutputError
from earmark.store import flat_file
from earmark.store.usable import UsableClips
from earmark.train import frozen
from earmark.train.frozen import frozen_clips
from earmark.train.training_clips import training_clips
from tests.train.small import CPU, build, make_trainer, train_on_kept, usable, write_clips


@pytest.fixture(scope="module")
def even(tmp_path_factory: pytest.TempPathFactory) -> dict[str, UsableClips]:
    """10 clips of one length."""
    return usable(write_clips(tmp_path_factory.mktemp("even"), [0.3] * 10))


HOLD = """
import sys, time
from pathlib import Path
from earmark.io.locks import acquire, new_lock
folder, lock = map(Path, sys.argv[1:])
held = new_lock(lock)
acquire(held, "what a run keeps")
folder.mkdir()
(folder / "features.bin").write_bytes(b"x")
print("held", flush=True)
time.sleep(600)
"""


def test_it_is_gone_afterwards(even: dict[str, UsableClips], tmp_path: Path) -> None:
    trainer = make_trainer(build("wav2vec2", "encoder"), even, tmp_path / "out")
    root = tmp_path / "store"
    with ExitStack() as stack:
        trainer.keep_frozen(stack, root, small_only=False)
        assert len(list(root.glob("frozen-*/embeddings.bin"))) == 1
        trainer.train()
    assert list(root.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("when", ["computing", "training"])
def test_it_is_gone_after_an_exception(
    when: str,
    error: type[BaseException],
    even: dict[str, UsableClips],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        assert len(list((tmp_path / "store").glob("frozen-*.lock"))) == 1
        raise error("stopped")

    trainer = make_trainer(build("wav2vec2", "encoder"), even, tmp_path / "out")
    if when == "computing":
        monkeypatch.setattr(frozen, "model_inputs", fail)
    else:
        monkeypatch.setattr(trainer, "training_step", fail)
    with pytest.raises(error):
        train_on_kept(trainer, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_what_killed_runs_left_is_removed_by_the_next(even: dict[str, UsableClips], tmp_path: Path) -> None:
    audio = build("wav2vec2", "encoder")
    clips = training_clips(audio, even["train"])
    (tmp_path / "frozen-notes").mkdir()  # someone else's
    folder = tmp_path / f"{frozen._PREFIX}other"
    command = [sys.executable, "-c", HOLD, str(folder), f"{folder}{frozen._LOCK}"]  # as a run, but without torch
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout is not None
            assert other.stdout.readline() == "held\n"
            with frozen_clips(audio, clips, "embeddings", root=tmp_path, device=CPU, batch_size=4):
                assert len(list(tmp_path.iterdir())) == 5  # two folders, their locks, and the notes
            assert (folder / "features.bin").exists()  # in use
        finally:
            other.kill()
    with frozen_clips(audio, clips, "embeddings", root=tmp_path, device=CPU, batch_size=4):
        assert not folder.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["frozen-notes"]


def test_no_room(even: dict[str, UsableClips], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10_000, 9_000, 1_000))
    trainer = make_trainer(build("wav2vec2", "feature_encoder"), even, tmp_path / "out")
    with pytest.raises(OutputError, match=r"store: the output of the frozen part takes .* free") as caught:
        train_on_kept(trainer, tmp_path / "store")
    assert "--store_dir" in str(caught.value)
    assert "--store off" in str(caught.value)
    assert list((tmp_path / "store").iterdir()) == []
    assert train_on_kept(trainer, tmp_path / "store", small_only=True)  # the way out


def test_no_room_for_embeddings(even: dict[str, UsableClips], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10_000, 9_000, 1_000))
    trainer = make_trainer(build("wav2vec2", "encoder"), even, tmp_path / "out")
    with pytest.raises(OutputError, match="--store_dir") as caught:
        train_on_kept(trainer, tmp_path / "store", small_only=True)
    assert "--store off" not in str(caught.value)  # embeddings are kept with it, too


def test_a_root_that_is_a_file(even: dict[str, UsableClips], tmp_path: Path) -> None:
    (tmp_path / "store").write_text("")
    trainer = make_trainer(build("wav2vec2", "encoder"), even, tmp_path / "out")
    with pytest.raises(OutputError, match=r"store: cannot be written \(File exists\); see --store_dir"):
        train_on_kept(trainer, tmp_path / "store")


def test_a_disk_that_fills_up_meanwhile(
    even: dict[str, UsableClips], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: Any) -> int:
        raise OSError(28, "No space left on device")

    trainer = make_trainer(build("wav2vec2", "encoder"), even, tmp_path / "out")
    with monkeypatch.context() as patched:
        patched.setattr(flat_file, "_write_at", full)
        with pytest.raises(OutputError, match=r"store: cannot be written \(No space left on device\); see --store_dir"):
            train_on_kept(trainer, tmp_path / "store")
    assert list((tmp_path / "store").iterdir()) == []


def test_a_file_that_is_lost_while_training(even: dict[str, UsableClips], tmp_path: Path) -> None:
    trainer = make_trainer(build("wav2vec2", "encoder"), even, tmp_path / "out")
    with ExitStack() as stack:
        trainer.keep_frozen(stack, tmp_path / "store", small_only=False)
        file = next((tmp_path / "store").glob("frozen-*/*.bin"))
        os.truncate(file, file.stat().st_size - 4)
        with pytest.raises(DataError, match=r"embeddings\.bin: truncated while it was in use. Run the command again"):
            trainer.train()


def test_a_recording_that_changes_before_it_is_computed(tmp_path: Path) -> None:
    folder = write_clips(tmp_path / "clips", [0.3] * 8)
    clips = usable(folder, store="off")
    trainer = make_trainer(build("wav2vec2", "encoder"), clips, tmp_path / "out")
    (folder / "train" / "low" / "002.wav").unlink()
    with pytest.raises(DataError, match=r"002\.wav"):
        train_on_kept(trainer, tmp_path / "store", small_only=True)
    assert list((tmp_path / "store").iterdir()) == []
