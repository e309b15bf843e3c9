"""Record package versions and the device of a run, without names of users, hosts or folders."""

from __future__ import annotations

import importlib.metadata
import platform
from functools import cache

from earmark.threads import watch

_PACKAGES = (
    "earmark",
    "torch",
    "torch_npu",
    "transformers",
    "accelerate",
    "datasets",
    "numpy",
    "scikit-learn",
    "soundfile",
    "soxr",
    "av",
)


def describe_environment(device_name: str) -> dict[str, object]:
    """Return the versions of Python, the system and all relevant installed packages.

    Args:
        device_name: description from :func:`earmark.device.describe_device`.
    """
    return {
        "device": device_name,
        "cpu_threads": watch.describe(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


@cache  # metadata of all packages takes 5 ms to read, and a run asks three times
def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
