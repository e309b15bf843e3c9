"""``earmark predict`` from end to end: whole recordings, windows, segments, every format, stopped and gone on with."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

import earmark
from earmark.cli.main import main
from earmark.predict.timeline import SegmentRules
from tests.rows import rows_in
from tests.tiny import RATE_HZ, save_model, tone


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), 0.5)


@pytest.fixture(scope="module")
def classifier(model: Path) -> earmark.Classifier:
    return earmark.Classifier.from_pretrained(model, device="cpu")


@pytest.fixture
def tapes(tmp_path: Path) -> Path:
    """Four recordings of 3.2 to 3.5 s, of tones that change; one lies deeper."""
    folder = tmp_path / "tapes"
    (folder / "deep").mkdir(parents=True)
    for i, name in enumerate(("a.wav", "b.flac", "c.wav", "deep/d.wav")):
        parts = [tone(pitch, 0.8, seed=i) for pitch in (200, 3000, 900, 5000)]
        soundfile.write(folder / name, np.concatenate([*parts, tone(100, 0.1 * i + 0.01)]), RATE_HZ)
    return folder


def predict(model: Path, *words: object) -> int:
    return main(["predict", str(model), *map(str, words), "--device", "cpu"])


def test_windows_are_those_of_the_timeline(model: Path, classifier: earmark.Classifier, tapes: Path) -> None:
    output = tapes / "w.csv"
    assert predict(model, tapes, "--rows", "windows", "--hop_seconds", "0.2", "--top_k", "2", "--output", output) == 0
    timeline = classifier.timeline(tapes / "b.flac", hop_seconds=0.2)
    rows = [row for row in rows_in(output) if row["path"].endswith("b.flac")]
    assert [float(row["start_s"]) for row in rows] == pytest.approx([w.start_s for w in timeline.windows], abs=1e-6)
    assert rows[0]["start_s"] == "0"
    assert rows[1]["start_s"] == "0.2"
    duration_s = soundfile.info(tapes / "b.flac").duration
    assert float(rows[-1]["end_s"]) == pytest.approx(duration_s, abs=1e-6)
    for row, window in zip(rows, timeline.windows, strict=True):
        assert row["label"] == classifier.labels[int(window.probabilities.argmax())]
        assert float(row["score"]) == pytest.approx(float(window.probabilities.max()), abs=1e-4)
    assert len({row["label"] for row in rows}) > 1, "a model that always says the same would hide mistakes"
    alone = classifier.predict_proba(
        [soundfile.read(tapes / "b.flac", start=3200, frames=8000)[0]], sampling_rate=RATE_HZ
    )
    np.testing.assert_allclose(timeline.windows[1].probabilities, alone[0], atol=1e-5)


def test_a_dash_is_standard_output(model: Path, tapes: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert predict(model, tapes / "a.wav", "--output", "-", "--format", "jsonl") == 0
    row = json.loads(capsys.readouterr().out)
    assert row["path"].endswith("a.wav")
    assert not Path("-").exists()


def test_segments_follow_the_rules(model: Path, classifier: earmark.Classifier, tapes: Path) -> None:
    output = tapes / "s.jsonl"
    rules = ["--threshold", "0.6", "--release_threshold", "0.4", "--smooth_windows", "3", "--merge_gap_seconds", "0.2"]
    rules += ["--min_duration_seconds", "0.6", "--only_labels", "low", "high"]
    assert predict(model, tapes, "--hop_seconds", "0.1", "--output", output, *rules) == 0
    found = [json.loads(line) for line in output.read_text().splitlines()]
    expected = [
        (str(path), segment)
        for path in (tapes / "a.wav", tapes / "b.flac", tapes / "c.wav", tapes / "deep" / "d.wav")
        for segment in classifier.timeline(path, hop_seconds=0.1).segments(
            SegmentRules(0.6, 0.4, 3, 0.2, 0.6, ["low", "high"])
        )
    ]
    assert expected
    assert [(row["path"], row["label"]) for row in found] == [(path, segment.label) for path, segment in expected]
    np.testing.assert_allclose([row["start_s"] for row in found], [s.start_s for _, s in expected], atol=1e-6)
    np.testing.assert_allclose([row["score"] for row in found], [s.score for _, s in expected], atol=1e-4)


def test_a_recording_is_the_mean_or_the_highest_of_its_windows(
    model: Path, classifier: earmark.Classifier, tapes: Path
) -> None:
    for how in ("mean", "max"):
        output = tapes / f"{how}.csv"
        assert predict(model, tapes / "a.wav", "--aggregate", how, "--top_k", 3, "--output", output) == 0
        (row,) = rows_in(output)
        whole = classifier.timeline(tapes / "a.wav").aggregate(how)
        assert row["label"] == classifier.labels[int(whole.argmax())]
        assert float(row["score"]) == pytest.approx(float(whole.max()), abs=1e-4)
        answer = classifier.predict(tapes / "a.wav", aggregate=how)
        assert answer[0]["label"] == row["label"]
    np.testing.assert_allclose(
        classifier.predict_proba([tapes / "a.wav"])[0], classifier.timeline(tapes / "a.wav").aggregate(), atol=1e-6
    )


@pytest.mark.parametrize(("format", "ending"), [("audacity", ".labels.txt"), ("raven", ".selections.txt")])
def test_label_files_lie_as_the_recordings_do(model: Path, tapes: Path, format: str, ending: str) -> None:
    (tapes / "b.flac").write_bytes(b"fLaC broken")
    output = tapes.parent / "out"
    assert predict(model, tapes, "--format", format, "--threshold", "0.3", "--output", output) == 0
    made = sorted(str(path.relative_to(output)) for path in output.rglob("*") if path.is_file())
    assert made == [f"a.wav{ending}", "bad_audio.csv", f"c.wav{ending}", f"deep/d.wav{ending}", "earmark.jsonl"]
    assert len((output / f"a.wav{ending}").read_text().splitlines()) > 1
    single = tapes.parent / "one.txt"
    assert predict(model, tapes / "a.wav", "--format", format, "--threshold", "0.3", "--output", single) == 0
    assert single.read_text() == (output / f"a.wav{ending}").read_text()


def test_parquet_holds_what_csv_holds(model: Path, tapes: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    (tapes / "c.wav").write_bytes(b"")
    for name in ("p.csv", "p.parquet"):
        assert predict(model, tapes, "--top_k", 2, "--output", tapes / name) == 0
    table = parquet.read_table(tapes / "p.parquet").to_pylist()
    rows = rows_in(tapes / "p.csv")
    assert [row["path"] for row in table] == [row["path"] for row in rows]
    assert table[2] == {"path": str(tapes / "c.wav"), **dict.fromkeys(("label", "score", "label_2", "score_2"))}
    assert table[0]["score"] == float(rows[0]["score"])
    assert not list(tapes.glob("*.part*"))


@pytest.mark.parametrize("rows", ["clips", "windows", "segments"])
def test_a_job_that_stopped_goes_on_to_the_same_file(model: Path, tapes: Path, rows: str) -> None:
    words = [tapes, "--rows", rows, "--batch_size", 2]
    whole = tapes / "whole.csv"
    assert predict(model, *words, "--output", whole) == 0
    good = (tapes / "c.wav").read_bytes()
    (tapes / "c.wav").write_bytes(good[: len(good) // 3])
    rest = tapes / "rest.csv"
    assert predict(model, *words, "--output", rest, "--on_bad_audio", "fail") == 2
    assert not rest.exists()
    kept = Path(f"{rest}.part").read_text()
    assert "b.flac" in kept
    assert "c.wav" not in kept
    (tapes / "c.wav").write_bytes(good)
    assert predict(model, *words, "--output", rest, "--resume") == 0
    assert rest.read_text() == whole.read_text()


def test_a_recording_that_breaks_off_leaves_no_rows(model: Path, tapes: Path) -> None:
    data = (tapes / "c.wav").read_bytes()
    (tapes / "c.wav").write_bytes(data[: len(data) // 2])
    output = tapes / "w.csv"
    assert predict(model, tapes, "--rows", "windows", "--output", output) == 0
    assert {Path(row["path"]).name for row in rows_in(output)} == {"a.wav", "b.flac", "d.wav"}
    assert "cut short" in Path(f"{output}.bad_audio.csv").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--window_seconds", "9"], "--window_seconds 9: expected above 0 and at most 0.5 s"),
        (["--hop_seconds", "0"], "--hop_seconds 0: expected above 0"),
        (["--threshold", "0.9"], "--threshold has no effect with --rows clips. Leave it out, or use --rows segments"),
        (["--hop_seconds", "0.1", "--aggregate", "max"], "--aggregate has no effect with --rows segments"),
        (["--rows", "segments", "--threshold", "7"], "--threshold 7: expected above 0 and at most 1"),
        (["--rows", "segments", "--only_labels", "owl"], "--only_labels owl: the model has no such class; it has high"),
        (["--format", "rttm", "--rows", "clips"], "this format needs a start and an end in each row"),
        (["--format", "raven"], "Choose a folder with --output"),
        (["--format", "raven", "--output", "x.txt"], "one file for 4 recordings. Choose a folder, or add --one_table"),
        (["--output", "x.txt"], "End it in .csv, .jsonl, .parquet or .rttm"),
        (["--format", "parquet"], "Name one that ends in .parquet"),
        (["--resume"], "output written to standard output cannot be resumed"),
    ],
)
def test_what_cannot_be_is_one_line(
    model: Path, tapes: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model, tapes, *words) == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("earmark: ")]
    assert len(lines) == 1
    assert said in lines[0]
