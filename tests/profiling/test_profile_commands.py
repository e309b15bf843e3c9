"""``--profile`` on real runs of tiny models: the files, consistent measurements, and one line for every mistake."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from earmark.cli.main import main
from earmark.device import find_profiler
from earmark.errors import DeviceError
from earmark.models.build_model import build_for_training
from earmark.models.model_source import ModelSource
from earmark.profiling import matmul_peak, profile_session
from earmark.profiling.bounds import Advice
from earmark.profiling.profile_session import ProfileRequest, ProfileSession
from earmark.profiling.profiled_scoring import profiled_scoring
from earmark.scoring.torch_scorer import TorchScorer
from tests.tiny import overrides, save_model, write_tones

FILES = ["profile.json", "profile.txt", "trace.json.gz"]


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little time for the peak."""
    monkeypatch.setattr(matmul_peak, "_LEAST_RUN_S", 0.001)
    monkeypatch.setattr(matmul_peak, "_LONG_PRODUCT_S", 0.0)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_tones(tmp_path / "data", per_class=4)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_model(tmp_path / "model", 0.5)


def figures_in(folder: Path) -> dict[str, Any]:
    """The measurements of a profile, whose files are complete and agree with each other."""
    assert sorted(path.name for path in folder.iterdir()) == FILES
    figures: dict[str, Any] = json.loads((folder / "profile.json").read_text(encoding="utf-8"))
    with gzip.open(folder / figures["trace"], "rt", encoding="utf-8") as stream:
        names = [event["name"] for event in json.load(stream)["traceEvents"]]
    assert sum(name.startswith("ProfilerStep#") for name in names) >= figures["steps"]
    parts = {row["part"]: row for row in figures["parts"]}
    assert sum(row["share_of_time"] for row in parts.values()) == pytest.approx(1, abs=0.02)
    assert sum(row["flop_per_step"] for row in parts.values()) == figures["matrix_products"]["flop_per_step"] > 0
    assert figures["peak"]["flop_per_second"] > 1e6
    text = (folder / "profile.txt").read_text(encoding="utf-8")
    assert all(f"\n{name} " in text for name in parts)
    assert all(f"- {line}\n" in text for line in figures["bounds"])
    return {**figures, "parts": parts}


def session(tmp_path: Path) -> ProfileSession:
    """Profiles two steps after one."""
    request = ProfileRequest(2, 1, "batch", tmp_path / "profile", Advice("", "--batch_size", "", ""))
    return ProfileSession(request, torch.device("cpu"))


