"""Runs the commands of a page, and compares what they print with what the page shows."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from earmark.cli.main import main
from tests.docs import generated_sounds
from tests.docs.markdown import BEFORE, parts, shell_lines
from tests.patience import PATIENCE_S

SERVERS = ("serve", "label")
_NUMBER = re.compile(r"[+-]?\d[\d.,:]*(e-\d+)?")
_LABEL = re.compile(rf"\b({'|'.join(generated_sounds.SOUNDS)})\b")


def skeleton(line: str) -> str:
    """A line without what depends on the model and the machine: numbers, labels, addresses, precision, widths."""
    line = re.sub(r"\b(bf16|fp32)\b", "PRECISION", re.sub(r"/#\S+", "/#TOKEN", line))
    line = _NUMBER.sub("0", _LABEL.sub("LABEL", line))
    return re.sub(r"-+", "-", re.sub(r"\s+", " ", line)).strip()


def assert_shows(shown: list[str], printed: str) -> None:
    """Every line of the page was printed, in this order; ``...`` on the page stands for others.

    Paths are as seen from the working directory.
    """
    left = iter([skeleton(line) for line in printed.replace(f"{Path.cwd()}/", "").splitlines()])
    for line in shown:
        if line != "...":
            assert any(skeleton(line) == one for one in left), f"not printed: {line}\n{printed}"


class PageCommands:
    """A page that is followed from top to bottom in the working directory.

    Args:
        change: what the test changes in the words of a command, to make it fast or to do without a card.
        run: runs a command of earmark and returns what it prints; ``None`` for this process.
        environment: of the servers that the page starts.
    """

    def __init__(
        self,
        change: Callable[[list[str]], list[str]] = list,
        run: Callable[[list[str]], str] | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.change, self.run = change, run or run_here
        self.environment = environment or dict(os.environ)
        self.servers: list[subprocess.Popen[bytes]] = []
        self.ports: dict[str, str] = {}

    def follow(self, page: Path) -> int:
        """Run everything on a page; return the number of commands."""
        commands, names, printed = 0, {"sounds": generated_sounds}, ""
        try:
            for kind, text in parts(page):
                if kind == BEFORE:
                    self.stop()
                    exec(compile(text.strip(), str(page), "exec"), names)
                elif kind == "console":
                    commands += self.session(text)
                elif kind == "python":
                    output = io.StringIO()
                    with contextlib.redirect_stdout(output):
                        exec(compile(text, str(page), "exec"), names)
                    printed = output.getvalue()
                elif kind == "text" and printed:
                    assert_shows(text.splitlines(), printed)
                    printed = ""
        finally:
            self.stop()
        return commands

    def session(self, text: str) -> int:
        """Run the commands of a block; what follows a command is what it prints."""
        blocks = re.split(r"^\$ ", text, flags=re.M)[1:]
        for block in blocks:
            command, *shown = shell_lines(block)
            words = shlex.split(command)
            if words[0] == "earmark" and words[1] in SERVERS:
                self.start(self.change(words[1:]), shown)
            elif words[0] == "earmark":
                assert_shows(shown, self.run(self.change(words[1:])))
            else:  # of a table only its head is the same with every model
                assert_shows(shown[:1], self.shell(command))
        return len(blocks)

    def shell(self, command: str) -> str:
        """Run another command."""
        for port, free in self.ports.items():
            command = command.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}")
        return subprocess.run(
            command, shell=True, check=True, capture_output=True, text=True, timeout=PATIENCE_S
        ).stdout

    def start(self, words: list[str], shown: list[str]) -> None:
        """Start a server on a free port, and wait for what the page shows."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            free = str(probe.getsockname()[1])
        self.ports["8000"] = free
        log = Path(f"{words[0]}.log")
        with open(log, "wb") as stream:
            command = [sys.executable, "-m", "earmark", *words, "--port", free]
            self.servers.append(
                subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT, env=self.environment)
            )
        give_up_s = time.monotonic() + PATIENCE_S
        while True:
            printed = log.read_text(encoding="utf-8", errors="replace")
            try:
                return assert_shows(shown, printed)
            except AssertionError:
                if self.servers[-1].poll() is not None or time.monotonic() > give_up_s:
                    raise
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop the servers as Ctrl-C does."""
        for server in self.servers:
            server.send_signal(signal.SIGINT)
            server.wait(PATIENCE_S)
        self.servers.clear()


def run_here(words: list[str]) -> str:
    """Run a command of earmark in this process; return what it prints, log lines included."""
    output = io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        code = main(words)
    assert code == 0, output.getvalue()
    return output.getvalue()
