"""What a run ran on: package versions and the device. No names of users, hosts or folders."""

from __future__ import annotations

import importlib.metadata
import platform

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
    """Versions of Python, the system and every package that matters; packages that are not installed are left out.

    Args:
        device_name: what :func:`earmark.device.describe_device` says.
    """
    return {
        "device": device_name,
        "cpu_threads": watch.describe(),
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: version for name in _PACKAGES if (version := _version(name)) is not None},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
