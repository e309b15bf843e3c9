"""An exported program as a file of torch.export (``.pt2``), without pickles, and back."""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path

import torch

from earmark.errors import ModelError, first_line
from earmark.export.description import ExportDescription
from earmark.export.graph import quiet_exporter

logger = logging.getLogger(__name__)


def write_pt2(program: torch.export.ExportedProgram, description: ExportDescription, path: Path) -> None:
    """Write ``path``, weights inside, and the description as the extra file ``earmark``."""
    program.example_inputs = None  # the only part of the file that torch would pickle
    whole = io.BytesIO()  # torch's own writing of files ends the process where the disk is full
    with quiet_exporter():
        torch.export.save(program, whole, extra_files={"earmark": description.to_json()})
    path.write_bytes(whole.getbuffer())


def read_pt2(path: Path, device: torch.device) -> object:
    """The program as a module that takes samples, and ``num_samples`` where it has that input, on ``device``.

    Raises:
        ModelError: damaged, or of a torch that this one does not understand.
    """
    try:
        with quiet_exporter():
            program = torch.export.load(path)
            if device.type != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
            return program.module()
    except (OSError, RuntimeError, ValueError, KeyError, AssertionError, zipfile.BadZipFile) as exc:
        raise ModelError(f"{path}: cannot be loaded by torch {torch.__version__} ({first_line(exc)})") from exc
