"""``export.json``: what an exported model is, takes and was checked with; it makes a folder an export."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earmark.errors import ModelError
from earmark.runs.folder import write_json
from earmark.tasks import SINGLE_LABEL, find_task
from earmark.tasks.decision import FILE_NAME as DECISION_FILE
from earmark.tasks.decision import Decision, read_decision

FILE_NAME = "export.json"
MODEL_FILES = {"onnx": "model.onnx", "onnx-int8": "model.onnx", "pt2": "model.pt2"}


@dataclass(frozen=True)
class ExportDescription:
    """What a program needs to know to run the model file beside it.

    Attributes:
        format: ``onnx``, ``onnx-int8`` or ``pt2``.
        model_file: name of the file in the same folder.
        architecture: model type, as in Transformers.
        labels: class names, index by index; the columns of the output.
        sampling_rate_hz: rate of the samples.
        min_samples: shorter clips are padded with zeros up to here, and count as that long.
        max_samples: longest clip at once; longer ones are cut into windows, whose probabilities are averaged.
        shortest_in_batch: shortest clip of a batch, as a share of the longest, so that no answer changes: 0 any, 1 all
            equally long.
        takes_num_samples: whether the second input, ``num_samples`` (B,) int64, is there: the length of each clip.
        fixed_shape: ``[B, T]`` where the file takes batches of this one shape, else ``None``.
        decision: how answers come of the probabilities, as in ``decision.json`` beside it; ``None`` where the most
            likely class is the answer. The temperature in it is part of the model file already.
        versions: of the packages that made it.
        checked: what was compared with PyTorch, and the figures.
        task: what the output is. ``single_label``: probabilities that add up to 1; ``multi_label``: one of each label;
            ``regression``: the number itself.
        background_class: the class of clips in which none of the others occurs; ``None`` where there is none.
    """

    format: str
    model_file: str
    architecture: str
    labels: list[str]
    sampling_rate_hz: int
    min_samples: int
    max_samples: int
    shortest_in_batch: float
    takes_num_samples: bool
    fixed_shape: tuple[int, int] | None = None
    decision: dict[str, Any] | None = None
    versions: dict[str, str] = field(default_factory=dict)
    checked: dict[str, Any] = field(default_factory=dict)
    task: str = SINGLE_LABEL.name
    background_class: str | None = None

    def to_json(self) -> str:
        """In one line, to go into the model file itself."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    def save(self, folder: Path) -> None:
        """Write ``export.json``.

        Raises:
            OutputError: the file cannot be written.
        """
        write_json(folder / FILE_NAME, dataclasses.asdict(self))


def export_decision(folder: Path, description: ExportDescription) -> Decision:
    """How an export answers: what ``decision.json`` says.

    Raises:
        ModelError: the file is missing, damaged, or of another temperature than the one in the model file.
    """
    decision = read_decision(folder, description.labels, find_task(description.task))
    exported = 1.0 if description.decision is None else description.decision.get("temperature")
    if description.decision is not None and not (folder / DECISION_FILE).is_file():
        raise ModelError(f"{folder}: {DECISION_FILE} is missing; copy the whole folder of the export")
    if decision.temperature != exported:
        raise ModelError(
            f"{folder / DECISION_FILE}: has the temperature {decision.temperature:g}, the model file {exported:g}; "
            "export the model again"
        )
    return decision


def is_export(folder: Path) -> bool:
    """Whether the folder holds an exported model."""
    return (folder / FILE_NAME).is_file()


def read_description(folder: Path) -> ExportDescription:
    """Read ``export.json``.

    Raises:
        ModelError: it is damaged, or the model file beside it is missing.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values["fixed_shape"] = tuple(values["fixed_shape"]) if values["fixed_shape"] else None
        description = ExportDescription(**values)
        find_task(description.task)
        if description.decision is not None:
            float(description.decision["temperature"])
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise ModelError(f"{path}: not a description of an export ({exc}); export the model again") from exc
    if description.model_file != MODEL_FILES.get(description.format):
        raise ModelError(f"{path}: no format {description.format!r} with a file {description.model_file!r} is known")
    if not (folder / description.model_file).is_file():
        raise ModelError(f"{folder}: {description.model_file} is missing; copy the whole folder of the export")
    return description
