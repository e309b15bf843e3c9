"""The use of a run folder with Transformers alone, as the documentation shows it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import earmark
from tests.tiny import RATE_HZ, save_model, tone

DOCUMENT = Path(__file__).parents[2] / "docs" / "models.md"


def documented() -> str:
    section = DOCUMENT.read_text(encoding="utf-8").split("## Using a model without earmark")[1].split("\n## ")[0]
    (code,) = re.findall(r"^```python\n(.*?)^```", section, flags=re.M | re.S)
    assert isinstance(code, str)
    return code


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_model(tmp_path_factory.mktemp("model"), 1.0)


def run(code: str, model: Path, samples: Any) -> tuple[Any, list[Any]]:
    """Run a documented example: its pipeline, and what each line that calls it gives."""
    names: dict[str, Any] = {"samples": samples}
    answers = []
    for line in code.replace("runs/birds", model.as_posix()).splitlines():
        if line.startswith("classify("):
            answers.append(eval(line, names))
        else:
            exec(line, names)
    return names["classify"], answers


def test_the_documented_example_runs_as_written(model: Path) -> None:
    samples = tone(440, 0.8)
    classify, (from_dict, from_array) = run(documented(), model, samples)
    expected = earmark.Classifier.from_pretrained(model, device="cpu").predict((samples, RATE_HZ), top_k=3)
    assert [row["label"] for row in from_dict] == [row["label"] for row in expected]
    np.testing.assert_allclose([row["score"] for row in from_dict], [row["score"] for row in expected], atol=1e-4)
    assert from_array == from_dict[:1]
    assert classify.feature_extractor.sampling_rate == RATE_HZ
    assert classify({"array": samples, "sampling_rate": RATE_HZ}) == from_dict


def test_the_needs_of_a_pipeline_are_documented(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import pipeline
    from transformers.utils import is_torchaudio_available

    classify = pipeline("audio-classification", model=str(model), device="cpu")
    (tmp_path / "a.wav").write_bytes(b"RIFF")
    monkeypatch.setenv("PATH", str(tmp_path))  # no ffmpeg
    text = DOCUMENT.read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="ffmpeg was not found"):
        classify(str(tmp_path / "a.wav"))
    assert "`ffmpeg was not found`" in text
    with pytest.raises(ValueError, match="single channel"):
        classify(np.zeros((2, 16_000), np.float32))
    if not is_torchaudio_available():
        with pytest.raises(ImportError, match="torchaudio"):
            classify({"raw": tone(440, 0.5, rate_hz=8_000), "sampling_rate": 8_000})
    assert "torchaudio" in text
