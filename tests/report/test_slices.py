"""Accuracy of parts of a split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable
from earmark.report.slices import slices
from earmark.tasks.report_section import ERROR


def table(count: int, **columns: list[object]) -> ClipTable:
    rows = [{name: values[i] for name, values in columns.items()} for i in range(count)]
    return ClipTable([Clip(f"{i}.wav", label="a", path="/none", metadata=row) for i, row in enumerate(rows)], "here")


def found(
    clips: ClipTable, right: list[bool], durations_s: list[float] | None = None
) -> dict[str, list[dict[str, object]]]:
    columns, _ = slices(clips, np.array(right), np.array(durations_s or [1.0] * len(clips)), None)
    return {column["name"]: column["rows"] for column in columns}


def test_values_of_a_column() -> None:
    right = [True] * 50 + [False] * 50
    rows = found(table(100, tape=["a"] * 50 + ["b"] * 40 + [None] * 10), right)["tape"]
    assert [(row["value"], row["clips"], row["accuracy"]) for row in rows] == [
        ("a", 50, 1.0),
        ("b", 40, 0.0),
        ("(empty)", 10, 0.0),
    ]
    assert all(row["differs"] for row in rows)
    assert rows[0]["low"] == pytest.approx(0.9286, abs=1e-4)  # Wilson's, of 50 in 50


def test_numbers_become_parts_of_like_size_and_lengths_do_too() -> None:
    ages = [str(20 + i) for i in range(40)]  # as CSV has them
    found_rows = found(table(40, age=ages), [i < 10 for i in range(40)], [0.1 * i for i in range(1, 41)])
    assert [row["clips"] for row in found_rows["age"]] == [10, 10, 10, 10]
    assert [row["accuracy"] for row in found_rows["age"]] == [1, 0, 0, 0]
    assert found_rows["length"][0]["value"] == "0.1 to 1.075 s"


def test_large_numbers_that_lie_close_are_told_apart() -> None:
    serials = [1_000_000 + i for i in range(40)]
    rows = found(table(40, serial=serials), [i < 10 for i in range(40)])["serial"]
    assert [row["value"] for row in rows][:2] == ["1000000 to 1000010", "1000010 to 1000020"]
    assert [row["clips"] for row in rows] == [10, 10, 10, 10]
    samples = found(table(40, samples=[1000 * i + 12_345 for i in range(40)]), [True] * 40)["samples"]
    assert samples[0]["value"] == "12345 to 22095"


def test_few_numbers_stay_values_in_their_order() -> None:
    rows = found(table(6, floor=[10, 9, 10, 9, 2, 2]), [True] * 6)["floor"]
    assert [row["value"] for row in rows] == ["2", "9", "10"]


def test_a_column_of_numbers_and_texts_is_said_to_be_one() -> None:
    _, notes = slices(table(4, age=["31", "40", "young", None]), np.ones(4, bool), np.ones(4), None)
    assert notes == ["column 'age' mixes 2 numbers with 1 text ('young') and is read as text"]
    _, notes = slices(table(4, speaker=["1e5", "ab3", "c4f", "9d0"]), np.ones(4, bool), np.ones(4), None)
    assert notes == []  # names, one of which reads like a number


def test_a_column_that_is_another_for_each_clip_is_left_out_aloud() -> None:
    columns, notes = slices(table(60, name=[f"clip {i}" for i in range(60)]), np.ones(60, bool), np.ones(60), None)
    assert "name" not in [column["name"] for column in columns]
    assert notes == ["not divided by column 'name': it has 60 values for 60 clips"]


def test_of_many_groups_the_worst_are_shown() -> None:
    groups = [f"g{i % 30:02}" for i in range(600)]
    clips = ClipTable([Clip("x", label="a", path="/none", group=group) for group in groups], "here")
    right = np.array([group != "g07" for group in groups])
    (column,), _ = slices(clips, right, np.ones(600), "speaker")
    assert column["name"] == "speaker"
    assert column["values"] == 30
    assert [row["value"] for row in column["rows"]][:2] == ["g07", "g00"]
    assert len(column["rows"]) == 12


def test_of_errors_the_largest_are_the_worst() -> None:
    groups = [f"g{i % 30:02}" for i in range(600)]
    clips = ClipTable([Clip("x", label=1.0, path="/none", group=group) for group in groups], "here")
    errors = np.array([5.0 + i % 7 if group == "g07" else 1.0 + i % 3 for i, group in enumerate(groups)])
    columns, _ = slices(clips, errors, np.ones(600), "speaker", ERROR, {"pitch": [float(i) for i in range(600)]})
    assert [column["name"] for column in columns] == ["pitch", "speaker"]
    worst, other = columns[1]["rows"][:2]
    assert worst["value"] == "g07"
    assert worst["mae"] == pytest.approx(np.mean([errors[i] for i in range(600) if groups[i] == "g07"]), rel=1e-4)
    assert worst["low"] < worst["mae"] < worst["high"]
    assert worst["differs"]
    assert not other["differs"]
    single, _ = slices(clips.keep([0, 1]), np.array([1.0, 2]), np.ones(2), "speaker", ERROR)
    assert [row["low"] for row in single[0]["rows"]] == [None, None]


def test_sampling_rates_are_read_from_headers(tmp_path: Path) -> None:
    clips = []
    for i, rate in enumerate((8000, 8000, 16000)):
        soundfile.write(tmp_path / f"{i}.wav", np.zeros(rate), rate, subtype="PCM_16")
        clips.append(Clip(str(i), label="a", path=str(tmp_path / f"{i}.wav")))
    rows = found(ClipTable(clips, "here"), [True, False, True])["sampling rate"]
    assert [(row["value"], row["clips"], row["accuracy"]) for row in rows] == [
        ("8000 Hz", 2, 0.5),
        ("16000 Hz", 1, 1.0),
    ]
