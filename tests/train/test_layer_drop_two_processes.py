"""Several processes, gradient checkpointing and LayerDrop together: a rank may leave out a layer that another keeps."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from earmark.errors import UsageError
from earmark.train.for_trainer import finding_unused
from tests.tiny import ARCHITECTURES, write_tones


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wav2vec2", "wav2vec2-bert"])  # earmark's own forward, and the library's
def test_two_processes_train(kind: str, tmp_path: Path) -> None:
    data = write_tones(tmp_path / "data", per_class=8, seconds=0.3)
    settings = {**ARCHITECTURES[kind], "layerdrop": 0.5}
    words = ["--data_dir", str(data), "--model_type", kind, "--config_overrides", json.dumps(settings)]
    words += ["--output_dir", str(tmp_path / "run"), "--num_processes", "2", "--gradient_checkpointing"]
    words += ["--per_device_train_batch_size", "1", "--max_steps", "8", "--logging_steps", "1", "--freeze", "none"]
    words += ["--device", "cpu", "--precision", "fp32", "--report", "false"]
    done = subprocess.run(
        [sys.executable, "-m", "earmark", "train", *words],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Warning" not in done.stderr, done.stderr[-3000:]
    history: list[dict[str, Any]] = json.loads((tmp_path / "run" / "history.json").read_text())
    losses = [row["loss"] for row in history if "loss" in row]
    assert len(losses) == 8
    assert all(math.isfinite(loss) for loss in losses)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"gradient_checkpointing_kwargs": {"use_reentrant": True}}, "with use_reentrant and LayerDrop"),
        ({"ddp_find_unused_parameters": False}, "with --ddp_find_unused_parameters False and LayerDrop"),
    ],
)
def test_settings_that_cannot_train(settings: dict[str, Any], said: str) -> None:
    from transformers import Wav2Vec2Config

    from earmark.families.family_registry import find_family

    plain: dict[str, Any] = {"gradient_checkpointing_kwargs": None, "ddp_find_unused_parameters": None}
    args = SimpleNamespace(world_size=2, **{**plain, **settings})
    with pytest.raises(UsageError, match=f"{said} cannot train in several processes"):
        finding_unused(args, Wav2Vec2Config(layerdrop=0.1), find_family("wav2vec2"))
    kept = finding_unused(args, Wav2Vec2Config(layerdrop=0.0), find_family("wav2vec2"))
    assert kept.ddp_find_unused_parameters == args.ddp_find_unused_parameters
