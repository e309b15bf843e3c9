"""Run ONNX exports without torch and Transformers: ``pip install earmark`` is enough, and ``earmark[serve]`` to serve.

Example::

    from earmark import runtime

    classifier = runtime.load("birds_onnx")
    classifier.predict("recording.wav")            # [{'label': 'curlew', 'score': 0.98}]
    classifier.timeline("night.flac", hop_seconds=0.5).segments(runtime.SegmentRules(threshold=0.7))
    runtime.serve("birds_onnx", port=8000)

``earmark predict`` and ``earmark serve`` do the same with an export. :class:`earmark.Classifier` also loads exports;
this module refuses everything else, so that a program does not depend on torch by mistake.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from earmark.api.startup import prepare_process
from earmark.errors import ModelError, UsageError
from earmark.export.description import is_export, read_description
from earmark.formats.segments import Segment, Window
from earmark.models.checkpoint import local_folder
from earmark.predict.classifier import Classifier
from earmark.predict.timeline import SegmentRules, Timeline

__all__ = ["Classifier", "Segment", "SegmentRules", "Timeline", "Window", "load", "serve"]


def load(folder: str | os.PathLike[str], *, device: str = "auto", batch_size: int = 32) -> Classifier:
    """Load an ONNX export.

    Args:
        folder: folder that ``earmark export`` wrote.
        device: ``auto``, ``cpu``, ``cuda:0``, ``npu:1``...: where ONNX Runtime computes.
        batch_size: clips in one run of the model.

    Returns:
        A classifier whose predictions are those of the exported model.

    Raises:
        ModelError: the folder is not an ONNX export, is damaged, or was written by a newer earmark.
        DeviceError: the installed ONNX Runtime cannot use the device.
    """
    _check(folder)
    prepare_process()
    return Classifier.from_pretrained(folder, device=device, batch_size=batch_size)


def serve(folder: str | os.PathLike[str], **settings: Any) -> None:
    """Serve an ONNX export over HTTP until SIGTERM or SIGINT, as ``earmark serve`` does.

    Args:
        folder: folder that ``earmark export`` wrote.
        **settings: every flag of ``earmark serve``, without the dashes: ``host="0.0.0.0"``, ``port=8000``.

    Raises:
        ModelError: see :func:`load`.
        UsageError: the server cannot listen on the address, or must not listen on it without a token.
        MissingExtraError: the packages of the extra ``serve`` are not installed.
    """
    from earmark.serve.start_server import serve as start
    from earmark.settings.flags import declared_flags
    from earmark.settings.given_values import make_settings, read_values
    from earmark.settings.serving_flags import ServeOptions

    _check(folder)
    prepare_process()
    if "model_name_or_path" in settings:
        raise UsageError("folder and model_name_or_path both name a model. Pass one of them.")
    values = {"model_name_or_path": os.fspath(folder), **settings}
    start(make_settings(ServeOptions, read_values(values, declared_flags(ServeOptions))))


def _check(folder: str | os.PathLike[str]) -> None:
    local = local_folder(os.fspath(folder)) or Path(folder)
    if not is_export(local):
        raise ModelError(
            f"{folder}: not an export. Write one where torch is installed: earmark export MODEL --output {folder}"
        )
    if read_description(local).format == "pt2":
        raise ModelError(f"{folder}: a torch.export file, which needs torch. Export the model with --format onnx.")
