"""Check what every machine needs besides a device: free cores, disk space, shared memory, codecs, the hub."""

from __future__ import annotations

import http.client
import os
import shutil
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from earmark.doctor.children import Probe
from earmark.doctor.findings import Finding, ok, problem, skipped, warning
from earmark.doctor.machine import Machine
from earmark.errors import UsageError
from earmark.threads.contention import FREE_OTHERS
from earmark.threads.cores import allowed_cpus, read_cores
from earmark.threads.machine_load import measure_others
from earmark.threads.variables import plan

HUB_TIMEOUT_S = 5.0

_GB = 1e9
_LITTLE_DISK_GB, _NO_DISK_GB = 10.0, 1.0
_MEASURED_S = 1.0  # duration of measuring other processes
_LITTLE_SHARED_GB = 1.0  # Docker's default is 64 MB


def _free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def _total_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).total


def _others(machine: Machine) -> float | None:
    return measure_others(_MEASURED_S, allowed_cpus(), machine.root)


def check_processor(machine: Machine, *, others: Callable[[Machine], float | None] = _others) -> Finding:
    """Report cores, container quota, threads and the cores that other processes use.

    Args:
        machine: machine to check.
        others: measures the cores that other processes use; ``None`` if unknown.
    """
    name = "processor"
    cores = read_cores(allowed_cpus(), machine.root)
    try:
        planned = plan(machine.environment, cores)
    except UsageError as exc:
        return problem(name, str(exc), "every command but doctor stops with this error", "unset EARMARK_THREADS")
    threads = f"{planned.threads} threads" if planned.threads is not None else f"threads set by {planned.reason}"
    used = others(machine)
    seen = f"{cores.describe()}, {'1 thread' if planned.threads == 1 else threads}"
    if used is None:
        return ok(name, f"{seen}; usage by other processes is unknown")
    seen += f"; other processes use {used:.1f} cores"
    wanted = _number(planned.threads, machine.environment)
    if wanted is not None and wanted > cores.usable:
        return warning(
            name,
            f"{seen}; {planned.reason}",
            "more threads than cores wait for each other, which makes computing on the CPU many times slower",
            f"unset {planned.reason.partition('=')[0]}, or set it to at most {cores.usable}",
        )
    free = max(0.0, cores.logical - used)  # measured on the whole host: a quota does not limit other processes
    if used < FREE_OTHERS or free >= cores.usable:
        return ok(name, seen)
    return warning(
        name,
        seen,
        f"{free:.1f} of {cores.usable} cores are free, so computing on the CPU is slower",
        "wait for the other processes (`top` names them), or end those that are yours",
    )


