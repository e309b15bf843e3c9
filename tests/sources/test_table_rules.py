"""How tables of every form are read: separators, quotes, encodings, columns, cells, and what is said about it."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import soundfile

from earmark.clips.clip import ClipTable, sorted_labels
from earmark.clips.columns import Columns
from earmark.errors import DataError
from earmark.sources.manifests import load_manifest
from earmark.sources.tables import locate
from earmark.tasks import MULTI_LABEL, REGRESSION
from tests.sources.empty_files import touch
from tests.tiny import tone

SEVERAL = Columns(task=MULTI_LABEL)


def table(folder: Path, text: str | bytes, name: str = "train.csv", columns: Columns | None = None) -> ClipTable:
    path = folder / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_manifest(path, columns)


def pairs(clips: ClipTable) -> list[tuple[str, Any]]:
    return [(clip.source, clip.label) for clip in clips]


AB = [("a.wav", "low"), ("b.wav", "high")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "file, label\na.wav, low\nb.wav , high\n"),
        ("t.csv", "file\tlabel\na.wav\tlow\nb.wav\thigh\n"),
        ("t.csv", "file|label\na.wav|low\nb.wav|high\n"),
        ("t.csv", "sep=;\nfile;label\na.wav;low\nb.wav;high\n"),
        ("t.csv", "sep=\t\nfile\tlabel\na.wav\tlow\nb.wav\thigh\n"),
        ("t.tsv", "file;label\na.wav;low\nb.wav;high\n"),
        ("t.csv", "# made by me\n#\nfile,label\na.wav,low\n# half, of, it\nb.wav,high\n"),
        ("t.csv", "# a, b\n# file, label\na.wav, low\nb.wav, high\n"),
        ("t.csv", "file,label,,\na.wav,low,,\nb.wav,high,,\n,,,\n"),
        ("t.csv", "file,label\na.wav,low,\nb.wav,high,,\n"),
        ("t.csv", ",file,label\n0,a.wav,low\n1,b.wav,high\n"),
        ("t.csv", "file,label\r\na.wav,low\r\nb.wav,high\r\n"),
        ("t.csv", "file,label\ra.wav,low\rb.wav,high"),
        ("t.csv", "file,label\na.wav,low\nb.wav,high\n".encode("utf-16")),
        ("t.csv", "file,label\na.wav,low\nb.wav,high\n".encode("utf-16-le")),
        ("t.csv", "file,label\na.wav,low\nb.wav,high\n".encode("utf-16-be")),
        ("t.txt", "file\tlabel\na.wav\tlow\nb.wav\thigh\n"),
        ("t.json", '{"file": {"0": "a.wav", "7": "b.wav"}, "label": {"0": "low", "7": "high"}}'),
        ("t.json", '{"0": {"file": "a.wav", "label": "low"}, "1": {"file": "b.wav", "label": "high"}}'),
        ("t.json", '{"columns": ["file", "label"], "index": [0, 1], "data": [["a.wav", "low"], ["b.wav", "high"]]}'),
        ("t.json", '{"schema": {}, "data": [{"file": "a.wav", "label": "low"}, {"file": "b.wav", "label": "high"}]}'),
        ("t.json", '{"file": ["a.wav", "b.wav"], "label": ["low", "high"]}'),
    ],
)
def test_forms_of_one_table(name: str, text: str | bytes, tmp_path: Path) -> None:
    assert pairs(table(tmp_path, text, name)) == AB


def test_speechbrain_rows_by_id_with_a_placeholder_before_the_paths(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.wav")
    rows = {"one": {"wav": "{data_root}/x/a.wav", "length": 0.3, "command": "go"}}
    (clip,) = table(tmp_path, json.dumps(rows), "t.json")
    assert (clip.path, clip.label, clip.metadata["id"]) == (f"{tmp_path}/x/a.wav", "go", "one")


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.json", '[["a.wav", "low"]]', "orient='values'"),
        ("t.json", '{"train": [{"file": "a.wav"}], "test": []}', "in one file per split"),
        ("t.json", '[{"id": 1, "data": {}, "annotations": []}]', "full export of Label Studio"),
        ("t.json", '{"a": {"x": 1}, "b": {"x": 2}}', "Name that column with --audio_column_name"),
        ("t.csv", b"PK\x03\x04abc", "Excel workbook"),
        ("t.csv", b"\x1f\x8babc", "is compressed with gzip, not text. Unpack it first"),
        ("t.xlsx", b"PK", "Save the sheet as CSV"),
        ("t.csv", "a.wav,low\nb.wav,high\n", "Its first row looks like data (a.wav): add a header"),
        ("t.csv", 'file,note,label\na.wav,"x,low\nb.wav,y",high\n', "after lines that look like separate rows"),
        ("t.csv", "file,label\na.wav,x,y\nb.wav,x\nc.wav,x,y\n", "row 2: 3 cells, but the header has 2 (1 other row"),
        ("t.csv", "file,primary_label,category\na.wav,x,y\n", "each of primary_label, category could be the labels"),
    ],
)
def test_what_is_no_table_is_named_with_what_to_do(name: str, text: str | bytes, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        table(tmp_path, text, name)
    assert said in str(caught.value)


def test_quotes_between_tabs_are_text_unless_they_enclose_a_cell(tmp_path: Path) -> None:
    cells = ['"never closed', '"Is it?" he asked', 'say "a" twice', '"whole ""cell"""', '"a\tb"', '"two\nlines"', '"']
    text = "path\tsentence\tlabel\n" + "".join(f"{i}.wav\t{cell}\tc{i}\n" for i, cell in enumerate(cells))
    clips = table(tmp_path, text, "t.tsv")
    assert pairs(clips) == [(f"{i}.wav", f"c{i}") for i in range(len(cells))]
    read = [clip.metadata["sentence"] for clip in clips]
    assert read == [*cells[:3], 'whole "cell"', "a\tb", "two\nlines", '"']


