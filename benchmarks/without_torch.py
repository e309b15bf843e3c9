"""Measure the CPU time and memory of an ONNX export: ``python benchmarks/without_torch.py EXPORT RECORDING``.

The script runs ``earmark predict EXPORT RECORDING`` several times, each in its own process, which is measured from its
start to its end. Then it starts ``earmark serve EXPORT`` and reads the resident memory of the idle server before and
after requests. The script does not import earmark itself: it measures the earmark that is installed for this Python,
with or without torch. EXPORT can also be a run folder. The script needs Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

PATIENCE_S = 120.0
REQUESTS = 100


def main() -> None:
    """Measure, and print the results as one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("export", help="folder of an ONNX export")
    parser.add_argument("recording")
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    runs = [predict(arguments.export, arguments.recording) for _ in range(arguments.repeats)]
    cpu_s, peak_mb = zip(*runs, strict=True)
    results = {
        "torch_is_installed": find_spec("torch") is not None,
        "predict_cpu_s": round(statistics.median(cpu_s), 3),
        "predict_cpu_s_range": [round(min(cpu_s), 3), round(max(cpu_s), 3)],
        "predict_peak_mb": round(statistics.median(peak_mb)),
        **serve(arguments.export, Path(arguments.recording).read_bytes()),
    }
    print(json.dumps(results))


def predict(export: str, recording: str) -> tuple[float, float]:
    """Return the CPU seconds and the peak resident memory in MB of one command."""
    words = [sys.executable, "-m", "earmark", "predict", export, recording, "--device", "cpu"]
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert process.stderr is not None
    errors = process.stderr.read()
    _, status, used = os.wait4(process.pid, 0)
    process.stderr.close()
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(errors.decode())
    return used.ru_utime + used.ru_stime, used.ru_maxrss / 1000


def serve(export: str, recording: bytes) -> dict[str, float]:
    """Return the CPU seconds until the server listens, and its resident memory in MB before and after requests."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "log")
        words = [sys.executable, "-m", "earmark", "serve", export, "--device", "cpu", "--port", "0"]
        with open(log, "wb") as stream:
            process = subprocess.Popen(words, stdout=stream)
        try:
            url = f"http://127.0.0.1:{wait_for_port(process, log)}/v1/classify"
            ticks = sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))
            time.sleep(2)
            before = resident_mb(process.pid)
            for _ in range(REQUESTS):
                urllib.request.urlopen(url, recording, timeout=PATIENCE_S).read()
            time.sleep(2)
            after = resident_mb(process.pid)
        finally:
            process.terminate()
            process.wait(PATIENCE_S)
    return {
        "serve_start_cpu_s": ticks / os.sysconf("SC_CLK_TCK"),
        "serve_at_rest_mb": round(before),
        f"serve_after_{REQUESTS}_requests_mb": round(after),
    }


def wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    """Wait until the server listens, and return its port."""
    give_up_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < give_up_s and process.poll() is None:
        if found := re.search(rb'"listening".*?"port": ?(\d+)', log.read_bytes()):
            return int(found[1])
        time.sleep(0.05)
    raise SystemExit("the server did not start. Run `earmark serve` to see the reason.")


def resident_mb(process: int) -> float:
    """Return the resident memory of a process in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024 / 1e6  # type: ignore[index]  # every process has it


if __name__ == "__main__":
    main()
