"""The synthetic corpus: its layout, that it repeats byte for byte, and that no voice is in two splits."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("espeakng_loader")

from earmark.errors import OutputError, UsageError
from earmark.sources.speech_commands import load_superb_ks
from earmark.synth import synth
from earmark.synth.espeak import Voice, engine
from earmark.synth.synth_plan import COMMANDS, OTHER_WORDS, apportion, make_plan

UTTERANCES = 300


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("synth") / "corpus"
    synth.write_corpus(folder, utterances=UTTERANCES)
    return folder


def contents(folder: Path) -> dict[str, str]:
    return {
        str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in folder.rglob("*")
        if file.is_file()
    }


def test_the_layout_is_that_of_the_archive(corpus):
    folders = {entry.name for entry in corpus.iterdir() if entry.is_dir()}
    assert folders == {*COMMANDS, *OTHER_WORDS, "_background_noise_", "speech_commands_test_set_v0.01"}
    words = [file for word in COMMANDS + OTHER_WORDS for file in (corpus / word).iterdir()]
    assert len(words) == UTTERANCES
    backgrounds = list((corpus / "_background_noise_").iterdir())
    assert len(backgrounds) == 6
    test_set = corpus / "speech_commands_test_set_v0.01"
    sizes = {entry.name: len(list(entry.iterdir())) for entry in test_set.iterdir()}
    assert sizes == dict.fromkeys((*COMMANDS, "_unknown_", "_silence_"), 5)
    for file in words + list(test_set.rglob("*.wav")):
        info = soundfile.info(file)
        assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
        assert 12_000 <= info.frames <= 16_000
    for file in backgrounds:
        assert 30 <= soundfile.info(file).duration <= 60
    assert "synthetic" in (corpus / "README.txt").read_text(encoding="utf-8")


def test_no_voice_and_no_variant_is_in_two_splits(corpus):
    listed = {name: (corpus / f"{name}_list.txt").read_text().split() for name in ("validation", "testing")}
    assert {name: len(lines) for name, lines in listed.items()} == {"validation": 30, "testing": 30}
    speakers = {name: {line.split("/")[1][:8] for line in lines} for name, lines in listed.items()}
    everyone = Counter(file.name[:8] for word in COMMANDS + OTHER_WORDS for file in (corpus / word).iterdir())
    in_lists = Counter(line.split("/")[1][:8] for lines in listed.values() for line in lines)
    assert not speakers["validation"] & speakers["testing"]
    assert all(everyone[speaker] == count for speaker, count in in_lists.items())
    test_set = (corpus / "speech_commands_test_set_v0.01").rglob("*_nohash_*.wav")
    assert {file.name[:8] for file in test_set} <= speakers["testing"]

    plan = make_plan(3_000, 7)
    variants: dict[str, set[str]] = {}
    for said in plan.utterances:
        variants.setdefault(said.split, set()).add(said.voice.variant)
    assert variants["test_set"] <= variants["testing"]
    assert not variants["train"] & variants["validation"]
    assert not variants["train"] & variants["testing"]
    assert not variants["validation"] & variants["testing"]


def test_the_default_corpus_has_about_equally_many_training_clips_of_each_command():
    plan = make_plan(synth.DEFAULT_UTTERANCES, 0)
    words = Counter(said.word for said in plan.utterances if said.split == "train")
    assert {words[word] for word in COMMANDS} == {200}
    assert sum(words[word] for word in OTHER_WORDS) == 400
    assert len({(said.split == "test_set", said.folder, said.name) for said in plan.utterances}) == 3_550


def test_the_reader_of_the_real_archive_reads_it(corpus):
    splits = load_superb_ks(str(corpus), silence_percentage=10, seed=0)
    assert splits.train is not None
    assert splits.validation is not None
    assert splits.test is not None
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (264, 33, 60)
    assert splits.train.labels() == splits.test.labels() == splits.validation.labels()
    assert len(splits.train.labels()) == 12
    assert splits.validation.label_counts()["_unknown_"] == 5
    assert set(splits.test.label_counts().values()) == {5}


def test_a_finished_corpus_is_found_and_another_seed_writes_it_anew(corpus, tmp_path):
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    mine = folder / "yes.txt"
    mine.write_text("kept")
    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*.wav")}
    found = synth.write_corpus(folder, utterances=UTTERANCES)
    assert found.reused
    assert "found" in found.summary
    assert {file: file.stat().st_mtime_ns for file in folder.rglob("*.wav")} == before

    other = synth.write_corpus(folder, utterances=UTTERANCES, seed=1)
    assert not other.reused
    assert "240 train words by 20 voices" in other.summary
    assert mine.read_text() == "kept"
    assert not set(before.values()) & {file.stat().st_mtime_ns for file in folder.rglob("*.wav")}
    same = contents(folder).items() & contents(corpus).items()
    assert not [name for name, _ in same if name.endswith(".wav")]


@pytest.mark.slow
def test_what_a_killed_run_left_is_written_again_to_the_same_bytes(corpus, tmp_path):
    folder = tmp_path / "corpus"
    shutil.copytree(corpus, folder)
    marker = json.loads((folder / "synthetic.json").read_text())
    (folder / "synthetic.json").write_text(json.dumps(marker | {"complete": False}))
    shutil.rmtree(folder / "yes")
    (folder / "no" / "left_over.wav").write_bytes(b"half")
    engine().speak("something else", Voice("en", "f4"))  # this process's engine is no longer fresh
    calls = []
    written = synth.write_corpus(folder, utterances=UTTERANCES, progress=lambda *done: calls.append(done))
    assert not written.reused
    assert contents(folder) == contents(corpus)
    assert calls[-1] == (355, 355)  # 300, and 11 classes of 5 in the test archive
    assert [done for done, _ in calls] == list(range(1, 356))


def test_a_folder_with_other_things_in_it_is_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(OutputError, match="not a synthetic corpus"):
        synth.write_corpus(tmp_path, utterances=UTTERANCES)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.txt"]
    with pytest.raises(OutputError, match="is a file"):
        synth.write_corpus(tmp_path / "thesis.txt", utterances=UTTERANCES)


@pytest.mark.parametrize(("settings", "said"), [({"utterances": 299}, "at least 300"), ({"seed": -1}, "seed -1")])
def test_impossible_settings_are_refused(tmp_path, settings, said):
    with pytest.raises(UsageError, match=said):
        synth.write_corpus(tmp_path / "corpus", **settings)
    assert not (tmp_path / "corpus").exists()


def test_a_word_is_placed_whole_at_the_ratio_drawn():
    burst = np.zeros(12_000, np.float32)
    time_s = np.arange(6_000) / 16_000
    burst[2_000:8_000] = 0.5 * np.sin(2 * np.pi * 440 * time_s)
    noise = np.random.default_rng(1).standard_normal(160_000).astype(np.float32)
    said = make_plan(300, 0).utterances[0]
    starts, ratios_db, peaks = [], [], []
    for seed in range(80):
        wave = synth._place(burst, [noise], np.random.default_rng(seed), said)
        tone = np.abs(np.exp(-2j * np.pi * 440 * np.arange(len(wave)) / 16_000) * wave).astype(np.float64)
        energy = np.convolve(wave.astype(np.float64) ** 2, np.ones(6_000), "valid")
        start = int(np.argmax(energy))
        inside = energy[start]
        outside = np.sum(tone**2) - inside
        starts.append(start / (len(wave) - 6_000))
        ratios_db.append(10 * np.log10(inside / 6_000 / (outside / (len(wave) - 6_000))))
        peaks.append(np.abs(wave).max())
        assert 12_000 <= len(wave) <= 16_000
    assert min(starts) < 0.1
    assert max(starts) > 0.9
    assert 4 < min(ratios_db) < 9
    assert 26 < max(ratios_db) < 31
    assert max(peaks) < 1


def test_whole_numbers_in_proportion_add_up():
    assert apportion(10, [1, 1, 1]) == [4, 3, 3]
    assert apportion(3_000, [0.8, 0.1, 0.1]) == [2_400, 300, 300]
    assert sum(apportion(307, [10] * 10 + [1] * 20)) == 307
