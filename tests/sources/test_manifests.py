"""Manifests of every kind, and the row named where one is wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from earmark.clips.columns import Columns
from earmark.errors import DataError
from earmark.sources.manifests import load_manifest
from tests.sources.empty_files import touch


def write(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def test_csv_paths_count_from_its_folder_then_the_working_directory(tmp_path, monkeypatch):
    touch(tmp_path / "data", "a.wav", "yes/b.wav")
    touch(tmp_path / "elsewhere", "c.wav")
    monkeypatch.chdir(tmp_path / "elsewhere")
    text = "path,label,speaker,fold\na.wav,yes,s1,1\nyes\\b.wav,no,,2\nc.wav,3,s2,\n"
    text += f"{tmp_path}/data/a.wav,no,s1,1\nd.wav,no,s,1\n"
    table = load_manifest(write(tmp_path / "data" / "train.csv", text), Columns(group="speaker"))
    data = tmp_path / "data"
    assert [clip.path for clip in table] == [
        str(data / "a.wav"), str(data / "yes/b.wav"), "c.wav", str(data / "a.wav"), str(data / "d.wav"),
    ]  # fmt: skip
    assert [clip.source for clip in table][:2] == ["a.wav", "yes\\b.wav"]
    assert [clip.label for clip in table] == ["yes", "no", "3", "no", "no"]
    assert [clip.group for clip in table] == ["s1", None, "s2", "s1", "s"]
    assert [clip.fold for clip in table] == ["1", "2", None, "1", "1"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", '\ufefffile_name,label\r\na.wav,yes\r\n\r\n"b, c.wav","no"\r\n'),
        ("a.csv", "File_Name;LABEL\na.wav;yes\nb, c.wav;no\n"),
        ("a.tsv", "filename\tlabel\na.wav\tyes\nb, c.wav\tno\n"),
        (
            "a.jsonl",
            '{"audio": "a.wav", "label": "yes"}\r\n\r\n{"audio": {"path": "b, c.wav"}, "label": "no"}\r\n',
        ),
        ("a.json", '{"file": "a.wav", "label": "yes"}\n{"file": "b, c.wav", "label": "no"}'),
        ("a.json", '[{"file": "a.wav", "label": "yes"}, {"file": "b, c.wav", "label": "no"}]'),
        ("a.JSON", '{"data": [{"file": "a.wav", "label": "yes"}, {"file": "b, c.wav", "label": "no"}]}'),
    ],
)
def test_every_spelling_of_the_same_table(name, text, tmp_path):
    table = load_manifest(write(tmp_path / name, text))
    assert [(clip.source, clip.label) for clip in table] == [("a.wav", "yes"), ("b, c.wav", "no")]


def test_nemo_manifest(tmp_path):
    rows = [
        {"audio_filepath": "a.wav", "offset": 1.5, "duration": 0.63, "label": "yes"},
        {"audio_filepath": "b.wav", "duration": 1, "label": 7},
    ]
    text = "\n".join(map(json.dumps, rows))
    first, second = load_manifest(write(tmp_path / "a.jsonl", text))
    assert (first.offset_s, first.duration_s, first.label) == (1.5, 0.63, "yes")
    assert (second.offset_s, second.duration_s, second.label) == (0.0, 1.0, "7")
    (clip,) = load_manifest(write(tmp_path / "b.json", text.split("\n")[0].replace("label", "command")))
    assert clip.label == "yes"


def test_a_duration_without_an_offset_may_be_in_any_unit_and_is_left_alone(tmp_path):
    (clip,) = load_manifest(write(tmp_path / "a.csv", "path,label,duration\na.wav,x,0.02\n"))
    assert clip.duration_s is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        ("path,label\n", "has no rows"),
        ("path,klass\na.wav,yes\n", "no column 'label' with the labels (the columns are path, klass)"),
        ("sound,label\na.wav,yes\n", "no column 'audio' with the recordings (the columns are sound, label)"),
        ("path,label\na.wav,yes\nb.wav,\n", "row 3: has no label"),
        ("path,label\na.wav,yes\n\nb.wav, \n", "row 4: has no label"),
        ("path,label\n,yes\n", "row 2: column 'path' has no path"),
        ("path,label\na.wav,yes,3\n", "row 2: 3 cells, but the header has 2"),
        ("path,label\na.wav\n", "row 2: 1 cell, but the header has 2"),
        ("path,label\na.wav,0.37\nb.wav,1\n", "holds measurements"),
        ("path,label,label\na.wav,x,y\n", "two columns named 'label'"),
        ('path,label\n"a.wav,x\n', "not CSV"),
        ("path,label\nhttps://example.org/a.wav,x\n", "row 2: https://example.org/a.wav is a web address"),
        ("path,label,offset,duration\na.wav,x,soon,1\n", "row 2: the offset 'soon' is not a number"),
        (b"path,label\na.wav,x\nb.wav,caf\xe9\n", "row 3: byte 0xe9 is not UTF-8"),
    ],
)
def test_csv_errors_name_the_row(text, said, tmp_path):
    with pytest.raises(DataError) as caught:
        load_manifest(write(tmp_path / "train.csv", text))
    assert str(caught.value).startswith(str(tmp_path / "train.csv"))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("0.37", "the label 0.37 is a measurement"),
        ("NaN", "has no label"),
        ("null", "has no label"),
        ('["a", "b"]', "the label is a list"),
        ('{"a": 1}', "the label is a dict"),
        ('""', "has no label"),
    ],
)
def test_labels_of_the_wrong_type(label, said, tmp_path):
    text = '{"path": "a.wav", "label": "x"}\n{"path": "b.wav", "label": LABEL}\n'.replace("LABEL", label)
    with pytest.raises(DataError, match=r"train\.jsonl row 2: ") as caught:
        load_manifest(write(tmp_path / "train.jsonl", text))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{"path": "a.wav", "label": "x"}\n{"path": \n', "row 2: not JSON"),
        ('{"path": "a.wav", "label": "x"}\n[1]\n', "row 2: contains a list"),
        ("3", "contains an int"),
        (
            '{"path": "a.wav", "label": "x", "label": "y"}\n{"path": "b.wav", "label": "x"}\n',
            "an object has the key 'label' more than once, with 'x' and 'y'. Keep one of them",
        ),
        ('{"path": "a.wav", "label": "x"}\n{"label": "x"}\n', "row 2: column 'path' has no path"),
    ],
)
def test_json_errors_name_the_row(text, said, tmp_path):
    with pytest.raises(DataError) as caught:
        load_manifest(write(tmp_path / "a.jsonl", text))
    assert said in str(caught.value)


def test_an_audio_column_that_was_asked_for_is_the_only_one_that_will_do(tmp_path):
    path = write(tmp_path / "a.csv", "path,clean,label\na.wav,b.wav,x\n")
    assert load_manifest(path, Columns(audio="clean"))[0].source == "b.wav"
    with pytest.raises(DataError, match="no column 'dirty'"):
        load_manifest(path, Columns(audio="dirty"))


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        (Columns(label="species"), "no column 'species' with the labels ({there}). Correct --label_column_name"),
        (Columns(label="labl"), "'labl' with the labels ({there}; did you mean label?). Correct --label_column_name"),
        (Columns(label="label,owl"), "no column 'owl' ({there}). Correct --label_column_name"),
        (Columns(audio="clean"), "no column 'clean' with the recordings ({there}). Correct --audio_column_name"),
        (Columns(group="speakr"), "no column 'speakr' ({there}; did you mean speaker?). Correct --group_column"),
        (Columns(fold="block"), "no column 'block' ({there}). Correct --fold_column"),
        (Columns(start="onset"), "no column 'onset' ({there}). Correct --start_column_name"),
    ],
)
def test_a_column_that_was_named_wrongly_is_to_be_corrected(columns, said, tmp_path):
    path = write(tmp_path / "a.csv", "path,label,speaker\na.wav,x,s\nb.wav,y,t\n")
    with pytest.raises(DataError) as caught:
        load_manifest(path, columns)
    assert said.format(there="the columns are path, label, speaker") in str(caught.value)


def test_a_table_without_usual_names_asks_for_names(tmp_path):
    for text, flag in (("sound,label\na.wav,x\n", "audio"), ("path,klass\na.wav,x\n", "label")):
        with pytest.raises(DataError, match=rf"\. Name it with --{flag}_column_name$"):
            load_manifest(write(tmp_path / "a.csv", text))


def test_a_wrong_file_name_is_answered_with_the_nearest_one(tmp_path, monkeypatch):
    for name in ("train.csv", "test.csv", "notes.txt"):
        write(tmp_path / name, "path,label\n")
    with pytest.raises(DataError, match=r"tarin\.csv: no such file; did you mean .*/train\.csv\?$"):
        load_manifest(tmp_path / "tarin.csv")
    with pytest.raises(DataError, match=r"xyz\.csv: no such file; .* holds test\.csv, train\.csv\. Fix the path\.$"):
        load_manifest(tmp_path / "xyz.csv")
    with pytest.raises(DataError, match=r"gone/train\.csv: no such file\. Fix the path\.$"):
        load_manifest(tmp_path / "gone" / "train.csv")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"^tarin\.csv: no such file; did you mean train\.csv\?$"):
        load_manifest("tarin.csv")


def test_whole_numbers_are_class_names(tmp_path):
    text = '{"path": "a", "label": 3}\n{"path": "b", "label": 4.0}\n{"path": "c", "label": true}\n'
    assert load_manifest(write(tmp_path / "a.jsonl", text)).labels() == ["3", "4", "true"]


def test_what_is_no_manifest(tmp_path):
    for path, said in (
        (tmp_path / "missing.csv", "no such file"),
        (tmp_path / "a.xlsx", "Use a file that ends in .csv"),
    ):
        with pytest.raises(DataError) as caught:
            load_manifest(path)
        assert said in str(caught.value)
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="--data_dir"):
        load_manifest(tmp_path / "folder.csv")


def test_fifty_thousand_rows_take_seconds(tmp_path):
    text = "path,label,speaker\n" + "".join(f"clips/{i}.wav,c{i % 35},s{i % 2000}\n" for i in range(50_000))
    path = write(tmp_path / "train.csv", text)
    start = time.process_time()
    assert len(load_manifest(path, Columns(group="speaker"))) == 50_000
    assert time.process_time() - start < 15  # about 0.6 s on an idle core
