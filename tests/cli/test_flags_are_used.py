"""A flag that a command accepts has an effect: the command's code reads it."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from earmark.cli.command_table import COMMANDS
from earmark.errors import DataError, UsageError
from earmark.settings.flags import Settings, declared_flags
from tests.tiny import save_model, write_tones

# code of the settings themselves, which reads every flag whether or not it has an effect
_FRAMEWORK = ("dataclasses.py", "settings/flags.py", "settings/config_files.py", "settings/given_values.py")

# words of the runs that together read each flag of a command
CASES = {
    "inspect": ["data --background_dir noise", "data/train --folds 2 --fold 1", "data/train --background_dir broken"],
    "augment-preview": [
        "data --augment gain --output_dir a --background_dir noise --model_name_or_path model",
        "data/train --augment gain --folds 2 --fold 1 --output_dir b",
    ],
    "evaluate": ["model --data_dir data --background_dir noise --background_class low"],
    "calibrate": ["model --data_dir data --background_dir noise --background_class low"],
    "predict": ["model broken --output p.csv", "model data --rows segments --output s.csv"],
    "embed": ["model broken --output e.npy"],
    "label": [
        "data --model model --page false --order random",
        "data/train --check --model model --page false --output_dir c",
    ],
}
# read with --background_gaps, with Ray, and with the page
ELSEWHERE = {
    "inspect": {"background_margin_seconds"},
    "augment-preview": {"background_margin_seconds"},
    "predict": {"ray_workers", "ray_address"},
    "label": {"port"},
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flags")
    write_tones(folder / "data", per_class=4, seconds=0.3)
    write_tones(folder / "noise", per_class=2, seconds=1.5, seed=1)
    write_tones(folder / "broken", per_class=1)
    (folder / "broken" / "train" / "low" / "train_0.wav").write_bytes(b"RIFF")
    save_model(folder / "model", longest_s=0.3)
    return folder


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Iterator[set[str]]:
    """Names of the settings that code outside the settings' own machinery has read."""
    found: set[str] = set()

    def read(self: Settings, name: str) -> Any:
        caller = sys._getframe(1).f_code
        if not caller.co_filename.endswith(_FRAMEWORK) and caller.co_name != "validate":
            found.add(name)
        return object.__getattribute__(self, name)

    monkeypatch.setattr(Settings, "__getattribute__", read, raising=False)
    yield found
    monkeypatch.undo()


@pytest.mark.parametrize("name", CASES)
def test_a_command_reads_every_flag_that_it_accepts(
    name: str, place: Path, monkeypatch: pytest.MonkeyPatch, reads: set[str]
) -> None:
    command = COMMANDS[name]
    monkeypatch.chdir(place)
    for line in CASES[name]:
        settings, _ = command.read(line.split())
        with contextlib.suppress(DataError):  # a broken recording
            command.does(settings)
    assert set(declared_flags(*command.settings)) - reads == ELSEWHERE.get(name, set())


@pytest.mark.parametrize(
    ("command", "name"),
    [
        ("augment-preview", "max_eval_samples"),  # shows training clips
        *(("evaluate", name) for name in ("max_train_samples", "shots")),  # scores other clips
        *(("calibrate", name) for name in ("max_train_samples", "shots", "output_dir", "metric", "report")),
    ],
)
def test_flags_without_effect_are_refused(command: str, name: str) -> None:
    with pytest.raises(UsageError, match=f"^unknown flag --{name}: a flag of earmark train, not of this command"):
        COMMANDS[command].read(["x", f"--{name}", "2"])
