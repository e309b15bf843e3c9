"""``docs/python.md`` runs from top to bottom and prints what it says; the notebook runs."""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.docs.markdown import fenced
from tests.patience import PATIENCE_S
from tests.tiny import RATE_HZ, tone

ROOT = Path(__file__).parents[2]


def pairs(page: Path) -> Iterator[tuple[str, str]]:
    """Code and the output that the page shows for it; empty without one."""
    found = [(kind, text) for kind, text in fenced(page) if kind in ("python", "text")]
    for (kind, code), (next_kind, output) in zip(found, [*found[1:], ("", "")], strict=True):
        if kind == "python":
            yield code, output if next_kind == "text" else ""


@pytest.mark.slow
def test_the_page_prints_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label, frequency_hz in (("dog", 300.0), ("siren", 2000.0)):
        (tmp_path / "recordings" / label).mkdir(parents=True)
        for i in range(20):
            wave = tone(frequency_hz * (1 + 0.02 * i), 0.3, seed=i)
            soundfile.write(tmp_path / "recordings" / label / f"{i}.wav", wave, RATE_HZ)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    code_and_output = list(pairs(ROOT / "docs" / "python.md"))
    assert len(code_and_output) >= 10
    names: dict[str, object] = {}
    for code, output in code_and_output:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/python.md", "exec"), names)
        assert printed.getvalue() == output, code
    assert np.isfinite(names["losses"].losses).all()  # type: ignore[attr-defined]


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path) -> None:
    pytest.importorskip("nbconvert")
    pytest.importorskip("ipykernel")
    shutil.copy(ROOT / "examples" / "quickstart.ipynb", tmp_path)  # it runs in the folder that it is in
    words = ["--to", "notebook", "--execute", "quickstart.ipynb", "--output", "done.ipynb"]
    done = subprocess.run(
        [sys.executable, "-m", "nbconvert", *words, f"--ExecutePreprocessor.timeout={PATIENCE_S:.0f}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "done.ipynb").read_text(encoding="utf-8")
    assert "validation accuracy" in text  # progress shows although nobody set up logging
    assert "<iframe srcdoc=" in text
