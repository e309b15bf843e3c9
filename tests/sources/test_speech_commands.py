"""The rule that turns the Speech Commands archive into SUPERB's splits, on small trees of the same shape."""

from __future__ import annotations

import gzip
import io
import logging
import multiprocessing
import os
import shutil
import tarfile
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import read_clip
from earmark.errors import AudioError, DataError, OutputError
from earmark.sources import archives
from earmark.sources.speech_commands import COMMANDS, load_superb_ks

WORDS = (*COMMANDS, "bed", "zero")
PER_WORD = 10
BACKGROUND_S = (4.0, 6.5)
# of each word, speaker 2 validates, speakers 3 and 4 test
VALIDATION, TESTING = (2,), (3, 4)


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("EARMARK_CACHE", str(folder))
    return folder


def write_wav(path: Path, seconds: float = 0.1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.linspace(-0.5, 0.5, round(16_000 * seconds), dtype=np.float32), 16_000)


def write_archive(root: Path, words: tuple[str, ...] = WORDS) -> Path:
    names = [f"{speaker:08x}_nohash_0.wav" for speaker in range(PER_WORD)]
    for word in words:
        for name in names:
            write_wav(root / word / name)
    for i, seconds in enumerate(BACKGROUND_S):
        write_wav(root / "_background_noise_" / f"noise_{i}.wav", seconds)
    (root / "_background_noise_" / "README.md").write_text("not a recording")
    for list_name, speakers in (("validation_list.txt", VALIDATION), ("testing_list.txt", TESTING)):
        lines = [f"{word}/{names[speaker]}\n" for word in words for speaker in speakers]
        (root / list_name).write_text("".join(lines))
    return root


def write_test_set(root: Path) -> Path:
    for word in (*COMMANDS, "_unknown_", "_silence_"):
        for i in range(3):
            write_wav(root / word / f"{i:08x}_nohash_5.wav")
    return root


def pack(folder: Path, archive: Path) -> Path:
    """As the published archives are: members ``./yes/...``, no top folder."""
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, arcname=".")
    return archive


def paths(table, root: Path) -> list[str]:
    return [str(Path(clip.path).relative_to(root)) for clip in table]


def sizes(splits) -> tuple[int, int, int]:
    return len(splits.train), len(splits.validation), len(splits.test)


def test_train_is_every_recording_that_no_list_names_background_included(tmp_path):
    root = write_archive(tmp_path / "speech_commands_v0.01")
    write_test_set(tmp_path / "speech_commands_test_set_v0.01")
    splits = load_superb_ks(str(root), silence_percentage=None, seed=0)
    total = len(WORDS) * PER_WORD + len(BACKGROUND_S)  # the real archive: 64,721 + 6
    validation, testing = len(WORDS) * len(VALIDATION), len(WORDS) * len(TESTING)  # 6,798 and 6,835
    assert sizes(splits) == (total - validation - testing, validation, 12 * 3)  # 51,094, 6,798, 3,081
    assert {Path(name).name for name in paths(splits.validation, root)} == {"00000002_nohash_0.wav"}
    listed = (root / "testing_list.txt").read_text().split() + (root / "validation_list.txt").read_text().split()
    assert not set(listed) & set(paths(splits.train, root))
    assert paths(splits.train, root) == sorted(paths(splits.train, root))
    assert "122 recordings (2 of them background), 12 listed for validation and 24 for testing" in splits.notes[0]
    assert "the other 86 for training" in splits.notes[0]


def test_commands_keep_their_names_background_is_silence_the_rest_is_unknown(tmp_path):
    root = write_archive(tmp_path / "data")
    write_test_set(root / "speech_commands_test_set_v0.01")
    splits = load_superb_ks(str(root), silence_percentage=None, seed=0)
    counts = splits.train.label_counts()
    assert counts == dict.fromkeys(COMMANDS, 7) | {"_unknown_": 14, "_silence_": 2}
    assert splits.test.label_counts() == dict.fromkeys((*COMMANDS, "_unknown_", "_silence_"), 3)
    silence = [clip for clip in splits.train if clip.label == "_silence_"]
    assert [len(read_clip(clip, 16_000)) / 16_000 for clip in silence] == list(BACKGROUND_S)  # whole
    assert [clip.group for clip in silence] == [None, None]
    assert {clip.group for clip in splits.validation} == {"00000002"}


