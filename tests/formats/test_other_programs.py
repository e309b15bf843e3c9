"""Tables as Kaleidoscope Pro, BirdNET-Analyzer and other programs write them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from earmark.clips.clip import ClipTable
from earmark.clips.columns import Columns
from earmark.errors import DataError
from earmark.sources.manifests import load_manifest


def table(folder: Path, text: str, name: str, columns: Columns | None = None) -> ClipTable:
    (folder / name).write_text(text, encoding="utf-8")
    return load_manifest(folder / name, columns)


def rows(clips: ClipTable, folder: Path) -> list[tuple[str, float, float | None, object]]:
    return [(os.path.relpath(str(clip.path), folder), clip.offset_s, clip.duration_s, clip.label) for clip in clips]


@pytest.fixture(autouse=True)
def recordings(tmp_path: Path) -> None:
    for name in ("site/rec.wav", "other/rec.wav"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()


@pytest.mark.parametrize("above", ["{folder}", "C:\\elsewhere"])
@pytest.mark.parametrize(
    ("column", "cells", "label"),
    [
        ("TOP1MATCH", ["owl", "bat"], ["owl", "bat"]),
        ("AUTO ID", ["owl", "bat"], ["owl", "bat"]),
        ("TOP1MATCH,MANUAL ID", ["owl,kite", "bat,kite"], ["kite", "kite"]),
        ("TOP1MATCH,MANUAL ID", ["owl,kite", "bat,"], ["owl", "bat"]),
    ],
)
def test_kaleidoscope(above: str, column: str, cells: list[str], label: list[str], tmp_path: Path) -> None:
    above = above.format(folder=tmp_path)
    lines = [f"{above},{where},rec.wav,0,1.5,0.5,{cell}" for where, cell in zip(("site", "other"), cells, strict=True)]
    clips = table(tmp_path, "\n".join([f"INDIR,FOLDER,IN FILE,CHANNEL,OFFSET,DURATION,{column}", *lines]), "meta.csv")
    assert rows(clips, tmp_path) == [("site/rec.wav", 1.5, 0.5, label[0]), ("other/rec.wav", 1.5, 0.5, label[1])]
    said = [reason.text for reason in clips.reasons if not reason.is_obvious]
    is_partly_checked = cells[1] == "bat,"
    assert any("`MANUAL ID` is filled in only 1 of 2 rows" in text for text in said) == is_partly_checked


@pytest.mark.parametrize(
    ("columns", "label", "group"),
    [
        (Columns(label="TOP1MATCH"), "owl", None),
        (Columns(label="MANUAL ID"), "kite", None),
        (Columns(group="FOLDER"), "kite", "site"),
    ],
)
def test_columns_of_kaleidoscope_can_be_named(columns: Columns, label: str, group: str | None, tmp_path: Path) -> None:
    text = "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH,MANUAL ID\n{},site,rec.wav,1.5,0.5,owl,kite\n"
    (clip,) = table(tmp_path, text.format(tmp_path), "id.csv", columns)
    assert (clip.label, clip.group) == (label, group)


def test_the_column_of_recordings_of_a_birdnet_table_may_have_any_usual_name(tmp_path: Path) -> None:
    text = f"filename,start,end,Common name,Confidence\n{tmp_path}/site/rec.wav,3,6,owl,0.8\n"
    clips = table(tmp_path, text, "all.csv")
    assert rows(clips, tmp_path) == [("site/rec.wav", 3.0, 3.0, "owl")]


BIRDNET = {
    "rec.BirdNET.results.csv": (
        "Start (s),End (s),Scientific name,Common name,Confidence\n3.0,6.0,Strix varia,Barred Owl,0.8\n"
    ),
    "all.csv": (
        "Start (s),End (s),Scientific name,Common name,Confidence,File\n3.0,6.0,Strix varia,Barred Owl,0.8,{rec}\n"
    ),
    "r.csv": (
        "filepath,start,end,scientific_name,common_name,confidence,lat\n{rec},3.0,6.0,Strix varia,Barred Owl,0.8,-1\n"
    ),
    "kaleidoscope.csv": (
        "INDIR,FOLDER,IN FILE,OFFSET,DURATION,scientific_name,common_name,confidence\n"
        "{folder},site,rec.wav,3.0,3.0,Strix varia,Barred Owl,0.8\n"
    ),
    "rec.BirdNET.selection.table.txt": (
        "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tCommon Name\t"
        "Species Code\tConfidence\tBegin Path\tFile Offset (s)\n"
        "1\tSpectrogram 1\t1\t3.0\t6.0\t0\t15000\tBarred Owl\tbrdowl\t0.8\t{rec}\t3.0\n"
    ),
    "rec.BirdNET.txt": "3.0\t6.0\tBarred Owl\t0.8000\n",
}


@pytest.mark.parametrize("name", list(BIRDNET))
def test_birdnet(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    text = BIRDNET[name].format(rec=folder / "rec.wav", folder=tmp_path)
    clips = table(folder, text, name)
    assert rows(clips, folder) == [("rec.wav", 3.0, 3.0, "Barred Owl")]
    assert float(str(clips[0].metadata.get("score") or clips[0].metadata.get("confidence") or 0.8)) == 0.8


def test_a_species_beside_a_label_stays_metadata(tmp_path: Path) -> None:
    text = "path,label,common name,confidence\nsite/rec.wav,call,Barred Owl,0.8\n"
    assert table(tmp_path, text, "a.csv")[0].label == "call"


def test_rttm_of_other_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ";; comment\nSPKR-INFO rec 1 <NA> <NA> <NA> unknown A <NA>\nSPEAKER rec 1 3.000 1.500 <NA> <NA> A\n"
    clips = table(tmp_path / "site", text, "a.rttm")
    assert rows(clips, tmp_path / "site") == [("rec.wav", 3.0, 1.5, "A")]
    with pytest.raises(
        DataError, match=r"a\.rttm row 1: 3 fields, but a SPEAKER line of RTTM has at least 8\. Correct"
    ):
        table(tmp_path, "SPEAKER rec 1\n", "a.rttm")
    with pytest.raises(DataError, match=r"a\.rttm: has no SPEAKER lines of RTTM"):
        table(tmp_path, "path,label\na.wav,x\n", "a.rttm")
    monkeypatch.chdir(tmp_path)  # an id is a path without suffix, from the working directory
    Path("tables").mkdir()
    clips = table(Path("tables"), "SPEAKER site/rec 1 3.000 1.500 <NA> <NA> A\n", "a.rttm")
    assert rows(clips, tmp_path) == [("site/rec.wav", 3.0, 1.5, "A")]


@pytest.mark.parametrize(
    ("name", "header", "row"),
    [
        ("meta.csv", "INDIR,FOLDER,IN FILE,OFFSET,DURATION,TOP1MATCH", "{folder},{site},rec.wav,1.5,0.5,owl"),
        (
            "all.txt",
            "Selection\tBegin Time (s)\tEnd Time (s)\tBegin Path\tBegin File\tAnnotation",
            "1\t1.5\t2.0\t{folder}/{site}/rec.wav\trec.wav\towl",
        ),
    ],
)
def test_a_deleted_recording_does_not_change_the_others(name: str, header: str, row: str, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    lines = [row.format(folder=tmp_path, site=site) for site in ("site", "deleted", "other")]
    clips = table(tmp_path / "tables", "\n".join([header, *lines]), name)
    assert [str(clip.path) for clip in clips] == [f"{tmp_path}/{site}/rec.wav" for site in ("site", "deleted", "other")]
