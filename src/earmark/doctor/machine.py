"""The machine as the doctor sees it: files, environment, installed packages, commands.

All three can be stood in for, so that the checks run on recorded trees.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path

_KILLED_WAIT_S = 5  # a process that hangs in a driver does not even die


@dataclass(frozen=True)
class Answer:
    """What a command gave.

    Attributes:
        code: its exit code, below 0 for a signal; ``None`` where it did not end in time.
        output: what it printed on stdout.
        errors: what it printed on stderr.
        seconds: how long it was given, where it did not end in time.
    """

    code: int | None
    output: str
    errors: str = ""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All that it printed."""
        return f"{self.output}\n{self.errors}".strip()


@dataclass(frozen=True)
class Machine:
    """Where the checks look.

    Attributes:
        root: what ``/`` stands for.
        environment: environment variables.
        installed: version of each installed package, by its normalised name.
        requirements: what this project asks for, as in its metadata.
        python: version of Python, ``(3, 11)``.
        system: ``Linux``, ``Darwin``...
        architecture: ``x86_64``, ``aarch64``...
    """

    root: Path = Path("/")
    environment: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    installed: Mapping[str, str] = field(default_factory=lambda: _installed())
    requirements: Sequence[str] = field(default_factory=lambda: _requirements())
    python: tuple[int, int] = sys.version_info[:2]
    system: str = platform.system()
    architecture: str = platform.machine()

    def path(self, name: str) -> Path:
        """Return a file of the machine by its absolute name; ``~`` is the user's home."""
        if name.startswith("~"):
            name = self.environment.get("HOME", "/root") + name[1:]
        return self.root / name.lstrip("/")

    def shown(self, path: Path) -> str:
        """Return the name a file of :meth:`path` has on the machine itself."""
        return "/" + str(path.relative_to(self.root)).lstrip("/")

    def glob(self, pattern: str) -> list[Path]:
        """Files by an absolute pattern, sorted."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def card_numbers(self, name: str) -> list[int]:
        """Return the numbers of the cards that a driver shows as ``/dev/NAME0``, ``/dev/NAME1``, ..."""
        numbers = (node.name.removeprefix(name) for node in self.glob(f"/dev/{name}*"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def first(self, *names: str) -> Path | None:
        """Return the first of these files or folders that is there."""
        return next((path for path in map(self.path, names) if os.path.exists(path)), None)

    def version(self, package: str) -> str | None:
        """Version of an installed package, read from its metadata; nothing is imported."""
        return self.installed.get(normalised(package))

    def path_list(self, variable: str) -> list[str]:
        """Return the entries of a variable like ``PATH``."""
        return [entry for entry in self.environment.get(variable, "").split(":") if entry]

    def tool(self, name: str) -> Path | None:
        """Return a command on the ``PATH``, or where vendors put theirs."""
        folders = [*self.path_list("PATH"), "/usr/local/bin", "/usr/local/sbin", "/usr/bin"]
        found = (self.path(folder) / name for folder in folders)
        return next((path for path in found if os.path.isfile(path) and os.access(path, os.X_OK)), None)

    def run(self, command: Sequence[str | Path], timeout_s: float, **changes: str) -> Answer:
        """Run a command in this machine's environment.

        Args:
            command: words.
            timeout_s: seconds until it is ended.
            changes: environment variables that differ for it.

        Returns:
            What it gave; a command that cannot be started has the code 127.
        """
        try:
            process = subprocess.Popen(
                [str(word) for word in command],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self.environment, **changes},
                encoding="utf-8",
                errors="replace",
            )
        except OSError as exc:
            return Answer(127, "", str(exc))
        try:
            output, errors = process.communicate(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return _ended(process, timeout_s)
        return Answer(process.returncode, output, errors)


def _ended(process: subprocess.Popen[str], timeout_s: float) -> Answer:
    process.kill()
    try:
        output, errors = process.communicate(timeout=_KILLED_WAIT_S)
    except subprocess.TimeoutExpired:
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
        output, errors = "", ""
    return Answer(None, output, errors, timeout_s)


def normalised(package: str) -> str:
    """Return the one spelling of a package's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a broken install can leave a folder without
            found.setdefault(normalised(name), distribution.version)
    return found


def _requirements() -> list[str]:
    try:
        return metadata.requires("earmark") or []
    except metadata.PackageNotFoundError:  # run from a checkout
        return []
