"""``benchmarks/compare.py``: the arithmetic by hand, and whole comparisons of tiny models in processes of their own."""

from __future__ import annotations

import importlib
import json
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from benchmarks.compare import Run, figures_in, main, processor_ratios, ratios, summary, table
from tests.patience import PATIENCE_S, wait_until
from tests.tiny import overrides

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def compare(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARKS / "compare.py"), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch):
    """Runs a script of the folder in this process, which has torch loaded already."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def run(name: str, *words: str) -> None:
        monkeypatch.setattr(sys, "argv", [name, *words])
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")

    return run


@pytest.fixture
def clips(script, tmp_path: Path) -> Path:
    script("make_clips.py", str(tmp_path / "clips"), "--clips", "8", "--lengths", "uniform:0.4,1.5")
    return tmp_path / "clips"


def reference(tmp_path: Path, code: str) -> str:
    path = tmp_path / "reference.py"
    path.write_text(code)
    return str(path)


def runs_of(speeds: list[float | None], seconds: list[float]) -> list[Run]:
    sides = ["reference", "earmark"] * len(speeds)
    return [
        Run(side, whole_s, 2**20, {} if speed is None else {"clips_per_second": speed, "accuracy": 0.5})
        for side, speed, whole_s in zip(sides, speeds, seconds, strict=False)
    ]


def test_ratios_are_taken_pair_by_pair() -> None:
    runs = runs_of([10.0, 30.0, 20.0, 40.0, 5.0, 50.0], [60.0, 30.0, 50.0, 50.0, 10.0, 40.0])
    assert ratios(runs, whole=False) == [3.0, 2.0, 10.0]
    assert ratios(runs, whole=True) == [2.0, 1.0, 0.25]
    assert summary([3.0, 2.0, 10.0]) == {"pairs": [3.0, 2.0, 10.0], "median": 3.0, "min": 2.0, "max": 10.0}
    *rows, work, whole = table(runs).splitlines()
    assert rows[1].split() == ["1", "reference", "10.0", "60.0", "s", "0.5000", "1", "MiB"]
    assert "the work: 3.00x  2.00x  10.00x (median 3.00x, 2.00x to 10.00x)" in work
    assert "the whole process: 2.00x  1.00x  0.25x (median 1.00x, 0.25x to 2.00x)" in whole


def test_without_figures_the_whole_process_is_compared() -> None:
    runs = runs_of([None, 30.0], [60.0, 30.0])
    assert ratios(runs, whole=False) == []
    assert ratios(runs, whole=True) == [2.0]
    assert "the work: unknown" in table(runs)
    assert figures_in([]) == figures_in(["done"]) == figures_in(['{"a": 1}', "3"]) == {}
    assert figures_in(["note", '{"clips_per_second": 2.5}']) == {"clips_per_second": 2.5}


def test_processor_time_is_compared_where_both_sides_report_it() -> None:
    runs = runs_of([2.0, 6.0], [30.0, 10.0])
    assert processor_ratios(runs) == []
    assert "CPU time" not in table(runs)
    runs[0].figures["cpu_seconds"], runs[1].figures["cpu_seconds"] = 12.0, 3.0
    assert processor_ratios(runs) == [4.0]
    assert table(runs).endswith("CPU time of the work: 4.00x (median 4.00x, 4.00x to 4.00x)")


@pytest.mark.slow
def test_embeddings_are_compared_with_those_of_fp32(script, clips: Path, tmp_path: Path) -> None:
    model, figures = tmp_path / "model", tmp_path / "figures.json"
    script("make_model.py", "wav2vec2", str(model), "--config_overrides", overrides("wav2vec2"))
    inputs = [str(model), str(clips / "train"), "--device", "cpu"]
    words = ["--pairs", "1", "--json", str(figures), "--earmark_flags", "--precision bf16"]
    done = compare("embed", *words, "--", *inputs)
    assert done.returncode == 0, done.stderr
    for run, precision in zip(json.loads(figures.read_text())["runs"], ("fp32", "bf16"), strict=True):
        assert (run["figures"]["clips"], run["figures"]["precision"]) == (8, precision)
        assert 0 < run["figures"]["cpu_seconds"] < PATIENCE_S


def test_a_reported_peak_goes_before_resident_memory() -> None:
    assert Run("earmark", 1.0, 7).peak_memory_bytes == 7
    assert Run("earmark", 1.0, 7, {"peak_memory_bytes": 3}).peak_memory_bytes == 3


@pytest.mark.slow
def test_training_is_compared_from_end_to_end(script, clips: Path, tmp_path: Path) -> None:
    model, figures = tmp_path / "whisper", tmp_path / "figures.json"
    script("make_model.py", "whisper", str(model), "--config_overrides", overrides("whisper"))
    flags = ["--model_name_or_path", str(model), "--data_dir", str(clips), "--max_length_seconds", "1", "--use_cpu"]
    flags += ["--per_device_train_batch_size", "4", "--max_steps", "2", "--learning_rate", "1e-4"]
    done = compare("train", "--pairs", "1", "--reference_flags", "--bf16", "--json", str(figures), "--", *flags)
    assert done.returncode == 0, done.stderr
    assert "note: --warmup_steps is not given" in done.stderr
    assert "note: --learning_rate" not in done.stderr
    report = json.loads(figures.read_text())
    assert [run["side"] for run in report["runs"]] == ["reference", "earmark"]
    for run in report["runs"]:
        own = run["figures"]
        assert own["train_clips"] == 8
        assert own["clips_per_second"] == pytest.approx(8 / own["train_seconds"])
        assert 0 <= own["accuracy"] <= 1
        assert run["whole_s"] > own["train_seconds"]
        assert own["peak_memory_bytes"] == pytest.approx(run["resident_bytes"], rel=0.2)
    assert "--bf16" in report["commands"]["reference"]
    assert "--bf16" not in report["commands"]["earmark"]
    assert report["ratio"]["median"] == report["ratio"]["pairs"][0] > 0
    assert report["machine"]["packages"]["transformers"]
    assert done.stdout.splitlines()[-2].startswith("earmark / reference, the work: ")


@pytest.mark.slow
def test_prediction_is_compared_from_end_to_end(script, clips: Path, tmp_path: Path) -> None:
    model, figures = tmp_path / "model", tmp_path / "figures.json"
    script("make_model.py", "wav2vec2", str(model), "--config_overrides", overrides("wav2vec2"))
    inputs = [str(model), str(clips / "train"), "--device", "cpu"]
    words = ["--pairs", "1", "--json", str(figures), "--reference_flags", "--tuning_clips 2"]
    done = compare("predict", *words, "--", *inputs)
    assert done.returncode == 0, done.stderr
    plain, ours = (run["figures"] for run in json.loads(figures.read_text())["runs"])
    assert plain["clips"] == ours["clips"] == 8
    assert plain["batch_size"] in (1, 4, 8, 16, 32)
    for own in (plain, ours):
        assert own["clips_per_second"] == pytest.approx(8 / own["predict_seconds"])

    # the same with a script of one's own, which here says only what it was given
    own_script = reference(
        tmp_path,
        'import json, sys\nprint(json.dumps({"clips_per_second": 1, "tuning_seconds": -1000, "words": sys.argv}))',
    )
    done = compare("predict", "--pairs", "1", "--json", str(figures), "--reference", own_script, "--", *inputs)
    assert done.returncode == 0, done.stderr
    report = json.loads(figures.read_text())
    assert report["runs"][0]["figures"]["words"] == [own_script, *inputs]
    assert 1000 < report["runs"][0]["whole_s"] < 1030
    assert report["ratio"]["median"] == pytest.approx(report["runs"][1]["figures"]["clips_per_second"])


def test_a_run_that_fails_shows_its_last_lines(tmp_path: Path) -> None:
    lines = "".join(f"print('line {i}')\n" for i in range(99))
    done = compare("train", "--reference", reference(tmp_path, lines + "raise SystemExit('out of luck')"), "--", "--x")
    assert done.returncode == 2
    assert "reference ended with exit code 1" in done.stderr
    assert "out of luck" in done.stderr
    assert "line 98" in done.stderr
    assert "line 7\n" not in done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["train"], "after --"),
        (["train", "--pairs", "0", "--", "--x"], "at least 1"),
        (["train", "--reference", "nowhere.py", "--", "--x"], "nowhere.py: no such file"),
        (["train", "--json", "nowhere/a.json", "--", "--x"], "nowhere/a.json: no such folder"),
        (["train", "--", "--output_dir=out"], "its own folder"),
        (["train", "--earmark_flags", "'", "--", "--x"], "--earmark_flags"),
    ],
)
def test_words_that_cannot_work(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit:
        main(words)
    assert exit.value.code == 2
    assert message in capsys.readouterr().err


def test_an_interrupted_comparison_ends_its_child(tmp_path: Path) -> None:
    alive, killed = tmp_path / "alive", tmp_path / "killed"
    code = (
        "import pathlib, signal, sys, time\n"
        f"def end(*_):\n    pathlib.Path({str(killed)!r}).touch()\n    sys.exit(1)\n"
        f"signal.signal(signal.SIGTERM, end)\npathlib.Path({str(alive)!r}).touch()\ntime.sleep(300)\n"
    )
    words = [str(BENCHMARKS / "compare.py"), "predict", "--reference", reference(tmp_path, code), "--", "x"]
    with subprocess.Popen([sys.executable, *words], stderr=subprocess.PIPE, text=True) as process:
        wait_until(alive.exists)
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130
    assert killed.exists()


@pytest.fixture
def plain_train(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("plain_train")


def test_plain_training_cuts_whisper_and_freezes(script, plain_train, tmp_path: Path) -> None:
    script("make_model.py", "whisper", str(tmp_path / "model"), "--config_overrides", overrides("whisper"))
    plain = plain_train.PlainArguments(str(tmp_path / "model"), tmp_path, max_length_seconds=0.7, freeze="encoder")
    model, extractor = plain_train.load_model(plain, ["a", "b", "c"])
    collate = plain_train.ExtractorCollator(extractor, "whisper")
    batch = collate([{"waveform": np.zeros(4_000, np.float32), "label": 2}])
    assert batch["input_features"].shape == (1, 20, 100)
    assert batch["labels"].tolist() == [2]
    assert model(**batch).logits.shape == (1, 3)
    learning = {name.split(".")[0] for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning == {"projector", "classifier"}


def test_plain_training_stops_its_clock_for_evaluation(plain_train) -> None:
    clock = plain_train.Clock()
    with clock.paused():
        time.sleep(0.01)
    assert clock.seconds == 0
    before_s = time.perf_counter()
    clock.on_train_begin()
    time.sleep(0.05)
    with clock.paused():
        paused_s = time.perf_counter()
        time.sleep(0.05)
        paused_s = time.perf_counter() - paused_s
    clock.on_train_end()
    assert 0.05 <= clock.seconds <= time.perf_counter() - before_s - paused_s


def test_clips_are_the_same_for_the_same_seed(script, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, seed in (("a", "1"), ("b", "1"), ("c", "2")):
        script("make_clips.py", str(tmp_path / name), "--clips", "4", "--lengths", "fixed:0.3", "--seed", seed)
    assert "4 training and 4 validation clips, 2 s of audio" in capsys.readouterr().out
    (first, second, third) = (sorted((tmp_path / name).rglob("*.wav")) for name in "abc")
    assert len(first) == 8
    assert first[0].read_bytes() == second[0].read_bytes() != third[0].read_bytes()
    info = soundfile.info(first[0])
    assert (info.samplerate, info.channels, info.subtype, info.frames) == (16_000, 1, "PCM_16", 4_800)
    with pytest.raises(SystemExit):
        script("make_clips.py", str(tmp_path / "a"))
