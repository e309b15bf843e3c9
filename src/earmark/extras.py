"""Optional packages: what needs each of them and the command that installs it."""

from __future__ import annotations

import importlib
from types import ModuleType

from earmark.errors import MissingExtraError

# module -> (extra of this project that brings it, what it is for)
_EXTRAS: dict[str, tuple[str, str]] = {
    "datasets": ("hub", "data sets from the hub, save_to_disk folders and Parquet"),
    "pyarrow": ("hub", "Parquet manifests"),
    "av": ("video", "m4a, aac, webm and video files"),
    "espeakng_loader": ("synth", "the synthetic spoken-command corpus"),
    "modelscope_hub": ("modelscope", "models from ModelScope"),
    "ray": ("ray", "--engine ray"),
    "ray.data": ("ray", "--engine ray"),
    "evaluate": ("evaluate", "a local metric folder (--metric DIR)"),
    "onnx": ("onnx", "ONNX exports"),
    "onnxscript": ("onnx", "ONNX exports"),
    "onnxruntime": ("onnx", "exported ONNX models"),
    "tensorboard": ("tensorboard", "--report_to tensorboard"),
    "fastapi": ("serve", "answers over HTTP"),
    "uvicorn": ("serve", "answers over HTTP"),
    "python_multipart": ("serve", "answers over HTTP"),
    "prometheus_client": ("serve", "answers over HTTP"),
    "websockets": ("serve", "answers over HTTP"),
    "peft": ("lora", "LoRA adapters"),
    "optuna": ("search", "searches for settings"),
    "trackio": ("trackio", "--report_to trackio"),
}


def require(module: str) -> ModuleType:
    """Import an optional module, or say how to install it.

    Args:
        module: importable name, e.g. ``"datasets"``.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: it is not installed; the message holds the pip command.
    """
    extra, purpose = _EXTRAS[module]
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        if isinstance(exc, ModuleNotFoundError) and exc.name and exc.name.split(".")[0] == module:
            raise MissingExtraError(f"{purpose} need the package {module}: pip install 'earmark[{extra}]'") from exc
        raise MissingExtraError(
            f"{purpose} need the package {module}, which is installed but does not import ({exc}); "
            f"reinstall it: pip install --force-reinstall 'earmark[{extra}]'"
        ) from exc
