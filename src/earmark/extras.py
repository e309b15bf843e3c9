"""Import optional packages, or give the command that installs them."""

from __future__ import annotations

import importlib
import importlib.util
import os
from types import ModuleType

from earmark.errors import MissingExtraError, UsageError
from earmark.text import suggestion

# module -> (extra of earmark that installs it, or "" if earmark itself does; feature that needs it)
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
    "onnxruntime": ("", "exported ONNX models"),
    "tensorboard": ("tensorboard", "--report_to tensorboard"),
    "fastapi": ("serve", "HTTP servers"),
    "uvicorn": ("serve", "HTTP servers"),
    "python_multipart": ("serve", "HTTP servers"),
    "prometheus_client": ("serve", "HTTP servers"),
    "websockets": ("serve", "HTTP servers"),
    "peft": ("lora", "LoRA adapters"),
    "optuna": ("search", "hyperparameter searches"),
    "trackio": ("trackio", "--report_to trackio"),
}

# module -> package of the extra "train"
_TRAINING = {
    "torch": "torch",
    "transformers": "transformers",
    "accelerate": "accelerate",
    "safetensors": "safetensors",
    "sklearn": "scikit-learn",
    "scipy": "scipy",
}

# other trackers of Transformers: value of --report_to -> (module, package on PyPI)
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
    """Check before training that a value of ``--report_to`` can work.

    Raises:
        UsageError: Transformers knows no such tracker, or this process is not a job of Kubeflow Trainer.
        MissingExtraError: the tracker's package is not installed; the message gives the pip command.
    """
    if name in ("none", "all"):
        return
    if name in ("tensorboard", "trackio"):
        require(name)
        return
    if name == "kubeflow":
        if not os.environ.get(_KUBEFLOW):
            raise UsageError(
                f"--report_to kubeflow works only in jobs of Kubeflow Trainer, which set {_KUBEFLOW}. Leave it out."
            )
        return
    known = ["none", "all", "tensorboard", "trackio", "kubeflow", *_TRACKERS]
    if name not in known:
        near = suggestion(name, known) or "."
        raise UsageError(f"--report_to {name}: Transformers has no such tracker{near} Choose from {', '.join(known)}.")
    module, package = _TRACKERS[name]
    if importlib.util.find_spec(module) is None:
        raise MissingExtraError(f"--report_to {name} needs the package {package}. Install it: pip install {package}")


def require_training(what: str) -> None:
    """Check that the packages of the extra ``train`` are installed, without importing them.

    Args:
        what: what needs them, for the message: ``earmark train``.

    Raises:
        MissingExtraError: at least one is missing; the message names them and gives the pip command.
    """
    missing = [module for module in _TRAINING if importlib.util.find_spec(module) is None]
    if missing:
        packages = ", ".join(_TRAINING[module] for module in missing)
        raise MissingExtraError(
            f"{what} needs {packages}. Install what is missing: pip install 'earmark[train]'. Without a GPU, install "
            "torch's smaller CPU build first: docs/install.md"
        )


def require(module: str) -> ModuleType:
    """Import an optional module.

    Args:
        module: importable name, e.g. ``"datasets"``.

    Returns:
        The imported module.

    Raises:
        MissingExtraError: the module is not installed or fails to import; the message gives the pip command.
    """
    extra, purpose = _EXTRAS[module]
    install = f"'earmark[{extra}]'" if extra else module
    try:
        return importlib.import_module(module)
    except ImportError as exc:
        if isinstance(exc, ModuleNotFoundError) and exc.name and exc.name.split(".")[0] == module:
            raise MissingExtraError(f"{purpose} need the package {module}. Install it: pip install {install}") from exc
        raise MissingExtraError(
            f"{purpose} need the package {module}, which is installed but fails to import ({exc}). "
            f"Reinstall it: pip install --force-reinstall {install}"
        ) from exc
