"""What rows look like in each format."""

from __future__ import annotations

import csv
import json
import os

import numpy as np
import pytest

from earmark.predict.rows import rows_of
from earmark.predict.timeline import Segment, Window

TOP = [{"label": 'a "b", c', "score": 0.75}, {"label": "ü\nx", "score": 0.1234567}]
WINDOW = Window(0.5, 1.5, np.zeros(2, np.float32))
SEGMENT = Segment(1.25, 3.0, "red kite", 0.98765432)


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(text.splitlines(keepends=True)))


def test_csv() -> None:
    clips, windows, segments = (rows_of("csv", kind, 2, 16_000) for kind in ("clips", "windows", "segments"))
    assert cells(clips.head() + clips.clip("one.wav", TOP) + clips.bad("two, 2.wav", "empty")) == [
        ["path", "label", "score", "label_2", "score_2"],
        ["one.wav", 'a "b", c', "0.75", "ü\nx", "0.123457"],
        ["two, 2.wav", "", "", "", ""],
    ]
    assert cells(windows.head() + windows.window("one.wav", WINDOW, TOP)) == [
        ["path", "start_s", "end_s", "label", "score", "label_2", "score_2"],
        ["one.wav", "0.5", "1.5", 'a "b", c', "0.75", "ü\nx", "0.123457"],
    ]
    assert cells(segments.head() + segments.segment("one.wav", SEGMENT)) == [
        ["path", "start_s", "end_s", "label", "score"],
        ["one.wav", "1.25", "3", "red kite", "0.987654"],
    ]
    assert windows.bad("a", "empty") == segments.bad("a", "empty") == ""


def test_json_lines() -> None:
    rows = rows_of("jsonl", "segments", 1, 16_000)
    assert rows.head() == ""
    assert json.loads(rows.segment("a.wav", SEGMENT)) == {
        "path": "a.wav", "start_s": 1.25, "end_s": 3.0, "label": "red kite", "score": 0.987654,
    }  # fmt: skip
    window = json.loads(rows.window("a.wav", WINDOW, TOP))
    assert window == {
        "path": "a.wav", "start_s": 0.5, "end_s": 1.5,
        "predictions": [TOP[0], {"label": "ü\nx", "score": 0.123457}],
    }  # fmt: skip
    assert json.loads(rows.bad("a.wav", "empty")) == {"path": "a.wav", "error": "empty"}
    odd = os.fsdecode(b"caf\xe9.wav")
    assert json.loads(rows.clip(odd, TOP).encode("utf-8").decode("utf-8"))["path"] == odd


def test_label_formats() -> None:
    audacity, raven, rttm = (rows_of(name, "segments", 1, 16_000) for name in ("audacity", "raven", "rttm"))
    assert audacity.head() + audacity.segment("a.wav", SEGMENT) == "1.250000\t3.000000\tred kite 0.99\n"
    head, first, second = (raven.head() + 2 * raven.segment("a.wav", SEGMENT)).splitlines()
    columns = dict(zip(head.split("\t"), first.split("\t"), strict=True))
    assert columns == {
        "Selection": "1", "View": "Spectrogram 1", "Channel": "1", "Begin Time (s)": "1.250000",
        "End Time (s)": "3.000000", "Low Freq (Hz)": "0", "High Freq (Hz)": "8000", "Begin Path": "a.wav",
        "Annotation": "red kite", "Score": "0.987654",
    }  # fmt: skip
    assert first == second
    assert rttm.segment("my tape.wav", SEGMENT) == ("SPEAKER my_tape 1 1.250 1.750 <NA> <NA> red_kite 0.987654 <NA>\n")


def test_raven_numbers_selections_of_a_table_from_one() -> None:
    raven = rows_of("raven", "segments", 1, 16_000)
    for _ in range(2):
        raven.head()
        assert [raven.segment("a", SEGMENT).split("\t")[0] for _ in range(3)] == ["1", "2", "3"]


@pytest.mark.parametrize("format", ["audacity", "raven"])
def test_a_label_never_breaks_a_line(format: str) -> None:
    rows = rows_of(format, "segments", 1, 16_000)
    row = rows.segment("a.wav", Segment(0, 1, "a\tb\nc", 1.0))
    assert row.count("\n") == 1
    assert "a b c" in row