def test_without_a_test_archive_the_testing_list_is_the_test_set_and_a_note_says_so(tmp_path):
    root = write_archive(tmp_path / "data")
    splits = load_superb_ks(str(root), silence_percentage=None, seed=0)
    assert sizes(splits) == (86, 12, 24)
    assert {clip.group for clip in splits.test} == {"00000003", "00000004"}
    assert splits.test.label_counts()["_unknown_"] == 4
    assert "clips of testing_list.txt" in splits.notes[1]


@pytest.mark.parametrize("where", ["inside", "beside", "inside, packed", "beside, packed"])
def test_the_test_archive_is_found_and_is_no_word(tmp_path, where):
    root = write_archive(tmp_path / "data")
    place = root if where.startswith("inside") else tmp_path
    test_set = write_test_set(tmp_path / "elsewhere")
    if where.endswith("packed"):
        pack(test_set, place / "speech_commands_test_set_v0.01.tar.gz")
    else:
        test_set.rename(place / "speech_commands_test_set_v0.01")
    splits = load_superb_ks(str(root), silence_percentage=None, seed=0)
    assert sizes(splits) == (86, 12, 36)
    assert splits.train.labels() == sorted((*COMMANDS, "_silence_", "_unknown_"))


def test_each_version_takes_its_own_test_archive(tmp_path):
    second = write_archive(tmp_path / "speech_commands_v0.02", (*WORDS, "visual"))
    write_test_set(tmp_path / "speech_commands_test_set_v0.01")
    splits = load_superb_ks(str(tmp_path), silence_percentage=None, seed=0)
    assert sizes(splits) == (93, 13, 26)  # v0.01's is not for it
    write_test_set(tmp_path / "speech_commands_test_set_v0.02")
    for place in (tmp_path, second):
        splits = load_superb_ks(str(place), silence_percentage=None, seed=0)
        assert Path(splits.test.origin).name == "speech_commands_test_set_v0.02"


@pytest.mark.parametrize("given", ["the file", "its folder"])
def test_packed_archives_are_extracted_once(tmp_path, cache, caplog, given):
    archive = pack(write_archive(tmp_path / "tree"), tmp_path / "speech_commands_v0.01.tar.gz")
    pack(write_test_set(tmp_path / "test_tree"), tmp_path / "speech_commands_test_set_v0.01.tar.gz")
    shutil.rmtree(tmp_path / "tree")
    shutil.rmtree(tmp_path / "test_tree")
    place = archive if given == "the file" else tmp_path
    with caplog.at_level(logging.INFO, "earmark"):
        splits = load_superb_ks(str(place), silence_percentage=None, seed=0)
    assert sizes(splits) == (86, 12, 36)
    assert caplog.text.count("extracting") == 2
    assert str(cache) in splits.train.origin
    assert len(read_clip(splits.train[0], 16_000)) == BACKGROUND_S[0] * 16_000

    caplog.clear()
    with caplog.at_level(logging.INFO, "earmark"):
        again = load_superb_ks(str(place), silence_percentage=None, seed=0)
    assert again == splits
    assert "extracting" not in caplog.text
    os.utime(archive, (1, 1))  # another archive, as far as anyone can tell
    with caplog.at_level(logging.INFO, "earmark"):
        assert load_superb_ks(str(place), silence_percentage=None, seed=0).train.origin != splits.train.origin
    assert caplog.text.count("extracting") == 1


