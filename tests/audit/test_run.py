"""`earmark inspect` on a data set with one of each fault."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.audio.decode import read_clip
from earmark.audit.clip_findings import find_without_listening
from earmark.audit.inspect_clips import Inspection, inspect
from earmark.cli.main import main
from earmark.clips.clip import Clip, ClipTable
from earmark.errors import DataError, UsageError
from earmark.settings.evaluation_flags import InspectOptions
from tests.audit.test_duplicates import chirp
from tests.tiny import RATE_HZ


def write(path: Path, samples: np.ndarray, rate_hz: int = RATE_HZ) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # libsndfile scales floats by other factors for WAV than for FLAC
    soundfile.write(path, np.rint(samples * 32767).astype(np.int16), rate_hz)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    for i in range(12):
        write(root / "train" / "kite" / f"{i}.wav", chirp(i))
        write(root / "train" / "owl" / f"{i}.wav", chirp(100 + i))
    for i in range(3):
        write(root / "validation" / "kite" / f"{i}.wav", 0.05 * chirp(200 + i))
    write(root / "train" / "Kite" / "x.wav", chirp(300))
    write(root / "train" / "wren" / "only.wav", chirp(301, 8.0), 44_100)
    write(root / "train" / "owl" / "silent.wav", np.zeros(RATE_HZ))
    write(root / "train" / "owl" / "loud.wav", np.clip(8 * chirp(302), -0.99, 0.99))
    write(root / "train" / "owl" / "off.wav", 0.3 * chirp(303) + 0.2)
    write(root / "train" / "owl" / "blip.wav", chirp(304, 0.04))
    soundfile.write(root / "train" / "owl" / "numbers.wav", 20_000 * chirp(305), RATE_HZ, subtype="FLOAT")
    soundfile.write(root / "train" / "owl" / "beyond.wav", 6 * chirp(306), RATE_HZ, subtype="FLOAT")
    for name, factor in (("turned.wav", -0.7), ("twice.wav", 0.7)):
        one = 0.5 * chirp(307 + (factor > 0))
        soundfile.write(root / "train" / "owl" / name, np.stack([one, factor * one], axis=1), RATE_HZ)
    write(root / "train" / "owl" / "copy of kite.wav", chirp(3))
    write(root / "validation" / "kite" / "leaked.flac", chirp(5))
    write(root / "validation" / "kite" / "again.wav", 0.05 * chirp(200))
    (root / "train" / "owl" / "broken.wav").write_bytes(b"RIFF....")
    return root


@pytest.fixture(scope="module")
def found(data: Path) -> Inspection:
    return inspect(InspectOptions(data_dir=str(data), max_length_seconds=2.0))


def test_unreadable_recordings_and_skipped_files_are_reported(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for label in "ab":
        write(tmp_path / label / "1.wav", chirp(1))
    (tmp_path / "a" / "broken.wav").write_bytes(b"RIFF....")
    (tmp_path / "a" / "notes.txt").write_text("")
    with caplog.at_level("INFO"):
        notes = inspect(InspectOptions(data_dir=str(tmp_path))).notes
    assert any(line.startswith(f"{tmp_path}/a/broken.wav: cannot be used: ") for line in caplog.messages)
    assert f"{tmp_path}: skipped 1 file without an audio suffix: 1 .txt (a/notes.txt)" in notes


@pytest.mark.parametrize(
    ("kind", "level", "names"),
    [
        ("unreadable", "error", ["broken.wav"]),
        ("spelling", "error", None),
        ("label conflict", "error", ["3.wav", "copy of kite.wav"]),
        ("leak", "error", ["5.wav", "leaked.flac"]),
        ("duplicate", "warning", ["0.wav", "again.wav"]),
        ("silent", "warning", ["silent.wav"]),
        ("above full scale", "warning", ["numbers.wav"]),
        ("cancelled", "warning", ["turned.wav"]),
        ("clipped", "warning", ["loud.wav"]),
        ("DC offset", "warning", ["off.wav"]),
        ("short", "warning", ["blip.wav"]),
        ("cut", "note", ["only.wav"]),
        ("missing class", "warning", []),
        ("few clips", "warning", []),
        ("imbalance", "warning", []),
        ("level shift", "warning", []),
        ("telling rates", "warning", []),
    ],
)
def test_every_fault_is_found_with_its_clips(kind: str, level: str, names: list[str] | None, found: Inspection) -> None:
    (finding,) = [finding for finding in found.findings if finding.kind == kind]
    assert finding.level == level
    sources = {Path(found.audited.table[row].source).name for row in finding.rows}
    if names is not None:
        assert sources >= set(names) if kind == "duplicate" else sources == set(names)
    assert finding.text in found.summary


def test_nothing_is_said_of_good_data(tmp_path: Path) -> None:
    for split, base in (("train", 0), ("validation", 500)):
        for label, shift in (("a", 0), ("b", 100)):
            for i in range(10):
                write(tmp_path / split / label / f"{i}.wav", chirp(base + shift + i))
    found = inspect(InspectOptions(data_dir=str(tmp_path)))
    assert found.findings == []
    assert "no problems found" in found.summary


def tapes(folder: Path) -> Path:
    """Recordings as a recorder leaves them: 12 s each, two of them the same night, one silent."""
    for i in range(5):
        write(folder / f"2024050{i}.wav", np.tile(chirp(i), 12))
    write(folder / "copy.flac", 0.5 * np.tile(chirp(3), 12))
    write(folder / "silent.wav", np.zeros(12 * RATE_HZ))
    return folder


def test_recordings_without_labels_are_inspected_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tapes(tmp_path / "tapes")
    assert main(["inspect", str(folder), "--output_dir", str(tmp_path / "out"), "--max_length_seconds", "2"]) == 0
    out = capsys.readouterr().out
    assert "recordings  7 clips, 0.02 h, no labels" in out
    found = json.loads((tmp_path / "out" / "inspect.json").read_text())["findings"]
    assert {one["kind"]: one["level"] for one in found} == {
        "duplicate": "warning", "silent": "warning", "unlabelled": "note"
    }  # fmt: skip
    assert "warning  1 set of clips that may be copies (2 clips)\n" in out
    assert "no clip has a label, so classes, labels of copies" in out
    # the folders of a recorder look like classes, until it is said that they are none
    (folder / "site").mkdir()
    for path in sorted(folder.glob("*.*")):
        path.rename(folder / "site" / path.name)
    assert "one class" in [one.kind for one in inspect(InspectOptions(data_dir=str(folder))).findings]
    again = inspect(InspectOptions(data_dir=str(folder), unlabelled=True, max_train_samples=6))
    assert again.audited.splits == ["recordings"] * 6
    assert "6 of 7 train clips were drawn" in again.notes[0]


def test_long_recordings_are_compared_by_their_beginning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    decoded_s: list[float] = []

    def listening(clip: Clip, rate_hz: int) -> np.ndarray:
        samples = read_clip(clip, rate_hz)
        decoded_s.append(len(samples) / rate_hz)
        return samples

    monkeypatch.setattr("earmark.audit.duplicates.read_clip", listening)
    found = inspect(InspectOptions(data_dir=str(tapes(tmp_path))))
    assert found.audited.duplicates.near == [(3, 5, pytest.approx(1, abs=0.01))]
    assert set(decoded_s) == {10.0}


def test_groups_in_two_splits(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        rows = []
        for i in range(4):
            write(tmp_path / f"{split}{i}.wav", chirp(i + 50 * (split == "train")))
            rows.append(f"{split}{i}.wav,{'ab'[i % 2]},{'anna' if i == 0 else split + str(i)}\n")
        (tmp_path / f"{split}.csv").write_text("audio,label,speaker\n" + "".join(rows))
    options = InspectOptions(
        train_file=str(tmp_path / "train.csv"), eval_file=str(tmp_path / "validation.csv"), group_column="speaker"
    )
    (shared,) = [finding for finding in inspect(options).findings if finding.kind == "shared group"]
    assert shared.level == "error"
    assert "1 of 7 groups is in more than one split: 'anna'" in shared.text
    assert len(shared.rows) == 2


def test_a_group_column_with_gaps(tmp_path: Path) -> None:
    for split in ("train", "validation"):
        rows = []
        for i in range(4):
            write(tmp_path / f"{split}{i}.wav", chirp(i + 50 * (split == "train")))
            rows.append(f"{split}{i}.wav,{'ab'[i % 2]},{' ' if i == 2 else split + str(i)}\n")
        (tmp_path / f"{split}.csv").write_text("audio,label,speaker\n" + "".join(rows))
    options = InspectOptions(
        train_file=str(tmp_path / "train.csv"), eval_file=str(tmp_path / "validation.csv"), group_column="speaker"
    )
    findings = {finding.kind: finding for finding in inspect(options).findings}
    assert findings["no group"].text.startswith("2 clips have no speaker")
    assert findings["no group"].rows == [2, 6]
    assert "shared group" not in findings
    # a source that knows some speakers by itself, such as Speech Commands, is not asked for more
    some = ClipTable([Clip(f"{i}", "ab"[i % 2], group="x" if i < 20 else None) for i in range(40)], "here")
    assert find_without_listening({"train": some}, {"train": np.ones(40)}) == []


def manifest(folder: Path, header: str, rows: list[str]) -> str:
    """One with a recording for each of ``rows``, which are the cells after its path."""
    for i in range(len(rows)):
        write(folder / f"{i}.wav", chirp(i, 0.3))
    path = folder / "all.csv"
    path.write_text(f"audio,{header}\n" + "".join(f"{i}.wav,{row}\n" for i, row in enumerate(rows)))
    return str(path)


def test_clips_without_a_group_are_set_aside_alone(tmp_path: Path) -> None:
    cells = [f"{'ab'[i % 2]},{'' if i == 5 else f'speaker {i // 4}'}" for i in range(24)]
    found = inspect(InspectOptions(train_file=manifest(tmp_path, "label,speaker", cells), group_column="speaker"))
    (finding,) = [finding for finding in found.findings if finding.kind == "no group"]
    assert finding.rows == [found.audited.table.clips.index(clip) for clip in found.audited.table if not clip.group]
    assert "whole groups of speaker, 1 without a group" in found.notes[0]
    assert set(found.audited.splits) == {"train", "validation"}
    assert "shared group" not in [finding.kind for finding in found.findings]


def test_labels_and_folds_with_gaps(tmp_path: Path) -> None:
    cells = ["b,1", ",1", "a,2", "b,", "a,1", "b,2"]
    options = InspectOptions(train_file=manifest(tmp_path, "label,part", cells), fold_column="part")
    found = inspect(options)
    findings = {finding.kind: finding for finding in found.findings}
    assert [found.audited.table[row].source for row in findings["unlabelled"].rows] == ["1.wav"]
    assert [found.audited.table[row].source for row in findings["no fold"].rows] == ["3.wav"]
    assert findings["unlabelled"].level == findings["no fold"].level == "error"
    assert set(found.audited.splits) == {"fold 1", "fold 2", "no fold"}
    numbers = manifest(tmp_path / "numbers", "label", [f"{i}.5" if i else "" for i in range(20)])
    found = inspect(InspectOptions(train_file=numbers, task="regression"))
    assert "unlabelled" in [finding.kind for finding in found.findings]
    assert found.audited.splits.count("validation") == 5  # one of each fifth of the range


def test_a_manifest_without_labels_is_taken_as_not_labelled(tmp_path: Path) -> None:
    path = manifest(tmp_path, "sort", ["owl", "kite", "owl"])
    found = inspect(InspectOptions(train_file=path))
    assert found.audited.splits == ["recordings"] * 3
    assert "column 'label' has no labels, so the clips are read as unlabelled (--label_column_name" in found.notes[0]
    assert [finding.kind for finding in found.findings] == ["unlabelled"]
    with pytest.raises(DataError, match="no column 'kind'"):  # asked for in so many words
        inspect(InspectOptions(train_file=path, label_column_name="kind"))


def test_one_clip_of_each_class(tmp_path: Path) -> None:
    found = inspect(InspectOptions(train_file=manifest(tmp_path, "label", list("abc"))))
    assert found.audited.splits == ["train"] * 3
    assert "no validation clips can be set aside" in found.notes[0]
    assert "few clips" in [finding.kind for finding in found.findings]


def test_the_order_of_several_labels_is_no_conflict(tmp_path: Path) -> None:
    for name, seed in (("1.wav", 1), ("copy.wav", 1), ("2.wav", 2), ("3.wav", 3)):
        write(tmp_path / name, chirp(seed))
    (tmp_path / "train.csv").write_text('path,label\n1.wav,"a,b"\ncopy.wav,"b,a"\n2.wav,a\n')
    (tmp_path / "held.csv").write_text("path,label\n3.wav,b\n")
    files = {"train_file": str(tmp_path / "train.csv"), "eval_file": str(tmp_path / "held.csv")}
    kinds = {finding.kind for finding in inspect(InspectOptions(**files, task="multi_label")).findings}
    assert "duplicate" in kinds
    assert "label conflict" not in kinds


def test_notes_of_folds_are_shown(tmp_path: Path) -> None:
    files = []
    for at in range(2):
        for i in range(4):
            write(tmp_path / f"{at}_{i}.wav", chirp(10 * at + i, 0.3))
        rows = [f"{at}_{i}.wav,{'ab'[i % 2]},{i // 2}\n" for i in range(4)]
        (tmp_path / f"{at}.csv").write_text("path,label,fold\n" + "".join(rows))
        files.append(str(tmp_path / f"{at}.csv"))
    options = InspectOptions(train_file=files, fold_column="fold")
    assert any(note.startswith("sources combined: ") for note in inspect(options).notes)


def test_folds_are_inspected_as_splits(tmp_path: Path) -> None:
    rows = []
    for fold in (1, 2, 10):
        for i, label in enumerate("aabb"):
            write(tmp_path / f"{fold}_{i}.wav", chirp(5 if (fold, i) in ((1, 0), (10, 1)) else 10 * fold + i))
            rows.append(f"{fold}_{i}.wav,{label},{fold},{'anna' if i == 3 else f'{fold} {i}'}\n")
    (tmp_path / "all.csv").write_text("audio,label,part,speaker\n" + "".join(rows))
    options = InspectOptions(train_file=str(tmp_path / "all.csv"), fold_column="part", group_column="speaker")
    found = inspect(options)
    assert list(dict.fromkeys(found.audited.splits)) == ["fold 1", "fold 2", "fold 10"]
    findings = {finding.kind: finding for finding in found.findings}
    assert [found.audited.table[row].source for row in findings["leak"].rows] == ["1_0.wav", "10_1.wav"]
    assert findings["few clips"].text == "fewer than 10 training clips: 'a', 'b'"  # 6 each, not 2 of a fold
    assert "1 of 10 groups is in more than one split: 'anna'" in findings["shared group"].text  # training refuses it
    assert "fold 2 " in found.summary
    made = inspect(InspectOptions(train_file=str(tmp_path / "all.csv"), folds=2))
    assert sorted(set(made.audited.splits)) == ["fold 1", "fold 2"]


def test_files_and_exit_code(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "found"
    assert main(["inspect", str(data), "--output_dir", str(out), "--near_duplicates", "false"]) == 0
    printed = capsys.readouterr().out
    assert "train " in printed
    assert str(out / "inspect.json") in printed
    content = json.loads((out / "inspect.json").read_text(encoding="utf-8"))
    assert content["splits"]["train"]["unreadable"] == 1
    assert content["splits"]["validation"]["labels"] == {"kite": 5}
    with (out / "findings.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert {row["finding"] for row in rows} >= {"leak", "silent", "unreadable"}
    leaked = [row for row in rows if row["finding"] == "leak"]
    assert {row["split"] for row in leaked} == {"train", "validation"}
    assert main(["inspect", str(data), "--strict", "true", "--near_duplicates", "false"]) == 2
    assert "findings of level error: unreadable, spelling" in capsys.readouterr().err


def test_findings_about_parts_of_a_recording_say_which(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = 0.1 * np.random.default_rng(0).standard_normal(8 * RATE_HZ)
    sound[3 * RATE_HZ : 4 * RATE_HZ] = 0
    write(tmp_path / "tape.wav", sound)
    write(tmp_path / "whole.wav", np.zeros(RATE_HZ))
    rows = "".join(f"tape.wav,{i}.0,1.0,{'ab'[i % 2]}\n" for i in range(8))
    (tmp_path / "events.csv").write_text("path,offset,duration,label\n" + rows + "whole.wav,,,a\n")
    words = ["inspect", "--train_file", str(tmp_path / "events.csv"), "--output_dir", str(tmp_path / "found")]
    assert main([*words, "--near_duplicates", "false"]) == 0
    assert "tape.wav from 3.000 to 4.000 s" in capsys.readouterr().out
    with (tmp_path / "found" / "findings.csv").open(newline="", encoding="utf-8") as file:
        silent = [row for row in csv.DictReader(file) if row["finding"] == "silent"]
    assert [(row["path"], row["start_s"], row["end_s"]) for row in silent] == [
        ("tape.wav", "3.0", "4.0"),
        ("whole.wav", "", ""),
    ]


def test_explain_prints_the_rules_of_each_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(4):
        write(tmp_path / f"{i}.wav", 0.1 * np.random.default_rng(i).standard_normal(2 * RATE_HZ))
    rows = "".join(f"{i}.wav\t0.2\t0.9\t{'ab'[i % 2]}\n" for i in range(4))
    path = tmp_path / "strong.tsv"
    path.write_text("filename\tonset\toffset\tevent_label\n" + rows)
    assert main(["inspect", "--train_file", str(path), "--explain", "true", "--near_duplicates", "false"]) == 0
    printed = capsys.readouterr().out
    assert f"  {path}: separated by tab because the name ends in .tsv\n" in printed
    assert (
        "column `offset` was read as the end of the event, in seconds, because there is a column `onset`\n" in printed
    )
    assert main(["inspect", "--train_file", str(path), "--near_duplicates", "false"]) == 0
    printed = capsys.readouterr()
    assert "separated by tab" not in printed.out + printed.err
    assert "column `offset` was read as the end of the event" in printed.out + printed.err  # nobody named that column


def test_what_cannot_be_inspected(tmp_path: Path, data: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError):
        inspect(InspectOptions(data_dir=str(tmp_path / "none")))
    assert main(["inspect", str(data), "--output_dir", str(tmp_path / "file" / "below")]) == 2
    assert main(["inspect"]) == 2
    flat = tapes(tmp_path / "flat")
    with pytest.raises(UsageError, match=r"--group_column: .*flat has recordings without labels and columns"):
        inspect(InspectOptions(data_dir=str(flat), group_column="site"))
    for name in ("train_file", "eval_file", "test_file", "dataset_name"):
        with pytest.raises((DataError, UsageError)) as refused:  # not the folder alone
            inspect(InspectOptions(data_dir=str(flat), **{name: str(flat / "x.csv")}))
        assert str(flat) in str(refused.value)
        with pytest.raises(UsageError, match=rf"--unlabelled .* cannot be used with --{name}\. Remove one"):
            inspect(InspectOptions(data_dir=str(flat), **{name: str(flat / "x.csv")}, unlabelled=True))
    with pytest.raises(UsageError, match="--unlabelled needs a folder"):
        inspect(InspectOptions(train_file=str(flat / "x.csv"), unlabelled=True))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"no recordings found\. Fix --data_dir"):
        inspect(InspectOptions(data_dir=str(tmp_path / "empty"), unlabelled=True))


def test_labels_that_are_several_in_one_are_told_of() -> None:
    def found(labels: list[str]) -> list[str]:
        table = ClipTable([Clip(f"{i}.wav", label=label) for i, label in enumerate(labels * 10)], "table")
        findings = find_without_listening({"train": table}, {"train": np.ones(len(table))})
        return [finding.text for finding in findings if finding.kind == "several labels"]

    (text,) = found(["dog", "rain", "dog,rain", "dog; wind", "wind"])
    assert "2 labels have several names, such as 'dog,rain': use --task multi_label" in text
    assert found(["Speech, child", "Rain, heavy", "dog"]) == []  # a comma alone is part of a name
