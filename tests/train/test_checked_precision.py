"""Before the first step, half precision is compared with float32: an error, or training in float32, or nothing."""

from __future__ import annotations

import logging
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers.activations import GELUActivation

from earmark.cli.main import main
from earmark.errors import DeviceError
from earmark.runs.folder import RunFolder
from earmark.store.usable import UsableClips
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.cast_weights import cast_while_training
from earmark.train.checked_precision import with_checked_precision
from tests.tiny import RATE_HZ, overrides, write_tones
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips

FIRST = "wav2vec2.feature_extractor.conv_layers.0.activation (GELUActivation)"


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> UsableClips:
    return usable(write_clips(tmp_path_factory.mktemp("clips"), mixed_lengths_s(10, longest_s=0.3)))["train"]


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tones(tmp_path_factory.mktemp("tones"), per_class=4, seconds=0.3)


def settings(output: Path, **given: Any) -> EarmarkTrainingArguments:
    return EarmarkTrainingArguments(
        output_dir=str(output), use_cpu=True, **{"bf16": True, "num_train_epochs": 1.0, **given}
    )


def words(data: Path, output: Path, kind: str, *more: str) -> list[str]:
    """A run of few steps with everything that draws random numbers."""
    config = ["--config_overrides", "{}" if kind == "tc_resnet" else overrides(kind)]
    steps = ["--max_steps", "3", "--per_device_train_batch_size", "4", "--report", "False"]
    place = ["--data_dir", str(data), "--output_dir", str(output), "--device", "cpu"]
    return ["train", "--model_type", kind, *config, *steps, *place, *more]


