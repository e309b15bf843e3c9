"""The machine that the doctor checks: files, environment, installed packages, commands.

All of them can be replaced, so that tests can run the checks on recorded file trees.
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

_KILLED_WAIT_S = 5  # a process that hangs in a driver cannot be killed


@dataclass(frozen=True)
class Answer:
    """Result of a command.

    Attributes:
        code: its exit code, below 0 for a signal; ``None`` if it was stopped after the timeout.
        output: its standard output.
        errors: its standard error.
        seconds: its timeout, if the command was stopped after that time.
    """

    code: int | None
    output: str
    errors: str = ""
    seconds: float = 0.0

    @property
    def text(self) -> str:
        """All output of the command."""
        return f"{self.output}\n{self.errors}".strip()


@dataclass(frozen=True)
class Machine:
    """The machine to check.

    Attributes:
        root: folder used as ``/``.
        environment: environment variables.
        installed: version of each installed package, by its normalised name.
        requirements: requirements in earmark's package metadata.
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
        """Return the path of a file with this absolute name; ``~`` is the user's home."""
        if name.startswith("~"):
            name = self.environment.get("HOME", "/root") + name[1:]
        return self.root / name.lstrip("/")

    def shown(self, path: Path) -> str:
        """Return the name on the machine of a path from :meth:`path`."""
        return "/" + str(path.relative_to(self.root)).lstrip("/")

    def glob(self, pattern: str) -> list[Path]:
        """Return the files that match an absolute pattern, sorted."""
        return sorted(self.root.glob(pattern.lstrip("/")))

    def card_numbers(self, name: str) -> list[int]:
        """Return the numbers of the cards that a driver shows as ``/dev/NAME0``, ``/dev/NAME1``, ..."""
        numbers = (node.name.removeprefix(name) for node in self.glob(f"/dev/{name}*"))
        return sorted(int(number) for number in numbers if number.isdecimal())

    def first(self, *names: str) -> Path | None:
        """Return the first of these files or folders that exists."""
        return next((path for path in map(self.path, names) if os.path.exists(path)), None)

    def version(self, package: str) -> str | None:
        """Return the version of an installed package from its metadata, without importing it."""
        return self.installed.get(normalised(package))

    def path_list(self, variable: str) -> list[str]:
        """Return the entries of a variable like ``PATH``."""
        return [entry for entry in self.environment.get(variable, "").split(":") if entry]

    def tool(self, name: str) -> Path | None:
        """Return the path of a command on the ``PATH`` or in the folders used by vendors."""
        folders = [*self.path_list("PATH"), "/usr/local/bin", "/usr/local/sbin", "/usr/bin"]
        found = (self.path(folder) / name for folder in folders)
        return next((path for path in found if os.path.isfile(path) and os.access(path, os.X_OK)), None)

    def run(self, command: Sequence[str | Path], timeout_s: float, **changes: str) -> Answer:
        """Run a command in this machine's environment.

        Args:
            command: the command and its arguments.
            timeout_s: seconds after which it is stopped.
            changes: additional environment variables.

        Returns:
            Its result; the code is 127 if the command cannot be started.
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
    """Return the normalised name of a package (PEP 503)."""
    return re.sub(r"[-_.]+", "-", package).lower()


def _installed() -> dict[str, str]:
    found: dict[str, str] = {}
    for distribution in metadata.distributions():
        name = distribution.metadata["Name"]
        if name:  # a broken installation may have no name
            found.setdefault(normalised(name), distribution.version)
    return found


def _requirements() -> list[str]:
    try:
        return metadata.requires("earmark") or []
    except metadata.PackageNotFoundError:  # earmark runs from a checkout
        return []
