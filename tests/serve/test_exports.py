"""An export in the place of a model."""

from __future__ import annotations

from pathlib import Path

import httpx
import numpy as np
import pytest

pytest.importorskip("onnxruntime")

import earmark
from earmark.export.export_model import export
from earmark.settings.export_flags import ExportOptions
from tests.families.tiny_models import build_for_export
from tests.serve.conftest import Start
from tests.serve.test_classify import as_bytes, encoded, same
from tests.tiny import tone


@pytest.mark.slow
def test_an_export_is_served_like_its_model(start: Start, tmp_path: Path) -> None:
    model, folder = tmp_path / "model", tmp_path / "onnx"
    build_for_export("whisper").save(model)
    export(ExportOptions(model_name_or_path=str(model), output=str(folder)))
    server, classifier = start(folder=folder), earmark.Classifier.from_pretrained(model, device="cpu")
    for seconds in (0.3, 1.0, 2.6):
        data = encoded(np.concatenate([tone(300, seconds / 2), tone(3000, seconds / 2)]), "WAV")
        response = as_bytes(server.url, data)
        assert response.status_code == 200, response.text
        assert same(response.json(), classifier.predict(data, top_k=3))
    refused = httpx.post(f"{server.url}/v1/classify?function_to_apply=none", content=data)
    assert refused.status_code == 400
    assert "export" in refused.json()["error"]
    assert server.stop() == 0