def train(data: Path, output: Path, kind: str, *more: str) -> list[str]:
    words = ["train", "--data_dir", str(data), "--output_dir", str(output), "--model_type", kind, "--device", "cpu"]
    words += ["--config_overrides", overrides(kind), "--per_device_train_batch_size", "2", "--num_train_epochs", "3"]
    return [*words, "--precision", "fp32", "--report", "false", *more]


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper"])
def test_train(kind: str, data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(train(data, run, kind, "--profile", "6")) == 0
    figures = figures_in(run / "profile")
    assert figures["steps"] == 6
    parts = figures["parts"]
    expected = {"attention", "MLP", "norms", "activations", "head", "frontend", "loss", "optimizer"}
    expected |= {"gradient clipping", "waiting for data"}
    assert expected <= parts.keys()
    assert not parts.get("other", {}).get("flop_per_step")
    assert parts["MLP"]["flop_per_step"] > parts["head"]["flop_per_step"] > 0
    assert parts["norms"]["flop_per_step"] == 0
    assert (run / "metrics.json").is_file()
    assert "profile" not in (run / "run_config.yaml").read_text(encoding="utf-8")


def test_a_training_in_bfloat16_has_casts(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(train(data, run, "whisper", "--precision", "bf16", "--profile", "2")) == 0
    figures = figures_in(run / "profile")
    assert figures["parts"]["casts and copies"]["seconds_per_step"] > 0
    assert figures["peak"]["dtype"] == "bf16"


def test_attention_has_the_operations_of_its_shapes(data: Path, tmp_path: Path) -> None:
    """Forward and backward of two layers of width 16: 4 projections of 50 frames, and attention between them."""
    run = tmp_path / "run"
    assert main(train(data, run, "whisper", "--profile", "2", "--max_length_seconds", "1")) == 0
    figures = figures_in(run / "profile")
    projections = 4 * 2 * (2 * 50) * 16 * 16 * 3  # of 2 clips; the gradients take twice as much as the forward pass
    products = 2 * 2 * 2 * 50 * 50 * 16
    forward, backward = products, figures["parts"]["attention"]["flop_per_step"] / 2 - projections - products
    assert backward / forward in (2.0, 2.5)  # the fused kernel computes the scores again


def test_a_run_that_is_too_short_says_so(data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    assert main(train(data, run, "tc_resnet", "--max_steps", "2", "--profile")) == 0
    assert (
        "nothing was profiled, because the run had 2 training steps and the first 3 are the warm-up"
        in capsys.readouterr().err
    )
    assert (run / "metrics.json").is_file()
    assert not (run / "profile").exists()


def test_a_run_that_ends_early_profiles_what_there_is(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(train(data, run, "tc_resnet", "--max_steps", "5", "--profile")) == 0
    assert figures_in(run / "profile")["steps"] == 2
    assert re.search(rf"^profile +{re.escape(str(run / 'profile' / 'profile.txt'))}$", capsys.readouterr().out, re.M)


def test_without_the_flag_nothing_is_written(data: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert main(train(data, run, "tc_resnet", "--max_steps", "2")) == 0
    assert not (run / "profile").exists()


def test_a_disk_that_is_full_does_not_stop_the_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(gzip, "open", full)
    run = tmp_path / "run"
    assert main(train(data, run, "tc_resnet", "--max_steps", "5", "--profile")) == 0
    assert "No space left" in capsys.readouterr().err
    assert (run / "metrics.json").is_file()


def test_a_peak_that_cannot_be_measured_is_unknown(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: object) -> float:
        raise torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 128 MiB")

    monkeypatch.setattr(profile_session, "matmul_peak", full)
    run = tmp_path / "run"
    assert main(train(data, run, "tc_resnet", "--max_steps", "5", "--profile")) == 0
    err = capsys.readouterr().err
    assert err.count("--profile: the peak of the device could not be measured (CUDA out of memory.)") == 1
    assert json.loads((run / "profile" / "profile.json").read_text(encoding="utf-8"))["peak"] is None
    assert (run / "metrics.json").is_file()


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (profile_session, "attribute"),
        (json, "loads"),
        (torch.profiler.profile, "step"),
        (torch.profiler.profile, "stop"),
        (torch.profiler.profile, "export_chrome_trace"),
    ],
)
def test_a_profile_that_fails_does_not_stop_the_run(
    owner: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    profile = session(tmp_path)

    def fail(*_: object, **__: object) -> None:
        raise ValueError("it fails")

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fail)
        for _ in range(4):
            profile.step()
        profile.close()
    assert profile.report is None
    assert caplog.messages == ["--profile: the profile failed (ValueError: it fails). The run continues without it"]
    again = session(tmp_path)
    for _ in range(3):
        torch.mm(torch.ones(8, 8), torch.ones(8, 8))
        again.step()
    assert again.report is not None


def test_a_profile_that_fails_does_not_hide_the_error_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio = build_for_training(ModelSource(model_type="tc_resnet"), ["a", "b"], 0.5, 0.5)
    scorer = TorchScorer(audio.model.eval(), audio.frontend, torch.device("cpu"))

    def fail(*_: object) -> None:
        raise ValueError("it fails")

    def run() -> None:
        with profiled_scoring(scorer, 9, tmp_path / "profile"):
            for _ in range(2):
                scorer.logits([np.zeros(8_000, dtype=np.float32)])
            raise KeyError("of the run")

    monkeypatch.setattr(profile_session, "attribute", fail)
    with pytest.raises(KeyError, match="of the run"):
        run()


def predict(model: Path, data: Path, output: Path, *more: str) -> list[str]:
    words = ["predict", str(model), str(data), "--output", str(output), "--device", "cpu", "--batch_size", "1"]
    return [*words, *more]


def test_predict(model: Path, data: Path, tmp_path: Path) -> None:
    plain, profiled = tmp_path / "plain.csv", tmp_path / "profiled.csv"
    assert main(predict(model, data, plain)) == 0
    assert main(predict(model, data, profiled, "--profile", "9")) == 0
    assert profiled.read_text() == plain.read_text()
    figures = figures_in(tmp_path / "profiled.csv.profile")
    assert figures["steps"] == 9
    assert {"feature encoder", "attention", "frontend", "waiting for data"} <= figures["parts"].keys()
    assert not {"optimizer", "loss"} & figures["parts"].keys()


def test_the_ranges_are_removed_with_the_last_step(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = []
    compute = TorchScorer.logits

    def noting(scorer: TorchScorer, waveforms: Any) -> Any:
        hooks.append(sum(len(module._forward_hooks) for module in scorer.model.modules()))
        return compute(scorer, waveforms)

    monkeypatch.setattr(TorchScorer, "logits", noting)
    assert main(predict(model, data, tmp_path / "a.csv", "--profile", "3")) == 0
    assert all(hooks[:4])
    assert not any(hooks[4:])
    assert len(hooks) > 4


def test_the_bare_flag_takes_no_word_behind_it(model: Path, data: Path, tmp_path: Path) -> None:
    words = ["predict", "--profile", str(model), str(data), "--output", str(tmp_path / "a.csv")]
    assert main([*words, "--device", "cpu", "--batch_size", "1"]) == 0
    assert figures_in(tmp_path / "a.csv.profile")["steps"] == 11  # of 12 clips, after the first


@pytest.mark.parametrize("work", ["train", "infer"])
def test_bench(work: str, tmp_path: Path) -> None:
    output = tmp_path / "figures.json"
    words = ["bench", work, "--model_type", "whisper", "--config_overrides", overrides("whisper"), "--device", "cpu"]
    words += ["--num_clips", "8", "--batch_size", "2", "--lengths", "fixed:0.5", "--json", str(output)]
    steps = {"train": ["--steps", "2", "--skipped_steps", "1"], "infer": []}[work]
    assert main([*words, *steps, "--profile", "5"]) == 0
    assert figures_in(tmp_path / "figures.json.profile")["steps"] == 5
    figures = json.loads(output.read_text(encoding="utf-8"))["figures"]
    assert figures["clips"] == {"train": 4, "infer": 8}[work]  # what is profiled is not timed


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("predict MODEL DATA --profile", "--profile writes its files next to the results. Add --output."),
        ("predict MODEL DATA --output a.csv --profile 0", "--profile 0: expected a whole number"),
        (
            "predict MODEL DATA --output a.csv --profile --engine ray",
            "--profile: --engine ray cannot be profiled. Leave one of them out.",
        ),
        ("bench infer --model_type whisper --profile", "Add --json FILE."),
        ("bench data --json a.json --profile", "--profile is for earmark bench train and infer"),
        (
            "train --data_dir DATA --output_dir run --model_name_or_path MODEL --few_shot --profile",
            "--few_shot trains no epochs, so --profile has no effect.",
        ),
    ],
)
def test_mistakes(words: str, message: str, model: Path, data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([{"MODEL": str(model), "DATA": str(data)}.get(word, word) for word in words.split()]) == 2
    assert message in capsys.readouterr().err


def test_an_export_has_no_profile(model: Path, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported = tmp_path / "exported"
    assert main(["export", str(model), "--format", "pt2", "--output", str(exported)]) == 0
    capsys.readouterr()
    assert main(predict(exported, data, tmp_path / "a.csv", "--profile")) == 2
    assert "is an export, which torch does not run. Use the model that it was exported from." in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["mps", "npu"])
def test_a_device_without_a_profiler(kind: str) -> None:
    device: Any = SimpleNamespace(type=kind)
    with pytest.raises(DeviceError, match=f"no profiler for {kind} devices. Leave --profile out, or profile on a CPU"):
        find_profiler(device)


def test_a_cpu_has_a_profiler() -> None:
    module, activities = find_profiler(torch.device("cpu"))
    assert module is torch.profiler
    assert [activity.name for activity in activities] == ["CPU"]
