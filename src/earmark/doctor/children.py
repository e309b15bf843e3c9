"""Starting a probe in a process of its own and making sense of how it ended."""

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
    """A probe that has ended.

    Attributes:
        results: what it told, over all stages it got through.
        answer: how it ended, and what else it printed.
    """

    results: dict[str, Any]
    answer: Answer

    @property
    def finished(self) -> bool:
        """Whether it got through."""
        return self.answer.code == 0

    @property
    def failure(self) -> str:
        """How it ended, in one line."""
        code, errors = self.answer.code, self.answer.text
        if code is None:
            return f"no answer in {self.answer.seconds:g} s"
        told = explain(errors)
        lines = _ERROR_LINE.findall(errors) or errors.strip().splitlines() or ["it printed nothing"]
        line = (told.line if told else lines[-1]).strip()
        if code < 0:
            return f"ended by {_signal_name(-code)}: {line}"
        return line

    def finding(self, name: str, means: str, fix: str) -> Finding:
        """Return a problem of this name; where the table of faults has the error, it replaces ``means`` and ``fix``."""
        told = explain(self.answer.text)
        if self.answer.code is None:
            means = "it hangs, as where a driver does not answer or another process holds the card"
            fix = "npu-smi info or nvidia-smi shows what runs on the cards; end it, else restart the machine"
        return problem(name, self.failure, told.means if told else means, told.fix if told else fix)


def run_probe(machine: Machine, name: str, *arguments: str, timeout_s: float, **environment: str) -> Probe:
    """Run one of :data:`earmark.doctor.probes.PROBES` with this Python in the machine's environment.

    Args:
        machine: whose environment.
        name: which.
        arguments: for it.
        timeout_s: seconds until it is ended.
        environment: variables that differ for it.
    """
    return run_module(machine, "earmark.doctor.probes", name, *arguments, timeout_s=timeout_s, **environment)


def run_module(machine: Machine, module: str, *arguments: str, timeout_s: float, **environment: str) -> Probe:
    """Return the same for any module that tells by :func:`earmark.doctor.probes.emit`."""
    here = str(Path(earmark.__file__).parents[1])
    path = os.pathsep.join([*filter(None, [machine.environment.get("PYTHONPATH")]), here])
    # safe path: a file torch.py in the working directory is not what a command would import
    changes = {"PYTHONPATH": path, "PYTHONSAFEPATH": "1", **environment}
    answer = machine.run([sys.executable, "-m", module, *arguments], timeout_s, **changes)
    results: dict[str, Any] = {}
    rest = []
    for line in answer.output.splitlines():
        before, mark, told = line.partition(MARK)  # a library may have printed something without ending its line
        results.update(json.loads(told) if mark else {})
        rest.append(before)
    return Probe(results, Answer(answer.code, "\n".join(rest), answer.errors, answer.seconds))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"
