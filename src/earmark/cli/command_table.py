"""The table of all commands, in the order of ``earmark --help``."""

from __future__ import annotations

from importlib import import_module

from earmark.cli.command import Command

_NAMES = (
    "quickstart",
    "inspect",
    "augment-preview",
    "prepare",
    "train",
    "search",
    "evaluate",
    "calibrate",
    "predict",
    "export",
    "embed",
    "label",
    "push",
    "serve",
    "results",
    "report",
    "synth",
    "bench",
    "doctor",
    "completion",
)
COMMANDS: dict[str, Command] = {
    name: import_module(f"earmark.cli.{name.replace('-', '_')}_command").COMMAND for name in _NAMES
}
