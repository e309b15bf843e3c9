"""``benchmarks/accelerator.py --tiny`` on an NPU: every step that it has there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.npu.conftest import ROOT, Npu
from tests.patience import PATIENCE_S

pytestmark = pytest.mark.slow
STEPS = {"doctor", "parity", "train", "infer", "beside-plain-defaults", "data", "resume", "export"}


def test_tiny(npu: Npu, tmp_path: Path) -> None:
    script = str(ROOT / "benchmarks" / "accelerator.py")
    said = npu.python(script, "--device", "npu", "--tiny", "--output", str(tmp_path), "--limit_s", str(PATIENCE_S))
    report = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert report["machine"]["device"] == "npu:0"
    found = {step["name"]: step["outcome"] for step in report["steps"]}
    assert {name for name, one in found.items() if one["status"] == "ok"} == STEPS, said
    assert {row["precision"] for row in found["parity"]["rows"]} == {"fp32", "bf16", "fp16"}
    assert "no CANNExecutionProvider" in found["export"]["note"]
