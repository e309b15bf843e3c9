"""Python as it is on Windows, as far as Linux can imitate it. Loaded at the start of each process with this folder in
``PYTHONPATH``; see :mod:`tests.test_without_posix`.

For modules of earmark: names that Windows lacks are missing from ``os``, ``signal``, ``socket`` and others, and modules
that it lacks cannot be imported. Opening a folder fails, and text files need an explicit encoding.
For everybody: processes are spawned, ``/proc`` and ``/sys`` are missing, links cannot be made, files and folders that
are open or mapped in this process can neither be removed nor renamed, and file names follow the rules of Windows.
"""

from __future__ import annotations

import builtins
import errno
import json
import multiprocessing
import os
import re
import shutil
import sys
import types
import warnings
from typing import Any

# {module: names that it lacks on Windows}; no names: the module is missing
MISSING: dict[str, list[str] | None] = json.loads(os.environ["WITHOUT_POSIX"])
WORK = os.environ["WITHOUT_POSIX_WORK"]  # rules for file names hold in this folder
RESERVED = re.compile(r"(con|prn|aux|nul|com[1-9]|lpt[1-9])(\..*)?", re.IGNORECASE)
FORBIDDEN = re.compile(r'[<>:"|?*\\\x00-\x1f]|[. ]$')
# They remove open files where the system allows it, and have another way on Windows.
HAS_A_WAY = ("tempfile", "multiprocessing", "filelock", "torch.multiprocessing")

_import = builtins.__import__
_rename = os.rename
_replicas: dict[str, types.ModuleType] = {}


def _limited_import(
    name: str, globals: Any = None, locals: Any = None, fromlist: Any = (), level: int = 0
) -> types.ModuleType:
    importer = (globals or {}).get("__name__") or ""
    if importer.partition(".")[0] == "earmark" and level == 0 and name.partition(".")[0] in MISSING:
        missing = MISSING[name.partition(".")[0]]
        if missing is None:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        module = _import(name, globals, locals, fromlist, level)
        return _replica(module, missing) if module.__name__ in MISSING else module
    return _import(name, globals, locals, fromlist, level)


def _replica(module: types.ModuleType, missing: list[str]) -> types.ModuleType:
    if module.__name__ not in _replicas:
        replica = types.ModuleType(module.__name__, module.__doc__)
        replica.__dict__.update({name: value for name, value in vars(module).items() if name not in missing})
        _replicas[module.__name__] = replica
    return _replicas[module.__name__]


def _caller(depth: int) -> str:
    """The first module outside of this file and ``pathlib``, from the frame that raised the event on."""
    frame = sys._getframe(depth)
    while frame is not None:
        name = frame.f_globals.get("__name__") or ""
        if name not in (__name__, "pathlib", "pathlib._local", "shutil", "os", "io", "contextlib", "weakref", "codecs"):
            return str(name)
        frame = frame.f_back  # type: ignore[assignment]
    return ""


def _in_use(path: str) -> bool:
    """Whether a file, or a file in a folder, is open or mapped in this process."""
    for number in os.listdir("/proc/self/fd"):
        try:
            place = os.readlink(f"/proc/self/fd/{number}")
        except OSError:
            continue
        if place == path or place.startswith(f"{path}/"):
            return True
    _state.own = True
    try:
        with open("/proc/self/maps", encoding="utf-8", errors="replace") as lines:
            return any(line.rstrip("\n").endswith(f" {path}") or f" {path}/" in line for line in lines)
    finally:
        _state.own = False


class _State:
    own = False


_state = _State()


def _refuse_open(path: Any) -> None:
    place = os.path.realpath(os.fsdecode(path))
    if os.path.lexists(place) and _in_use(place) and not _caller(3).startswith(HAS_A_WAY):
        raise PermissionError(errno.EACCES, "The file is used by another process", place)


def _check_name(path: Any) -> None:
    place = os.path.abspath(os.fsdecode(path))
    if not place.startswith(WORK):
        return
    for name in place[len(WORK) :].strip("/").split("/"):
        if RESERVED.fullmatch(name) or FORBIDDEN.search(name):
            raise OSError(errno.EINVAL, "The file name is not allowed", place)


def _hook(event: str, args: tuple[Any, ...]) -> None:
    if _state.own:
        return
    if event == "open":
        _on_open(*args)
    elif event in ("os.remove", "os.rmdir"):
        _refuse_open(args[0]) if args[1] == -1 else None
    elif event == "os.rename":
        _check_name(args[1])
        _refuse_open(args[0])
        _refuse_open(args[1])
    elif event == "os.mkdir":
        _check_name(args[0])
    elif event == "os.symlink":
        raise OSError(errno.EPERM, "A required privilege is not held by the client")


def _on_open(path: Any, mode: str | None, flags: int) -> None:
    if not isinstance(path, str | bytes):
        return
    name = os.fsdecode(path)
    if name.startswith(("/proc", "/sys")) and not _caller(3).startswith("psutil"):
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
    if flags & (os.O_WRONLY | os.O_RDWR):
        _check_name(name)
    if _caller(3).startswith("earmark") and os.path.isdir(name):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), name)


def _rename_without_overwriting(source: Any, target: Any, **folders: Any) -> None:
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, "The file exists already", os.fsdecode(target))
    _rename(source, target, **folders)


if sys.flags.warn_default_encoding:
    warnings.filterwarnings("error", category=EncodingWarning, module=r"earmark\b")
multiprocessing.set_start_method("spawn")
shutil._use_fd_functions = False  # type: ignore[attr-defined]  # rmtree opens no folders on Windows
os.rename = _rename_without_overwriting
builtins.__import__ = _limited_import  # type: ignore[assignment]
sys.addaudithook(_hook)