def test_silence_as_a_percentage_cuts_seconds_and_keeps_validation_apart(tmp_path):
    root = write_archive(tmp_path / "data")
    splits = load_superb_ks(str(root), silence_percentage=50, seed=3)
    cuts = {
        name: [clip for clip in table if clip.label == "_silence_"]
        for name, table in (("train", splits.train), ("validation", splits.validation))
    }
    assert {name: len(clips) for name, clips in cuts.items()} == {"train": 42, "validation": 6}  # 84 and 12 words
    assert sizes(splits) == (84 + 42, 12 + 6, 24)
    for i, seconds in enumerate(BACKGROUND_S):
        border_s = seconds - max(1.0, 0.2 * seconds)
        of_one = {name: [c for c in clips if c.path.endswith(f"_{i}.wav")] for name, clips in cuts.items()}
        assert max(clip.offset_s + clip.duration_s for clip in of_one["train"]) <= border_s + 1e-9
        assert min(clip.offset_s for clip in of_one["validation"]) >= border_s - 1e-9
        assert len({clip.offset_s for clip in of_one["train"]}) > 10
        assert all(len(read_clip(clip, 16_000)) == 16_000 for clips in of_one.values() for clip in clips)
    assert splits == load_superb_ks(str(root), silence_percentage=50, seed=3)
    assert splits.train != load_superb_ks(str(root), silence_percentage=50, seed=4).train
    assert "silence: 42 one-second clips for training, " in splits.notes[2]
    assert "6 clips for validation" in splits.notes[2]


def test_no_silence_at_all_when_told(tmp_path):
    splits = load_superb_ks(str(write_archive(tmp_path / "data")), silence_percentage=0, seed=0)
    assert "_silence_" not in splits.train.labels() + splits.validation.labels()
    assert len(splits.train) == 84


def test_a_background_recording_too_short_to_cut_is_named(tmp_path):
    root = write_archive(tmp_path / "data")
    write_wav(root / "_background_noise_" / "noise_1.wav", 1.5)
    with pytest.raises(AudioError, match=r"noise_1\.wav: 1\.50 s is too short"):
        load_superb_ks(str(root), silence_percentage=10, seed=0)
    (root / "_background_noise_" / "noise_1.wav").write_bytes(b"")
    with pytest.raises(AudioError, match=r"noise_1\.wav: cannot be read"):
        load_superb_ks(str(root), silence_percentage=10, seed=0)
    shutil.rmtree(root / "_background_noise_")
    with pytest.raises(DataError, match="no _background_noise_ to cut silence from"):
        load_superb_ks(str(root), silence_percentage=10, seed=0)


def break_validation_list(root: Path) -> None:
    (root / "validation_list.txt").unlink()


def remove_a_listed_file(root: Path) -> None:
    (root / "yes" / "00000003_nohash_0.wav").unlink()


def point_outside(root: Path) -> None:
    write_wav(root.parent / "outside.wav")
    (root / "testing_list.txt").write_text("../outside.wav\n")


def list_a_file_twice(root: Path) -> None:
    shutil.copy(root / "testing_list.txt", root / "validation_list.txt")


def empty_a_list(root: Path) -> None:
    (root / "testing_list.txt").write_text("\n")


def remove_the_words(root: Path) -> None:
    for word in WORDS:
        shutil.rmtree(root / word)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (break_validation_list, r"validation_list\.txt: no such file"),
        (remove_a_listed_file, r"1 of 24 listed files is missing, for example yes/00000003_nohash_0\.wav"),
        (point_outside, r"1 of 1 listed file is missing, for example \.\./outside\.wav"),
        (list_a_file_twice, r"24 files are in validation_list\.txt and in testing_list\.txt"),
        (empty_a_list, r"testing_list\.txt: lists no files"),
        (remove_the_words, "no wav files in word folders"),
        (shutil.rmtree, "no such file or folder"),
    ],
)
def test_a_copy_that_is_not_whole_is_one_line(tmp_path, damage, said):
    root = write_archive(tmp_path / "data")
    damage(root)
    with pytest.raises(DataError, match=said) as caught:
        load_superb_ks(str(root), silence_percentage=None, seed=0)
    assert "\n" not in str(caught.value)


def test_a_folder_or_file_that_is_something_else_is_told_apart(tmp_path):
    with pytest.raises(DataError, match="not an extracted Speech Commands archive"):
        load_superb_ks(str(tmp_path), silence_percentage=None, seed=0)
    (tmp_path / "notes.txt").write_text("x")
    with pytest.raises(DataError, match=r"notes\.txt: not an archive"):
        load_superb_ks(str(tmp_path / "notes.txt"), silence_percentage=None, seed=0)


