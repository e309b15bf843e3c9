"""``earmark bench`` from the command line: consistent measurements, a table, and one line for every mistake."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from earmark.bench import time_data, time_training
from earmark.cli.main import main
from earmark.profiling import matmul_peak
from earmark.settings.bench_flags import BenchOptions
from tests.tiny import RATE_HZ, overrides, tone, write_tones

TINY = ["--device", "cpu", "--batch_size", "4", "--model_type"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Little time for each measurement, and temporary folders where they can be looked for."""
    monkeypatch.setattr(time_data, "_LEAST_S", 0.01)
    monkeypatch.setattr(matmul_peak, "_LEAST_RUN_S", 0.001)
    monkeypatch.setattr(matmul_peak, "_LONG_PRODUCT_S", 0.0)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def bench(tmp_path: Path, *words: str) -> dict[str, Any]:
    """The JSON of one measurement, which leaves nothing behind."""
    output = tmp_path / "figures.json"
    assert main(["bench", *words, "--json", str(output)]) == 0
    assert not list((tmp_path / "temporary").iterdir())
    whole = json.loads(output.read_text(encoding="utf-8"))
    assert set(whole) == {"work", "settings", "environment", "clips", "figures"}
    assert whole["work"] == words[0]
    assert whole["environment"]["packages"]["torch"]
    return whole


def check_rate(rate: dict[str, float]) -> None:
    assert rate["clips_per_second"] * rate["seconds"] == pytest.approx(rate["clips"])
    assert rate["audio_seconds_per_second"] * rate["seconds"] == pytest.approx(rate["audio_s"])