@pytest.mark.parametrize("end", ['world"', '"world"', "w"])
def test_a_quote_between_tabs_swallows_no_rows(end: str, tmp_path: Path) -> None:
    rows = ['a.wav\t"Hello', "b.wav\tok\tcat", f"c.wav\t{end}\tdog", "d.wav\tz\tdog"]
    with pytest.raises(DataError, match="row 2: 2 cells, but the header has 3, and the quote that opens in '\"Hello'"):
        table(tmp_path, "\n".join(["path\tsentence\tlabel", *rows]) + "\n", "t.tsv")


def test_rows_that_begin_with_a_hash_are_rows_if_they_are_full(tmp_path: Path) -> None:
    touch(tmp_path, "low/#1.wav", "low/2.wav", "3.wav")
    named = Columns(audio_dir=f"{tmp_path}/low")
    clips = table(tmp_path, "path,label\n#1.wav,low\n2.wav,low\n# a remark\n# a, remark, of it\n", columns=named)
    assert pairs(clips) == [("#1.wav", "low"), ("2.wav", "low")]
    clips = table(tmp_path, "label,path\n#low,2.wav\nhigh,3.wav\n#\n", columns=named)
    assert pairs(clips) == [("2.wav", "#low"), ("3.wav", "high")]
    clips = table(tmp_path, "path,label\nlow/2.wav,low\n# 3.wav,high\n")  # taken out on purpose
    assert pairs(clips) == [("low/2.wav", "low")]
    assert "1 row with # at the start was ignored" in " ".join(reason.text for reason in clips.reasons)


def test_a_long_cell_of_a_column_that_is_not_used(tmp_path: Path) -> None:
    limit = csv.field_size_limit()
    assert len(table(tmp_path, f'path,label,x\na.wav,low,"{"1 " * 90_000}"\nb.wav,high,\n')) == 2
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("name", ["t.csv", "t.jsonl"])
@pytest.mark.parametrize("pad", ["", " "])
def test_a_byte_0_is_damage_and_not_utf_16(name: str, pad: str, tmp_path: Path) -> None:
    text = f"path,label\na.wav,low{pad}\0\nb.wav,high\n"
    if name == "t.jsonl":
        text = f'{{"path": "a.wav"}}\n{{"path": "b\0.wav"}}{pad}\n'
    with pytest.raises(DataError, match=r"row 2: contains a zero byte, so the file is damaged\. Remove the"):
        table(tmp_path, text, name)


