"""A folder with an exported model, behind the loop that scores.

Shapes: B batch, T samples, C classes.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch

from earmark.device import choose_provider, select_device
from earmark.errors import DeviceError, ModelError, first_line
from earmark.export.description import ExportDescription, export_decision, is_export, read_description
from earmark.export.pt2_file import read_pt2
from earmark.extras import require
from earmark.families.family_registry import find_family
from earmark.models.build_model import AudioModel, load_trained
from earmark.models.checkpoint import local_folder
from earmark.models.frontend import side_by_side
from earmark.models.model_source import ModelSource
from earmark.models.stated_task import asked_task
from earmark.sources.background import find_background
from earmark.tasks import Task, find_task
from earmark.tasks.decision import PLAIN, Decision

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportedModel:
    """An export that has been found and not yet loaded.

    Attributes:
        folder: where it lies.
        description: what it is.
        decision: how answers come of its probabilities.
    """

    folder: Path
    description: ExportDescription
    decision: Decision = PLAIN

    @property
    def labels(self) -> list[str]:
        """Class names, index by index."""
        return self.description.labels

    @property
    def architecture(self) -> str:
        """Model type, as in Transformers."""
        return self.description.architecture

    @property
    def task(self) -> Task:
        """What the model is asked."""
        return find_task(self.description.task)

    @property
    def background_class(self) -> str | None:
        """Its class of clips in which none of the other classes occurs; ``None`` without one."""
        return find_background(self.labels, self.description.background_class)

    def scorer(self, device: str = "auto") -> ExportedScorer:
        """Load it.

        Args:
            device: ``auto``, ``cpu``, ``cuda:0``, ``npu:1``...

        Raises:
            DeviceError: no such device, or the runtime installed cannot use it.
            ModelError: the model file is damaged.
            MissingExtraError: the runtime is not installed.
        """
        path = self.folder / self.description.model_file
        if self.description.format == "pt2":
            runner: Runner = _ProgramRunner(path, select_device(device))
        else:
            runner = _SessionRunner(path, device)
        return ExportedScorer(self.description, runner)


def load_any(source: ModelSource) -> AudioModel | ExportedModel:
    """A trained model or an exported one: what the folder holds.

    Raises:
        ModelError: neither, or damaged.
        UsageError: the model says another task than ``source.task``.
    """
    folder = local_folder(str(source.name_or_path))
    if folder is not None and is_export(folder):
        description = read_description(folder)
        if source.task is not None:
            asked_task(source.task, find_task(description.task))
        return ExportedModel(folder, description, export_decision(folder, description))
    return load_trained(source)


class Runner(Protocol):
    """Runs a model file.

    Attributes:
        device: where, in words.
        on_cpu: whether that is the CPU.
    """

    device: str
    on_cpu: bool

    def __call__(self, samples: np.ndarray, num_samples: np.ndarray | None) -> np.ndarray:
        """Probabilities (B, C) float32 of samples (B, T) float32 and, where taken, their lengths, int64 (B,)."""


class ExportedScorer:
    """An exported model for the loop: see :class:`earmark.scoring.inference.Scorer`.

    Args:
        description: what the file takes.
        runner: the loaded file.
    """

    def __init__(self, description: ExportDescription, runner: Runner) -> None:
        self.description = description
        self.runner = runner
        self.task = find_task(description.task)
        self.sampling_rate_hz = description.sampling_rate_hz
        self.max_samples = description.max_samples
        self.shortest_in_batch = description.shortest_in_batch
        limited = runner.on_cpu and description.fixed_shape is None
        longest_s = find_family(description.architecture).cpu_batch_s if limited else math.inf
        self.most_samples = longest_s * self.sampling_rate_hz

    def session(self) -> AbstractContextManager[None]:
        """Nothing lasts for many batches."""
        return nullcontext()

    def logits(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Logits (B, C) float32 of one batch that say what the file answers."""
        fixed = self.description.fixed_shape
        at_once = fixed[0] if fixed else len(waveforms)
        parts = [waveforms[i : i + at_once] for i in range(0, len(waveforms), at_once)]
        probabilities = np.concatenate([self._probabilities(part) for part in parts])
        return self.task.logits(probabilities)

    def _probabilities(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        samples, lengths = side_by_side(waveforms, self.description.min_samples)
        fixed = self.description.fixed_shape
        if fixed is not None:
            missing_clips, missing_samples = fixed[0] - len(samples), fixed[1] - samples.shape[1]
            samples = np.pad(samples, ((0, missing_clips), (0, missing_samples)))
            lengths = np.pad(lengths, (0, missing_clips), constant_values=fixed[1])
        probabilities = self.runner(samples, lengths if self.description.takes_num_samples else None)
        return probabilities[: len(waveforms)]


class _SessionRunner:
    """ONNX Runtime."""

    def __init__(self, path: Path, device: str) -> None:
        runtime = require("onnxruntime")
        provider, options = choose_provider(device, runtime.get_available_providers())
        settings = runtime.SessionOptions()
        settings.log_severity_level = 3  # errors: what it cannot place on an accelerator runs on the CPU beside it
        settings.intra_op_num_threads = torch.get_num_threads()
        providers = {provider: options, "CPUExecutionProvider": {}}
        errors = runtime.capi.onnxruntime_pybind11_state
        try:
            self._session = runtime.InferenceSession(str(path), settings, providers=list(providers.items()))
        except (errors.Fail, errors.InvalidProtobuf, errors.InvalidGraph, errors.NotImplemented) as exc:
            raise ModelError(f"{path}: ONNX Runtime cannot load it ({first_line(exc)})") from exc
        if self._session.get_providers()[0] != provider:
            raise DeviceError(
                f"--device {device}: ONNX Runtime has {provider} but could not start it; its libraries (CUDA, cuDNN or "
                "CANN) are missing or of another version; --device cpu runs without them"
            )
        self.device = provider.removesuffix("ExecutionProvider").lower()
        self.on_cpu = provider == "CPUExecutionProvider"

    def __call__(self, samples: np.ndarray, num_samples: np.ndarray | None) -> np.ndarray:
        """See :class:`Runner`."""
        inputs = {"samples": samples} | ({} if num_samples is None else {"num_samples": num_samples})
        probabilities: np.ndarray = self._session.run(["probabilities"], inputs)[0]
        return probabilities


class _ProgramRunner:
    """torch.export."""

    def __init__(self, path: Path, device: torch.device) -> None:
        self._device = device
        self._program: Any = read_pt2(path, device)
        self.device = str(device)
        self.on_cpu = device.type == "cpu"

    def __call__(self, samples: np.ndarray, num_samples: np.ndarray | None) -> np.ndarray:
        """See :class:`Runner`."""
        arguments = [torch.from_numpy(samples).to(self._device)]
        if num_samples is not None:
            arguments.append(torch.from_numpy(num_samples).to(self._device))
        with torch.inference_mode():
            probabilities: np.ndarray = self._program(*arguments).float().cpu().numpy()
        return probabilities
