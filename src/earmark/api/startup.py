"""What has to be set before torch and Transformers are imported."""

from __future__ import annotations

import sys

from earmark import npu
from earmark.progress import bar_class, is_notebook
from earmark.threads import variables


def prepare_process() -> None:
    """Set the variables that torch and torch_npu read when they are imported, as the command line does.

    Variables that are set already stay as they are. Does nothing if torch is imported already.

    Raises:
        UsageError: ``EARMARK_THREADS`` is neither auto, off nor a number.
        DeviceError: settings of the NPU's memory allocator contradict each other.
    """
    if is_notebook():
        bar_class()  # before Transformers imports tqdm's bars, which would warn that ipywidgets is not installed
    if "torch" not in sys.modules:
        npu.prepare()
        variables.prepare()
