"""Run a probe in a separate process and interpret how it ended."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import earmark
from earmark.doctor.findings import Finding, problem
from earmark.doctor.machine import Answer, Machine
from earmark.doctor.probes import MARK
from earmark.faults import explain

_ERROR_LINE = re.compile(r"^[\w.]*(?:Error|Exception|Interrupt|Exit)\b.*", re.MULTILINE)


@dataclass(frozen=True)
class Probe:
    """A finished probe.

    Attributes:
        results: results of all stages that the probe completed.
        answer: exit code and all other output.
    """

    results: dict[str, Any]
    answer: Answer

    @property
    def finished(self) -> bool:
        """Whether the probe completed."""
        return self.answer.code == 0

    @property
    def failure(self) -> str:
        """How the probe ended, in one line."""
        code, errors = self.answer.code, self.answer.text
        if code is None:
            return f"no result after {self.answer.seconds:g} s"
        told = explain(errors)
        lines = _ERROR_LINE.findall(errors) or errors.strip().splitlines() or ["it printed nothing"]
        line = (told.line if told else lines[-1]).strip()
        if code < 0:
            return f"ended by {_signal_name(-code)}: {line}"
        return line

    def finding(self, name: str, means: str, fix: str) -> Finding:
        """Return a problem with this name. If the error is known, its explanation replaces ``means`` and ``fix``."""
        told = explain(self.answer.text)
        if self.answer.code is None:
            means = "the check hangs, for example because a driver does not respond or another process uses the card"
            fix = "npu-smi info or nvidia-smi shows the processes on the cards; end them, or restart the machine"
        return problem(name, self.failure, told.means if told else means, told.fix if told else fix)


def run_probe(machine: Machine, name: str, *arguments: str, timeout_s: float, **environment: str) -> Probe:
    """Run one of :data:`earmark.doctor.probes.PROBES` with this Python and the machine's environment.

    Args:
        machine: machine whose environment to use.
        name: name of the probe.
        arguments: arguments of the probe.
        timeout_s: seconds after which it is stopped.
        environment: additional environment variables.
    """
    return run_module(machine, "earmark.doctor.probes", name, *arguments, timeout_s=timeout_s, **environment)


def run_module(machine: Machine, module: str, *arguments: str, timeout_s: float, **environment: str) -> Probe:
    """Run any module that reports results with :func:`earmark.doctor.probes.emit`."""
    here = str(Path(earmark.__file__).parents[1])
    path = os.pathsep.join([*filter(None, [machine.environment.get("PYTHONPATH")]), here])
    # Without PYTHONSAFEPATH, a torch.py in the working directory would break this process, but not earmark itself.
    changes = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", **environment}
    answer = machine.run([sys.executable, "-m", module, *arguments], timeout_s, **changes)
    results: dict[str, Any] = {}
    rest = []
    for line in answer.output.splitlines():
        before, mark, told = line.partition(MARK)  # a library may have printed text without a line end
        results.update(json.loads(told) if mark else {})
        rest.append(before)
    return Probe(results, Answer(answer.code, "\n".join(rest), answer.errors, answer.seconds))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
