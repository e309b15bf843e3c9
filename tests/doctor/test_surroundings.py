from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from earmark.doctor.children import Probe, run_probe
from earmark.doctor.machine import Answer, Machine
from earmark.doctor.surroundings import (
    check_codecs,
    check_disk,
    check_hub,
    check_processor,
    check_shared_memory,
)
from tests.doctor.trees import machine, the
from tests.loopback import QuietHandler, serving

GB = 1_000_000_000


def told(**results: object) -> Probe:
    return Probe(results, Answer(0, ""))


@contextmanager
def serve(status: int) -> Iterator[str]:
    """A hub that answers everything alike."""

    class Handler(QuietHandler):
        def do_GET(self) -> None:
            self.send(status, b"")

    with serving(Handler) as endpoint:
        yield endpoint


@pytest.mark.parametrize(
    ("status", "outcome"), [(200, "ok"), (401, "ok"), (404, "ok"), (407, "warning"), (503, "warning")]
)
def test_a_hub_that_answers(status: int, outcome: str) -> None:
    with serve(status) as endpoint:
        found = check_hub(told(endpoint=endpoint, offline=False))
    assert found.status == outcome
    assert endpoint in found.seen


def test_a_hub_that_is_not_there_is_a_warning() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: refuses
        found = check_hub(told(endpoint=f"http://127.0.0.1:{taken.getsockname()[1]}", offline=False))
    assert found.status == "warning"
    assert "refused" in found.seen
    assert "HF_ENDPOINT" in found.fix


def test_a_hub_that_hangs() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        endpoint = f"http://127.0.0.1:{listening.getsockname()[1]}"
        found = check_hub(told(endpoint=endpoint, offline=False), timeout_s=0.2)
    assert found.status == "warning"
    assert "timed out" in found.seen


@pytest.mark.parametrize("endpoint", ["mirror.example", "ftp://mirror.example"])
def test_an_endpoint_that_is_no_address(endpoint: str) -> None:
    found = check_hub(told(endpoint=endpoint, offline=False))
    assert found.status == "warning"
    assert found.seen.startswith(f"HF_ENDPOINT={endpoint}: unknown url type")


def test_the_environment_is_read_as_the_hub_library_does(tmp_path: Path) -> None:
    environment = {"HF_ENDPOINT": "http://127.0.0.1:9/", "HF_HOME": str(tmp_path)}
    probe = run_probe(Machine(environment=environment), "hub", timeout_s=60)
    assert probe.results == {"endpoint": "http://127.0.0.1:9", "offline": False, "cache": f"{tmp_path}/hub"}
    probe = run_probe(Machine(environment={**environment, "HF_HUB_OFFLINE": "1"}), "hub", timeout_s=60)
    found = check_hub(probe)
    assert found.status == "skipped"
    assert "HF_HUB_OFFLINE" in found.seen


@pytest.mark.parametrize(("free_gb", "status"), [(0.5, "problem"), (5, "warning"), (50, "ok")])
def test_disk_space(tmp_path: Path, free_gb: float, status: str) -> None:
    (tmp_path / "srv").mkdir()
    here = machine(tmp_path, {"PWD": "/srv", "HOME": "/home/me", "EARMARK_STORE": "/srv/store"})
    found = check_disk(here, "/srv/hub", free_bytes=lambda folder: round(free_gb * GB))
    assert [finding.status for finding in found] == [status] * 4
    assert the(found, "disk: waveform store").seen == f"{free_gb:.1f} GB free in /srv/store"
    assert the(found, "disk: hub cache").seen.endswith(" in /srv/hub")


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    here = machine(tmp_path, {"PWD": "/", "EARMARK_STORE": "/file/store"})
    found = the(check_disk(here, None, free_bytes=lambda folder: 50 * GB), "disk: waveform store")
    assert found.status == "problem"
    assert found.seen == "/file/store: cannot be written to"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_of_somebody_else(tmp_path: Path) -> None:
    (tmp_path / "shut").mkdir(mode=0o500)
    found = check_disk(machine(tmp_path, {"PWD": "/shut"}), None, free_bytes=lambda folder: 50 * GB)
    assert the(found, "disk: runs (here)").status == "problem"


