"""Completion of shells."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from earmark.cli.command_table import COMMANDS


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_every_command_and_flag(
    shell: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "src").mkdir()
    command = COMMANDS["completion"]
    command.does(command.read([shell])[0])
    script = capsys.readouterr().out
    for one in COMMANDS.values():
        assert one.name in script
    for name in ("adam_beta1", "bucket_waste", "model"):
        assert name in script
    if shell == "bash" and shutil.which("bash"):
        for words, expected in [
            ("earmark tr", ["train"]),
            ("earmark train --learning", ["--learning_rate"]),
            ("earmark train --eval_strategy ''", ["no", "steps", "epoch"]),
            ("earmark train --optim adamw_torch_f", ["adamw_torch_fused"]),
            ("earmark predict m a.wav --rows s", ["segments"]),
            ("earmark train --output_dir sr", ["src"]),
        ]:
            asked = f"COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}}-1)); _earmark; echo ${{COMPREPLY[@]}}"
            done = subprocess.run(
                ["bash", "-c", f"{script}\n{asked}"], capture_output=True, text=True, check=True, cwd=tmp_path
            )
            assert done.stdout.split() == expected
