"""Prepare the process before torch and Transformers are imported."""

from __future__ import annotations

import sys

from earmark import npu
from earmark.progress import bar_class, is_notebook
from earmark.threads import variables


def prepare_process() -> None:
    """Set the environment variables that torch and torch_npu read when they are imported.

    Keep variables that are already set. Do nothing if torch is already imported.

    Raises:
        UsageError: ``EARMARK_THREADS`` is not auto, off or a number.
        DeviceError: settings of the NPU's memory allocator contradict each other.
    """
    if is_notebook():
        bar_class()  # imports tqdm quietly; Transformers' import would warn that ipywidgets is not installed
    if "torch" not in sys.modules:
        npu.prepare()
        variables.prepare()
