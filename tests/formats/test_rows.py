"""What rows look like in each format."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from earmark.formats.format import Rows, RowSettings
from earmark.formats.format_registry import usable_writer, writers
from earmark.formats.raven import loses_path
from earmark.formats.rttm import file_ids
from earmark.formats.segments import Segment, Window
from earmark.settings.flags import declared_flags
from earmark.settings.prediction_flags import PredictOptions

TOP = [{"label": 'a "b", c', "score": 0.75}, {"label": "ü\nx", "score": 0.1234567}]
WINDOW = Window(0.5, 1.5, np.zeros(2, np.float32))
SEGMENT = Segment(1.25, 3.0, "red kite", 0.98765432)


def rows_of(name: str, kind: str, top_k: int = 1, rate_hz: int = 16_000, **more: Any) -> Rows:
    return usable_writer(name).rows(RowSettings(kind, top_k, rate_hz, **more))


def cells(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


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


def test_every_format_is_a_choice_of_the_flag() -> None:
    assert declared_flags(PredictOptions)["format"].kind.choices == tuple(writers())


@pytest.mark.parametrize("name", list(writers()))
def test_every_format_keeps_label_score_and_path_apart(name: str) -> None:
    """Rows of a format that names recordings contain the path; a score has a column unless the facts deny it."""
    rows = rows_of(name, "segments")
    rows.start("odd.wav")
    text = rows.head() + rows.segment("odd.wav", SEGMENT)
    facts = writers()[name]
    assert ("odd" in text) == facts.has_path
    assert ("0.98" in text) == facts.has_score
    assert "kite" in text
    assert rows.bad("odd.wav", "empty") == "" or facts.whole_recordings


def test_label_formats() -> None:
    audacity, raven, rttm = (rows_of(name, "segments", 1, 16_000) for name in ("audacity", "raven", "rttm"))
    assert audacity.head() + audacity.segment("a.wav", SEGMENT) == "1.250000\t3.000000\tred kite\n"
    scored = rows_of("audacity", "segments", append_score=True)
    assert scored.segment("a.wav", SEGMENT) == "1.250000\t3.000000\tred kite 0.99\n"
    rows = raven.segment("in/a.wav", SEGMENT) + raven.segment("in/a.wav", SEGMENT)
    head, first, second = (raven.head() + rows).splitlines()
    columns = dict(zip(head.split("\t"), first.split("\t"), strict=True))
    assert columns == {
        "Selection": "1", "View": "Spectrogram 1", "Channel": "1", "Begin Time (s)": "1.250000",
        "End Time (s)": "3.000000", "Low Freq (Hz)": "0.0", "High Freq (Hz)": "8000.0",
        "Begin Path": os.path.abspath("in/a.wav"),
        "Begin File": "a.wav", "File Offset (s)": "1.250000", "Annotation": "red kite", "Score": "0.987654",
    }  # fmt: skip
    assert second == first.replace("1\t", "2\t", 1)
    assert rttm.segment("my tape.wav", SEGMENT) == ("SPEAKER my_tape 1 1.250 1.750 <NA> <NA> red_kite 0.987654 <NA>\n")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such file names")
def test_paths_in_raven_tables_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ('two  blanks "quoted".wav', " ' .wav", "plain.wav"):
        Path(name).touch()
        raven = rows_of("raven", "segments")
        cells = (raven.head() + raven.segment(name, SEGMENT)).splitlines()
        (row,) = csv.DictReader(cells, delimiter="\t")
        monkeypatch.chdir("/")  # a table may be opened from anywhere
        assert Path(row["Begin Path"]) == tmp_path / name
        assert Path(row["Begin Path"]).is_file()
        assert row["Begin File"] == name
        monkeypatch.chdir(tmp_path)
        assert not loses_path(name)
    assert loses_path("a\tb.wav")
    assert loses_path("a\nb.wav")


def test_kaleidoscope() -> None:
    rows = rows_of("kaleidoscope", "segments")
    (row,) = csv.DictReader((rows.head() + rows.segment("/data/site 1/a.wav", SEGMENT)).splitlines())
    assert row == {
        "INDIR": "/data", "FOLDER": "site 1", "IN FILE": "a.wav", "CHANNEL": "0", "OFFSET": "1.25", "DURATION": "1.75",
        "TOP1MATCH": "red kite", "SCORE": "0.987654",
    }  # fmt: skip


def test_raven_numbers_selections_of_each_recording_from_one() -> None:
    raven = rows_of("raven", "segments", 1, 16_000)
    for source in ("a", "b", "a"):
        raven.start(source)
        assert [raven.segment(source, SEGMENT).split("\t")[0] for _ in range(3)] == ["1", "2", "3"]
        raven.end(10.0)


def test_one_raven_table_counts_through_all_recordings_and_is_resumed() -> None:
    raven = rows_of("raven", "segments", one_table=True)
    for source in ("a.wav", "b.wav"):
        raven.start(source)
        cells = raven.segment(source, SEGMENT).split("\t")
        raven.end(10.0)
    assert (cells[0], cells[3], cells[4], cells[9]) == ("2", "11.250000", "13.000000", "1.250000")
    resumed = rows_of("raven", "segments", one_table=True)
    resumed.restore(json.loads(json.dumps(raven.state())))
    resumed.start("c.wav")
    assert resumed.segment("c.wav", SEGMENT).split("\t")[:4] == ["3", "Spectrogram 1", "1", "21.250000"]


def test_rttm_ids_are_all_different() -> None:
    sources = ["in/rec.wav", "in/rec.flac", "in/other.wav", "a b.wav", "a_b.wav", "a\tb.wav", "in/rec_.wav"]
    ids = file_ids(sources)
    assert list(ids) != []
    assert len(set(ids.values())) == len(sources)
    assert not any(set(name) & set(" \t\n") for name in ids.values())
    assert (ids["in/other.wav"], ids["in/rec.wav"], ids["in/rec.flac"]) == ("in/other", "in/rec.wav", "in/rec.flac")
    row = rows_of("rttm", "segments", ids=ids).segment("a b.wav", SEGMENT)
    assert row.split()[1] == ids["a b.wav"]


def test_all_labels_of_a_window_get_a_row() -> None:
    top: list[Any] = [
        {"label": "a", "score": 0.9, "present": True},
        {"label": "b", "score": 0.4, "present": False},
        {"label": "c", "score": 0.3, "present": True},
    ]
    for name in ("audacity", "raven", "rttm", "kaleidoscope"):
        text = rows_of(name, "windows", several=True).window("x.wav", WINDOW, top)
        assert len(text.splitlines()) == 2


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n", ","])
@pytest.mark.parametrize("name", ["csv", "kaleidoscope"])
def test_line_ends_in_names_do_not_end_rows(name: str, end: str) -> None:
    rows = rows_of(name, "segments")
    text = rows.head() + rows.segment(f"/x/a{end}b.wav", Segment(0, 1, f"l{end}m", 0.5))
    head, row = cells(text)
    assert any(f"a{end}b.wav" in cell for cell in row)
    assert f"l{end}m" in row
    assert len(row) == len(head)


@pytest.mark.parametrize("format", ["audacity", "raven"])
def test_a_label_never_breaks_a_line(format: str) -> None:
    rows = rows_of(format, "segments", 1, 16_000)
    row = rows.segment("a.wav", Segment(0, 1, "a\tb\nc", 1.0))
    assert row.count("\n") == 1
    assert "a b c" in row
