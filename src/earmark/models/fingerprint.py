"""Hash the files that determine the predictions of a model, so that results of two models are never mixed."""

from __future__ import annotations

from pathlib import Path

from earmark.errors import ModelError
from earmark.io.hashes import files_sha256

# Weights, configuration and code of a checkpoint or an export. The content of decision.json is hashed separately.
_PATTERNS = (
    *("config.json", "preprocessor_config.json", "export.json", "adapter_config.json", "adapter_model.safetensors"),
    *("model*.safetensors", "pytorch_model*.bin", "*.onnx", "*.onnx.data", "*.onnx_data", "*.pt2", "*.py"),
)


def model_sha256(folder: Path) -> str:
    """Return the SHA-256 of a model folder's files, in hex, independent of the folder's path.

    Args:
        folder: a checkpoint or an export.

    Raises:
        ModelError: a file cannot be read.
    """
    paths = sorted({path for pattern in _PATTERNS for path in folder.glob(pattern) if path.is_file()})
    try:
        return files_sha256(paths)
    except OSError as exc:
        raise ModelError(
            f"{exc.filename or folder}: cannot be read ({exc.strerror or exc}). Check its permissions."
        ) from exc
