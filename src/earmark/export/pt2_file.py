"""Write an exported program as a torch.export file (``.pt2``) without pickles, and read it."""

from __future__ import annotations

import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch

from earmark.device import select_device
from earmark.errors import ModelError, first_line
from earmark.export.description import ExportDescription
from earmark.export.graph import quiet_exporter
from earmark.export.signature import Signature

logger = logging.getLogger(__name__)


def write_pt2(program: torch.export.ExportedProgram, description: ExportDescription, path: Path) -> None:
    """Write a torch.export file with its weights, and with the description as the extra file ``earmark``."""
    program.example_inputs = None  # the only part of the file that torch would pickle
    whole = io.BytesIO()  # torch would end the process if it wrote the file itself and the disk were full
    with quiet_exporter():
        torch.export.save(program, whole, extra_files={"earmark": description.to_json()})
    path.write_bytes(whole.getbuffer())


class ProgramRunner:
    """Runs a torch.export file; see :class:`earmark.export.load_export.Runner`."""

    def __init__(self, path: Path, device: str) -> None:
        self._device = select_device(device)
        self._program: Any
        self._program, self.signature = _read_pt2(path, self._device)
        self.device = str(self._device)
        self.on_cpu = self._device.type == "cpu"

    def __call__(self, samples: np.ndarray, num_samples: np.ndarray | None) -> np.ndarray:
        """Return probabilities (B, C) float32 of samples (B, T) float32."""
        arguments = [torch.from_numpy(samples).to(self._device)]
        if num_samples is not None:
            arguments.append(torch.from_numpy(num_samples).to(self._device))
        with torch.inference_mode():
            probabilities: np.ndarray = self._program(*arguments).float().cpu().numpy()
        return probabilities


def _read_pt2(path: Path, device: torch.device) -> tuple[object, Signature]:
    """Load a torch.export file as a module on ``device``, with its inputs and output.

    Raises:
        ModelError: the file is damaged, or this torch cannot read it.
    """
    try:
        with quiet_exporter():
            recorded = {"earmark": ""}  # filled by torch
            program = torch.export.load(path, extra_files=recorded)
            signature = _signature(program, recorded["earmark"])
            if device.type != "cpu":
                from torch.export.passes import move_to_device_pass

                program = move_to_device_pass(program, device)
            return program.module(), signature
    except (OSError, RuntimeError, ValueError, KeyError, AssertionError, zipfile.BadZipFile) as exc:
        raise ModelError(
            f"{path}: torch {torch.__version__} cannot load it ({first_line(exc)}). Export the model again "
            "with this torch."
        ) from exc


def _signature(program: torch.export.ExportedProgram, recorded: str) -> Signature:
    values = {node.name: node.meta.get("val") for node in program.graph.nodes}
    inputs = [str(name) for name in program.graph_signature.user_inputs]
    samples, output = (values[str(name)].shape for name in (inputs[0], program.graph_signature.user_outputs[0]))
    return Signature(inputs, list(samples), list(output), recorded)
