"""``benchmarks/roofline.py``: its operations against PyTorch's counter on the real modules, its times by hand."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from earmark.bench.flops import flop_of_clip
from earmark.models.build_model import AudioModel, ModelSource, build_for_training
from earmark.models.freeze import freeze

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
META = torch.device("meta")
SAMPLES = 16_000
CLIPS = 4
TOLERANCE = 0.02


@pytest.fixture(scope="module")
def roofline() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        yield importlib.import_module("roofline")


def build(model_type: str, classes: int) -> AudioModel:
    """The default geometry without numbers: only shapes are computed with it."""
    with META:
        audio = build_for_training(ModelSource(model_type=model_type), [str(i) for i in range(classes)], 1.0, 1.0)
    audio.model.to(META)
    return audio


def counted(audio: AudioModel, inputs: dict[str, torch.Tensor], parts: dict[str, str]) -> dict[str, int]:
    """Operations of a forward pass of Transformers' own forward, by part; what no module has belongs to attention."""
    model = audio.model.eval()
    counter = FlopCounterMode(display=False)
    with sdpa_kernel(SDPBackend.MATH), torch.no_grad(), counter:
        type(model).forward(model, **inputs)
    flop = dict.fromkeys(parts, 0)
    of_modules = {name: sum(counts.values()) for name, counts in counter.get_flop_counts().items() if name != "Global"}
    for name, count in of_modules.items():
        if not any(other.startswith(f"{name}.") for other in of_modules):
            flop[next((part for part, mark in parts.items() if mark in name), "head")] += count
    flop["attention"] += counter.get_total_flops() - sum(flop.values())
    return flop


WAV2VEC2_PARTS = {
    "feature encoder": "feature_extractor.", "projection": "feature_projection", "positions": "pos_conv_embed",
    "attention": ".attention.", "MLP": ".feed_forward.", "head": "classifier",
}  # fmt: skip
WHISPER_PARTS = {"feature encoder": "Encoder.conv", "attention": ".self_attn.", "MLP": ".fc", "head": "classifier"}


@pytest.mark.parametrize(
    ("model_type", "inputs", "parts"),
    [
        ("wav2vec2", {"input_values": (CLIPS, SAMPLES)}, WAV2VEC2_PARTS),
        ("whisper", {"input_features": (CLIPS, 80, 100)}, WHISPER_PARTS),
    ],
)
def test_operations_by_part(
    roofline: Any, model_type: str, inputs: dict[str, tuple[int, ...]], parts: dict[str, str]
) -> None:
    audio = build(model_type, roofline.CLASSES)
    model = roofline.MODELS[model_type]
    freeze(audio, "feature_encoder" if model_type == "wav2vec2" else "none")
    weights = list(audio.model.parameters())
    assert sum(weight.numel() for weight in weights) == model.parameters
    assert sum(weight.numel() for weight in weights if not weight.requires_grad) == model.frozen
    assert len(weights) == model.tensors
    found = counted(audio, {name: torch.zeros(shape, device=META) for name, shape in inputs.items()}, parts)
    predicted = roofline.by_part(model, roofline.INFER, CLIPS, SAMPLES)
    for part, flop in found.items():
        assert flop > 0
        assert predicted[part][0] == pytest.approx(flop, rel=TOLERANCE), part


def test_operations_of_training(roofline: Any) -> None:
    audio = build("wav2vec2", roofline.CLASSES)
    freeze(audio, "feature_encoder")

    def total(work: Any) -> float:
        return sum(flop for flop, _ in roofline.by_part(roofline.WAV2VEC2, work, 1, SAMPLES).values())

    features = {"features": torch.zeros(1, 49, 512)}
    kept = flop_of_clip(audio, features, META, None, backward=True)
    assert total(roofline.TRAIN_KEPT) == pytest.approx(kept, rel=TOLERANCE)
    assert total(roofline.TRAIN_COMPILED) == total(roofline.TRAIN_KEPT)
    whole = flop_of_clip(audio, {"input_values": torch.zeros(1, SAMPLES)}, META, None, backward=True)
    assert total(roofline.TRAIN) == pytest.approx(whole, rel=TOLERANCE)


def test_operations_of_training_whisper(roofline: Any) -> None:
    audio = build("whisper", roofline.CLASSES)
    parts = roofline.by_part(roofline.WHISPER, roofline.TRAIN, 1, SAMPLES)
    frontend = parts.pop("frontend")[0]
    found = flop_of_clip(audio, {"input_features": torch.zeros(1, 80, 100)}, META, None, backward=True)
    assert sum(flop for flop, _ in parts.values()) == pytest.approx(found, rel=TOLERANCE)
    with FlopCounterMode(display=False) as counter:
        audio.frontend([torch.zeros(SAMPLES).numpy()])
    assert frontend == pytest.approx(counter.get_total_flops(), rel=TOLERANCE)


