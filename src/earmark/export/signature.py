"""Compare ``export.json`` with what the model file itself takes, returns and records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from earmark.errors import ModelError
from earmark.export.description import FILE_NAME, ExportDescription
from earmark.text import counted

_RECORDED = ("sampling_rate_hz", "task", "shortest_in_batch")  # a wrong value changes predictions without an error


@dataclass(frozen=True)
class Signature:
    """Inputs and output of a model file.

    Attributes:
        inputs: names of the inputs.
        samples: shape of the input ``samples``; an entry that is not an ``int`` stands for any size.
        output: shape of the output, likewise.
        recorded: text of the description in the model file; empty if it has none.
    """

    inputs: Sequence[str]
    samples: Sequence[object]
    output: Sequence[object]
    recorded: str


def check_signature(path: Path, description: ExportDescription, signature: Signature) -> None:
    """Raise an error if the description does not belong to the model file.

    Args:
        path: the model file.
        description: content of ``export.json`` in the same folder.
        signature: inputs and output of the model file.

    Raises:
        ModelError: they differ.
    """
    wrong = next(_differences(path.name, description, signature), None)
    if wrong is not None:
        raise ModelError(
            f"{path.with_name(FILE_NAME)}: {wrong}. Copy the whole folder of the export, or export the model again."
        )


def _differences(name: str, description: ExportDescription, signature: Signature) -> Iterator[str]:
    inputs = ["samples", *(["num_samples"] if description.takes_num_samples else [])]
    if list(signature.inputs) != inputs:
        yield f"describes the inputs {', '.join(inputs)}, but {name} has {', '.join(signature.inputs) or 'none'}"
    width = signature.output[-1] if signature.output else 0
    if isinstance(width, int) and width != len(description.labels):
        labels, outputs = counted(len(description.labels), "label"), counted(width, "output")
        yield f"has {labels}, but {name} has {outputs}"
    yield from _wrong_lengths(name, description, signature)
    yield from _wrong_records(name, description, signature)


def _wrong_lengths(name: str, description: ExportDescription, signature: Signature) -> Iterator[str]:
    shortest, longest, fixed = description.min_samples, description.max_samples, description.fixed_shape
    if shortest > longest:
        yield f"min_samples {shortest} is more than max_samples {longest}"
    if fixed is not None and longest > fixed[1]:
        yield f"max_samples {longest} is more than the fixed length of {fixed[1]} samples"
    described = fixed or (None, longest if shortest == longest else None)
    taken = [size if isinstance(size, int) else None for size in signature.samples]
    fits = len(taken) == 2 and all(size in (None, told) for size, told in zip(taken, described, strict=True))
    if not fits or (fixed is not None and None in taken):
        shown = [" x ".join("any" if size is None else str(size) for size in shape) for shape in (described, taken)]
        yield f"describes input of the shape {shown[0]}, but {name} takes {shown[1]}"


def _wrong_records(name: str, description: ExportDescription, signature: Signature) -> Iterator[str]:
    recorded: Any = json.loads(signature.recorded or "{}")
    for key in _RECORDED:
        value = getattr(description, key)
        if recorded.get(key, value) != value:
            yield f"{key} is {value!r}, but {name} was exported with {recorded[key]!r}"
    labels = recorded.get("labels", description.labels)
    if labels != description.labels and sorted(labels) == sorted(description.labels):  # renamed labels are fine
        yield f"lists the labels in another order than {name}"
