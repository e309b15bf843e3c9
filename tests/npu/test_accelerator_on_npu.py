"""``benchmarks/accelerator.py --tiny`` on an NPU: every step that it has there."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.npu.conftest import ROOT, Npu

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]
STEPS = {"doctor", "parity", "train", "infer", "beside-plain-defaults", "data", "resume", "export"}


def test_tiny(npu: Npu, tmp_path: Path) -> None:
    script = str(ROOT / "benchmarks" / "accelerator.py")
    command = [sys.executable, script, "--device", "npu", "--tiny", "--output", str(tmp_path), "--limit_s", "1000"]
    done = subprocess.run(command, env=npu.environment, capture_output=True, text=True, check=False)
    report = json.loads((tmp_path / "results.json").read_text(encoding="utf-8"))
    assert report["machine"]["device"] == "npu:0"
    found = {step["name"]: step["outcome"] for step in report["steps"]}
    assert {name for name, one in found.items() if one["status"] == "ok"} == STEPS, done.stderr
    assert done.returncode == 0
    assert {row["precision"] for row in found["parity"]["rows"]} == {"fp32", "bf16", "fp16"}
    assert "npu:0 fp32: as the CPU" in found["doctor"]["note"]
    assert "no CANNExecutionProvider" in found["export"]["note"]
