"""Runs held against each other."""

from __future__ import annotations

import base64
import csv
import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from earmark.cli.report import parse_report, run
from earmark.data.clips import Clip, ClipTable
from earmark.errors import DataError, OutputError, UsageError
from earmark.report.compare import compare_runs, write_comparison
from earmark.runs.folder import RunFolder
from earmark.runs.judged import judge, write_predictions
from tests.audit.test_run import write
from tests.browser import needs_browser, opened
from tests.tiny import RATE_HZ, tone

LABELS = ["a", "b"]


def predictions(folder: Path, right: list[bool], *, split: str = "test", order: list[int] | None = None) -> Path:
    """What a run answers to clips whose labels take turns."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"predictions_{split}.csv", "w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label", "predicted", "score", "correct"])
        for i in order or range(len(right)):
            label, other = LABELS[i % 2], LABELS[1 - i % 2]
            rows.writerow(
                [folder.parent / f"{i}.wav", label, label if right[i] else other, f"{0.5 + i / 100}", int(right[i])]
            )
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> list[str]:
    plain = predictions(tmp_path / "plain", [i % 4 != 0 for i in range(40)])
    better = predictions(tmp_path / "better", [i != 0 for i in range(40)], order=list(range(39, -1, -1)))
    same = predictions(tmp_path / "same", [i % 4 != 1 for i in range(40)])
    return [str(folder) for folder in (plain, better, same)]


def test_runs_against_the_first(runs: list[str]) -> None:
    found = compare_runs(runs)
    better, same = found.pairs
    assert (better.only_first, better.only_second) == (0, 9)
    assert (same.only_first, same.only_second) == (10, 10)
    assert found.p == pytest.approx([2 * 2 * 0.5**9, 1.0])  # the smaller of two counts twice
    assert [run.accuracy for run in found.runs] == [0.75, 0.975, 0.75]
    text = found.summary()
    assert "better: better than plain (p 0.0078)" in text
    assert "same: these clips do not tell it from plain (p 1)" in text
    assert "majority rate 0.5000" in text


def test_clips_of_one_recording_are_told_apart(tmp_path: Path) -> None:
    for name, answers in (("x", "ab"), ("y", "aa")):
        (tmp_path / name).mkdir()
        lines = [f"tape.wav,{label},{answer},0.9,1" for label, answer in zip("ab", answers, strict=True)]
        (tmp_path / name / "predictions_test.csv").write_text("\n".join(["path,label,predicted,score,correct", *lines]))
    assert compare_runs([str(tmp_path / "x"), str(tmp_path / "y")]).pairs[0].only_first == 1


def test_folds_are_compared_by_all_their_test_clips(tmp_path: Path) -> None:
    answers = {"plain": [i % 4 != 0 for i in range(40)], "better": [i != 0 for i in range(40)]}
    for name, right in answers.items():
        for fold in range(2):
            whole = predictions(tmp_path / name / f"fold_{fold}", right, order=list(range(fold, 40, 2)))
            text = (whole / "predictions_test.csv").read_text()
            (whole / "predictions_test.csv").write_text(text.replace(f"{whole.parent}/", f"{tmp_path}/"))
    found = compare_runs([str(tmp_path / name) for name in answers])
    assert found.split == "test"
    assert [run.accuracy for run in found.runs] == [0.75, 0.975]
    assert (found.pairs[0].only_first, found.pairs[0].only_second) == (0, 9)
    with pytest.raises(DataError, match="folds share their validation clips"):
        compare_runs([str(tmp_path / name) for name in answers], "validation")
    (tmp_path / "better" / "fold_1" / "predictions_test.csv").unlink()
    with pytest.raises(DataError, match=r"fold_1/predictions_test\.csv: not there"):
        compare_runs([str(tmp_path / name) for name in answers])
    (tmp_path / "seeds" / "seed_0").mkdir(parents=True)
    with pytest.raises(DataError, match=r"several seeds; name one of them: .*seed_0"):
        compare_runs([str(tmp_path / "plain"), str(tmp_path / "seeds")])


def test_what_cannot_be_compared_is_one_line(runs: list[str], tmp_path: Path) -> None:
    fewer = predictions(tmp_path / "fewer", [True] * 39)
    with pytest.raises(DataError, match=r"other clips than .*plain \(39 here, 40 there, 39 the same\)"):
        compare_runs([runs[0], str(fewer)])
    text = (Path(runs[1]) / "predictions_test.csv").read_text()
    relabelled = tmp_path / "relabelled"
    relabelled.mkdir()
    (relabelled / "predictions_test.csv").write_text(text.replace("3.wav,b", "3.wav,c"))
    with pytest.raises(DataError, match=r"3\.wav is labelled 'c' here and 'b' in"):
        compare_runs([runs[0], str(relabelled)])
    (relabelled / "predictions_test.csv").write_text("path,label\nx,y\n")
    with pytest.raises(DataError, match="damaged"):
        compare_runs([runs[0], str(relabelled)])
    with pytest.raises(DataError, match=r"predictions_validation\.csv: not there"):
        compare_runs(runs, "validation")
    with pytest.raises(UsageError, match="named twice"):
        compare_runs([runs[0], runs[0] + "/"])
    with pytest.raises(UsageError, match="two runs or more"):
        parse_report([runs[0]])
    with pytest.raises(UsageError, match=r"end its name in \.html"):
        parse_report([*runs, "--output", "x.pdf"])


def test_a_page_is_not_replaced_unasked(runs: list[str], tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text("mine")
    with pytest.raises(OutputError, match="is there already"):
        run([*runs, "--output", str(tmp_path / "x.html")])
    assert (tmp_path / "x.html").read_text() == "mine"


def test_clips_are_found_wherever_the_command_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clips of a manifest: their names count from its folder, and one is the end of a recording that begins silent."""
    tape = np.concatenate([np.zeros(RATE_HZ), 0.5 * tone(500.0, 1.0) / np.abs(tone(500.0, 1.0)).max()])
    write(tmp_path / "data" / "tape.wav", tape)
    monkeypatch.chdir(tmp_path)
    table = ClipTable(
        [
            Clip("tape.wav", "a", path="data/tape.wav", offset_s=1.0, duration_s=0.5),
            Clip("x.parquet row 1", "b", read_bytes=bytes),
        ],
        "x",
    )
    for name, logits in (("right", [[1.0, 0], [0, 1]]), ("wrong", [[0.0, 1], [0, 1]])):
        (tmp_path / name).mkdir()
        write_predictions(RunFolder(tmp_path / name), "test", judge(np.array(logits, np.float32), table, LABELS))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    found = compare_runs([str(tmp_path / "right"), str(tmp_path / "wrong")])
    page = write_comparison(tmp_path / "x.html", found).read_text(encoding="utf-8")
    (uri,) = re.findall(r'"uri":"data:audio/ogg;base64,([^"]+)"', page)
    samples, rate_hz = soundfile.read(io.BytesIO(base64.b64decode(uri)))
    assert len(samples) == pytest.approx(0.5 * rate_hz, rel=0.01)
    assert np.abs(samples[: rate_hz // 10]).max() > 0.4


@needs_browser
def test_the_clips_that_decide_can_be_heard(
    runs: list[str], tmp_path: Path, browser: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    for i in (4, 8):
        write(tmp_path / f"{i}.wav", tone(500.0, 1.0))
    run([*runs, "--output", str(tmp_path / "x.html")])
    assert str(tmp_path / "x.html") in capsys.readouterr().out
    with opened(browser, tmp_path / "x.html") as page:
        section = page.locator("section", has_text="9 clips that better has right and plain has not")
        assert section.locator(".clip").count() == 9
        assert section.locator("audio").count() == 2  # the others are gone
        assert section.locator(".clip").first.inner_text().count("36.wav") == 1  # the surest
        assert "+0.2250" in page.locator("#pairs").inner_text()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_intervals_are_those_of_one_run(runs: list[str]) -> None:
    found = compare_runs(runs[:2])
    low, high = found.runs[0].intervals["accuracy"].low, found.runs[0].intervals["accuracy"].high
    assert low < 0.75 < high
    assert np.isfinite(found.runs[0].f1).all()