def test_shared_memory(tmp_path: Path) -> None:
    assert check_shared_memory(machine(tmp_path)) == []
    (tmp_path / "dev/shm").mkdir(parents=True)
    (found,) = check_shared_memory(machine(tmp_path), total_bytes=lambda folder: 64_000_000)
    assert (found.status, found.seen) == ("warning", "64 MB in /dev/shm")
    (found,) = check_shared_memory(machine(tmp_path), total_bytes=lambda folder: 8 * GB)
    assert found.status == "ok"


def test_codecs_of_this_machine() -> None:
    probe = run_probe(Machine(), "codecs", timeout_s=60)
    found = the(check_codecs(probe), "codecs")
    assert found.status == "ok"
    assert found.seen.startswith("flac, mp3, ogg, wav (soundfile ")


def test_codecs_that_are_missing() -> None:
    known = {"soundfile": "0.12.1", "libsndfile": "1.0.31"}
    missing = "ModuleNotFoundError: No module named 'av'"
    found = check_codecs(told(**known, codecs=["wav"], failed={"mp3": "unknown"}, av=None, av_error=missing))
    assert [finding.status for finding in found] == ["warning", "skipped"]
    assert "not mp3 (unknown)" in found[0].seen
    failed = told(**known, codecs=[], failed={"wav": "broken"}, av="14.0")
    assert [finding.status for finding in check_codecs(failed)] == ["problem", "ok"]


def test_a_soundfile_that_does_not_import() -> None:
    (found,) = check_codecs(Probe({}, Answer(1, "", "OSError: sndfile library not found\n")))
    assert found.status == "problem"
    assert found.seen == "OSError: sndfile library not found"


def test_a_free_processor(tmp_path: Path) -> None:
    found = check_processor(machine(tmp_path), others=lambda machine: 0.1)
    assert found.status == "ok"
    assert "other processes use 0.1 cores" in found.seen


def test_a_busy_processor(tmp_path: Path) -> None:
    found = check_processor(machine(tmp_path), others=lambda machine: 1.2)
    assert found.status == "warning"
    assert "other processes use 1.2 cores" in found.seen
    assert "slower" in found.means


def limit_to_one_core(root: Path) -> None:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/cgroup").write_text("0::/\n")
    (root / "sys/fs/cgroup").mkdir(parents=True)
    (root / "sys/fs/cgroup/cpu.max").write_text("100000 100000\n")


def test_a_quota_on_a_busy_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit_to_one_core(tmp_path)
    monkeypatch.setattr("earmark.doctor.surroundings.allowed_cpus", lambda: list(range(64)))
    assert check_processor(machine(tmp_path), others=lambda machine: 40.0).status == "ok"
    found = check_processor(machine(tmp_path), others=lambda machine: 63.6)
    assert found.status == "warning"
    assert "0.4 of 1 cores are free" in found.means


def test_a_container_quota(tmp_path: Path) -> None:
    limit_to_one_core(tmp_path)
    found = check_processor(machine(tmp_path), others=lambda machine: None)
    assert found.status == "ok"
    assert "container quota 1" in found.seen
    assert "1 thread;" in found.seen


@pytest.mark.parametrize("variable", ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "EARMARK_THREADS"])
def test_more_threads_than_cores(variable: str, tmp_path: Path) -> None:
    found = check_processor(machine(tmp_path, {variable: "4096"}), others=lambda machine: 0.0)
    assert found.status == "warning"
    assert f"{variable}=4096" in found.seen
    assert found.fix.startswith(f"unset {variable}")


def test_a_wrong_number_of_threads(tmp_path: Path) -> None:
    found = check_processor(machine(tmp_path, {"EARMARK_THREADS": "many"}), others=lambda machine: 0.0)
    assert found.status == "problem"
    assert "EARMARK_THREADS=many" in found.seen


def test_the_processor_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("earmark.doctor.surroundings._MEASURED_S", 0.01)
    assert check_processor(Machine()).name == "processor"
