"""A tagger whose configuration does not name its task, served with ``--task``."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import soundfile

import earmark
from tests.models.test_stated_task import LABELS, save_tagger
from tests.serve.conftest import Start
from tests.tiny import RATE_HZ, tone


@pytest.mark.slow
def test_several_labels_of_a_tagger(start: Start, tmp_path: Path) -> None:
    folder = save_tagger(tmp_path / "tagger", LABELS)
    server = start("--task", "multi_label", folder=folder)
    assert httpx.get(f"{server.url}/v1/model").json()["task"] == "multi_label"
    soundfile.write(tmp_path / "a.wav", tone(500, 0.5), RATE_HZ)
    answer = httpx.post(f"{server.url}/v1/classify?top_k=3", content=(tmp_path / "a.wav").read_bytes()).json()
    classifier = earmark.Classifier.from_pretrained(folder, device="cpu", task="multi_label")
    [expected] = classifier.predict_proba([str(tmp_path / "a.wav")])
    scores = {one["label"]: one["score"] for one in answer}
    assert [scores[name] for name in LABELS] == pytest.approx(expected.tolist(), abs=1e-4)
