"""Load an exported model and run it in earmark's inference loop.

Shapes: B batch, T samples, C classes.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Protocol

import numpy as np

from earmark.batch.side_by_side import side_by_side
from earmark.device import choose_provider
from earmark.errors import DeviceError, ModelError, first_line
from earmark.export.description import ExportDescription, export_decision, is_export, read_description
from earmark.export.signature import Signature, check_signature
from earmark.extras import require, require_training
from earmark.models.checkpoint import local_folder
from earmark.models.model_source import ModelSource
from earmark.models.stated_task import asked_task
from earmark.sources.background import find_background
from earmark.tasks import Task, find_task
from earmark.tasks.decision import PLAIN, Decision
from earmark.threads.variables import planned_threads

if TYPE_CHECKING:
    from earmark.models.build_model import AudioModel

logger = logging.getLogger(__name__)

# ONNX Runtime's words for a file that needs a newer version of it
_TOO_NEW = re.compile(r"Unsupported model IR version: \d+|Opset \d+ is under development|No Op registered for \w+")


@dataclass(frozen=True)
class ExportedModel:
    """An export whose model file is not loaded yet.

    Attributes:
        folder: folder of the export.
        description: content of ``export.json``.
        decision: how to turn its probabilities into predictions.
    """

    folder: Path
    description: ExportDescription
    decision: Decision = PLAIN

    @property
    def labels(self) -> list[str]:
        """Class names in the order of the output's columns."""
        return self.description.labels

    @property
    def architecture(self) -> str:
        """Model type, as in Transformers."""
        return self.description.architecture

    @property
    def task(self) -> Task:
        """Task of the model."""
        return find_task(self.description.task)

    @property
    def background_class(self) -> str | None:
        """Class of clips with none of the other classes; ``None`` if the model has no such class."""
        return find_background(self.labels, self.description.background_class)

    def scorer(self, device: str = "auto") -> ExportedScorer:
        """Load the model file.

        Args:
            device: ``auto``, ``cpu``, ``cuda:0``, ``npu:1``...

        Raises:
            DeviceError: there is no such device, or the installed runtime cannot use it.
            ModelError: the model file is damaged, or ``export.json`` does not belong to it.
            MissingExtraError: the model file is a torch.export file, and torch is not installed.
        """
        path = self.folder / self.description.model_file
        if self.description.format == "pt2":
            require_training(f"{path}: a torch.export file")
            from earmark.export.pt2_file import ProgramRunner

            runner: Runner = ProgramRunner(path, device)
        else:
            runner = _SessionRunner(path, device)
        check_signature(path, self.description, runner.signature)
        return ExportedScorer(self.description, runner)


def load_any(source: ModelSource) -> AudioModel | ExportedModel:
    """Load a trained model, or describe an export.

    Raises:
        ModelError: the folder holds neither, or it is damaged.
        UsageError: the model's task is not ``source.task``.
        MissingExtraError: the folder holds a trained model, and torch or Transformers is not installed.
    """
    folder = local_folder(str(source.name_or_path))
    if folder is not None and is_export(folder):
        description = read_description(folder)
        if source.task is not None:
            asked_task(source.task, find_task(description.task))
        return ExportedModel(folder, description, export_decision(folder, description))
    require_training(f"{source.name_or_path}: a trained model that is not an export")
    source.find(str(source.name_or_path))  # asks the hub before torch is imported, which takes seconds
    from earmark.models.build_model import load_trained

    return load_trained(source)


class Runner(Protocol):
    """Runs a model file.

    Attributes:
        device: name of the device.
        on_cpu: whether the device is the CPU.
        signature: inputs and output of the file.
    """

    device: str
    on_cpu: bool
    signature: Signature

    def __call__(self, samples: np.ndarray, num_samples: np.ndarray | None) -> np.ndarray:
        """Return probabilities (B, C) float32 of samples (B, T) float32.

        Args:
            samples: padded clips.
            num_samples: their lengths, int64 (B,); ``None`` if the file has no such input.
        """


class ExportedScorer:
    """An export for the inference loop; see :class:`earmark.scoring.inference.Scorer`.

    Args:
        description: content of ``export.json``.
        runner: the loaded model file.
    """

    def __init__(self, description: ExportDescription, runner: Runner) -> None:
        self.description = description
        self.runner = runner
        self.task = find_task(description.task)
        self.sampling_rate_hz = description.sampling_rate_hz
        self.max_samples = description.max_samples
        self.shortest_in_batch = description.shortest_in_batch
        limited = runner.on_cpu and description.fixed_shape is None
        longest_s = description.cpu_batch_s if limited else None
        self.most_samples = math.inf if longest_s is None else longest_s * self.sampling_rate_hz

    def session(self) -> AbstractContextManager[None]:
        """Return an empty context: an export needs no set-up for many batches."""
        return nullcontext()

    def logits(self, waveforms: Sequence[np.ndarray]) -> np.ndarray:
        """Return logits (B, C) float32 that give the probabilities of the file for one batch."""
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
    """Runs an ONNX file with ONNX Runtime."""

    def __init__(self, path: Path, device: str) -> None:
        self._opened = path.absolute(), device
        runtime = require("onnxruntime")
        provider, options = choose_provider(device, runtime.get_available_providers())
        settings = runtime.SessionOptions()
        settings.log_severity_level = 3  # errors only: ONNX Runtime warns about operators that it runs on the CPU
        settings.intra_op_num_threads = planned_threads()
        providers = {provider: options, "CPUExecutionProvider": {}}
        try:
            self._session = runtime.InferenceSession(str(path), settings, providers=list(providers.items()))
        except _errors(runtime) as exc:
            if too_new := _TOO_NEW.search(str(exc)):
                raise ModelError(
                    f"{path}: ONNX Runtime {runtime.__version__} is too old for this file ({too_new[0]}). Update it: "
                    "pip install --upgrade onnxruntime"
                ) from exc
            raise ModelError(
                f"{path}: ONNX Runtime cannot load it ({first_line(exc)}). Export the model again."
            ) from exc
        if self._session.get_providers()[0] != provider:
            raise DeviceError(
                f"--device {device}: ONNX Runtime has {provider} but could not start it, because its libraries (CUDA, "
                "cuDNN or CANN) are missing or have another version. Install them, or use --device cpu."
            )
        self.device = provider.removesuffix("ExecutionProvider").lower()
        self.on_cpu = provider == "CPUExecutionProvider"
        inputs, output = self._session.get_inputs(), self._session.get_outputs()[0]
        samples: list[object] = next((value.shape for value in inputs if value.name == "samples"), [])
        recorded = self._session.get_modelmeta().custom_metadata_map.get("earmark", "")
        self.signature = Signature([value.name for value in inputs], samples, output.shape, recorded)

    def __reduce__(self) -> tuple[type[_SessionRunner], tuple[Path, str]]:
        return type(self), self._opened  # a session cannot be pickled, so another process opens the file again

    def __call__(self, samples: np.ndarray, num_samples: np.ndarray | None) -> np.ndarray:
        """See :class:`Runner`."""
        inputs = {"samples": samples} | ({} if num_samples is None else {"num_samples": num_samples})
        probabilities: np.ndarray = self._session.run(["probabilities"], inputs)[0]
        return probabilities


def _errors(runtime: ModuleType) -> tuple[type[Exception], ...]:
    """Return the exceptions of ONNX Runtime, which have no base class of their own."""
    names = vars(runtime.capi.onnxruntime_pybind11_state).values()
    return tuple(kind for kind in names if isinstance(kind, type) and issubclass(kind, Exception))
