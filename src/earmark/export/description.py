"""Read and write ``export.json``, which describes an exported model. A folder with this file is an export."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from earmark import __version__
from earmark.errors import ModelError
from earmark.families.cpu_batches import longest_cpu_batch_s
from earmark.io.json_values import are_sizes, are_texts, is_flag, is_fraction, is_positive, is_size, is_text
from earmark.runs.folder import write_json
from earmark.tasks import SINGLE_LABEL, find_task
from earmark.tasks.decision import FILE_NAME as DECISION_FILE
from earmark.tasks.decision import Decision, read_decision
from earmark.tasks.task_registry import TASKS
from earmark.text import and_more, with_article

FILE_NAME = "export.json"
MODEL_FILES = {"onnx": "model.onnx", "onnx-int8": "model.onnx", "pt2": "model.pt2"}
_SHOWN = 40  # characters of an invalid value in a message


@dataclass(frozen=True)
class ExportDescription:
    """Everything that a program needs to know to run the model file.

    An earmark that does not know a field refuses the export, so a change in what a field means needs a new field.

    Attributes:
        format: ``onnx``, ``onnx-int8`` or ``pt2``.
        model_file: name of the model file in the same folder.
        architecture: model type, as in Transformers.
        labels: class names in the order of the output's columns.
        sampling_rate_hz: sampling rate of the input.
        min_samples: shorter clips are padded with zeros to this length.
        max_samples: longest input; longer clips are cut into windows, whose probabilities are averaged.
        shortest_in_batch: smallest allowed ratio of the shortest to the longest clip of a batch: 0 for any lengths,
            1 for equal lengths only. Below it, padding would change predictions.
        takes_num_samples: whether the file has a second input, ``num_samples`` (B,) int64, the length of each clip.
        fixed_shape: ``[B, T]`` if the file takes batches of this shape only, else ``None``.
        decision: how to turn probabilities into predictions, as in ``decision.json`` in the same folder; ``None`` to
            predict the most likely class. The model file already applies its temperature.
        versions: versions of the packages that made the file.
        checked: what was compared with PyTorch, and the results.
        task: meaning of the output. ``single_label``: probabilities that add up to 1; ``multi_label``: a probability
            per label; ``regression``: the number.
        background_class: class of clips with none of the other classes; ``None`` if the model has no such class.
        cpu_batch_s: longest batch that a CPU should score at once, in seconds of audio, padding included; ``None`` for
            no limit. It changes speed, not predictions.
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
    cpu_batch_s: float | None = None

    def to_json(self) -> str:
        """Return the description as one line of JSON, which goes into the model file."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    def save(self, folder: Path) -> None:
        """Write ``export.json``.

        Raises:
            OutputError: the file cannot be written.
        """
        write_json(folder / FILE_NAME, dataclasses.asdict(self))


def _is_object(value: object) -> bool:
    return isinstance(value, dict)


_IS_VALID: dict[str, Callable[[Any], bool]] = {
    **dict.fromkeys(("format", "model_file", "architecture", "task", "background_class"), is_text),
    **dict.fromkeys(("sampling_rate_hz", "min_samples", "max_samples"), is_size),
    **dict.fromkeys(("versions", "checked"), _is_object),
    "labels": are_texts,
    "shortest_in_batch": is_fraction,
    "takes_num_samples": is_flag,
    "fixed_shape": lambda shape: are_sizes(shape) and len(shape) == 2,
    "decision": lambda decision: _is_object(decision) and is_positive(decision.get("temperature")),
    "cpu_batch_s": is_positive,
}


def cpu_limit_s(architecture: str) -> float | None:
    """Return ``cpu_batch_s`` of an export of this architecture."""
    longest_s = longest_cpu_batch_s(architecture)
    return longest_s if math.isfinite(longest_s) else None


def export_decision(folder: Path, description: ExportDescription) -> Decision:
    """Return the decision that ``decision.json`` of an export holds.

    Raises:
        ModelError: the file is missing or damaged, or its temperature is not the one in the model file.
    """
    decision = read_decision(folder, description.labels, find_task(description.task))
    exported = 1.0 if description.decision is None else description.decision.get("temperature")
    if description.decision is not None and not (folder / DECISION_FILE).is_file():
        raise ModelError(f"{folder}: {DECISION_FILE} is missing. Copy the whole folder of the export.")
    if decision.temperature != exported:
        raise ModelError(
            f"{folder / DECISION_FILE}: has the temperature {decision.temperature:g}, the model file {exported:g}. "
            "Export the model again."
        )
    return decision


def is_export(folder: Path) -> bool:
    """Whether the folder holds an exported model.

    Raises:
        ModelError: it holds the model file of an export without the description, and no checkpoint.
    """
    if (folder / FILE_NAME).is_file():
        return True
    alone = next((name for name in MODEL_FILES.values() if (folder / name).is_file()), None)
    if alone is not None and not (folder / "config.json").is_file():
        raise ModelError(
            f"{folder}: {FILE_NAME}, which describes {alone}, is missing. Copy the whole folder of the export."
        )
    return False


def read_description(folder: Path) -> ExportDescription:
    """Read ``export.json``.

    Raises:
        ModelError: the file is damaged or was written by a newer earmark, or the model file is missing.
    """
    path = folder / FILE_NAME
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))  # some editors write a mark when labels are renamed
        if not isinstance(values, dict):
            raise ValueError("not a JSON object")
        _refuse_newer(path, values)
        _check_values(values)
        values["fixed_shape"] = tuple(values["fixed_shape"]) if values.get("fixed_shape") else None
        if "cpu_batch_s" not in values:  # earlier versions did not write it
            values["cpu_batch_s"] = cpu_limit_s(values["architecture"])
        description = ExportDescription(**values)
    except (OSError, ValueError, TypeError) as exc:
        raise ModelError(f"{path}: not a description of an export ({exc}). Export the model again.") from exc
    twice = next((label for label, count in Counter(description.labels).items() if count > 1), None)
    if twice is not None:
        raise ModelError(f"{path}: two classes have the label {twice!r}. Give each class its own label.")
    if description.model_file != MODEL_FILES[description.format]:
        raise ModelError(
            f"{path}: the file of {with_article(description.format)} export is {MODEL_FILES[description.format]}, not "
            f"{description.model_file!r}. Export the model again."
        )
    if not (folder / description.model_file).is_file():
        raise ModelError(f"{folder}: {description.model_file} is missing. Copy the whole folder of the export.")
    return description


def _check_values(values: dict[str, Any]) -> None:
    """Check the types and ranges of the fields.

    Raises:
        ValueError: a field is missing, or its value is invalid.
    """
    for known in dataclasses.fields(ExportDescription):
        may_lack = known.default is not dataclasses.MISSING or known.default_factory is not dataclasses.MISSING
        if known.name not in values and not may_lack:
            raise ValueError(f"{known.name} is missing")
        if known.name not in values or (known.default is None and values[known.name] is None):
            continue
        if not _IS_VALID[known.name](values[known.name]):
            raise ValueError(f"{known.name} has the invalid value {str(values[known.name])[:_SHOWN]!r}")


def _refuse_newer(path: Path, values: dict[str, Any]) -> None:
    """Refuse a description with a field, a format or a task that this version does not know."""
    unknown = [
        repr(name) for name in values if name not in {field.name for field in dataclasses.fields(ExportDescription)}
    ]
    for name, known in (("format", list(MODEL_FILES)), ("task", [task.name for task in TASKS])):
        if is_text(values.get(name)) and values[name] not in known:
            unknown.append(f"the {name} {values[name]!r}")
    if unknown:
        versions = values.get("versions")
        writer = versions.get("earmark", "of another version") if isinstance(versions, dict) else "of another version"
        raise ModelError(
            f"{path}: earmark {writer} has written {and_more(unknown)}, which this earmark ({__version__}) does not "
            "know. Update it (pip install --upgrade earmark), or export the model with this version."
        )
