"""Exports answer without torch as their models do in torch.

In an environment with torch these tests check the predictions alone; ``scripts/test-runtime`` runs them without it.
"""

from __future__ import annotations

import csv
import json
import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

import earmark
from earmark import runtime
from earmark.cli.main import main
from earmark.errors import ModelError, UsageError
from tests.runtime.write_exports import HOP_S, KINDS, LONG
from tests.serve.conftest import start_server
from tests.serve.streaming import pieces, stream
from tests.started import start

TOLERANCE = 1e-4
MOST_MODULES = 300  # in addition to those of ONNX Runtime, NumPy and the decoders; measured: 196
MOST_CPU = 4.0  # times those of importing them; measured: 2.3
TRAINING = ("torch", "transformers", "accelerate", "safetensors", "sklearn", "scipy", "huggingface_hub")
# run in a process in which the packages for training cannot be imported; the last line is JSON
WITHOUT = f"import json, sys; sys.modules.update(dict.fromkeys({TRAINING!r}))\n"


def predictions(written: Path, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((written / "predictions.json").read_text())[kind]
    return found


def recordings(written: Path) -> list[Path]:
    return sorted((written / "recordings").iterdir())


def check_windows(windows: list[tuple[float, float, list[float]]], expected: list[Any]) -> None:
    assert [window[:2] for window in windows] == [tuple(window[:2]) for window in expected]
    np.testing.assert_allclose([window[2] for window in windows], [window[2] for window in expected], atol=TOLERANCE)


def without_training(code: str, *words: object) -> Any:
    command = [sys.executable, "-c", WITHOUT + code, *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("kind", KINDS)
def test_recordings_and_timelines(kind: str, written: Path) -> None:
    expected, classifier = predictions(written, kind), runtime.load(written / kind)
    assert classifier.labels == expected["labels"]
    wanted = np.array(expected["probabilities"])
    assert wanted.std(axis=0).max() > 1e-3, "predictions that hardly differ show nothing"
    np.testing.assert_allclose(classifier.predict_proba(recordings(written)), wanted, atol=TOLERANCE)
    timeline = classifier.timeline(written / "recordings" / LONG, hop_seconds=HOP_S)
    check_windows(
        [(one.start_s, one.end_s, one.probabilities.tolist()) for one in timeline.windows], expected["windows"]
    )
    found = timeline.segments(runtime.SegmentRules(threshold=0.01))
    assert {segment.label for segment in found} == set(classifier.labels)


@pytest.mark.parametrize("kind", KINDS)
def test_the_command(kind: str, written: Path, tmp_path: Path) -> None:
    output, expected = tmp_path / "labels.csv", predictions(written, kind)
    words = ["predict", written / kind, written / "recordings", "--output", output]
    assert main([*map(str, words), "--resume"]) == 0
    rows = list(csv.DictReader(output.read_text().splitlines()))
    assert [Path(row["path"]).name for row in rows] == [path.name for path in recordings(written)]
    for row, probabilities in zip(rows, expected["probabilities"], strict=True):
        assert row["label"] == expected["labels"][int(np.argmax(probabilities))]
        assert float(row["score"]) == pytest.approx(max(probabilities), abs=TOLERANCE)
    selections = tmp_path / "selections"
    words = ["predict", written / kind, written / "recordings", "--format", "raven", "--window_seconds", "0.5"]
    assert main([*map(str, words), "--threshold", "0.01", "--output", str(selections)]) == 0
    assert len(list(selections.rglob("*.txt"))) == len(rows)


def test_the_server(written: Path, tmp_path: Path) -> None:
    expected, labels = predictions(written, KINDS[-1]), ["a", "b", "c"]
    server = start_server(written / KINDS[-1], tmp_path / "log")
    try:
        for path, probabilities in zip(recordings(written), expected["probabilities"], strict=True):
            response = httpx.post(f"{server.url}/v1/classify?top_k=3", content=path.read_bytes())
            scores = {each["label"]: each["score"] for each in response.json()}
            assert [scores[label] for label in labels] == pytest.approx(probabilities, abs=TOLERANCE)
        data = (written / "recordings" / LONG).read_bytes()
        timeline = httpx.post(f"{server.url}/v1/timeline?hop_seconds={HOP_S}&top_k=3", content=data).json()
        samples, rate_hz = soundfile.read(written / "recordings" / LONG, dtype="int16")
        query = f"sampling_rate={rate_hz}&encoding=s16le&hop_seconds={HOP_S}&top_k=3"
        streamed, code = stream(server, query, [*pieces(samples.astype("<i2").tobytes(), 4000), "end"])
        assert code == 1000
        for rows in (timeline["windows"], streamed):
            scores = [{each["label"]: each["score"] for each in row["scores"]} for row in rows]
            windows = [
                (row["start_s"], row["end_s"], [score[label] for label in labels])
                for row, score in zip(rows, scores, strict=True)
            ]
            check_windows(windows, expected["windows"])
    finally:
        assert server.stop() == 0


def test_the_command_imports_little(written: Path) -> None:
    """Compared with what it cannot do without, so versions and machines do not matter."""
    code = WITHOUT + "from earmark.cli.main import main; assert main(sys.argv[1:]) == 0"
    needed = "import numpy, onnxruntime, soundfile, soxr, tqdm, yaml"
    for last in (False, True):  # measured again, because another process may have interfered
        base = start(needed)
        started = start(code, "predict", str(written / "tc_resnet"), str(written / "recordings" / "one.wav"))
        if last or started.cpu_s <= MOST_CPU * base.cpu_s:
            break
    assert started.cpu_s <= MOST_CPU * base.cpu_s
    assert len(started.modules - base.modules) <= MOST_MODULES
    loaded = {name.partition(".")[0] for name in started.modules}
    assert "onnxruntime" in loaded
    assert not loaded & {"fastapi", "pandas", "datasets", "onnx"}


def test_commands_and_functions_that_train_name_the_pip_command(written: Path, tmp_path: Path) -> None:
    """One line each, before they read or write anything."""
    code = """
import contextlib, io, earmark
from earmark.cli.main import main
model, export, clips, out = sys.argv[1:]
commands = [
    ["train", "--data_dir", clips, "--model_type", "tc_resnet", "--output_dir", out],
    ["search", "--data_dir", clips, "--model_type", "tc_resnet", "--output_dir", out, "--search_space", "seed=1,2"],
    ["predict", model, clips],
    ["serve", model, "--port", "0"],
    ["evaluate", export, "--data_dir", clips],
    ["embed", model, clips, "--output", out + ".npy"],
    ["export", model, "--output", out],
    ["calibrate", model, "--data_dir", clips],
    ["bench", "infer", "--model_type", "tc_resnet"],
    ["label", clips, "--model", model],
    ["quickstart", out],
]
said = {}
for words in [*commands, ["train", "--model_type", "tc_resnett"], ["search", "--seeed", "1"]]:
    with contextlib.redirect_stderr(io.StringIO()) as stderr:
        said[" ".join(words[:3])] = main(words), stderr.getvalue()
for name, call in {
    "earmark.train": lambda: earmark.train(clips, output_dir=out),
    "earmark.evaluate": lambda: earmark.evaluate(model, clips),
    "earmark.Classifier": lambda: earmark.Classifier.from_pretrained(model),
}.items():
    try:
        call()
    except earmark.EarmarkError as exc:
        said[name] = 2, f"{exc}\\n"
print(json.dumps(said))
"""
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "tc_resnet"}')
    (model / "model.safetensors").touch()
    out = tmp_path / "out"
    said = without_training(code, model, written / "tc_resnet", written / "recordings", out)
    assert len(said) == 16
    for name, (exit_code, text) in said.items():
        assert exit_code == 2, (name, text)
        assert text.count("\n") == 1, text
        assert "pip install 'earmark[train]'. " in text
        assert text.endswith(": docs/install.md\n"), text
    assert not out.exists()
    assert said["train --model_type tc_resnett"][1].startswith(
        "earmark: error: earmark train needs torch, transformers, accelerate"
    )


def test_an_export_refuses_what_needs_its_model(written: Path, tmp_path: Path) -> None:
    """Each method raises an error of earmark, and the command prints one line."""
    code = """
import contextlib, io, earmark
from earmark import runtime
from earmark.cli.main import main
export, clip, out = sys.argv[1:]
classifier, said = runtime.load(export), {}
for name, words in {"embed": [clip], "export": [out], "push": ["org/name"]}.items():
    try:
        getattr(classifier, name)(*words)
    except earmark.EarmarkError as exc:
        said[name] = str(exc)
with contextlib.redirect_stderr(io.StringIO()) as stderr:
    assert main(["predict", export, clip, "--profile", "--output", out + ".csv"]) == 2
said["profile"] = stderr.getvalue()
print(json.dumps(said))
"""
    out = tmp_path / "out"
    said = without_training(code, written / "tc_resnet", recordings(written)[0], out)
    assert sorted(said) == ["embed", "export", "profile", "push"]
    assert "an export has no embeddings" in said["embed"]
    assert "not a checkpoint folder, but an exported model" in said["export"]
    assert said["push"] == said["export"]
    assert "is an export, which torch does not run" in said["profile"]
    assert said["profile"].count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_only_onnx_exports_are_loaded(written: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not an export\. Write one where torch is installed"):
        runtime.load(tmp_path)
    (tmp_path / "model.onnx").write_bytes((written / "tc_resnet" / "model.onnx").read_bytes())
    with pytest.raises(ModelError, match=r"export\.json, which describes model\.onnx, is missing"):
        runtime.load(tmp_path)
    with pytest.raises(ModelError, match=rf"this is a file\. Give its folder, {re.escape(str(tmp_path))}\."):
        runtime.load(tmp_path / "model.onnx")
    description = json.loads((written / "tc_resnet" / "export.json").read_text())
    for change, message in (
        ({"format": "pt2", "model_file": "model.pt2"}, "needs torch"),
        ({"mel_scale": "bark"}, rf"'mel_scale', which this earmark \({earmark.__version__}\) does not know"),
        ({"format": "onnx-fp4"}, "the format 'onnx-fp4', which"),
        ({"task": "separation"}, "the task 'separation', which"),
    ):
        (tmp_path / "model.pt2").touch()
        (tmp_path / "export.json").write_text(json.dumps(description | change))
        with pytest.raises(ModelError, match=message):
            runtime.load(tmp_path)


def test_a_pickled_classifier_opens_its_export_again(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recordings(written)[0]
    monkeypatch.chdir(written)
    classifier = runtime.load("tc_resnet")
    pickled = pickle.dumps(classifier)
    monkeypatch.chdir("/")
    np.testing.assert_array_equal(pickle.loads(pickled).predict_proba(path), classifier.predict_proba(path))


def test_wrong_settings_of_the_server(written: Path) -> None:
    with pytest.raises(UsageError, match="unknown flag --prot; did you mean --port"):
        runtime.serve(written / "tc_resnet", prot=8000)
    with pytest.raises(UsageError, match="both name a model"):
        runtime.serve(written / "tc_resnet", model_name_or_path="other")
