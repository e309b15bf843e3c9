from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from earmark.cli import main as cli
from earmark.cli.doctor_command import COMMAND
from earmark.errors import UsageError

SRC = Path(__file__).parents[2] / "src"


@pytest.fixture
def broken_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A torch that does not import, for the processes that the doctor starts."""
    (tmp_path / "torch").mkdir()
    source = "raise ImportError('libhccl.so: cannot open shared object file: No such file or directory')"
    (tmp_path / "torch" / "__init__.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr(logging.getLogger("earmark"), "handlers", [])


@pytest.mark.slow
def test_this_machine_as_one_json_object() -> None:
    environment = {**os.environ, "PYTHONPATH": str(SRC), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "earmark", "doctor", "--json", "--selftest"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    report = json.loads(done.stdout)
    status = {finding["name"]: finding["status"] for finding in report["findings"]}
    assert status["import torch"] == status["import trainer"] == status["codecs"] == "ok"
    assert status["hub"] == "skipped"
    if not any(card in status for card in ("npu cards", "cuda cards")):
        assert status["cpu matmul"] == status["cpu training"] == status["cpu gloo"] == "ok"
        assert report["selftest"] is None
    assert sum(report["summary"].values()) == len(report["findings"])
    assert report["environment"]["python"].startswith("3.")
    failed = report["summary"]["problem"] or not (report["selftest"] or {"passed": True})["passed"]
    assert done.returncode == (2 if failed else 0)


@pytest.mark.usefixtures("broken_torch")
def test_problems_are_exit_code_2_and_one_line_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--device", "npu"]) == 2
    out, err = capsys.readouterr()
    (line,) = (line for line in out.splitlines() if line.startswith("problem   import torch"))
    assert line.endswith("ImportError: libhccl.so: cannot open shared object file: No such file or directory")
    assert "          fix:   source CANN's set_env.sh" in out
    assert max(len(line) for line in out.splitlines() if line.startswith(" ")) <= 110
    assert err.splitlines()[-1].startswith("earmark: error: ")
    assert err.splitlines()[-1].endswith(" found. Fix each with the remedy above.")


@pytest.mark.usefixtures("broken_torch")
def test_it_needs_no_package_at_all(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": f"{SRC}{os.pathsep}{tmp_path}"}
    command = [sys.executable, "-S", "-m", "earmark", "doctor", "--json"]  # without site-packages
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    findings = json.loads(done.stdout)["findings"]
    # the metadata of a checkout name requirements, which are missing here
    assert done.returncode == (2 if any(finding["status"] == "problem" for finding in findings) else 0), done.stderr
    (found,) = (finding for finding in findings if finding["name"] == "import torch")
    assert (found["status"], found["seen"]) == ("warning", "torch is not installed")


@pytest.mark.usefixtures("broken_torch")
@pytest.mark.parametrize(("words", "said"), [([], "torch sees no card here"), (["--device", "npu"], "no such card")])
def test_a_selftest_without_a_card(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--selftest", *words]) == 2  # without words, because of the torch that is broken
    out, err = capsys.readouterr()
    assert said in out + err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--device", "gpu"], "--device gpu: unknown device. Use auto, npu, cuda, xpu, mps or cpu"),
        (["now"], "unexpected word 'now'"),
        (["--selftest", "--device", "cpu"], "--selftest compares cards with the CPU"),
        (["--jsn"], "unknown flag --jsn; did you mean --json?"),
    ],
)
def test_wrong_flags(words: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        COMMAND.read(words)
    assert str(caught.value).startswith(message)
