"""The background class: how many clips, from where, in which split, and the same again with the same seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.errors import DataError, UsageError
from earmark.settings.data_flags import DataArguments
from earmark.sources.background import is_background
from earmark.sources.load_clips import load_folds, load_own_splits, load_splits
from earmark.store.usable import keep_usable
from tests.tiny import RATE_HZ, tone


def write(path: Path, seconds: float, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, tone(300 + 50 * seed, seconds, seed=seed), RATE_HZ)
    return path


def data(folder: Path, splits: tuple[str, ...] = ("",), per_class: int = 10) -> Path:
    for at, split in enumerate(splits):
        for i in range(2 * per_class):
            write(folder / split / "ab"[i % 2] / f"{i}.wav", 0.2 + 0.01 * i, seed=100 * at + i)
    return folder


def noise(folder: Path, count: int, seconds: float = 3.0) -> str:
    for i in range(count):
        write(folder / f"noise_{i}.wav", seconds, seed=1000 + i)
    return str(folder)


def load(seed: int = 0, **settings: Any) -> Splits:
    return load_splits(DataArguments(**settings), seed=seed)


def cuts(table: ClipTable | None, label: Any = "background") -> list[Clip]:
    return [clip for clip in table or [] if clip.label == label]


def test_as_many_as_the_average_class_and_no_recording_in_two_splits(tmp_path: Path) -> None:
    settings = {"data_dir": str(data(tmp_path / "data")), "background_dir": noise(tmp_path / "noise", 5)}
    splits = load(**settings, validation_fraction=0.3)
    train, validation = cuts(splits.train), cuts(splits.validation)
    assert len(train) + len(validation) == 10
    assert train
    assert validation
    assert not {clip.path for clip in train} & {clip.path for clip in validation}
    assert all(0.2 <= clip.duration_s <= 0.4 for clip in [*train, *validation])
    again = load(**settings, validation_fraction=0.3)
    assert (again.train.clips, again.validation.clips) == (splits.train.clips, splits.validation.clips)
    assert "10 clips of the class 'background' were cut from 5 background recordings (15.0 s)" in splits.notes[0]
    many = load(**settings, background_ratio=2.0, background_class="rauschen")
    assert len(cuts(many.train, "rauschen")) + len(cuts(many.validation, "rauschen")) == 20
    assert max(clip.duration_s for clip in cuts(load(**settings, max_length_seconds=0.25).train)) <= 0.25


def places(*tables: ClipTable | None) -> set[tuple[str, float, float | None]]:
    return {(Path(clip.path or "").name, clip.offset_s, clip.duration_s) for table in tables for clip in cuts(table)}


def test_the_cuts_depend_neither_on_the_seed_nor_on_the_folder(tmp_path: Path) -> None:
    settings = {"data_dir": str(data(tmp_path / "data")), "background_dir": noise(tmp_path / "noise", 5)}
    first = load(**settings)
    second = load(seed=1, **settings)
    assert places(first.train, first.validation) == places(second.train, second.validation)
    moved = tmp_path / "moved"
    (tmp_path / "noise").rename(moved)
    third = load(**{**settings, "background_dir": str(moved)})
    assert places(first.train, first.validation) == places(third.train, third.validation)
    # with splits of the data, the same recordings are held out with every seed
    folder = str(data(tmp_path / "split", ("train", "validation"), per_class=4))
    one, two = (load(seed=seed, data_dir=folder, background_dir=str(moved)) for seed in (0, 1))
    assert (places(one.train), places(one.validation)) == (places(two.train), places(two.validation))


def test_most_cuts_stay_where_clips_and_recordings_are_added(tmp_path: Path) -> None:
    folder = data(tmp_path / "data", per_class=30)
    settings = {"data_dir": str(folder), "background_dir": noise(tmp_path / "noise", 6)}
    before = load(**settings)
    old = places(before.train, before.validation)
    for i in range(2):
        write(folder / "a" / f"new_{i}.wav", 0.33, seed=300 + i)
    after = load(**settings)
    assert len(old & places(after.train, after.validation)) >= 0.8 * len(old)
    write(tmp_path / "noise" / "another.wav", 3.0, seed=2000)
    more = load(**settings)
    assert len(old & places(more.train, more.validation)) >= 0.6 * len(old)


def test_splits_that_are_there_get_recordings_of_their_own(tmp_path: Path) -> None:
    folder = data(tmp_path / "data", ("train", "validation", "test"), per_class=4)
    splits = load(data_dir=str(folder), background_dir=noise(tmp_path / "noise", 6))
    parts = [cuts(table) for table in (splits.train, splits.validation, splits.test)]
    assert [len(part) for part in parts] == [4, 4, 4]
    paths = [{clip.path for clip in part} for part in parts]
    assert sum(map(len, paths)) == len(set.union(*paths))
    splits = load(data_dir=str(folder), background_dir=noise(tmp_path / "few", 1))
    assert [len(cuts(table)) for table in (splits.train, splits.validation, splits.test)] == [4, 0, 0]
    assert "validation: no background clips, because there are too few background recordings" in splits.notes


def test_clips_that_are_there_count(tmp_path: Path) -> None:
    folder = data(tmp_path / "data")
    for i in range(7):
        write(folder / "background" / f"{i}.wav", 0.3, seed=500 + i)
    splits = load(data_dir=str(folder), background_dir=noise(tmp_path / "noise", 5), validation_fraction=0.01)
    assert len(cuts(splits.train)) + len(cuts(splits.validation)) == 10


def manifest(folder: Path, lines: list[str], columns: str = "path,label,offset,duration") -> str:
    (folder / "events.csv").write_text("\n".join([columns, *lines]))
    return str(folder / "events.csv")


def test_gaps_are_away_from_every_annotation(tmp_path: Path) -> None:
    lines = []
    for i in range(6):
        write(tmp_path / f"{i}.wav", 10.0, seed=i)
        lines += [f"{i}.wav,a,2.0,0.5", f"{i}.wav,b,2.2,1.0", f"{i}.wav,ab,7.0,0.4"]
    write(tmp_path / "whole.wav", 5.0, seed=50)
    lines.append("whole.wav,a,,")  # labelled as a whole: it has no gaps
    path = manifest(tmp_path, lines)
    splits = load(train_file=path, background_gaps=True, background_margin_seconds=0.5, validation_fraction=0.3)
    train, validation = cuts(splits.train), cuts(splits.validation)
    assert len(train) + len(validation) == 6  # 19 clips of 3 classes
    for cut in [*train, *validation]:
        start, end = cut.offset_s, cut.offset_s + cut.duration_s
        assert any(first <= start and end <= last for first, last in ((0, 1.5), (3.7, 6.5), (7.9, 10)))
        assert Path(cut.path or "").name != "whole.wav"
    # no cut is in another split than the annotations of its recording
    assert not {clip.path for clip in splits.train} & {clip.path for clip in splits.validation}
    usable, bad = keep_usable({"train": splits.train}, RATE_HZ, DataArguments(store_dir=str(tmp_path / "store")))
    assert not bad
    assert np.allclose(usable["train"].durations_s, [clip.duration_s or 5.0 for clip in usable["train"].table])


def test_gaps_of_all_recordings_are_used(tmp_path: Path) -> None:
    lines = []
    for i in range(20):
        write(tmp_path / f"{i:02}.wav", 3.0, seed=i)
        lines.append(f"{i:02}.wav,{'ab'[i % 2]},1.0,0.2,{i // 10}")
    path = manifest(tmp_path, lines, "path,label,offset,duration,fold")
    settings: dict[str, Any] = {"train_file": path, "background_gaps": True, "background_margin_seconds": 0.1}
    splits = load(**settings)
    assert len({clip.path for clip in [*cuts(splits.train), *cuts(splits.validation)]}) == 10
    assert "cut from 10 of 20 background recordings" in splits.notes[0]
    folds = load_folds(DataArguments(**settings, fold_column="fold"), seed=0)
    assert {clip.fold for clip in cuts(folds.table)} == {"0", "1"}
    both = load(**settings, background_dir=noise(tmp_path / "noise", 10))
    folders = {Path(clip.path or "").parent.name for clip in [*cuts(both.train), *cuts(both.validation)]}
    assert folders == {"noise", tmp_path.name}


def test_short_gaps_do_not_give_the_class_away_by_length(tmp_path: Path) -> None:
    """Between clips of 0.5 s nearly all gaps are of 0.2 s; some are long enough for a clip."""
    lines = []
    for i in range(6):
        write(tmp_path / f"{i}.wav", 8.0, seed=i)
        lines += [f"{i}.wav,{'ab'[at % 2]},{0.7 * at:.1f},0.5" for at in range(9)]  # from 6.1 s on, nothing
    settings: dict[str, Any] = {"train_file": manifest(tmp_path, lines), "background_gaps": True}
    splits = load(**settings, background_margin_seconds=0.0)
    found = [*cuts(splits.train), *cuts(splits.validation)]
    assert len(found) == 27
    assert {clip.duration_s for clip in found} == {0.5}
    assert {clip.offset_s >= 6.1 for clip in found} == {True}
    # clips that are longer than every gap: the longest gaps, whole, and a note
    long = [f"{i}.wav,{'ab'[i % 2]},{at},3.5" for i in range(6) for at in (0.0, 4.5)]
    splits = load(**{**settings, "train_file": manifest(tmp_path, long)}, background_margin_seconds=0.0)
    found = [*cuts(splits.train), *cuts(splits.validation)]
    assert {clip.duration_s for clip in found} == {1.0}
    assert "6 of them are shorter than training clips, because no stretch of background is as long" in splits.notes[0]


def test_lengths_that_one_recording_lacks_are_cut_from_another(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for i in range(40):
        write(folder / "ab"[i % 2] / f"{i}.wav", (0.2, 1.0)[i // 2 % 2], seed=i)
    for i in range(4):
        write(tmp_path / "noise" / f"short_{i}.wav", 0.5, seed=900 + i)
    write(tmp_path / "noise" / "long.wav", 20.0, seed=990)
    splits = load(data_dir=str(folder), background_dir=str(tmp_path / "noise"), validation_fraction=0.1)
    found = [*cuts(splits.train), *cuts(splits.validation)]
    assert len(found) == 20
    assert {clip.duration_s for clip in found} == {0.2, 1.0}
    assert 4 <= sum(clip.duration_s == 1.0 for clip in found) <= 16
    assert all(Path(clip.path or "").name == "long.wav" for clip in found if clip.duration_s == 1.0)


def test_formats_without_a_length_in_the_header_are_measured(tmp_path: Path) -> None:
    av = pytest.importorskip("av")

    def write_m4a(path: Path, seconds: float, seed: int) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        samples = (tone(300 + 10 * seed, seconds, seed=seed) * 32767).astype("int16")
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=RATE_HZ, layout="mono")
            frame = av.AudioFrame.from_ndarray(samples[None], format="s16", layout="mono")
            frame.sample_rate = RATE_HZ
            for packet in [*stream.encode(frame), *stream.encode(None)]:
                container.mux(packet)

    for i in range(8):
        write_m4a(tmp_path / "data" / "ab"[i % 2] / f"{i}.m4a", 0.3, seed=i)
    write_m4a(tmp_path / "noise" / "1.m4a", 4.0, seed=50)
    splits = load(data_dir=str(tmp_path / "data"), background_dir=noise(tmp_path / "noise", 2))
    found = [*cuts(splits.train), *cuts(splits.validation)]
    assert len(found) == 4
    assert all(0.25 <= clip.duration_s <= 0.45 for clip in found)
    assert {"1.m4a"} < {Path(clip.path or "").name for clip in found}
    write_m4a(tmp_path / "tape.m4a", 6.0, seed=60)
    lines = [f"tape.m4a,{'ab'[i % 2]},{i},0.4" for i in range(4)]
    of_tape = load_own_splits(DataArguments(train_file=manifest(tmp_path, lines), background_gaps=True), seed=0)
    assert [clip.offset_s >= 4.4 for clip in cuts(of_tape.train)] == [True, True]


def test_clips_of_which_none_can_be_measured(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / "data" / label).mkdir(parents=True)
        (tmp_path / "data" / label / "1.m4a").write_bytes(b"none")
    with pytest.raises(DataError, match=r"1\.m4a: the length of this clip, and of all other"):
        load(data_dir=str(tmp_path / "data"), background_dir=noise(tmp_path / "noise", 2))


def test_a_path_that_two_manifests_spell_differently_is_one_recording(tmp_path: Path) -> None:
    write(tmp_path / "tape.wav", 12.0)
    (tmp_path / "tables").mkdir()
    train = manifest(tmp_path, ["tape.wav,a,0.0,0.5", "tape.wav,b,1.0,0.5"])
    held = manifest(tmp_path / "tables", ["../tape.wav,a,2.0,9.5"])
    splits = load(train_file=train, eval_file=held, background_gaps=True, background_margin_seconds=0.0)
    found = [*cuts(splits.train), *cuts(splits.validation)]
    assert found
    for cut in found:
        start, end = cut.offset_s, cut.offset_s + (cut.duration_s or 0.0)
        assert any(first <= start and end <= last for first, last in ((0.5, 1.0), (1.5, 2.0), (11.5, 12.0)))


def test_background_recordings_that_are_clips_of_a_class(tmp_path: Path) -> None:
    folder = data(tmp_path / "data")
    noise(folder / "noise", 3)
    with pytest.raises(DataError, match=r"noise_0\.wav: this recording of --background_dir is also a clip.*'noise'"):
        load(data_dir=str(folder), background_dir=str(folder / "noise"))


def test_groups_and_folds(tmp_path: Path) -> None:
    lines = []
    for i in range(12):
        write(tmp_path / f"{i}.wav", 4.0, seed=i)
        lines.append(f"{i}.wav,{'ab'[i % 2]},1.0,0.5,s{i // 3},{i // 6}")
    path = manifest(tmp_path, lines, "path,label,offset,duration,speaker,fold")
    wanted = {"train_file": path, "background_gaps": True, "background_dir": noise(tmp_path / "noise", 4)}
    splits = load(**wanted, group_column="speaker", validation_fraction=0.3)
    assert not {clip.group for clip in splits.train} & {clip.group for clip in splits.validation}
    folds = load_folds(DataArguments(**wanted, fold_column="fold"), seed=0)
    of_path: dict[str | None, set[str]] = {}
    for clip, fold in zip(folds.table, folds.fold_names, strict=True):
        of_path.setdefault(clip.path, set()).add(fold)
    assert all(len(names) == 1 for names in of_path.values())
    assert {fold for clip, fold in zip(folds.table, folds.fold_names, strict=True) if clip in cuts(folds.table)} == {
        "0",
        "1",
    }


def test_several_labels(tmp_path: Path) -> None:
    folder = data(tmp_path / "data", per_class=6)
    splits = load(data_dir=str(folder), background_dir=noise(tmp_path / "noise", 4), task="multi_label")
    assert len(cuts(splits.train, ())) + len(cuts(splits.validation, ())) == 6
    assert splits.train.labels() == ["a", "b"]
    assert "6 clips without labels" in splits.notes[0]
    few = load(data_dir=str(folder), background_dir=str(tmp_path / "noise"), task="multi_label", shots=2)
    assert {label: sum(clip.label == label for clip in few.train) for label in (("a",), ("b",), ())} == {
        ("a",): 2,
        ("b",): 2,
        (): 2,
    }


def test_short_recordings_are_taken_whole_and_once(tmp_path: Path) -> None:
    folder = data(tmp_path / "data")
    splits = load(data_dir=str(folder), background_dir=noise(tmp_path / "noise", 3, seconds=0.15))
    found = [*cuts(splits.train), *cuts(splits.validation)]
    assert [(clip.offset_s, clip.duration_s) for clip in found] == [(0.0, 0.15)] * 3
    assert "10 clips were wanted, but no more" in splits.notes[0]
    splits = load(data_dir=str(folder), background_dir=noise(tmp_path / "little", 2, seconds=1.0))
    assert "they overlap, because the background recordings are too short" in splits.notes[0]


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"background_dir": "{here}/gone"}, DataError, "gone: no such folder"),
        ({"background_dir": "{here}/empty"}, DataError, "empty: no recordings in this folder"),
        ({"background_dir": "{here}/broken"}, DataError, "1 background recording of unknown length"),
        ({"background_gaps": True}, DataError, "no gaps to cut background clips from"),
    ],
)
def test_what_cannot_be_cut_from(settings: dict[str, Any], error: type[Exception], said: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.wav").write_bytes(b"none")
    given = {k: v.format(here=tmp_path) if isinstance(v, str) else v for k, v in settings.items()}
    with pytest.raises(error, match=said):
        load(data_dir=str(data(tmp_path / "data")), **given)


def test_settings_that_do_not_fit(tmp_path: Path) -> None:
    path = manifest(tmp_path, ["1.wav,0.5"], "path,label")
    with pytest.raises(UsageError, match="--task regression has no classes"):
        load(train_file=path, task="regression", background_gaps=True)
    for name, value in (("background_ratio", 0.0), ("background_margin_seconds", -1.0), ("background_class", " ")):
        with pytest.raises(UsageError, match=f"--{name}"):
            DataArguments(**{name: value})


def test_names_of_a_background_class() -> None:
    for name in ("background", "_silence_", "_background_noise_", "Background noise", "Other", "_unknown_", "no-call"):
        assert is_background(name), name
    for name in ("dog", "noisy miner", "restaurant", "another", "negative", "rest", "environment"):
        assert not is_background(name), name
