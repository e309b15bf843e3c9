"""The validation split that is made: seeded, stratified, no group on both sides."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from earmark.clips.clip import Clip, ClipTable
from earmark.clips.splits import make_folds, make_validation_split
from earmark.errors import DataError


def table_of(counts: dict[str, int], groups: int | None = None) -> ClipTable:
    clips = []
    for label, count in counts.items():
        for i in range(count):
            group = f"s{i % groups}" if groups else None
            clips.append(Clip(source=f"{label}/{i}.wav", path=f"{label}/{i}.wav", label=label, group=group))
    return ClipTable(clips, "data")


def test_every_class_gives_its_share():
    table = table_of({"a": 100, "b": 1000, "c": 14, "d": 2, "e": 1})
    train, validation = make_validation_split(table, 0.1, seed=0)
    assert validation.label_counts() == {"b": 100, "a": 10, "c": 1, "d": 1}
    assert train.label_counts() == {"b": 900, "a": 90, "c": 13, "d": 1, "e": 1}
    assert sorted(c.source for c in [*train, *validation]) == sorted(c.source for c in table)
    assert train.origin == "data"


def test_the_seed_decides_and_the_order_on_disk_does_not():
    table = table_of({"a": 50, "b": 50}, groups=10)
    shuffled = ClipTable(random.Random(3).sample(table.clips, len(table)), "data")

    def chosen(table: ClipTable, seed: int) -> set[str]:
        return {clip.source for clip in make_validation_split(table, 0.2, seed)[1]}

    assert chosen(table, 1) == chosen(shuffled, 1)
    assert len({frozenset(chosen(table, seed)) for seed in range(5)}) > 1


def test_rows_keep_the_order_of_the_table():
    table = table_of({"b": 20, "a": 20})
    position = {clip.source: i for i, clip in enumerate(table)}
    for part in make_validation_split(table, 0.3, seed=0):
        places = [position[clip.source] for clip in part]
        assert places == sorted(places)


def test_no_group_is_on_both_sides():
    rng = random.Random(0)
    clips = [
        Clip(source=str(i), path=str(i), label=rng.choice("abcde"), group=f"s{int(rng.paretovariate(1)) % 60}")
        for i in range(3000)
    ]
    table = ClipTable(clips, "data")
    train, validation = make_validation_split(table, 0.2, seed=0)
    assert not {c.group for c in train} & {c.group for c in validation}
    assert train.labels() == validation.labels() == list("abcde")
    share = Counter(c.label for c in validation)
    for label, count in table.label_counts().items():
        assert 0.1 < share[label] / count < 0.3


def test_a_class_of_one_group_stays_in_training():
    clips = [
        Clip(source=f"{g}{i}", path=f"{g}{i}", label="rare" if g == "s0" else "a", group=g)
        for g in ("s0", "s1", "s2", "s3")
        for i in range(5)
    ]
    train, validation = make_validation_split(ClipTable(clips, "data"), 0.5, seed=0)
    assert "rare" in train.labels()
    assert validation.labels() == ["a"]


def test_groups_larger_than_the_share_still_give_every_class_some():
    clips = [
        Clip(source=f"{label}{g}{i}", path=f"{label}{g}{i}", label=label, group=f"{label}{g}")
        for label in "ab" for g in range(2) for i in range(50)
    ]  # fmt: skip
    train, validation = make_validation_split(ClipTable(clips, "data"), 0.1, seed=0)
    assert train.label_counts() == validation.label_counts() == {"a": 50, "b": 50}


def test_cuts_of_one_recording_stay_together():
    clips = [
        Clip(source="x", path=f"{i // 10}.wav", label="ab"[i % 2], offset_s=float(i % 10), duration_s=1.0)
        for i in range(200)
    ]
    train, validation = make_validation_split(ClipTable(clips, "data"), 0.2, seed=0)
    assert not {c.path for c in train} & {c.path for c in validation}


def test_nothing_to_set_aside():
    with pytest.raises(DataError, match="data: no validation clips can be set aside"):
        make_validation_split(table_of({"a": 1, "b": 1}), 0.1, seed=0)


def test_events_of_one_recording_are_not_called_single_clips():
    events = [Clip("x", path="day/tape.wav", label="ab"[i % 2], offset_s=float(i), duration_s=1.0) for i in range(40)]
    with pytest.raises(DataError, match=r"all 40 clips are from one recording, tape\.wav.*--group_column"):
        make_validation_split(ClipTable(events, "data"), 0.1, seed=0)
    with pytest.raises(DataError, match=r"1 recording cannot be divided into 3 folds\..*--group_column"):
        make_folds(ClipTable(events, "data"), 3, seed=0)
