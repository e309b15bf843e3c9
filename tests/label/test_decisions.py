"""labels.csv and set_aside.csv on disk, whoever writes them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from earmark.clips.columns import Columns
from earmark.errors import OutputError, UsageError
from earmark.label.decisions import ConflictError, Decisions
from earmark.label.label_tables import Key
from earmark.label.one_label import OneLabel
from earmark.label.several_labels import SeveralLabels
from earmark.sources.manifests import load_manifest
from earmark.tasks import MULTI_LABEL
from tests.rows import rows_in

A, B, C = ("../a.wav", "", ""), ("../b.wav", "", ""), ("../c.wav", "", "")
CUT: Key = ("../tape.wav", "1.5", "2.0")


def fresh(folder: Path, *, checks: bool = False, is_cut: bool = False) -> Decisions:
    return Decisions(folder, OneLabel(), checks=checks, is_cut=is_cut)


def several(folder: Path, *, checks: bool = False, separator: str = ",") -> Decisions:
    return Decisions(folder, SeveralLabels(separator), checks=checks, is_cut=False)


def test_a_decision_is_on_disk_at_once_and_found_again(tmp_path: Path) -> None:
    decisions = fresh(tmp_path)
    decisions.decide(A, None, ("label", "dog"))
    decisions.decide(B, None, ("aside", "several"))
    assert rows_in(tmp_path / "labels.csv") == [{"path": "../a.wav", "label": "dog"}]
    assert rows_in(tmp_path / "set_aside.csv") == [{"path": "../b.wav", "why": "several"}]
    again = fresh(tmp_path)
    assert [again.of(key) for key in (A, B, C)] == [("label", "dog"), ("aside", "several"), None]
    assert not list(tmp_path.glob("*.part"))


def test_changed_and_taken_back(tmp_path: Path) -> None:
    decisions = fresh(tmp_path)
    decisions.decide(A, None, ("label", "dog"))
    decisions.decide(A, ("label", "dog"), ("aside", "none"))
    assert decisions.of(A) == ("aside", "none")
    assert not (tmp_path / "labels.csv").exists()  # a manifest without rows is no manifest
    decisions.decide(A, ("aside", "none"), ("label", "cat"))
    assert not (tmp_path / "set_aside.csv").exists()
    decisions.decide(A, ("label", "cat"), None)
    assert decisions.of(A) is None
    assert not (tmp_path / "labels.csv").exists()


def test_labels_with_everything_in_them(tmp_path: Path) -> None:
    decisions = fresh(tmp_path)
    labels = ['a, "b"', "犬　吠える; 二", "=1+1", "#x", "-"]
    keys: list[Key] = [(f"../{i}.wav", "", "") for i in range(len(labels))]
    for key, label in zip(keys, labels, strict=True):
        decisions.decide(key, None, ("label", label))
    assert [clip.label for clip in load_manifest(tmp_path / "labels.csv")] == labels
    again = fresh(tmp_path)
    assert [again.of(key) for key in keys] == [("label", label) for label in labels]


@pytest.mark.parametrize("label", ["", "  ", "two\nlines", "a\x00b", "\ud800", "x" * 201])
def test_what_is_no_label(label: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label"):
        fresh(tmp_path).decide(A, None, ("label", label))
    assert not list(tmp_path.iterdir())


def test_two_pages(tmp_path: Path) -> None:
    decisions = fresh(tmp_path)
    decisions.decide(A, None, ("label", "dog"))
    with pytest.raises(ConflictError, match="'dog'"):
        decisions.decide(A, None, ("label", "cat"))
    assert decisions.of(A) == ("label", "dog")
    decisions.decide(A, None, ("label", "dog"))  # both mean the same: nothing to say
    decisions.decide(A, ("label", "dog"), None)
    with pytest.raises(ConflictError, match="somebody else has removed the decision"):
        decisions.decide(A, ("label", "dog"), ("label", "cat"))
    decisions.decide(A, None, ("aside", "none"))
    with pytest.raises(ConflictError, match=r"somebody else has set the clip aside \(none\)"):
        decisions.decide(A, None, ("label", "cat"))


def test_an_edited_file_counts_and_its_other_rows_stay(tmp_path: Path) -> None:
    decisions = fresh(tmp_path)
    decisions.decide(A, None, ("label", "dog"))
    text = (tmp_path / "labels.csv").read_text()
    edited = text.replace("path,label", "path,label,speaker").replace("dog", "wolf,anna") + "/elsewhere.wav,owl,ben\n"
    (tmp_path / "labels.csv").write_text(edited)
    decisions.decide(B, None, ("label", "cat"))
    assert rows_in(tmp_path / "labels.csv") == [
        {"path": "../a.wav", "label": "wolf", "speaker": "anna"},
        {"path": "/elsewhere.wav", "label": "owl", "speaker": "ben"},
        {"path": "../b.wav", "label": "cat", "speaker": ""},
    ]
    with pytest.raises(ConflictError):
        decisions.decide(A, ("label", "dog"), ("label", "cat"))


def test_an_edited_file_that_is_no_table_any_more_is_left_as_it_is(tmp_path: Path) -> None:
    decisions = fresh(tmp_path)
    decisions.decide(A, None, ("label", "dog"))
    (tmp_path / "labels.csv").write_text("path,label\na,b,c\n")
    with pytest.raises(OutputError, match=r"labels\.csv row 2: 3 cells.*Fix the file"):
        decisions.decide(B, None, ("label", "cat"))
    assert (tmp_path / "labels.csv").read_text() == "path,label\na,b,c\n"


def test_a_file_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("file,class\na.wav,dog\n")
    with pytest.raises(OutputError, match="no column 'path'"):
        fresh(tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decisions = fresh(tmp_path)
    decisions.decide(A, None, ("label", "dog"))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OutputError, match="No space left"):
        decisions.decide(B, None, ("label", "cat"))
    assert decisions.of(B) is None
    assert len(rows_in(tmp_path / "labels.csv")) == 1


def test_stretches_of_recordings(tmp_path: Path) -> None:
    decisions = fresh(tmp_path, is_cut=True)
    decisions.decide(CUT, None, ("label", "dog"))
    [clip] = load_manifest(tmp_path / "labels.csv")
    assert (clip.offset_s, clip.duration_s, clip.label) == (1.5, 2.0, "dog")
    assert fresh(tmp_path, is_cut=True).of(CUT) == ("label", "dog")


def test_a_clip_is_the_same_however_it_is_called(tmp_path: Path) -> None:
    folder = tmp_path / "out"
    folder.mkdir()
    decisions = fresh(folder, is_cut=True)
    decisions.decide(("../pool/a.wav", "", ""), None, ("label", "dog"))
    decisions.decide(("../pool/b.wav", "1", "2.50"), None, ("label", "cat"))
    again = fresh(folder, is_cut=True)
    assert again.of((str(tmp_path / "pool" / "a.wav"), "0.0", "")) == ("label", "dog")
    assert again.of((str(tmp_path / "pool" / "b.wav"), "1.0", "2.5")) == ("label", "cat")
    assert again.of((str(tmp_path / "pool" / "b.wav"), "", "")) is None
    again.decide((str(tmp_path / "pool" / "a.wav"), "", ""), ("label", "dog"), ("label", "wolf"))
    assert rows_in(folder / "labels.csv")[-1] == {
        "path": "../pool/a.wav", "label": "wolf", "offset": "", "duration": ""
    }  # fmt: skip


def test_checking_starts_with_all_labels(tmp_path: Path) -> None:
    given = {A: {"label": "dog", "speaker": "anna"}, B: {"label": "cat", "speaker": "ben"}}
    decisions = fresh(tmp_path, checks=True)
    decisions.start_with(given)
    assert decisions.of(A) is decisions.of(B) is None
    decisions.decide(A, None, ("label", "wolf"))
    first = {"path": "../a.wav", "label": "wolf", "speaker": "anna", "given_label": "dog", "checked": "yes"}
    second = {"path": "../b.wav", "label": "cat", "speaker": "ben", "given_label": "cat", "checked": ""}
    assert sorted(rows_in(tmp_path / "labels.csv"), key=lambda row: row["path"]) == [first, second]
    decisions.decide(B, None, ("aside", "none"))
    assert rows_in(tmp_path / "labels.csv") == [first]
    again = fresh(tmp_path, checks=True)
    again.start_with(given)
    assert again.of(A) == ("label", "wolf")
    assert again.of(B) == ("aside", "none")
    again.decide(B, ("aside", "none"), None)
    assert rows_in(tmp_path / "labels.csv")[1] == second
    again.decide(A, ("label", "wolf"), None)
    assert {row["label"] for row in rows_in(tmp_path / "labels.csv")} == {"dog", "cat"}
    with pytest.raises(OutputError, match="made with --check"):
        fresh(tmp_path)


MULTI = Columns(task=MULTI_LABEL)


def test_several_labels_none_of_them_and_no_decision_are_three_things(tmp_path: Path) -> None:
    decisions = several(tmp_path)
    decisions.decide(A, None, ("labels", ("rain", "dog", "rain")))
    decisions.decide(B, None, ("labels", ()))
    assert rows_in(tmp_path / "labels.csv") == [
        {"path": "../a.wav", "label": "dog,rain"}, {"path": "../b.wav", "label": ""}
    ]  # fmt: skip
    again = several(tmp_path)
    assert [again.of(key) for key in (A, B, C)] == [("labels", ("dog", "rain")), ("labels", ()), None]
    assert [clip.label for clip in load_manifest(tmp_path / "labels.csv", MULTI)] == [("dog", "rain"), ()]
    again.decide(B, ("labels", ()), None)  # taken back: no row
    assert [row["path"] for row in rows_in(tmp_path / "labels.csv")] == ["../a.wav"]
    again.decide(A, ("labels", ("rain", "dog")), ("aside", "unclear"))  # in any order it is the same decision
    assert rows_in(tmp_path / "set_aside.csv") == [{"path": "../a.wav", "why": "unclear"}]
    assert again.names() == set()


def test_several_labels_that_a_manifest_could_misread_become_json(tmp_path: Path) -> None:
    decisions = several(tmp_path)
    labels = [("nan",), ("a, b", "c"), ("[x]",), ("犬 吠える", '"q"'), ("None", "dog")]
    keys: list[Key] = [(f"../{i}.wav", "", "") for i in range(len(labels))]
    for key, names in zip(keys, labels, strict=True):
        decisions.decide(key, None, ("labels", names))
    expected = [tuple(sorted(names)) for names in labels]
    assert [clip.label for clip in load_manifest(tmp_path / "labels.csv", MULTI)] == expected
    again = several(tmp_path)
    assert [again.of(key) for key in keys] == [("labels", names) for names in expected]
    assert json.loads(rows_in(tmp_path / "labels.csv")[1]["label"]) == ["a, b", "c"]


def test_the_separator_is_the_one_that_the_run_reads(tmp_path: Path) -> None:
    several(tmp_path, separator=";").decide(A, None, ("labels", ("dog", "rain, light")))
    assert rows_in(tmp_path / "labels.csv") == [{"path": "../a.wav", "label": "dog;rain, light"}]
    assert several(tmp_path, separator=";").of(A) == ("labels", ("dog", "rain, light"))


@pytest.mark.parametrize("names", [("",), ("dog", "two\nlines"), ("x" * 201,)])
def test_what_is_none_of_several_labels(names: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="label"):
        several(tmp_path).decide(A, None, ("labels", names))
    with pytest.raises(UsageError, match="list of labels"):
        several(tmp_path).decide(A, None, ("label", "dog"))
    with pytest.raises(UsageError, match="not one label"):
        fresh(tmp_path).decide(A, None, ("labels", ("dog",)))
    with pytest.raises(UsageError, match="not a reason"):
        several(tmp_path).decide(A, None, ("aside", "several"))


def test_a_cell_that_is_no_list_of_labels_is_reported_and_left(tmp_path: Path) -> None:
    decisions = several(tmp_path)
    decisions.decide(A, None, ("labels", ("dog",)))
    (tmp_path / "labels.csv").write_text('path,label\n../a.wav,"[dog"\n')
    with pytest.raises(OutputError, match=r"not a valid JSON or Python list.*Fix the file"):
        decisions.decide(B, None, ("labels", ("cat",)))
    assert "[dog" in (tmp_path / "labels.csv").read_text()


def test_checking_several_labels_starts_with_all_of_them(tmp_path: Path) -> None:
    decisions = several(tmp_path, checks=True)
    decisions.start_with({A: {"label": "dog,rain"}, B: {"label": ""}})
    assert decisions.of(A) is decisions.of(B) is None
    decisions.decide(B, None, ("labels", ()))  # looked at, and right
    assert decisions.of(B) == ("labels", ())
    assert decisions.of(A) is None
    decisions.decide(A, None, ("labels", ("dog",)))
    found = {
        row["path"]: (row["label"], row["given_label"], row["checked"]) for row in rows_in(tmp_path / "labels.csv")
    }
    assert found == {"../a.wav": ("dog", "dog,rain", "yes"), "../b.wav": ("", "", "yes")}