@pytest.fixture
def broken_activation(monkeypatch: pytest.MonkeyPatch) -> None:
    """GELU gives its values backwards in bfloat16."""
    plain = GELUActivation.forward

    def forward(self: Any, values: torch.Tensor) -> torch.Tensor:
        output = plain(self, values)
        return output.flip(-1) if values.dtype == torch.bfloat16 else output

    monkeypatch.setattr(GELUActivation, "forward", forward)


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}], ids=["cast", "autocast"])
def test_a_healthy_model_keeps_its_precision(
    more: dict[str, Any], clips: UsableClips, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = settings(tmp_path, **more)
    with caplog.at_level(logging.INFO):
        assert with_checked_precision(build(), given, clips, None) is given
    assert "earmark.train.checked_precision" not in {record.name for record in caplog.records}


@pytest.mark.parametrize("more", [{}, {"gradient_checkpointing": True}], ids=["cast", "autocast"])
def test_a_precision_that_was_asked_for_is_an_error(
    more: dict[str, Any], clips: UsableClips, tmp_path: Path, broken_activation: None
) -> None:
    with pytest.raises(DeviceError, match=r"^--bf16: bfloat16 on cpu: compared with float32 the .* differ by") as error:
        with_checked_precision(build(), settings(tmp_path, **more), clips, "--bf16")
    assert f"the first layer that differs is {FIRST}. Use --precision fp32." in str(error.value)
    assert error.value.of_all_ranks


def test_fp16_that_became_bf16_was_not_asked_for(clips: UsableClips, tmp_path: Path, broken_activation: None) -> None:
    assert not with_checked_precision(build(), settings(tmp_path), clips, "--fp16").bf16


def test_later_clips_are_compared_as_well(clips: UsableClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = GELUActivation.forward

    def forward(self: Any, values: torch.Tensor) -> torch.Tensor:
        output = plain(self, values)
        wrong = values.dtype == torch.bfloat16 and len(values) > 1
        return torch.cat([output[:1], output[1:].flip(-1)]) if wrong else output

    monkeypatch.setattr(GELUActivation, "forward", forward)
    given = settings(tmp_path, per_device_train_batch_size=4)
    few, many = ({"max_steps": steps} for steps in (100, 1000))  # of 4 clips: one is compared, four are
    assert with_checked_precision(build(), settings(tmp_path, per_device_train_batch_size=4, **few), clips, None).bf16
    assert not with_checked_precision(
        build(), settings(tmp_path, per_device_train_batch_size=4, **many), clips, None
    ).bf16
    assert given.bf16


def test_silent_clips_at_the_start_are_passed_over(
    tmp_path: Path, broken_activation: None, caplog: pytest.LogCaptureFixture
) -> None:
    def silenced(upto: int) -> UsableClips:
        folder = write_clips(tmp_path / str(upto), [0.2] * 24, validation_s=[0.2])
        table = usable(folder)["train"].table
        for clip in list(table)[:upto]:
            soundfile.write(clip.source, np.zeros(3200, np.float32), RATE_HZ)
        return usable(folder)["train"]

    assert not with_checked_precision(build(), settings(tmp_path), silenced(20), None).bf16
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert with_checked_precision(build(), settings(tmp_path), silenced(24), None).bf16
    assert "precision: not compared with float32, because the 16 training clips chosen for it are silent" in caplog.text


@pytest.mark.parametrize("most", [0, 1])
def test_full_memory_is_no_defect(
    most: int, clips: UsableClips, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = GELUActivation.forward

    def forward(self: Any, values: torch.Tensor) -> torch.Tensor:
        if len(values) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 33.00 GiB.")
        return plain(self, values)

    monkeypatch.setattr(GELUActivation, "forward", forward)
    given = settings(tmp_path, per_device_train_batch_size=4, max_steps=1000, auto_find_batch_size=True)
    if most == 0:
        with pytest.raises(DeviceError, match="out of memory on cpu during the precision check of one clip"):
            with_checked_precision(build(), given, clips, None)
        return
    with caplog.at_level(logging.INFO):
        assert with_checked_precision(build(), given, clips, None) is given
    assert "compared with float32 on one clip only, because 4 clips do not fit into memory" in caplog.text


def test_no_more_clips_are_compared_than_are_evaluated_at_once(
    clips: UsableClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = set()
    plain = GELUActivation.forward

    def forward(self: Any, values: torch.Tensor) -> torch.Tensor:
        sizes.add(len(values))
        return plain(self, values)

    monkeypatch.setattr(GELUActivation, "forward", forward)
    batches = {"per_device_train_batch_size": 4, "per_device_eval_batch_size": 2}
    with_checked_precision(build(), settings(tmp_path, max_steps=1000, **batches), clips, None)
    assert sizes == {1, 2}


@pytest.mark.parametrize("is_broken", [False, True])
def test_the_attention_of_training_is_compared(
    is_broken: bool, clips: UsableClips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    audio, used = build(), set()
    before = audio.model.config._attn_implementation
    plain = GELUActivation.forward

    def forward(self: Any, values: torch.Tensor) -> torch.Tensor:
        used.add(audio.model.config._attn_implementation)
        output = plain(self, values)
        return output.flip(-1) if is_broken and values.dtype == torch.bfloat16 else output

    monkeypatch.setattr(GELUActivation, "forward", forward)
    assert with_checked_precision(audio, settings(tmp_path), clips, None).bf16 is not is_broken
    assert used == {"eager"} != {before}
    assert audio.model.config._attn_implementation == (before if is_broken else "eager")


def test_convolutions_are_not_probed_for_another_device() -> None:
    on_cpu, elsewhere = build().model, build().model
    cast_while_training(on_cpu, torch.device("cpu"))
    cast_while_training(elsewhere, torch.device("meta"))
    assert torch.bfloat16 in on_cpu.forward.convolutions.in_float32
    assert torch.bfloat16 not in elsewhere.forward.convolutions.in_float32


@pytest.mark.parametrize(("given", "recorded"), [({"bf16": True}, "bf16"), ({}, "fp32")])
def test_a_checkpoint_records_the_precision(given: dict[str, bool], recorded: str, clips: Any, tmp_path: Path) -> None:
    facts = make_trainer(build("tc_resnet"), {"train": clips}, tmp_path, **given).facts()
    assert facts["settings"]["precision"] == recorded
    assert "adamw" in f"{facts['settings']['optim']}"
    assert not any(isinstance(value, Enum) for value in facts["settings"].values())


class _Backwards(torch.autograd.Function):
    """The same values, and gradients that are backwards."""

    @staticmethod
    def forward(context: Any, values: torch.Tensor) -> torch.Tensor:
        return values.clone()

    @staticmethod
    def backward(context: Any, gradient: torch.Tensor) -> torch.Tensor:
        return gradient.flip(-1)


@pytest.mark.parametrize(("flag", "kept"), [("--bf16", True), (None, False)])
def test_wrong_gradients_are_a_warning_or_float32(
    flag: str | None, kept: bool, clips: UsableClips, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio = build()
    audio.model.base_model.feature_projection.projection.register_forward_hook(
        lambda _, __, output: _Backwards.apply(output) if output.dtype == torch.bfloat16 else output
    )
    assert with_checked_precision(audio, settings(tmp_path), clips, flag).bf16 is kept
    (line,) = [record.getMessage() for record in caplog.records if record.name == "earmark.train.checked_precision"]
    assert "the gradients differ by" in line
    assert "wav2vec2.feature_projection.projection" in line


@pytest.mark.parametrize("more", ["auto", "bf16"])
def test_the_command(
    more: str, tones: Path, tmp_path: Path, broken_activation: None, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("earmark.device.supports_bf16", lambda _: True)
    code = main(words(tones, tmp_path / "run", "wav2vec2", "--precision", more))
    said = capsys.readouterr().err
    assert FIRST in said
    if more == "bf16":
        assert code == 2
        assert said.strip().splitlines()[-1].startswith("earmark: error: --precision bf16: ")
        assert not (tmp_path / "run" / "model.safetensors").exists()
    else:
        assert code == 0
        assert "training continues in float32" in said
        assert "bf16: false" in RunFolder(tmp_path / "run").config.read_text()


@pytest.mark.parametrize("kind", ["wav2vec2", "tc_resnet"])
def test_a_run_ends_with_the_bits_of_a_run_without_it(
    kind: str, tones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = []
    for name in ("with", "without"):
        if name == "without":
            monkeypatch.setattr("earmark.train.assemble.with_checked_precision", lambda audio, given, *_, **__: given)
        assert main(words(tones, tmp_path / name, kind, "--precision", "bf16")) == 0
        learned.append(load_file(tmp_path / name / "model.safetensors"))
    assert all(torch.equal(value, learned[1][key]) for key, value in learned[0].items())
