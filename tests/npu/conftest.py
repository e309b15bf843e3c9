"""Runs real ``earmark`` processes that find an NPU: the stand-in, or the torch_npu of Huawei's wheel."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.npu import building
from tests.patience import PATIENCE_S

ROOT = Path(__file__).parents[2]


@dataclass
class Census:
    """What processes did on the device.

    Attributes:
        operators: calls by ``operator|types of its tensors on the device``.
        settings: of torch_npu, as the program left them.
        unregistered: operators that the real torch_npu has no kernel for; empty for the stand-in, which cannot know.
    """

    operators: dict[str, int] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    unregistered: set[str] = field(default_factory=set)


@dataclass
class Npu:
    """How a process is started that has two NPUs.

    Attributes:
        environment: its variables.
        folder: for what it writes.
    """

    environment: dict[str, str]
    folder: Path

    def python(self, *words: str, fails: bool = False, **variables: str) -> str:
        """Run Python with ``words``; what it wrote to both channels.

        Args:
            *words: of the command line.
            fails: whether the process is to end with an exit code other than 0.
            **variables: of the environment, besides those that all have.
        """
        done = subprocess.run(
            [sys.executable, *words],
            env=self.environment | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        assert (done.returncode != 0) == fails, done.stdout
        return done.stdout

    def earmark(self, *words: str, fails: bool = False, **variables: str) -> str:
        """Run a command of earmark."""
        return self.python("-m", "earmark", *words, fails=fails, **variables)

    def census(self) -> Census:
        """What ran on the device since the last time."""
        census = Census()
        for path in sorted(self.folder.glob("census-*.json")):
            told = json.loads(path.read_text())
            path.unlink()
            census.operators.update(told["operators"])
            census.settings.update(told["settings"])
            census.unregistered.update(told.get("unregistered", ()))
        return census


@pytest.fixture(scope="session")
def npu(tmp_path_factory: pytest.TempPathFactory) -> Npu:
    """Two NPUs: the stand-in's, or with EARMARK_TEST_NPU=wheel those that the real torch_npu finds."""
    folder = tmp_path_factory.mktemp("npu")
    if building.compiler() is None:
        message = "no C++ compiler (set CXX, or install g++): the stand-in for torch_npu cannot be built"
        pytest.fail(message) if os.environ.get("CI") else pytest.skip(message)
    if os.environ.get("EARMARK_TEST_NPU") == "wheel":
        from tests.npu import wheel

        variables = wheel.environment()
    else:
        variables = {"PYTHONPATH": str(building.build_standin())}
    paths = [variables.pop("PYTHONPATH"), str(ROOT / "src"), str(ROOT)]
    ours = {
        "PYTHONPATH": os.pathsep.join(paths),
        "OMP_NUM_THREADS": "1",
        # the host computes for the device, and its bfloat16 convolutions are wrong with AMX in torch 2.13
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16",
        "EARMARK_STORE": str(folder / "store"),
        "EARMARK_NPU_CENSUS": str(folder),
        "HF_HUB_OFFLINE": "1",
        "TORCHELASTIC_ERROR_FILE": "",
    }
    # the tests' own process may be told to stay without NPUs
    inherited = {name: value for name, value in os.environ.items() if name != "TORCH_DEVICE_BACKEND_AUTOLOAD"}
    return Npu({**inherited, **variables, **ours}, folder)
