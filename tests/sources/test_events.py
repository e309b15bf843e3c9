"""Columns with the start and end of events: which are found by name, in which unit, and which ask for a choice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable
from earmark.clips.columns import Columns
from earmark.errors import DataError
from earmark.sources.manifests import load_manifest
from earmark.sources.tables.events import SAMPLES, TimeColumn, time_column
from earmark.tasks import MULTI_LABEL, REGRESSION


def table(folder: Path, text: str, name: str = "train.csv", columns: Columns | None = None) -> ClipTable:
    (folder / name).write_text(text)
    return load_manifest(folder / name, columns)


def cut(clip: Clip) -> tuple[float, float | None]:
    return clip.offset_s, clip.duration_s


@pytest.mark.parametrize(
    ("name", "role", "unit"),
    [
        ("onset", "start", 1.0), ("start", "start", 1.0), ("Begin Time (s)", "start", 1.0), ("start_ms", "start", 1e-3),
        ("segmentStart", "start", 1.0), ("start_time_seconds", "start", 1.0), ("Start Time", "start", 1.0),
        ("end_sample", "end", SAMPLES), ("End Time (s)", "end", 1.0), ("stop", "end", 1.0), ("end (min)", "end", 60.0),
        ("offset", "offset", 1.0), ("duration", "duration", 1.0), ("start_frame", "start", None), ("xmax", "end", 1.0),
    ],
)  # fmt: skip
def test_names_of_time_columns(name: str, role: str, unit: float | str | None) -> None:
    assert time_column(name) == TimeColumn(name, role, unit)


@pytest.mark.parametrize(
    "name", ["label", "start_date", "Begin Clock Time", "File Offset (s)", "audio_duration", "end_lat"]
)
def test_names_of_other_columns(name: str) -> None:
    assert time_column(name) is None


@pytest.mark.parametrize(
    ("header", "cells"),
    [
        ("onset,offset", "1.2,1.9"), ("start,end", "1.2,1.9"), ("Begin Time (s),End Time (s)", "1.2,1.9"),
        ("offset,duration", "1.2,0.7"), ("offset,end", "1.2,1.9"), ("start_ms,end_ms", "1200,1900"),
        ("start (min),end (min)", "0.02,0.0316666666667"), ("start,end", "0:01.2,00:00:01.9"),
        ("start,end,duration", "1.2,1.9,9"), ("start_seconds,duration", "1.2,0.7"),
    ],
)  # fmt: skip
def test_a_start_and_an_end_whatever_they_are_called(header: str, cells: str, tmp_path: Path) -> None:
    (clip,) = table(tmp_path, f"file,label,{header}\na.wav,x,{cells}\n")
    assert cut(clip) == pytest.approx((1.2, 0.7))
    assert not {"onset", "offset", "start", "end"} & set(clip.metadata)


def test_samples_are_those_of_the_recording(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(8_000), 8_000)
    (clip,) = table(tmp_path, "file,label,start_sample,end_sample\na.wav,x,2000,6000\n")
    assert cut(clip) == (0.25, 0.5)
    soundfile.write(tmp_path / "b.wav", np.zeros(8_000), 16_000)
    rows = {"b": {"wav": "b.wav", "start": 1600, "stop": 3200, "command": "x"}}
    (clip,) = table(tmp_path, json.dumps(rows), "t.json")
    assert cut(clip) == (0.1, 0.1)


def test_an_offset_alone_asks(tmp_path: Path) -> None:
    text = "file,label,offset\na.wav,x,0.5\n"
    with pytest.raises(DataError) as caught:
        table(tmp_path, text)
    assert "'offset' could be the start or the end of each event" in str(caught.value)
    assert "--start_column_name offset or --end_column_name offset" in str(caught.value)
    assert cut(table(tmp_path, text, columns=Columns(start="offset"))[0]) == (0.5, None)
    assert cut(table(tmp_path, text, columns=Columns(end="offset"))[0]) == (0.0, 0.5)
    assert cut(table(tmp_path, text, columns=Columns(start="none"))[0]) == (0.0, None)
    assert cut(table(tmp_path, "file,label,offset\na.wav,x,0\n")[0]) == (0.0, None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,label,start,end\na.wav,x,2,1\nb.wav,x,1,1\n", "row 2: the end 1 s is not after the start 2 s (1 other"),
        ("file,label,start,end\na.wav,x,-1,1\n", "row 2: the start -1 s is before the recording"),
        ("file;label;start\na.wav;x;0,5\nb.wav;x;1.5\n", "the start '0,5' is not a number of seconds. Write it with"),
        ("file,label,start_frame\na.wav,x,7\n", "the length of a frame in column 'start_frame' is unknown"),
    ],
)  # fmt: skip
def test_times_that_cannot_be(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        table(tmp_path, text)
    assert said in str(caught.value)


@pytest.mark.parametrize(("cell", "start_s", "is_obvious"), [("0,5", 0.5, True), ("1,250", 1.25, False)])
def test_decimal_commas_of_european_spreadsheets(cell: str, start_s: float, is_obvious: bool, tmp_path: Path) -> None:
    clips = table(tmp_path, f"file;label;start;end\na.wav;x;{cell};2\nb.wav;y;;3\n")
    assert [cut(clip) for clip in clips] == [(start_s, 2 - start_s), (0.0, 3.0)]
    said = f"the commas in column `start` were read as decimal points: {cell} is {cell.replace(',', '.')}"
    assert [reason.is_obvious for reason in clips.reasons if reason.text.endswith(said)] == [is_obvious]
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation"
    (clip,) = table(tmp_path, f"{header}\n1\t3601,5\t3602,25\trec.flac\t1,5\towl\n", "many.txt")
    assert cut(clip) == (1.5, 0.75)
    (clip,) = table(tmp_path, "file;value\na.wav;-3,75\n", columns=Columns(label="value", task=REGRESSION))
    assert clip.label == -3.75
    (clip,) = table(tmp_path, "file;label\na.wav;1,2\n", columns=Columns(task=MULTI_LABEL))
    assert clip.label == ("1", "2")


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("file;label;start_ms;end_ms\na.wav;x;500;1,500\nb.wav;x;1,500;12,000\n", None),
        ("file;value\na.wav;900\nb.wav;1,234\n", Columns(label="value", task=REGRESSION)),
    ],
)
def test_commas_that_may_group_thousands_are_refused(text: str, columns: Columns | None, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1,500|1,234"):
        table(tmp_path, text, columns=columns)


def test_columns_that_are_not_about_the_files(tmp_path: Path) -> None:
    (clip,) = table(tmp_path, "slice_file_name,fsID,start,end,fold,class\na.wav,7,3.1,7.1,2,dog\n")
    assert (cut(clip), clip.label, clip.fold) == ((0.0, None), "dog", "2")
    (clip,) = table(tmp_path, "file,label,duration,end\na.wav,x,7,3\n")
    assert cut(clip) == (0.0, None)


def test_each_choice_is_explained(tmp_path: Path) -> None:
    clips = table(tmp_path, "filename\tonset\toffset\tevent_label\na.wav\t0.2\t0.7\tdog\n", "strong.tsv")
    said = [reason.text.split(": ", 1)[1] for reason in clips.reasons]
    assert "column `offset` was read as the end of the event, in seconds, because there is a column `onset`" in said


def test_raven(tmp_path: Path) -> None:
    (tmp_path / "rec.flac").touch()
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tAnnotation"
    rows = [f"{n}\t{view} 1\t1\t{n}.5\t{n + 1}.0\t100\towl" for n in (1, 2) for view in ("Waveform", "Spectrogram")]
    clips = table(tmp_path, "\n".join([header, *rows]), "rec.Table.1.selections.txt")
    assert [(clip.path, *cut(clip), clip.label) for clip in clips] == [
        (f"{tmp_path}/rec.flac", 1.5, 0.5, "owl"),
        (f"{tmp_path}/rec.flac", 2.5, 0.5, "owl"),
    ]
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin File\tFile Offset (s)\tAnnotation"
    (clip,) = table(tmp_path, f"{header}\n1\t3601.5\t3602.25\trec.flac\t1.5\towl\n", "many.txt")
    assert (clip.path, *cut(clip)) == (f"{tmp_path}/rec.flac", 1.5, 0.75)


@pytest.mark.parametrize("point", [".", ","])
def test_a_label_track_of_audacity(point: str, tmp_path: Path) -> None:
    (tmp_path / "rec.wav").touch()
    text = "0.5\t1.25\towl\n\\\t100.0\t200.0\n2.0\t2.5\tbat\n".replace(".", point)
    clips = table(tmp_path, text, "rec.txt")
    assert [(clip.path, *cut(clip), clip.label) for clip in clips] == [
        (f"{tmp_path}/rec.wav", 0.5, 0.75, "owl"),
        (f"{tmp_path}/rec.wav", 2.0, 0.5, "bat"),
    ]


def test_a_label_track_may_have_a_label_before_the_recording(tmp_path: Path) -> None:
    (tmp_path / "rec.wav").touch()
    with pytest.raises(DataError, match=r"rec\.txt row 2: the start -0\.5 s is before the recording"):
        table(tmp_path, "0.5\t1.25\towl\n-0.5\t2.5\tbat\n", "rec.txt")


def test_selections_with_one_number_in_one_view_are_all_read(tmp_path: Path) -> None:
    (tmp_path / "rec.wav").touch()
    header = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tAnnotation"
    rows = [f"1\tSpectrogram 1\t{channel}\t1.5\t2.0\t{name}" for channel, name in ((1, "owl"), (2, "bat"))]
    with pytest.raises(DataError, match=r"several rows with different labels \(.*rec\.wav: bat, owl\)"):
        table(tmp_path, "\n".join([header, *rows]), "rec.Table.1.selections.txt")


@pytest.mark.parametrize("folder", ["/elsewhere/", "C:\\elsewhere\\"])
def test_raven_without_begin_file_on_another_machine(folder: str, tmp_path: Path) -> None:
    for name in ("a.wav", "site/b.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    header = "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tFile Offset (s)\tAnnotation"
    rows = [f"{n}\t{n}\t{n + 1}\t{folder}{name}\t0.5\towl" for n, name in enumerate(("a.wav", "b.wav"))]
    clips = table(tmp_path, "\n".join([header, *rows]), "all.txt")
    assert [(clip.path, *cut(clip)) for clip in clips] == [
        (f"{tmp_path}/a.wav", 0.5, 1.0),
        (f"{tmp_path}/site/b.wav", 0.5, 1.0),
    ]


def test_the_recording_beside_a_table_is_preferred_to_deeper_ones(tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    for name in ("rec.wav", "site/rec.wav"):
        (tmp_path / name).touch()
    (clip,) = table(tmp_path, "0.5\t1.25\towl\n", "rec.txt")
    assert clip.path == f"{tmp_path}/rec.wav"
    (tmp_path / "rec.flac").touch()
    with pytest.raises(DataError, match=r"rec could be .*rec\.flac or .*rec\.wav"):
        table(tmp_path, "0.5\t1.25\towl\n", "rec.txt")
