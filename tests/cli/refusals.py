"""Commands that must fail as a user's mistake: one line that names the file or the flag, exit code 2, no traceback."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.tiny import overrides

TINY = ["--model_type", "wav2vec2", "--config_overrides", overrides("wav2vec2"), "--device", "cpu", "--report", "false"]
QUICK = ["--max_steps", "1", "--per_device_train_batch_size", "4", "--eval_strategy", "no", "--save_strategy", "no"]

Refusal = Callable[..., str]  # the fixture of this name: command words to the message


def one_line(message: str, *parts: str | Path) -> None:
    """Check that a message is one line with these parts in it."""
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, message


def train(*words: str | Path, to: Path) -> list[str | Path]:
    """The words of a short training run."""
    return ["train", *words, *TINY, *QUICK, "--output_dir", to]


def unknown_class(data: Path) -> str:
    """Add a class that the training split lacks; what the message says of it."""
    shutil.copytree(data / "validation" / "low", data / "validation" / "odd")
    return "'odd' (3 clips)"
