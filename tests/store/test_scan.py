"""The scan of all recordings, and the checks of labels."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from earmark.clips.clip import Clip, ClipTable, Splits
from earmark.errors import DataError, OutputError
from earmark.store.scan import BadClip, check_tables, drop_bad, scan_clips, write_bad_audio
from tests.tiny import tone


def table_of(labels: str, origin: str = "data") -> ClipTable:
    return ClipTable([Clip(source=f"{i}.wav", label=label) for i, label in enumerate(labels)], origin)


def test_every_clip_is_decoded_and_every_bad_one_listed(tmp_path: Path):
    clips = []
    for i in range(150):
        path = tmp_path / f"{i}.wav"
        soundfile.write(path, tone(300, 0.1 + i / 1000), 8000)
        clips.append(Clip(source=f"clip {i}", path=str(path), label="a"))
    (tmp_path / "3.wav").unlink()
    (tmp_path / "70.wav").write_bytes((tmp_path / "70.wav").read_bytes()[:1000])
    soundfile.write(tmp_path / "149.wav", np.full(100, np.nan), 8000, subtype="FLOAT")
    seen: list[tuple[int, int]] = []
    table = ClipTable(clips, "data")
    result = scan_clips(table, 16_000, num_workers=3, progress=lambda done, total: seen.append((done, total)))
    assert [(clip.index, clip.source) for clip in result.bad] == [
        (3, "clip 3"),
        (70, "clip 70"),
        (149, "clip 149"),
    ]
    for clip, said in zip(result.bad, (f"no such file (looked for {tmp_path}/3.wav)", "cut short", "NaN"), strict=True):
        assert said in clip.reason
    assert result.durations_s.dtype == np.float64
    assert np.flatnonzero(np.isnan(result.durations_s)).tolist() == [3, 70, 149]
    # tone() makes 16 kHz samples, written here as 8 kHz
    assert result.durations_s[100] == pytest.approx(0.4, abs=1e-3)
    assert seen[-1] == (150, 150)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})
    kept = drop_bad(table, result.bad)
    assert len(kept) == 147
    assert kept[3].source == "clip 4"


def test_bad_audio_csv(tmp_path: Path):
    path = tmp_path / "bad_audio.csv"
    write_bad_audio(path, [("train", BadClip(3, "a, b.wav", "no such file")), ("test", BadClip(0, "é.wav", "NaN"))])
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [
            ["path", "split", "reason"], ["a, b.wav", "train", "no such file"], ["é.wav", "test", "NaN"],
        ]  # fmt: skip
    with pytest.raises(OutputError, match="cannot be written"):
        write_bad_audio(tmp_path / "missing" / "bad_audio.csv", [])


def test_good_tables_pass():
    check_tables(Splits(train=table_of("aabb"), validation=table_of("ab"), test=table_of("a")))
    check_tables(Splits(validation=table_of("a")))


@pytest.mark.parametrize(
    ("splits", "said"),
    [
        (Splits(train=table_of("")), "data: no training clips"),
        (Splits(train=table_of("ab"), test=table_of("", "x.csv")), "x.csv: no test clips"),
        (Splits(train=table_of("aaa")), "all 3 training clips have the label 'a'"),
        (
            Splits(train=table_of("ab"), validation=table_of("acdd", "v.csv")),
            "v.csv: the validation split has labels that no training clip has: 'd' (2 clips), 'c' (1 clip)",
        ),
        (Splits(train=table_of("ab"), test=table_of("z")), "the test split"),
        (
            Splits(train=table_of(["Yes", "yes", "yes ", "no"])),
            "'Yes' (1 clip) and 'yes' (1 clip) and 'yes ' (1 clip)",
        ),
        (Splits(train=table_of(["yes", "no"]), validation=table_of(["YES"])), "Use one spelling for each class"),
        (Splits(train=table_of(["caf\u00e9", "no"]), validation=table_of(["cafe\u0301"])), "Unicode form"),
    ],
)
def test_tables_that_cannot_be_learned(splits, said):
    with pytest.raises(DataError) as caught:
        check_tables(splits)
    assert said in str(caught.value)
