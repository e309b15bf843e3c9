"""Which clips can be used: the same ones with a store of any kind and without one, row by row."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import read_clip
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import AudioError, DataError, OutputError
from earmark.settings.data_flags import DataArguments
from earmark.store.decoding import DecodedWaveforms
from earmark.store.usable import UsableClips, keep_usable
from earmark.store.waveforms import WaveformStore
from tests.tiny import RATE_HZ, tone

STORES = ["int16", "float16", "float32", "off"]
BAD = {"train": [1, 4], "test": [0]}
# largest error of a sample, as a share of the peak of its clip
PRECISION = {"int16": 0.51 / 32767, "float16": 2.0**-12 * 1.01, "float32": 0.0, "off": 0.0}


@pytest.fixture
def tables(tmp_path: Path) -> dict[str, ClipTable]:
    """24-bit recordings at 22 kHz, quiet and loud ones, some of which are of no use."""
    tables = {}
    for split, count in (("train", 7), ("validation", 3), ("test", 2)):
        clips = []
        for i in range(count):
            path = tmp_path / f"{split}{i}.wav"
            wave = tone(200 + 90 * i, 0.05 + 0.01 * i, seed=i, rate_hz=22_050) * 10.0 ** -(i % 3)
            soundfile.write(path, wave, 22_050, subtype="PCM_24")
            if i in BAD.get(split, []):
                path.write_bytes(b"" if i else b"not audio")
            clips.append(Clip(source=path.name, path=str(path), label="ab"[i % 2]))
        tables[split] = ClipTable(clips, split)
    return tables


def options(tmp_path: Path, store: str, on_bad_audio: str = "skip") -> DataArguments:
    return DataArguments(
        store=store,
        store_dir=str(tmp_path / "stores"),
        on_bad_audio=on_bad_audio,
        preprocessing_num_workers=2,
    )


def batch_of_all(clips: UsableClips) -> np.ndarray:
    """Samples (N, W) float32 through ``read_batch``."""
    counts = clips.waveforms.num_samples
    numbers = clips.waveforms.read_batch(range(len(counts)), np.zeros_like(counts), counts, int(counts.max()))
    return numbers * clips.waveforms.scales[:, None]


@pytest.mark.parametrize("store", STORES)
def test_samples_within_the_precision_of_the_store(store: str, tables: dict[str, ClipTable], tmp_path: Path) -> None:
    usable, bad = keep_usable(tables, RATE_HZ, options(tmp_path, store))
    assert list(usable) == ["train", "validation", "test"]
    assert [(split, clip.index, clip.source) for split, clip in bad] == [
        ("train", 1, "train1.wav"),
        ("train", 4, "train4.wav"),
        ("test", 0, "test0.wav"),
    ]
    assert isinstance(usable["train"].waveforms, DecodedWaveforms if store == "off" else WaveformStore)
    assert (tmp_path / "stores").exists() == (store != "off")
    for split, clips in usable.items():
        good = [i for i in range(len(tables[split])) if i not in BAD.get(split, [])]
        assert [clip.source for clip in clips.table] == [f"{split}{i}.wav" for i in good]
        assert len(clips.waveforms.num_samples) == len(clips.waveforms.scales) == len(good)
        batch = batch_of_all(clips)
        for row, (clip, whole) in enumerate(zip(clips.table, clips.waveforms.iterate(range(len(good))), strict=True)):
            wanted = read_clip(clip, RATE_HZ)
            assert clips.waveforms.num_samples[row] == len(wanted)
            allowed = PRECISION[store] * np.abs(wanted).max()
            for found in (whole, batch[row, : len(wanted)]):
                assert found.dtype == np.float32
                np.testing.assert_allclose(found, wanted, rtol=0, atol=allowed)
            assert not batch[row, len(wanted) :].any()


@pytest.mark.parametrize("store", ["int16", "off"])
def test_a_stop_names_all_that_is_wrong(store: str, tables: dict[str, ClipTable], tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        keep_usable(tables, RATE_HZ, options(tmp_path, store, "fail"))
    first, *rest = str(caught.value).splitlines()
    assert first == "3 recordings cannot be used. Fix or remove them, or leave them out with --on_bad_audio skip:"
    assert [line.split(":")[0] for line in rest] == ["  train1.wav", "  train4.wav", "  test0.wav"]
    assert "empty" in rest[0]


def test_a_long_list_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    soundfile.write(tmp_path / "good.wav", tone(300, 0.05), RATE_HZ)
    names = ["good.wav", *(f"gone{i}.wav" for i in range(55))]
    table = ClipTable([Clip(source=name, path=str(tmp_path / name)) for name in names], "data")
    with caplog.at_level(logging.WARNING):
        usable, bad = keep_usable({"train": table}, RATE_HZ, options(tmp_path, "off"))
    assert (len(usable["train"].table), len(bad)) == (1, 55)
    said = caplog.messages[-1].splitlines()
    assert said[0] == "ignoring 55 recordings that cannot be used, listed in bad_audio.csv:"
    assert said[1].startswith("  gone0.wav: ")
    assert said[51:] == ["  and 5 more"]


@pytest.mark.parametrize("store", ["int16", "off"])
def test_a_split_of_which_nothing_is_left(store: str, tables: dict[str, ClipTable], tmp_path: Path) -> None:
    for clip in tables["validation"]:
        Path(str(clip.path)).write_bytes(b"")
    with pytest.raises(DataError, match=r"^validation: none of the 3 recordings could be used\. Fix or replace them$"):
        keep_usable(tables, RATE_HZ, options(tmp_path, store))


def test_a_place_that_cannot_be_written_and_the_way_out(tables: dict[str, ClipTable], tmp_path: Path) -> None:
    (tmp_path / "stores").write_text("")
    with pytest.raises(OutputError, match=r"stores: .*cannot be written.*--store_dir.*--store off"):
        keep_usable(tables, RATE_HZ, options(tmp_path, "int16"))
    usable, _ = keep_usable(tables, RATE_HZ, options(tmp_path, "off"))
    assert np.isfinite(batch_of_all(usable["train"])).all()


def test_a_store_outlives_its_recordings_and_no_store_does_not(tables: dict[str, ClipTable], tmp_path: Path) -> None:
    stored = keep_usable(tables, RATE_HZ, options(tmp_path, "float32"))[0]["train"]
    decoded = keep_usable(tables, RATE_HZ, options(tmp_path, "off"))[0]["train"]
    before = batch_of_all(stored)
    np.testing.assert_array_equal(batch_of_all(decoded), before)
    gone = stored.table[2]
    Path(str(gone.path)).unlink()
    np.testing.assert_array_equal(batch_of_all(stored), before)
    with pytest.raises(AudioError, match=gone.source):
        batch_of_all(decoded)


def test_a_store_deleted_before_it_is_read(tables: dict[str, ClipTable], tmp_path: Path) -> None:
    clips = keep_usable(tables, RATE_HZ, options(tmp_path, "int16"))[0]["train"]
    for file in (tmp_path / "stores").rglob("samples.bin"):
        file.unlink()
    with pytest.raises(DataError, match=r"samples\.bin: deleted while it was in use. Run the command again"):
        batch_of_all(clips)
    again = keep_usable(tables, RATE_HZ, options(tmp_path, "int16"))[0]["train"]
    assert len(batch_of_all(again)) == 5


@pytest.mark.parametrize("store", STORES)
def test_parts_of_a_whole_are_what_they_are_on_their_own(
    store: str, tables: dict[str, ClipTable], tmp_path: Path
) -> None:
    """Whatever the order of the parts, and with one store for all ways to cut the whole up."""
    clips = [clip for table in tables.values() for clip in table]
    whole = ClipTable(clips, "whole")
    for seed in range(2):
        order = np.random.default_rng(seed).permutation(len(clips))
        parts = {"train": whole.keep(order[:7].tolist()), "test": whole.keep(order[7:].tolist())}
        alone, bad_alone = keep_usable(parts, RATE_HZ, options(tmp_path / "alone", store))
        together, bad = keep_usable(parts, RATE_HZ, options(tmp_path, store), whole=whole)
        assert bad == bad_alone
        assert len(bad) == 3
        for name in parts:
            assert together[name].table == alone[name].table
            assert np.array_equal(together[name].waveforms.num_samples, alone[name].waveforms.num_samples)
            assert np.array_equal(batch_of_all(together[name]), batch_of_all(alone[name]))
    if store != "off":
        assert len(list((tmp_path / "stores").glob("*/store.json"))) == 1
    with pytest.raises(DataError, match="3 recordings cannot be used"):
        keep_usable(parts, RATE_HZ, options(tmp_path, store, "fail"), whole=whole)
