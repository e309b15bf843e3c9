"""``earmark export`` as a whole: what is written, what is refused, and the ways back in."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

pytest.importorskip("onnxruntime")

import earmark
from earmark.cli.main import main
from earmark.errors import DeviceError, MissingExtraError, ModelError, OutputError, UsageError
from earmark.export.check import ExportComparison
from earmark.export.description import ExportDescription, read_description
from earmark.export.export_model import describe, export, warn_of_losses
from earmark.export.graph import WaveformClassifier, trace
from earmark.export.load_export import ExportedScorer
from earmark.export.onnx_file import write_onnx
from earmark.settings.export_flags import ExportOptions
from tests.families.tiny_models import build_for_export
from tests.small_files import no_file_longer_than
from tests.tiny import RATE_HZ, tone, write_tones


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper, which exports fastest, cut to 1 s."""
    folder = tmp_path_factory.mktemp("whisper")
    build_for_export("whisper").save(folder)
    return folder


@pytest.fixture(scope="module")
def exported(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports") / "onnx"
    export(ExportOptions(model_name_or_path=str(model), output=str(folder)))
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recordings")
    for i, seconds in enumerate((0.05, 0.4, 1.0, 2.7)):
        place = folder / "abc"[i % 3]
        place.mkdir(exist_ok=True)
        soundfile.write(place / f"{i}.wav", tone(300 + 300 * i, seconds, seed=i), RATE_HZ, subtype="FLOAT")
    return folder


def test_an_export_answers_behind_the_same_class(model: Path, exported: Path, recordings: Path) -> None:
    paths = sorted(recordings.rglob("*.wav"))
    ours = earmark.Classifier.from_pretrained(exported, device="cpu", batch_size=3)
    theirs = earmark.Classifier.from_pretrained(model, device="cpu")
    assert ours.labels == theirs.labels
    assert ours.sampling_rate_hz == RATE_HZ
    expected = theirs.predict_proba(paths)
    assert expected.std(axis=0).max() > 1e-2, "answers that hardly differ show nothing"
    np.testing.assert_allclose(ours.predict_proba(paths), expected, atol=1e-4)
    assert ours.predict(paths[0], top_k=2)[0]["label"] == theirs.predict(paths[0])[0]["label"]
    with pytest.raises(UsageError, match="precision bf16"):
        earmark.Classifier.from_pretrained(exported, precision="bf16")
    with pytest.raises(DeviceError, match="CANNExecutionProvider"):
        earmark.Classifier.from_pretrained(exported, device="npu:0")
    with pytest.raises(DeviceError, match="xpu"):
        earmark.Classifier.from_pretrained(exported, device="xpu")


@pytest.mark.parametrize("format", ["onnx", "pt2"])
def test_a_model_file_names_no_folder_of_the_machine_that_wrote_it(
    format: str, model: Path, exported: Path, tmp_path: Path
) -> None:
    folder = exported
    if format == "pt2":
        folder = tmp_path / "pt2"
        export(ExportOptions(model_name_or_path=str(model), output=str(folder), format="pt2"))
    content = (folder / f"model.{format}").read_bytes()
    for module in (earmark, torch):
        assert str(Path(str(module.__file__)).parent).encode() not in content


def test_the_folder_says_what_it_is_and_what_was_checked(exported: Path) -> None:
    assert sorted(entry.name for entry in exported.iterdir()) == ["export.json", "model.onnx"]
    description = read_description(exported)
    assert (description.format, description.architecture) == ("onnx", "whisper")
    assert description.max_samples == RATE_HZ
    assert not description.takes_num_samples, "padding is silence to Whisper"
    assert description.checked["largest_difference"] < 1e-4
    assert description.checked["flips"] == 0
    assert description.checked["recordings"] == "generated speech-like audio"
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(exported / "model.onnx")
    inside = json.loads({entry.key: entry.value for entry in proto.metadata_props}["earmark"])
    assert inside["labels"] == ["a", "b", "c"]


def test_predict_and_evaluate_take_the_folder(
    exported: Path, tmp_path: Path, recordings: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(exported), str(recordings), "--format", "jsonl"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4
    assert all(line["predictions"][0]["label"] in "abc" for line in lines)
    data = write_tones(tmp_path / "tones", per_class=2)
    for split in ("train", "validation"):
        (data / split / "low").rename(data / split / "a")
        (data / split / "high").rename(data / split / "b")
    words = [
        "evaluate",
        str(exported),
        "--data_dir",
        str(data),
        "--device",
        "cpu",
        "--output_dir",
        str(tmp_path / "out"),
    ]
    assert main(words) == 0
    assert "validation: accuracy" in capsys.readouterr().out
    assert (tmp_path / "out" / "metrics.json").is_file()


def test_eight_bits_are_reported_in_accuracy(
    model: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "int8"
    words = ["export", str(model), "--format", "onnx-int8", "--calibration", str(recordings), "--output", str(output)]
    assert main(words) == 0
    assert "accuracy" in capsys.readouterr().out
    checked = read_description(output).checked
    assert "4 labelled recordings" in checked["recordings"]
    assert 0 <= checked["accuracy_export"] <= 1
    onnx = pytest.importorskip("onnx")
    proto = onnx.load(output / "model.onnx")
    assert any(node.op_type == "MatMulInteger" for node in proto.graph.node)
    eight_bits = [tensor.name for tensor in proto.graph.initializer if tensor.data_type == onnx.TensorProto.INT8]
    assert eight_bits
    assert not any("features" in name for name in eight_bits), "the frontend stays in float32"


def test_a_fixed_shape_takes_what_any_shape_takes(
    model: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "fixed"
    assert main(["export", str(model), "--fixed_shape", "3x1", "--output", str(output)]) == 0
    printed = capsys.readouterr().out
    assert '--input_shape="samples:3,16000"' in printed
    assert "atc --framework=5" in printed
    proto = pytest.importorskip("onnx").load(output / "model.onnx")
    assert [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim] == [3, 16_000]
    paths = sorted(recordings.rglob("*.wav"))
    fixed, free = (earmark.Classifier.from_pretrained(place, device="cpu") for place in (output, model))
    np.testing.assert_allclose(fixed.predict_proba(paths), free.predict_proba(paths), atol=1e-4)


def test_an_export_that_answers_differently_is_refused(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ExportedScorer._probabilities

    def wrong(self: ExportedScorer, waveforms: list[np.ndarray]) -> np.ndarray:
        return right(self, waveforms) + np.float32([0.002, -0.002, 0])

    monkeypatch.setattr(ExportedScorer, "_probabilities", wrong)
    options = ExportOptions(model_name_or_path=str(model), format="pt2", output=str(tmp_path / "refused"))
    with pytest.raises(ModelError, match=r"differs from PyTorch.*0\.002.* Try --format onnx"):
        export(options)
    assert list(tmp_path.iterdir()) == [], "nothing is left"


class _Bessel(torch.nn.Module):
    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        return torch.special.bessel_j0(hidden)


def test_an_operator_without_counterpart_is_named(tmp_path: Path) -> None:
    audio = build_for_export("whisper")
    audio.model.classifier = torch.nn.Sequential(audio.model.classifier, _Bessel())
    graph = WaveformClassifier(audio)
    description = describe("onnx", audio, graph, audio.frontend, None)
    with pytest.raises(ModelError, match=r"whisper: the operator \S*bessel_j0 does not exist in ONNX"):
        write_onnx(trace(graph, None), description, tmp_path / "model.onnx")


def test_what_is_in_the_way_is_said_before_any_work(model: Path, exported: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="not an empty folder"):
        export(ExportOptions(model_name_or_path=str(model), output=str(exported)))
    with pytest.raises(UsageError, match=r"0\.025 to 1 s"):
        export(ExportOptions(model_name_or_path=str(model), output=str(tmp_path / "x"), fixed_shape="1x30"))
    with pytest.raises(UsageError, match="BATCHxSECONDS"):
        ExportOptions(model_name_or_path=str(model), output="x", fixed_shape="16000")
    with pytest.raises(UsageError, match="earmark export MODEL --output"):
        ExportOptions(model_name_or_path=str(model))
    with pytest.raises(ModelError, match=r"model\.onnx is missing"):
        _damaged(exported, tmp_path, remove="model.onnx")
    with pytest.raises(ModelError, match="not a description"):
        _damaged(exported, tmp_path, remove=None)


def _damaged(exported: Path, tmp_path: Path, remove: str | None) -> ExportDescription:
    folder = tmp_path / f"without_{remove}"
    folder.mkdir()
    text = (exported / "export.json").read_text()
    (folder / "export.json").write_text(text if remove else text[:100])
    return read_description(folder)


def test_a_damaged_model_file_is_a_line(exported: Path, tmp_path: Path) -> None:
    for name in ("export.json", "model.onnx"):
        (tmp_path / name).write_bytes((exported / name).read_bytes()[: 1000 if name == "model.onnx" else None])
    with pytest.raises(ModelError, match="cannot load it"):
        earmark.Classifier.from_pretrained(tmp_path, device="cpu")


@pytest.mark.parametrize("newer", ["ir", "opset", "operator"])
def test_a_file_for_a_newer_onnx_runtime_says_so(newer: str, exported: Path, tmp_path: Path) -> None:
    proto = pytest.importorskip("onnx").load(exported / "model.onnx")
    if newer == "ir":
        proto.ir_version = 99
    elif newer == "opset":
        proto.opset_import[0].version = 99
    else:
        proto.graph.node[0].op_type = "OperatorOfTheFuture"
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    (tmp_path / "export.json").write_bytes((exported / "export.json").read_bytes())
    version = re.escape(sys.modules["onnxruntime"].__version__)
    with pytest.raises(ModelError, match=rf"ONNX Runtime {version} is too old for this file \(.*pip install --upgrade"):
        earmark.Classifier.from_pretrained(tmp_path, device="cpu")


@pytest.mark.parametrize("form", [pytest.param("onnx", marks=pytest.mark.slow), "pt2"])
def test_a_model_that_does_not_fit_is_a_line(
    form: str, model: Path, recordings: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(model), "--format", form, "--calibration", str(recordings)]
    with no_file_longer_than(5000):
        assert main([*words, "--output", str(tmp_path / "out")]) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"earmark: error: {tmp_path / 'out'}: cannot be written (File too large)"
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").write_text("")
    assert main([*words, "--output", str(tmp_path / "file" / "out")]) == 2
    assert capsys.readouterr().err.splitlines()[-1].endswith("file/out: cannot be written (File exists)")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_is_named_before_the_model_is_loaded(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    options = ExportOptions(model_name_or_path=str(tmp_path / "gone"), output=str(tmp_path / "x"))
    install = "onnxruntime$" if package == "onnxruntime" else r"'earmark\[onnx\]'"
    with pytest.raises(MissingExtraError, match=rf"{package}\. Install it: pip install {install}"):
        export(options)
    with pytest.raises(ModelError, match="gone"):
        export(replace(options, format="pt2"))


@pytest.mark.parametrize(
    ("accuracy", "agreement", "said"),
    [
        (None, 0.9, ["8 bits: 10.0 % of the predictions change"]),
        ((0.9, 0.875), 0.9, ["8 bits: 2.5 percentage points of accuracy are lost"]),
        ((0.9, 0.9), 0.9, []),
        (None, 1.0, []),
    ],
)
def test_a_loss_in_8_bits_is_a_warning(
    accuracy: tuple[float, float] | None, agreement: float, said: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    warn_of_losses(ExportComparison(40, [400], [1, 3], 0.01, 1, agreement, accuracy))
    assert caplog.messages == said
