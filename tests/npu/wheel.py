"""The NPUs that the real torch_npu finds over stub CANN libraries, with the host's arithmetic (scripts/test-npu)."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

from tests.npu import building

STUB = building.HERE / "stub_cann"
# which torch_npu 2.13.0 links to, besides libascendcl.so
OTHER_LIBRARIES = ("hccl", "acl_op_compiler", "ge_runner", "graph", "acl_tdt_channel")
CANN = "package_name=Ascend-cann-toolkit\nversion=8.5.0\ninnerversion=V100\n"


def environment() -> dict[str, str]:
    """Variables with which a process finds two NPUs through the installed torch_npu."""
    metadata.version("torch-npu")  # else the stubs would be tested with nothing above them
    cann = build_stub_cann()
    module = building.build(
        "host-arithmetic",
        sources=[STUB / "host_arithmetic.cpp", building.HERE / "host_kernel.h"],
        package=STUB / "npu_host_arithmetic",
        version="0",
        entry="npu_host_arithmetic:autoload",
    )
    return {
        "PYTHONPATH": str(module),
        "LD_LIBRARY_PATH": str(cann / "lib"),
        "ASCEND_HOME_PATH": str(cann / "home"),
        "ASCEND_OPP_PATH": str(cann / "home" / "opp"),
    }


def build_stub_cann() -> Path:
    """A folder with ``lib``, the stub libraries, and ``home``, what torch_npu takes for CANN's."""
    from filelock import FileLock

    source = STUB / "ascendcl.c"
    digest = hashlib.sha256(source.read_bytes() + Path(__file__).read_bytes() + sys.version.encode()).hexdigest()
    place = building.cache_root() / f"cann-{digest[:16]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            half = Path(tempfile.mkdtemp(dir=place.parent))
            for folder in ("lib", "home/runtime", "home/compiler", "home/opp"):
                (half / folder).mkdir(parents=True)
            (half / "home" / "ascend_toolkit_install.info").write_text(CANN)
            _link(half / "lib", "ascendcl", [str(source)])
            for name in OTHER_LIBRARIES:  # empty ones, that lead to the first
                _link(half / "lib", name, ["-Wl,--no-as-needed", f"-L{half / 'lib'}", "-lascendcl"])
            half.rename(place)
    return place


def _link(folder: Path, name: str, what: list[str]) -> None:
    file = f"lib{name}.so"
    command = [os.environ.get("CC", "gcc"), "-O1", "-shared", "-fPIC", "-w", "-o", str(folder / file)]
    subprocess.run([*command, *what, f"-Wl,-soname,{file}"], check=True)