def check_compute(figures: dict[str, Any]) -> None:
    check_rate(figures)
    assert figures["flop_per_second"] * figures["seconds"] == pytest.approx(figures["flop"])
    assert figures["flop_per_clip"] * figures["clips"] == pytest.approx(figures["flop"])
    peak = figures["matmul_peak_flop_per_second"]
    assert figures["share_of_peak"] * peak == pytest.approx(figures["flop_per_second"])
    useful = figures["flop_per_second"] * figures["useful_share"]
    assert figures["useful_flop_per_second"] == pytest.approx(useful)
    assert figures["flop"] > 0
    assert peak > 1e8
    assert figures["memory"]["peak_resident_bytes"] > 1e7
    assert figures["memory"]["peak_device_bytes"] is None


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")  # DataLoader's own, from Python 3.12 on
def test_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    whole = bench(
        tmp_path, "data", "--num_clips", "10", "--lengths", "uniform:0.1,0.3", "--batch_size", "4", "--device", "cpu"
    )
    assert whole["clips"]["count"] == 10
    assert 0.1 <= whole["clips"]["shortest_s"] < whole["clips"]["longest_s"] <= 0.3
    figures = whole["figures"]
    ways = ["build", "in_process", "through_workers", "decoding"]
    assert list(figures) == [*ways, "to_device", "memory"]
    assert figures["to_device"] is None  # there is no accelerator
    for way in ways:
        check_rate(figures[way])
        mean_s = figures[way]["audio_s"] / figures[way]["clips"]
        assert 0.1 <= mean_s <= 0.3
    assert figures["build"]["clips"] == 10
    assert figures["build"]["audio_s"] == pytest.approx(whole["clips"]["audio_s"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("earmark bench data: batches of 4, 10 clips of 0.1")
    assert lines[2].split() == ["clips/s", "s", "of", "audio/s"]
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "recordings to store",
        "store to batches",
        "store to batches, 1 DataLoader worker",
        "recordings to batches, decoded each time",
        "peak memory, resident",
    ]


def test_training_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--num_clips", "10", "--steps", "5", "--skipped_steps", "1", "--lengths", "fixed:0.5", "--seed", "3"]
    whole = bench(tmp_path, "train", *TINY, "tc_resnet", *words)
    figures = whole["figures"]
    check_compute(figures)
    # 10 clips are batches of 4, 4 and 2; the first step of two epochs is left out
    assert figures["clips"] == 16
    assert figures["audio_s"] == pytest.approx(8.0)
    assert figures["useful_share"] == 1
    assert (figures["kept"], figures["frozen_s"], figures["freeze"]) == (None, 0, "none")
    assert figures["model"]["model_type"] == "tc_resnet"
    assert figures["model"]["learning"] == figures["model"]["parameters"] > 1e6
    assert figures["model"]["max_length_seconds"] == 0.5
    assert whole["settings"]["batch_size"] == 4
    assert "token" not in whole["settings"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("earmark bench train: tc_resnet, 1.07 M parameters, batches of 4, 10 clips of 0.5 s,")
    assert lines[2].startswith("clips/s ")
    assert "(16 in " in lines[2]
    assert [line.split("  ")[0] for line in lines[3:]] == [
        "seconds of audio/s", "model FLOP/s", "", "fraction of matmul peak", "peak memory, resident",
    ]  # fmt: skip


def test_steps_are_compiled_as_asked(tmp_path: Path) -> None:
    asked = {"work": "train", "model_type": "tc_resnet", "device": "cpu"}

    def arguments(**flags: Any) -> Any:
        return time_training._arguments(BenchOptions(**asked, **flags), torch.device("cpu"), "fp32", tmp_path)

    assert not arguments().torch_compile
    assert arguments(torch_compile=True).torch_compile
    graphs = arguments(torch_compile_mode="reduce-overhead")
    assert (graphs.torch_compile, graphs.torch_compile_mode) == (True, "reduce-overhead")


@pytest.mark.parametrize(
    ("freeze", "kept", "keep"),
    [("feature_encoder", "features", "true"), ("encoder", "embeddings", "true"), ("encoder", None, "false")],
)
def test_training_on_what_a_frozen_part_gave(tmp_path: Path, freeze: str, kept: str | None, keep: str) -> None:
    words = ["--num_clips", "8", "--steps", "3", "--skipped_steps", "1", "--lengths", "uniform:0.3,0.6"]
    words += ["--config_overrides", overrides("wav2vec2"), "--freeze", freeze, "--keep_frozen", keep]
    whole = bench(tmp_path, "train", *TINY, "wav2vec2", *words)
    figures = whole["figures"]
    check_compute(figures)
    assert (figures["kept"], figures["clips"]) == (kept, 12)
    assert (figures["frozen_s"] > 0) == (kept is not None)
    mean_s = whole["clips"]["audio_s"] / 8
    # steps 2, 3 and 4 are one whole epoch and half of another
    assert 8 * mean_s + 4 * 0.3 <= figures["audio_s"] * 1.03
    assert figures["audio_s"] <= 1.03 * (8 * mean_s + 4 * 0.6)
    assert (figures["useful_share"] == 1) == (kept == "embeddings")
    assert figures["useful_share"] > 0.5
    if kept == "embeddings":
        # 16 to 8 and 8 to 4 classes, with gradients by both weights and by what lies between
        assert figures["flop_per_clip"] == 2 * (2 * 16 * 8 + 3 * 8 * 4)


@pytest.mark.parametrize("model_type", ["whisper", "wav2vec2"])
def test_inference(tmp_path: Path, model_type: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--num_clips", "6", "--lengths", "uniform:0.3,0.6", "--passes", "2", "--precision", "bf16"]
    whole = bench(tmp_path, "infer", *TINY, model_type, "--config_overrides", overrides(model_type), *words)
    figures = whole["figures"]
    check_compute(figures)
    assert figures["clips"] == 12
    assert figures["audio_s"] == pytest.approx(2 * whole["clips"]["audio_s"])
    assert figures["dtype"] == "bfloat16"
    computed_s = 12 * figures["model"]["max_length_seconds"] if model_type == "whisper" else figures["audio_s"]
    assert figures["useful_share"] <= figures["audio_s"] / computed_s + 1e-9
    assert (figures["useful_share"] == pytest.approx(figures["audio_s"] / computed_s)) or model_type == "wav2vec2"
    out = capsys.readouterr().out
    assert out.splitlines()[-1].split("  ")[0] == "decoding of recordings"


def test_a_checkpoint_and_a_folder_of_recordings(tmp_path: Path) -> None:
    tones = write_tones(tmp_path / "tones", per_class=3, seconds=0.7)
    run = tmp_path / "run"
    words = ["--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--output_dir", str(run)]
    assert main(["train", "--data_dir", str(tones), *words, "--max_steps", "1", "--device", "cpu"]) == 0
    words = ["--data_dir", str(tones), "--max_length_seconds", "0.4", "--batch_size", "2", "--device", "cpu"]
    for work in ("infer", "train"):
        whole = bench(tmp_path, work, "--model_name_or_path", str(run), *words)
        assert (whole["clips"]["count"], whole["clips"]["longest_s"]) == (6, 0.7)  # of the training split
        check_compute(whole["figures"])
        assert whole["figures"]["model"]["max_length_seconds"] == 0.4
    assert whole["figures"]["audio_s"] == pytest.approx(0.4 * whole["figures"]["clips"])  # cut


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Name a job: earmark bench data, train or infer."),
        (["speed"], "--work speed: expected data, train or infer"),
        (["data", "train"], "unexpected word 'train'"),
        (["train"], "earmark bench train needs a model. Add --model_name_or_path"),
        (["infer", "--model_type", "wav2vec2", "--model_name_or_path", "x"], "contradict each other. Keep one"),
        (["infer", "--model_name_or_path", "nowhere/at/all"], "nowhere/at/all"),
        (["data", "--num_clips", "0"], "--num_clips 0: expected a whole number of at least 1"),
        (["train", "--model_type", "tc_resnet", "--steps", "0"], "--steps 0: expected a whole number of at least 1"),
        (["data", "--steps", "5"], "--steps is for earmark bench train, not for data"),
        (["infer", "--model_type", "tc_resnet", "--torch_compile"], "--torch_compile is for earmark bench train"),
        (["data", "--model_type", "tc_resnet"], "--model_type is for earmark bench train and infer, not for data"),
        (["infer", "--model_type", "tc_resnet", "--freeze", "none"], "--freeze is for earmark bench train"),
        (["data", "--lengths", "normal:1,2"], "--lengths normal:1,2: not a distribution of seconds. Use fixed:1.0"),
        (["data", "--lengths", "fixed:0.024"], "invalid lengths. Give 0.025 s or more"),
        (["data", "--data_dir", "nowhere"], "nowhere: no such folder"),
        (
            ["data", "--data_dir", "nowhere", "--num_clips", "5"],
            "--num_clips is for synthetic clips, not for --data_dir",
        ),
        (["data", "--json", "nowhere/figures.json"], "--json nowhere/figures.json: there is no folder"),
        (["data", "--batch", "5"], "unknown flag --batch; did you mean --batch_size?"),
        (["data", "--model_revision", "v1"], "--model_revision is for earmark bench train and infer, not for data"),
        (["train", "--model_type", "tc_resnet", "--few_shot"], "--few_shot: a flag of earmark train, not of this"),
        (["train", "--model_type", "tc_resnet", "--device", "gpu"], "--device gpu: not a device"),
        (["train", "--model_type", "tc_resnett"], "--model_type tc_resnett: expected one of"),
        (
            ["data", "--max_length_seconds", "0.01"],
            "--max_length_seconds 0.01: expected a length in seconds",
        ),
        (["data", "--bucket_waste", "2"], "--bucket_waste 2: expected between 0 and 1"),
        (["data", "--seed", "-1"], "--seed -1: expected a whole number from 0"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert main(["bench", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    error = captured.err.splitlines()[-1]
    assert error.startswith("earmark: error: ")
    assert message in error


def test_recordings_below_25_ms_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tones = write_tones(tmp_path / "tones", per_class=2)
    short = tones / "train" / "low" / "short.wav"
    soundfile.write(short, tone(440, 0.02), RATE_HZ)
    assert main(["bench", "data", "--data_dir", str(tones)]) == 2
    assert f"{short}: the clip is 20 ms long. Use clips of at least 25 ms." in capsys.readouterr().err


def test_a_launcher_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert main(["bench", "data"]) == 2
    assert "without a launcher" in capsys.readouterr().err


def test_the_help_has_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "train", "--help"]) == 0
    page = capsys.readouterr().out
    for flag in ("lengths", "num_clips", "steps", "precision", "json", "model_type", "freeze", "data_dir"):
        assert page.count(f"\n  --{flag} ") == 1
    assert "--work" not in page


def test_the_peak_is_the_best_of_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    def product_s(left: torch.Tensor, right: torch.Tensor, repeats: int) -> float:
        size = len(left)
        assert left.shape == right.shape == (size, size)
        assert left.dtype == torch.bfloat16
        return 2 * size**3 / (3e12 if size == 1024 else 1e12)

    monkeypatch.setattr(matmul_peak, "_product_s", product_s)
    monkeypatch.setattr(matmul_peak, "_LONG_PRODUCT_S", 0.01)
    assert matmul_peak.matmul_peak(torch.device("cpu"), torch.bfloat16) == pytest.approx(3e12)