def cut_short(archive: Path) -> None:
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])


def not_a_tar(archive: Path) -> None:
    archive.write_bytes(gzip.compress(b"hello" * 1_000))


def flip_a_byte(archive: Path) -> None:
    content = bytearray(archive.read_bytes())
    content[-6] ^= 0xFF  # in the checksum at the end
    archive.write_bytes(bytes(content))


def climb_out(archive: Path) -> None:
    with tarfile.open(archive, "w:gz") as tar:
        member = tarfile.TarInfo("../../outside.wav")
        member.size = 3
        tar.addfile(member, io.BytesIO(b"abc"))


@pytest.mark.parametrize("damage", [cut_short, not_a_tar, flip_a_byte, climb_out, lambda path: path.write_bytes(b"")])
def test_a_damaged_archive_is_one_line_and_leaves_no_half_cache(tmp_path, cache, damage):
    archive = pack(write_archive(tmp_path / "tree"), tmp_path / "speech_commands_v0.01.tar.gz")
    damage(archive)
    with pytest.raises(DataError, match=r"speech_commands_v0\.01\.tar\.gz: not a valid tar archive") as caught:
        load_superb_ks(str(archive), silence_percentage=None, seed=0)
    assert "\n" not in str(caught.value)
    assert list((cache / "archives").iterdir()) == []
    assert not list(cache.rglob("outside.wav"))


def test_an_older_python_is_told_what_to_do(tmp_path, monkeypatch):
    archive = pack(write_archive(tmp_path / "tree"), tmp_path / "speech_commands_v0.01.tar.gz")
    monkeypatch.delattr(tarfile, "data_filter")
    with pytest.raises(DataError, match="cannot extract archives safely"):
        load_superb_ks(str(archive), silence_percentage=None, seed=0)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    archive = pack(write_archive(tmp_path / "tree"), tmp_path / "speech_commands_v0.01.tar.gz")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EARMARK_CACHE", str(tmp_path / "file"))
    with pytest.raises(OutputError, match="EARMARK_CACHE"):
        load_superb_ks(str(archive), silence_percentage=None, seed=0)


def test_two_processes_may_extract_at_once(tmp_path, cache):
    archive = pack(write_archive(tmp_path / "tree"), tmp_path / "speech_commands_v0.01.tar.gz")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        roots = pool.map(archives.extracted, [archive] * 2, chunksize=1)
    assert len(set(roots)) == 1
    assert len(list((cache / "archives").iterdir())) == 1
    assert load_superb_ks(str(archive), silence_percentage=None, seed=0).train is not None


def test_the_one_that_comes_second_takes_what_the_first_extracted(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        write_wav(folder / "yes" / "a.wav")
    target = tmp_path / "target"
    archives._put_in_place(first, target)
    archives._put_in_place(second, target)
    assert (target / "yes" / "a.wav").is_file()
    with pytest.raises(OSError):
        archives._put_in_place(second, tmp_path / "absent" / "target")


def test_what_killed_extractions_left_is_removed_after_a_day(tmp_path, cache):
    archive = pack(write_archive(tmp_path / "tree"), tmp_path / "speech_commands_v0.01.tar.gz")
    for name, age_s in ((".partial-old", 2 * 86_400), (".partial-running", 60)):
        (cache / "archives" / name).mkdir(parents=True)
        os.utime(cache / "archives" / name, (time.time() - age_s,) * 2)
    load_superb_ks(str(archive), silence_percentage=None, seed=0)
    left = {entry.name for entry in (cache / "archives").iterdir()}
    assert ".partial-old" not in left
    assert ".partial-running" in left


def test_an_archive_packed_with_a_top_folder_is_read_too(tmp_path):
    tree = write_archive(tmp_path / "tree")
    archive = tmp_path / "speech_commands_v0.01.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, arcname="speech_commands_v0.01")
    assert sizes(load_superb_ks(str(archive), silence_percentage=None, seed=0)) == (86, 12, 24)
