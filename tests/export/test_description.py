"""Every damage of ``export.json`` is one message that names the file."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import re
from pathlib import Path
from typing import Any

import pytest

from earmark.errors import ModelError
from earmark.export.description import ExportDescription, export_decision, read_description
from earmark.export.load_export import ExportedScorer
from earmark.families.family_registry import FAMILIES

WRONG = ["", "wrong", -1, 0, None, True, 0.5, [], [1], [[1]], {}, {"a": 1}, {"temperature": "hot"}]


def description(architecture: str = "wav2vec2") -> dict[str, Any]:
    return dataclasses.asdict(
        ExportDescription("onnx", "model.onnx", architecture, ["a", "b"], 16_000, 400, 16_000, 0.0, True)
    )


def write(folder: Path, values: object) -> Path:
    (folder / "model.onnx").touch()
    (folder / "export.json").write_text(json.dumps(values))
    return folder


def read(folder: Path) -> ExportDescription | str:
    """The description, or the message of the error."""
    try:
        found = read_description(folder)
        export_decision(folder, found)
    except ModelError as error:
        return str(error)
    return found


def test_a_wrong_value_is_one_message_with_the_name_of_the_file(tmp_path: Path) -> None:
    whole = description()
    path = str(tmp_path / "export.json")
    for name, value in itertools.product(whole, WRONG):
        found = read(write(tmp_path, whole | {name: value}))
        if isinstance(found, str):
            assert found.startswith(path), (name, value)
            assert name in found or value in ("wrong", 0), (name, value, found)
        else:
            expected = None if name == "fixed_shape" and not value else value
            assert getattr(found, name) == expected, (name, value)
    for name in whole:
        found = read(write(tmp_path, {key: value for key, value in whole.items() if key != name}))
        assert not isinstance(found, str) or f"{name} is missing" in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": "ab"}, "labels has the invalid value 'ab'"),
        ({"labels": [1, 2]}, "labels has the invalid value '[1, 2]'"),
        ({"sampling_rate_hz": 0}, "sampling_rate_hz has the invalid value '0'"),
        ({"fixed_shape": [1]}, "fixed_shape has the invalid value"),
        ({"cpu_batch_s": -8}, "cpu_batch_s has the invalid value"),
        ({"decision": {}}, "decision has the invalid value"),
        ({"mel_scale": 1, "versions": None}, "earmark of another version has written 'mel_scale', which this earmark"),
        ({"mel_scale": 1, "versions": {"earmark": "9.9"}}, "earmark 9.9 has written 'mel_scale'"),
    ],
)
def test_messages(change: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=re.escape(message)):
        read_description(write(tmp_path, description() | change))


@pytest.mark.parametrize("values", [[], "text", 3, None])
def test_a_file_without_an_object(values: object, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a JSON object"):
        read_description(write(tmp_path, values))


class OnCPU:
    """A runner that computes nothing."""

    device, on_cpu = "cpu", True

    def __call__(self, samples: object, num_samples: object) -> Any:
        raise AssertionError("no batch is scored")


def test_exports_of_earlier_versions_have_the_limit_of_their_family(tmp_path: Path) -> None:
    for family in FAMILIES:
        for architecture in family.model_types:
            values = description(architecture)
            del values["cpu_batch_s"]  # as written by earlier versions
            scorer = ExportedScorer(read_description(write(tmp_path, values)), OnCPU())
            assert scorer.most_samples == family.cpu_batch_s * 16_000
    limited = {architecture for family in FAMILIES if family.cpu_batch_s == 8.0 for architecture in family.model_types}
    assert limited == {"wav2vec2", "hubert", "unispeech", "unispeech-sat", "data2vec-audio", "wavlm"}
    values = description() | {"cpu_batch_s": None}  # no limit
    assert ExportedScorer(read_description(write(tmp_path, values)), OnCPU()).most_samples == math.inf


def test_two_classes_with_one_label_are_refused(tmp_path: Path) -> None:
    found = read(write(tmp_path, description() | {"labels": ["a", "a"]}))
    assert found == f"{tmp_path / 'export.json'}: two classes have the label 'a'. Give each class its own label."


def test_labels_may_be_renamed_in_an_editor_that_writes_a_byte_order_mark(tmp_path: Path) -> None:
    write(tmp_path, description())
    (tmp_path / "export.json").write_text(json.dumps(description() | {"labels": ["ä", "b"]}), encoding="utf-8-sig")
    assert read_description(tmp_path).labels == ["ä", "b"]