DEEP = "[" * 200_000
LONG = "9" * 5_000


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.json", DEEP, "t.json: lists or objects are nested too deeply"),
        ("t.jsonl", '{"path": "a.wav"}\n' + DEEP, "t.jsonl row 2: lists or objects are nested too deeply"),
        ("t.json", f'[\n{{"path": "a.wav", "label": {LONG}}}]', "t.json row 2: has a whole number with more digits"),
        ("t.jsonl", f'{{"path": "a.wav", "label": {LONG}}}\n', "t.jsonl row 1: has a whole number with more digits"),
        ("t.json", f'[{{"path": "a.wav", "label": {"[" * 900}{"]" * 900}}}]', "the label is a list"),
    ],
)
def test_numbers_and_lists_without_end(name: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        table(tmp_path, text, name)
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500


def test_text_with_brackets_without_end_is_a_name_and_huge_numbers_are_not_finite(tmp_path: Path) -> None:
    deep = "[" * 6_000 + "]" * 6_000
    assert table(tmp_path, f'path,label\na.wav,"{deep}"\n')[0].label == deep
    number = Columns(task=REGRESSION)
    with pytest.raises(DataError, match="is not a finite number"):
        table(tmp_path, f'[{{"path": "a.wav", "label": {"9" * 400}}}]', "t.json", number)
    with pytest.raises(DataError, match="1e\\+39 is larger than float32 can hold"):
        table(tmp_path, '[{"path": "a.wav", "label": 1e39}]', "t.json", number)
    with pytest.raises(DataError, match="is not a number of seconds"):
        table(tmp_path, f'[{{"path": "a.wav", "label": "x", "start": {"9" * 400}, "end": 1}}]', "t.json")


# ---------------------------------------------------------------- labels


@pytest.mark.parametrize("cell", ["nan", "NaN", "None", "null", "NA", "<NA>", "", "  "])
def test_missing_labels_are_one_message_or_left_out(cell: str, tmp_path: Path) -> None:
    text = f"file,label\na.wav,low\nb.wav,{cell}\nc.wav,high\nd.wav,{cell}\n"
    with pytest.raises(DataError) as caught:
        table(tmp_path, text)
    said = str(caught.value)
    assert "row 3: has no label in column 'label'" in said
    assert "(1 other row with the same fault: 5)" in said
    assert "--on_missing_label skip" in said
    clips = table(tmp_path, text, columns=Columns(skip_missing_labels=True))
    assert pairs(clips) == [("a.wav", "low"), ("c.wav", "high")]
    assert "2 of 4 rows were ignored" in "".join(reason.text for reason in clips.reasons if not reason.is_obvious)


def test_none_in_small_letters_is_a_class(tmp_path: Path) -> None:
    assert table(tmp_path, "file,label\na.wav,none\n").labels() == ["none"]


@pytest.mark.parametrize(
    "cell",
    [
        "['low', 'tone']", '["low", "tone"]', "('low', 'tone')", "{'low', 'tone'}", "['low' 'tone']",
        "{\"choices\": [\"low\", \"tone\"]}", "low,tone", " low , tone ",
    ],
)  # fmt: skip
def test_lists_as_text(cell: str, tmp_path: Path) -> None:
    quoted = cell.replace('"', '""')
    (clip,) = table(tmp_path, f'file,label\na.wav,"{quoted}"\n', columns=SEVERAL)
    assert sorted(clip.classes) == ["low", "tone"]


def test_a_list_of_one_is_a_single_label_and_one_of_two_names_the_task(tmp_path: Path) -> None:
    assert pairs(table(tmp_path, "file,label\na.wav,['low']\nb.wav,\"('high',)\"\n")) == AB
    with pytest.raises(DataError, match=r"the label is a list of 2: low, tone.*--task multi_label"):
        table(tmp_path, "file,label\na.wav,\"['low', 'tone']\"\n")


def test_brackets_that_hold_no_list_are_part_of_a_name(tmp_path: Path) -> None:
    assert table(tmp_path, "file,label\na.wav,[noise]\nb.wav,(unknown)\n").labels() == ["(unknown)", "[noise]"]


def test_columns_of_0_and_1(tmp_path: Path) -> None:
    text = "file,low,high,loud,note\na.wav,1,0,1,x\nb.wav,0,1,0,y\n"
    clips = table(tmp_path, text, columns=SEVERAL)
    assert pairs(clips) == [("a.wav", ("low", "loud")), ("b.wav", ("high",))]
    assert pairs(table(tmp_path, text, columns=Columns(label="low,high"))) == AB
    with pytest.raises(DataError, match=r"row 2 has 1 in 2 columns.*--label_column_name a,b,c.*--task multi_label"):
        table(tmp_path, text)
    assert pairs(table(tmp_path, text.replace(",loud", ",kind"), columns=Columns(label="note")))[0][1] == "x"


def test_a_row_for_each_label(tmp_path: Path) -> None:
    text = "file,label\na.wav,low\na.wav,tone\nb.wav,high\nb.wav,tone\n"
    assert pairs(table(tmp_path, text, columns=SEVERAL)) == [("a.wav", ("low", "tone")), ("b.wav", ("high", "tone"))]
    with pytest.raises(DataError, match=r"2 of 2 clips have several rows with different labels.*--task multi_label"):
        table(tmp_path, text)


def test_another_separator_is_pointed_to(tmp_path: Path) -> None:
    clips = table(tmp_path, "file,label\na.wav,low tone\nb.wav,high tone\n", columns=SEVERAL)
    assert "add --label_separator ' '" in clips.reasons[-1].text


def test_whole_numbers_are_ordered_as_numbers() -> None:
    assert sorted_labels(["11", "2", "10", "1", "0"]) == ["0", "1", "2", "10", "11"]
    assert sorted_labels(["10.0", "2.0", "-1.0"]) == ["-1.0", "2.0", "10.0"]
    assert sorted_labels(["10", "2", "dog"]) == ["10", "2", "dog"]


# ---------------------------------------------------------------- recordings


def test_starts_and_stops_inside_the_cells_of_speechbrain(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", tone(440, 0.1), 16_000)
    rows = {
        "1": {"wav": {"file": "a.wav", "start": 160, "stop": 320}, "label": "x", "length": 0.01},
        "2": {"wav": {"files": ["a.wav"], "start": 800}, "label": "y", "length": 0.05},
        "3": {"wav": {"file": "a.wav"}, "label": "y", "length": 0.1},
        "4": {"wav": "a.wav", "label": "y", "length": 0.1},
    }
    clips = table(tmp_path, json.dumps(rows), "t.json")
    assert [(clip.path, clip.offset_s, clip.duration_s) for clip in clips] == [
        (f"{tmp_path}/a.wav", 0.01, 0.01),
        (f"{tmp_path}/a.wav", 0.05, None),
        (f"{tmp_path}/a.wav", 0.0, None),
        (f"{tmp_path}/a.wav", 0.0, None),
    ]
    rows["1"]["wav"] = {"files": ["a.wav", "b.wav"]}
    with pytest.raises(DataError, match=r"row 1: names 2 files for one clip \(a\.wav, \.\.\.\)\. Mix them into one"):
        table(tmp_path, json.dumps(rows), "t.json")


def test_recordings_are_found_below_the_table_by_unique_name(tmp_path: Path) -> None:
    touch(tmp_path, "audio/owl/XC1.ogg", "audio/b.WAV", "other/caf\u0065\u0301.wav", "audio/notes.txt")
    text = "filename,primary_label\nowl/XC1.ogg,owl\nb,bat\nB.wav,bat\ncaf\u00e9.wav,cat\n"
    clips = table(tmp_path, text)
    below = [str(Path(str(clip.path)).relative_to(tmp_path)) for clip in clips]
    assert below == ["audio/owl/XC1.ogg", "audio/b.WAV", "audio/b.WAV", "other/caf\u0065\u0301.wav"]
    assert "4 recordings were found below" in clips.reasons[-1].text
    assert not clips.reasons[-1].is_obvious


def test_names_in_another_unicode_form_are_said_to_be_that(tmp_path: Path) -> None:
    touch(tmp_path, *(f"e\u0301_{i}.wav" for i in range(3)))
    rows = "".join(f"\u00e9_{i}.wav,{'ab'[i % 2]}\n" for i in range(3))
    clips = table(tmp_path, f"path,label\n{rows}")
    assert [Path(str(clip.path)).name for clip in clips] == [f"e\u0301_{i}.wav" for i in range(3)]
    text = clips.reasons[-1].text
    assert "3 recordings were found below" in text
    assert "although their names on disk have another Unicode form" in text
    assert text.endswith("e.g. \u00e9_0.wav is written in NFC in the table and in NFD on disk")
    (tmp_path / "other").mkdir()
    touch(tmp_path, "other/\u00e9.wav")
    other = table(tmp_path / "other", "path,label\ne\u0301.wav,a\n").reasons[-1].text
    assert other.endswith("is written in NFD in the table and in NFC on disk")
    touch(tmp_path, "below/x.wav")
    clips = table(tmp_path, f"path,label\n{rows}x.wav,a\n")
    assert clips.reasons[-1].text.endswith(
        f"4 recordings were found below {tmp_path} by name, e.g. x.wav is {tmp_path}/below/x.wav"
    )


def test_a_name_in_two_folders_asks_for_the_folder(tmp_path: Path) -> None:
    touch(tmp_path, "train_audio/1.wav", "test_audio/1.wav", "train_audio/2.wav")
    with pytest.raises(DataError, match=r"row 2: 1 could be .*test_audio/1.wav or .*train_audio/1.wav.*--audio_dir"):
        table(tmp_path, "id,label\n1,a\n2,b\n", columns=Columns(audio="id"))
    clips = table(tmp_path, "id,label\n1,a\n2,b\n", columns=Columns(audio="id", audio_dir=f"{tmp_path}/train_audio"))
    assert [Path(str(clip.path)).name for clip in clips] == ["1.wav", "2.wav"]
    with pytest.raises(DataError, match="--audio_dir nowhere: no such folder"):
        table(tmp_path, "id,label\n1,a\n", columns=Columns(audio="id", audio_dir="nowhere"))


def test_a_recording_in_another_folder_than_the_table_says_is_not_taken_silently(tmp_path: Path) -> None:
    """The labels of ``test/1.wav`` must not go to ``train/1.wav``; of an upload folder the user says that it is so."""
    touch(tmp_path, "train/1.wav")
    clips = table(tmp_path, "file,label\ntest/1.wav,a\n")
    assert clips.missing is not None
    assert f"Looked in {tmp_path}, the working directory, and in all folders below {tmp_path}/ by name" in clips.missing
    assert f"If it is the recording, add --audio_dir {tmp_path}/train" in clips.missing
    named = Columns(audio_dir=f"{tmp_path}/train")
    assert table(tmp_path, "file,label\ntest/1.wav,a\n", columns=named)[0].path == f"{tmp_path}/train/1.wav"
    for path in ("/data/upload/3/0a1b2c3d-1.wav", "/data/local-files/?d=x/1.wav"):  # Label Studio
        assert table(tmp_path, f"file,label\n{path},a\n", columns=named)[0].path == f"{tmp_path}/train/1.wav"


def test_some_missing_recordings_are_left_to_the_scan_with_a_line_that_says_where_they_were_looked_for(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a.wav")
    clips = table(tmp_path, "file,label\na.wav,low\nb.wav,high\nc.wav,high\n")
    assert clips.missing is None
    assert "row 3: the recording 'b.wav' was not found, nor was 1 other. Looked in" in clips.reasons[-1].text


def test_a_folder_with_the_id_of_a_recording_is_not_the_recording(tmp_path: Path) -> None:
    touch(tmp_path, "001/001.wav", "002/002.wav")
    clips = table(tmp_path, "path,label\n001,a\n002,b\n")
    assert [clip.path for clip in clips] == [f"{tmp_path}/001/001.wav", f"{tmp_path}/002/002.wav"]


def test_file_addresses_are_paths(tmp_path: Path) -> None:
    touch(tmp_path, "a b.wav")
    urls = [f"file://{tmp_path}/a%20b.wav", f"file://localhost{tmp_path}/a b.wav", f"file:{tmp_path}/a%20b.wav"]
    clips = table(tmp_path, "path,label\n" + "".join(f"{url},x\n" for url in urls))
    assert {clip.path for clip in clips} == {f"{tmp_path}/a b.wav"}
    with pytest.raises(DataError, match=r"file://server/a\.wav is a web address"):
        table(tmp_path, "path,label\nfile://server/a.wav,x\n")


def test_a_missing_absolute_path_is_searched_nowhere_else(tmp_path: Path) -> None:
    missing = table(tmp_path, "path,label\n/nope/a.wav,x\n").missing
    assert missing is not None
    assert "'/nope/a.wav' was not found. The path is absolute, so no other folder was searched." in missing
    assert "Looked" not in missing


def test_recordings_of_one_name_are_told_apart_by_their_folders_without_comparing_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    count = 60
    touch(tmp_path, *(f"data/{i:03d}/mic/audio.wav" for i in range(count)))
    calls = 0
    plain = locate._plain

    def counting(name: str) -> str:
        nonlocal calls
        calls += 1
        return plain(name)

    monkeypatch.setattr(locate, "_plain", counting)
    text = "path,label\n" + "".join(f"old/{i:03d}/mic/audio.wav,x\n" for i in range(count))
    clips = table(tmp_path, text, columns=Columns(audio_dir=f"{tmp_path}/data"))
    assert [Path(str(clip.path)).parts[-3] for clip in clips] == [f"{i:03d}" for i in range(count)]
    assert calls < 20 * count
    with pytest.raises(DataError, match="could be"):
        table(tmp_path, "path,label\nold/xyz/mic/audio.wav,x\n", columns=Columns(audio_dir=f"{tmp_path}/data"))


def test_a_label_that_nobody_asked_for_is_explained(tmp_path: Path) -> None:
    clips = table(tmp_path, "fname,category,fold\n1.wav,dog,2\n")
    assert (clips[0].label, clips[0].fold) == ("dog", "2")
    assert [reason.text.split(": ", 1)[1] for reason in clips.reasons if not reason.is_obvious] == [
        "column `category` was read as the label because of its name, and no column is called label"
    ]
