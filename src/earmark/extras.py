"""Optional packages: what needs each of them and the command that installs it."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

from earmark.errors import MissingExtraError, UsageError
from earmark.text import suggestion

# module -> (extra of this project that brings it, what it is for)
_EXTRAS: dict[str, tuple[str, str]] = {
    "datasets": ("hub", "data sets from the hub, save_to_disk folders and Parquet"),
    "pyarrow": ("hub", "Parquet files"),
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

# what Transformers reports to besides these, by its name for --report_to -> (module, package on PyPI)
_TRACKERS = {
    "azure_ml": ("azureml", "azureml-mlflow"),
    "clearml": ("clearml", "clearml"),
    "codecarbon": ("codecarbon", "codecarbon"),
    "comet_ml": ("comet_ml", "comet-ml"),
    "dagshub": ("dagshub", "dagshub"),
    "dvclive": ("dvclive", "dvclive"),
    "flyte": ("flytekit", "flytekit"),
    "mlflow": ("mlflow", "mlflow"),
    "neptune": ("neptune", "neptune"),
    "swanlab": ("swanlab", "swanlab"),
    "wandb": ("wandb", "wandb"),
}
_KUBEFLOW = "KUBEFLOW_TRAINER_SERVER_URL"  # set by Kubeflow for each job; there is no package to install


def require_tracker(name: str) -> None:
    """Refuse a value of ``--report_to`` that cannot work, before anything is trained.

    Raises:
        UsageError: not a tracker that Transformers knows, or Kubeflow outside its jobs.
        MissingExtraError: its package is not installed; the message holds the pip command.
    """
    if name in ("none", "all"):
        return
    if name in ("tensorboard", "trackio"):
        require(name)
        return
    if name == "kubeflow":
        if not os.environ.get(_KUBEFLOW):
            raise UsageError(
                f"--report_to kubeflow works in jobs of Kubeflow Trainer only, which set {_KUBEFLOW}. Leave it out."
            )
        return
    known = ["none", "all", "tensorboard", "trackio", "kubeflow", *_TRACKERS]
    if name not in known:
        raise UsageError(f"--report_to {name}{suggestion(name, known) or ': expected ' + ', '.join(known)}")
    module, package = _TRACKERS[name]
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"--report_to {name} needs the package {package}: pip install {package}")


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