def _number(threads: int | None, environment: Mapping[str, str]) -> int | None:
    """Return the number of threads to compute with: set by earmark, or by the user's own variables."""
    values = (environment.get(name, "") for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"))
    return threads if threads is not None else next((int(value) for value in values if value.isdecimal()), None)


def check_disk(
    machine: Machine, hub_cache: str | None, *, free_bytes: Callable[[Path], int] = _free_bytes
) -> list[Finding]:
    """Check space and write access in the folders of runs, decoded recordings and downloads.

    Args:
        machine: machine to check.
        hub_cache: download folder of the hub library; ``None`` if unknown.
        free_bytes: returns the free bytes in a folder.
    """
    environment = machine.environment
    cache = environment.get("XDG_CACHE_HOME") or "~/.cache"
    places = {
        "runs (here)": environment.get("PWD") or os.getcwd(),
        "waveform store": environment.get("EARMARK_STORE") or f"{cache}/earmark/waveforms",
        "temporary files": environment.get("TMPDIR") or "/tmp",
    }
    if hub_cache:
        places["hub cache"] = hub_cache
    return [_check_folder(machine, f"disk: {what}", place, free_bytes) for what, place in places.items()]


def _check_folder(machine: Machine, name: str, place: str, free_bytes: Callable[[Path], int]) -> Finding:
    folder = machine.path(place)
    there = next(path for path in (folder, *folder.parents) if os.path.exists(path))
    if not os.path.isdir(there) or not os.access(there, os.W_OK | os.X_OK):
        return problem(
            name,
            f"{place}: cannot be written to",
            "the first run stops when it writes there",
            "make it writable, or choose another folder: --output_dir, EARMARK_STORE, TMPDIR, HF_HOME",
        )
    free_gb = free_bytes(there) / _GB
    seen = f"{free_gb:,.1f} GB free in {place}"
    fix = "free some space, or choose another folder: --output_dir, EARMARK_STORE, TMPDIR, HF_HOME"
    if free_gb < _NO_DISK_GB:
        return problem(name, seen, "one checkpoint of a model of 95 M parameters with its optimizer takes 1.1 GB", fix)
    if free_gb < _LITTLE_DISK_GB:
        return warning(name, seen, "checkpoints of large models and decoded audio (115 MB per hour) soon fill it", fix)
    return ok(name, seen)


def check_shared_memory(machine: Machine, *, total_bytes: Callable[[Path], int] = _total_bytes) -> list[Finding]:
    """Check the size of ``/dev/shm``, which data loader workers and NCCL use to pass tensors."""
    folder = machine.path("/dev/shm")
    if not os.path.isdir(folder):
        return []
    total_gb = total_bytes(folder) / _GB
    if total_gb >= _LITTLE_SHARED_GB:
        return [ok("shared memory", f"{total_gb:,.1f} GB in /dev/shm")]
    return [
        warning(
            "shared memory",
            f"{total_gb * 1000:,.0f} MB in /dev/shm",
            "data loader workers and collective operations fail with a bus error when it is full",
            "containers: --shm-size=8g; otherwise: mount -o remount,size=8G /dev/shm",
        )
    ]


def check_codecs(probe: Probe) -> list[Finding]:
    """Check which formats can be read, from the results of the codec probe."""
    results = probe.results
    if "codecs" not in results:
        return [
            probe.finding(
                "codecs",
                "no recording can be read",
                "pip install --force-reinstall soundfile soxr numpy",
            )
        ]
    read, failed = ", ".join(results["codecs"]), results["failed"]
    seen = f"{read} (soundfile {results['soundfile']}, {results['libsndfile']})"
    found = [ok("codecs", seen)]
    if failed:
        found = [
            (problem if "wav" in failed else warning)(
                "codecs",
                f"{seen}; not {', '.join(f'{name} ({why})' for name, why in failed.items())}",
                "recordings of these formats cannot be read",
                "pip install --upgrade soundfile (its wheels bring libsndfile 1.2, which reads all of them)",
            )
        ]
    if results.get("av"):
        found.append(ok("video codecs", f"m4a, aac, webm, mp4 (PyAV {results['av']})"))
    elif "av_error" in results and "No module named" not in results["av_error"]:
        found.append(
            warning(
                "video codecs",
                results["av_error"],
                "m4a, aac, webm and video files cannot be read",
                "pip install --force-reinstall 'earmark[video]'",
            )
        )
    elif "av_error" in results:
        found.append(
            skipped(
                "video codecs",
                "PyAV is not installed, so m4a, aac, webm and mp4 cannot be read (pip install 'earmark[video]')",
            )
        )
    return found


def check_hub(probe: Probe, *, timeout_s: float = HUB_TIMEOUT_S) -> Finding:
    """Check that the hub, or the mirror in ``HF_ENDPOINT``, responds.

    An unreachable hub is never a problem, because local weights and recordings do not need it.
    """
    name = "hub"
    if "endpoint" not in probe.results:
        return skipped(name, f"huggingface_hub cannot be imported: {probe.failure}")
    if probe.results["offline"]:
        return skipped(name, "HF_HUB_OFFLINE is set, so the network is not used")
    endpoint = probe.results["endpoint"]
    try:
        reason = _reach(endpoint, timeout_s)
    except ValueError as exc:
        return warning(
            name,
            f"HF_ENDPOINT={endpoint}: {exc}",
            "not a URL, so no model or data set can be downloaded",
            "export HF_ENDPOINT=https://<the mirror>, or unset it",
        )
    if reason is None:
        return ok(name, f"{endpoint} answers")
    return warning(
        name,
        f"{endpoint}: {reason}",
        "models and data sets cannot be downloaded; local ones work",
        _hub_fix(reason),
    )


def _reach(endpoint: str, timeout_s: float) -> str | None:
    """Request the list of models from the hub. Return ``None`` if it responds, else the reason why not."""
    request = urllib.request.Request(f"{endpoint}/api/models?limit=1", headers={"User-Agent": "earmark-doctor"})
    if not request.type.startswith("http"):
        raise ValueError(f"unknown url type: {request.type}")
    try:
        with urllib.request.urlopen(request, timeout=timeout_s):
            return None
    except urllib.error.HTTPError as exc:
        return None if exc.code < 500 and exc.code != 407 else f"HTTP {exc.code} {exc.reason}"
    except urllib.error.URLError as exc:
        return f"no response ({exc.reason})"
    except (OSError, http.client.HTTPException, ssl.SSLError) as exc:
        return f"no response ({exc or type(exc).__name__})"


def _hub_fix(reason: str) -> str:
    if "CERTIFICATE" in reason.upper():
        return "export SSL_CERT_FILE=<your organisation's certificates>"
    if "407" in reason:
        return "put name and password into HTTPS_PROXY"
    return "export HF_ENDPOINT=https://<a mirror you can reach>, set HTTPS_PROXY, or HF_HUB_OFFLINE=1 to skip the hub"
