"""Builds the stand-in for torch_npu, once for each version of its sources, of torch and of Python."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from pathlib import Path

HERE = Path(__file__).parent


def cache_root() -> Path:
    """Where builds are kept, outside the checkout."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "earmark-tests"


def compiler() -> str | None:
    """The C++ compiler: ``$CXX`` or g++."""
    return shutil.which(os.environ.get("CXX", "g++"))


def build_standin() -> Path:
    """A folder for PYTHONPATH in which ``import torch`` finds the package torch_npu of ``standin/``."""
    import torch

    version = torch.__version__.partition("+")[0]
    return build(
        "standin",
        sources=[HERE / "standin" / "standin.cpp", HERE / "host_kernel.h"],
        package=HERE / "standin" / "torch_npu",
        version=version,
        entry="torch_npu:_autoload_entry",
    )


def build(name: str, *, sources: Sequence[Path], package: Path, version: str, entry: str) -> Path:
    """Compile the first of ``sources`` into ``package``, with an entry point that torch loads it by.

    Args:
        name: what is built, for the name of its folder.
        sources: the file to compile, and what it includes.
        package: folder of the Python package that its module ``_C`` belongs to.
        version: version of the package.
        entry: ``module:function`` that ``import torch`` calls.

    Returns:
        The folder that holds package, module and entry point.
    """
    from filelock import FileLock

    files = [*sources, *sorted(package.glob("*.py")), Path(__file__)]
    digest = hashlib.sha256(b"".join(path.read_bytes() for path in files))
    digest.update(f"{_torch_version()} {sys.version}".encode())
    place = cache_root() / f"{name}-{digest.hexdigest()[:16]}"
    place.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{place}.lock"):
        if not place.is_dir():
            half = Path(tempfile.mkdtemp(dir=place.parent))
            shutil.copytree(package, half / package.name, ignore=shutil.ignore_patterns("__pycache__"))
            _compile(sources[0], half / package.name / "_C.so")
            _describe(half / f"{package.name}-{version}.dist-info", package.name, version, entry)
            half.rename(place)
    return place


def _torch_version() -> str:
    import torch

    return torch.__version__


def _compile(source: Path, target: Path) -> None:
    from torch.utils import cpp_extension

    includes = [*cpp_extension.include_paths(), sysconfig.get_paths()["include"], str(HERE)]
    command = [str(compiler()), "-O1", "-w", "-std=c++20", "-shared", "-fPIC", "-DTORCH_EXTENSION_NAME=_C"]
    command += [f"-I{folder}" for folder in includes]
    command += [str(source), "-o", str(target)]
    command += [f"-L{folder}" for folder in cpp_extension.library_paths()]
    command += ["-lc10", "-ltorch", "-ltorch_cpu", "-ltorch_python"]
    subprocess.run(command, check=True)


def _describe(folder: Path, package: str, version: str, entry: str) -> None:
    """What pip would have written of an installed package."""
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text(f"[torch.backends]\n{package} = {entry}\n")
