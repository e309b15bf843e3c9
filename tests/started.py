"""What a process imports, and the CPU seconds that it takes."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass

import pytest

resource = pytest.importorskip("resource", reason="measures child processes as POSIX does")


@dataclass(frozen=True)
class Started:
    """A process that has ended: the modules it had imported, and the seconds of CPU it took."""

    modules: set[str]
    cpu_s: float


def start(code: str, *words: str) -> Started:
    """Run code in a new process with words on its command line."""
    report = "import json, sys; loaded = [name for name, module in sys.modules.items() if module is not None]\n"
    report += "sys.stderr.write('\\n' + json.dumps(sorted(loaded)))"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", f"{code}\n{report}", *words], capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Started(set(json.loads(done.stderr.splitlines()[-1])), cpu_s)
