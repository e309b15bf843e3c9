"""The workflow of continuous integration agrees with what the package says it supports."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[1]
WORKFLOW: dict[str, Any] = yaml.safe_load((ROOT / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
JOBS: dict[str, Any] = WORKFLOW["jobs"]


def test_it_may_only_read_and_ends() -> None:
    assert WORKFLOW["permissions"] == {"contents": "read"}
    assert WORKFLOW["concurrency"]
    for name, job in JOBS.items():
        assert job["timeout-minutes"] <= 90, name
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert [step["with"]["persist-credentials"] for step in checkouts] == [False], name


def test_every_supported_python_runs_on_every_system() -> None:
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    supported = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', project)
    assert re.search(rf'requires-python = ">={re.escape(supported[0])}"', project)
    runners: set[str] = set()
    for name in ("linux", "macos-and-windows"):
        matrix = JOBS[name]["strategy"]["matrix"]
        assert matrix["python"] == supported
        runners |= {machine["runner"].partition("-")[0] for machine in matrix["machine"]}
        runners |= {machine["runner"].rpartition("-")[2] for machine in matrix["machine"]}
    assert {"ubuntu", "arm", "macos", "windows"} <= runners


def test_torch_is_the_pinned_one() -> None:
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert WORKFLOW["env"]["TORCH"] in pins


def test_what_it_runs_is_there() -> None:
    commands = "\n".join(step.get("run", "") for job in JOBS.values() for step in job["steps"])
    named = re.findall(r"\b((?:tests|scripts)/[\w./-]+)", commands)
    assert named
    assert [path for path in named if not (ROOT / path).exists()] == []


def test_slow_tests_run_before_a_change_lands() -> None:
    assert "scripts/test --slow" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    commands = [step.get("run", "") for job in JOBS.values() for step in job["steps"]]
    started = [command for command in commands if "-m pytest" in command]
    assert started
    assert [command for command in started if "-m pytest --slow" not in command] == []