def test_a_part_takes_the_longer_of_its_times(roofline: Any) -> None:
    peaks = roofline.Peaks("a device", "", 100.0, 10.0, 5.0, 1.0, 0.5, "")
    assert roofline.Cost("part", 200, 1).seconds(peaks) == pytest.approx(2 / roofline.REACHED)
    assert roofline.Cost("part", 200, 50).seconds(peaks) == pytest.approx(10 / roofline.REACHED)
    assert roofline.Cost("part", 200, 1, single=True).seconds(peaks) == pytest.approx(20 / roofline.REACHED)
    # 3 x 4 by 4 x 5, of which each number has two bytes
    assert roofline.product("part", 3, 4, 5) == roofline.Cost("part", 2 * 3 * 4 * 5, 2 * (12 + 20 + 15))


def prediction(roofline: Any, **times: float) -> Any:
    given = {"start_s": 0.0, "transfer_s": 0.0, "clips": 12} | times
    return roofline.Prediction({"MLP": 1.0, "attention": 2.0}, **given)


def test_the_slowest_of_device_host_and_copies_is_the_bound(roofline: Any) -> None:
    assert (prediction(roofline).clips_per_second, prediction(roofline).bound) == (4, "device")
    host, copies = prediction(roofline, start_s=6.0), prediction(roofline, transfer_s=4.0)
    assert (host.clips_per_second, host.bound) == (2, "host")
    assert (copies.clips_per_second, copies.bound) == (3, "transfer")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", "H100 SXM"), ("NVIDIA H200", "H200"), ("Ascend910B2", "910B2"),
        ("Ascend910B1", "910B2"), ("NVIDIA H100 PCIe", None), ("NVIDIA H200 NVL", None), ("Ascend910B4", None),
        ("NVIDIA GH200 480GB", None), ("GH100", None),
        ("Intel(R) Xeon(R) Processor (2 cores)", None),
    ],
)  # fmt: skip
def test_a_device_is_found_by_its_name(roofline: Any, name: str, expected: str | None) -> None:
    found = roofline.find_peaks(name)
    assert (found.name if found else None) == expected


def test_predictions_keep_their_order(roofline: Any) -> None:
    """A faster device, a compiler and fewer operations never make a prediction slower."""

    def rate(work: Any, device: int, model: Any = roofline.WAV2VEC2) -> float:
        return roofline.predict(model, work, roofline.DEVICES[device]).clips_per_second

    for device in range(3):
        assert rate(roofline.TRAIN, device) < rate(roofline.TRAIN_KEPT, device) < rate(roofline.TRAIN_COMPILED, device)
        assert rate(roofline.TRAIN, device) < rate(roofline.INFER, device) < rate(roofline.INFER_COMPILED, device)
        assert rate(roofline.INFER, device) < rate(roofline.INFER, device, roofline.WHISPER)
    assert rate(roofline.TRAIN, 2) < rate(roofline.TRAIN, 0) < rate(roofline.TRAIN, 1)


def test_both_tables_are_markdown(
    roofline: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tables: list[Callable[[int, float], list[list[str]]]] = [roofline.rows, roofline.cost_rows]
    for table, words in zip(tables, ([], ["--costs"]), strict=True):
        monkeypatch.setattr("sys.argv", ["roofline.py", "--clips", "8", *words])
        roofline.main()
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 1 + len(table(8, 1.0))
        assert len({line.count("|") for line in lines}) == 1


def test_the_documentation_shows_these_predictions(roofline: Any) -> None:
    page = (BENCHMARKS.parent / "docs" / "performance.md").read_text(encoding="utf-8").partition("### Roofline")[2]
    shown = [line for line in page.splitlines() if line.startswith(("| wav2vec2-base |", "| Whisper-tiny |"))]
    predictions, parts = (
        roofline.markdown(table(128, 1.0)).splitlines()[2:] for table in (roofline.rows, roofline.cost_rows)
    )
    assert [line for line in predictions if line not in shown] == []
    assert [line for line in shown if line not in [*predictions, *parts]] == []
    for peaks in roofline.DEVICES:
        assert (
            f"| {peaks.name} | {peaks.half_flop_s / 1e12:.0f} TFLOP/s | {peaks.single_flop_s / 1e12:.0f} TFLOP/s |"
            in page
        )
