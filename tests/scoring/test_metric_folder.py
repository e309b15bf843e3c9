"""A local metric of the evaluate library, without a network."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from earmark.errors import UsageError
from earmark.scoring.metric_folder import run_metric_folder

SCRIPT = """
import datasets
import evaluate

class Agreement(evaluate.Metric):
    def _info(self):
        features = datasets.Features({"predictions": datasets.Value("int32"), "references": datasets.Value("int32")})
        return evaluate.MetricInfo(description="d", citation="c", inputs_description="i", features=features)

    def _compute(self, predictions, references):
        RAISE
        return {"agreement": sum(a == b for a, b in zip(predictions, references)) / len(predictions)}
"""


def write_metric(folder: Path, statement: str = "pass") -> Path:
    folder.mkdir()
    (folder / f"{folder.name}.py").write_text(SCRIPT.replace("RAISE", statement))
    return folder


def test_it_runs_without_a_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **how: object) -> None:
        pytest.fail("the network was asked")  # no Exception, so no library goes on without the network

    for name in ("socket.socket.connect", "socket.create_connection", "socket.getaddrinfo"):
        monkeypatch.setattr(name, refuse)
    folder = write_metric(tmp_path / "agreement")
    assert run_metric_folder(str(folder), np.array([0, 1, 1, 2]), np.array([0, 1, 2, 2])) == {"agreement": 0.75}


@pytest.mark.parametrize(
    ("statement", "message"),
    [("raise KeyError('x')", "the metric failed"), ("return 0.5", "the metric returned float")],
)
def test_a_metric_that_fails(tmp_path: Path, statement: str, message: str) -> None:
    folder = write_metric(tmp_path / "agreement", statement)
    with pytest.raises(UsageError, match=message):
        run_metric_folder(str(folder), np.array([0]), np.array([0]))


def test_a_folder_without_a_metric(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=rf"no {tmp_path.name}\.py"):
        run_metric_folder(str(tmp_path), np.array([0]), np.array([0]))
