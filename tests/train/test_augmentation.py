"""Augmentation in training runs: of every architecture, gone on with, kept out of what is computed once and scored."""

from __future__ import annotations

import logging
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import transformers

from earmark.batch.augment import AugmentedClips
from earmark.cli.main import main
from earmark.errors import UsageError
from earmark.models.frontend import Frontend
from earmark.settings.config_files import saved_config
from earmark.train.frozen import stage_to_keep
from earmark.train.mixing import MixedLabels
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.tiny import RATE_HZ, tone
from tests.train.small import build, make_trainer, mixed_lengths_s, usable, write_clips

SETTINGS: dict[str, Any] = {"augment": "speed,shift,gain,mixup,spec", "augment_probability": 0.9}


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return usable(write_clips(tmp_path_factory.mktemp("clips"), mixed_lengths_s(14, longest_s=0.4)))


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_every_architecture_trains_on_it(kind: str, clips: dict[str, Any], tmp_path: Path) -> None:
    trainer = make_trainer(build(kind, length_s=0.3), clips, tmp_path, max_steps=3, **SETTINGS)
    inputs = trainer.model_inputs(next(iter(trainer.get_train_dataloader())))
    assert isinstance(inputs["labels"], MixedLabels)
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert len(losses) == 3
    assert np.isfinite(losses).all()


def test_what_is_hidden_and_mixed_reaches_the_model(clips: dict[str, Any], tmp_path: Path) -> None:
    def inputs_with(**settings: Any) -> torch.Tensor:
        trainer = make_trainer(build("whisper", length_s=0.4), clips, tmp_path, **settings)
        batch = trainer.train_dataset.__getitems__([0, 1, 2, 3])
        prepared: torch.Tensor = trainer.model_inputs(batch)["input_features"]
        return prepared

    plain = inputs_with()
    hidden = inputs_with(augment="spec:1") != plain  # (B, mel bins, frames)
    assert hidden.any(dim=(1, 2)).all()
    assert hidden.float().mean() < 0.5
    mixed = inputs_with(augment="mixup:1", augment_mixup_alpha=5.0)
    assert (mixed != plain).float().mean() > 0.3


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_ends_with_the_same_bits(workers: int, clips: dict[str, Any], tmp_path: Path) -> None:
    settings = {
        **SETTINGS,
        "augment_speed": "0.7,1.3",
        "save_strategy": "steps",
        "save_steps": 2,
        "dataloader_num_workers": workers,
    }

    def run(checkpoint: str | None) -> dict[str, torch.Tensor]:
        audio = build("tc_resnet", length_s=0.3)
        trainer = make_trainer(audio, clips, tmp_path, num_train_epochs=1, **settings)
        torch.manual_seed(0)
        trainer.train(resume_from_checkpoint=checkpoint)
        return {name: value.clone() for name, value in audio.model.state_dict().items()}

    whole, resumed = run(None), run(str(tmp_path / "checkpoint-2"))
    assert not [name for name, value in whole.items() if not torch.equal(value, resumed[name])]


@pytest.mark.parametrize("kind", ["tc_resnet", "wav2vec2", "whisper"])
def test_clips_of_one_length_make_batches_of_one_length_and_masks_at_other_speeds(kind: str, tmp_path: Path) -> None:
    even = usable(write_clips(tmp_path / "clips", [0.3] * 12))
    audio = build(kind, length_s=0.4)
    settings = {"augment": "speed:1,spec:1", "augment_speed": "0.8,1.25", "per_device_train_batch_size": 2}
    trainer = make_trainer(audio, even, tmp_path / "run", num_train_epochs=1, **settings)
    clips: Any = trainer.train_dataset
    for batch in trainer.get_train_dataloader():
        lengths = [round(0.3 * RATE_HZ / clips.draw(row).speed) for row in batch["rows"].tolist()]
        width = batch["samples"].shape[1]
        assert batch.get("num_samples", torch.full((2,), width)).tolist() == pytest.approx(lengths, abs=1)
        assert width == (max(lengths) if kind == "whisper" else 0.375 * RATE_HZ)  # whisper pads to its second
        inputs = trainer.model_inputs(batch)
        if kind != "whisper":
            assert inputs["attention_mask"].sum(dim=1).tolist() == pytest.approx(lengths, abs=1)
    trainer.train()


def test_nothing_is_kept_of_clips_that_differ_in_every_epoch(
    clips: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio = build("wav2vec2", "encoder", length_s=0.4)
    plain = make_trainer(audio, clips, tmp_path)
    changed = make_trainer(build("wav2vec2", "encoder", length_s=0.4), clips, tmp_path, **SETTINGS)
    assert stage_to_keep(audio, plain.train_dataset, 2, small_only=False) == "embeddings"  # type: ignore[arg-type]
    with caplog.at_level(logging.INFO, logger="earmark"), ExitStack() as stack:
        changed.keep_frozen(stack, tmp_path, small_only=False)
        assert isinstance(changed.train_dataset, AugmentedClips)
        changed.train()
    assert "computed in every epoch, because augmentation changes the clips" in caplog.text


def test_validation_is_not_augmented(clips: dict[str, Any], tmp_path: Path) -> None:
    plain = make_trainer(build("tc_resnet", length_s=0.3), clips, tmp_path)
    changed = make_trainer(build("tc_resnet", length_s=0.3), clips, tmp_path, **SETTINGS)
    figures = plain.evaluate(), changed.evaluate()
    assert figures[0]["eval_loss"] == figures[1]["eval_loss"]
    np.testing.assert_array_equal(plain.scorer.score(clips["validation"]), changed.scorer.score(clips["validation"]))


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
def test_gain_that_a_frontend_takes_back_is_said(
    kind: str, clips: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    audio, wave = build(kind, length_s=0.3), tone(440, 0.3, seed=1)
    loud, soft = (next(iter(audio.frontend([factor * wave]).values())) for factor in (1.0, 0.25))
    with caplog.at_level(logging.WARNING, logger="earmark"):
        make_trainer(audio, clips, tmp_path, augment="gain")
    said = "--augment gain has no effect" in caplog.text
    assert said == bool((loud - soft).abs().max() < 1e-3 * loud.abs().max())


def test_the_model_is_told_what_cannot_work(
    clips: dict[str, Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="earmark"):
        make_trainer(build("wav2vec2"), clips, tmp_path, augment="gain")
    assert "--augment gain has no effect" in caplog.text
    audio = build("whisper")
    extractor = transformers.WhisperFeatureExtractor(dither=1e-6)
    audio.frontend = Frontend(extractor, min_samples=400, max_samples=8000, pads_itself=True)
    with pytest.raises(
        UsageError, match="--augment spec: SpecAugment does not support the inputs of a WhisperFeatureExtractor"
    ):
        make_trainer(audio, clips, tmp_path, augment="spec")


def words(data: Path, output: Path, *more: str) -> list[str]:
    tiny = '{"stem_channels": 8, "channels": [8, 8]}'
    flags = ["--data_dir", str(data), "--output_dir", str(output), "--model_type", "tc_resnet"]
    return ["train", *flags, "--config_overrides", tiny, "--max_steps", "2", "--device", "cpu", *more]


def test_a_run_from_the_command_line_says_what_was_done(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    data = write_clips(tmp_path / "clips", [0.3] * 10)
    for name, wave in (("noise", tone(700, 0.1)), ("rooms", np.exp(-np.arange(300) / 50))):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "one.wav", wave, RATE_HZ)
    (tmp_path / "noise" / "two.wav").write_text("no sound")
    more = ["--augment", "noise:1,reverb,gain", "--augment_noise", str(tmp_path / "noise"), "--augment_gain_db"]
    more += ["-20,-6", "--augment_reverb", str(tmp_path / "rooms"), "--on_bad_audio", "skip"]
    assert main(words(data, tmp_path / "run", *more)) == 0, capfd.readouterr().err
    said = capfd.readouterr().err
    assert "augmentation: reverb (p 0.5), noise (p 1, 5 to 20 dB SNR), gain (p 0.5, -20 to -6 dB); noise from 1" in said
    settings = saved_config(tmp_path / "run" / "run_config.yaml")
    assert settings["augment"] == "noise:1,reverb,gain"
    assert settings["augment_gain_db"] == "-20,-6"
    card = (tmp_path / "run" / "README.md").read_text()
    assert "| augmentation | reverb (p 0.5), noise (p 1, 5 to 20 dB SNR)" in card
    assert "import earmark.models.tc_resnet" in card  # Transformers does not know this architecture
    assert "two.wav" in (tmp_path / "run" / "bad_audio.csv").read_text()
    again = ["train", "--config", str(tmp_path / "run" / "run_config.yaml"), "--output_dir", str(tmp_path / "again")]
    assert main(again) == 0, capfd.readouterr().err
    pairs = [(tmp_path / run / "model.safetensors").read_bytes() for run in ("run", "again")]
    assert pairs[0] == pairs[1]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--augment", "noise"], "--augment noise needs recordings to mix in. Add --augment_noise FOLDER"),
        (["--augment", "noise", "--augment_noise", "nowhere"], "--augment_noise nowhere: no such folder"),
        (["--augment", "gain", "--augment_gain_db", "6,-6"], "--augment_gain_db 6,-6: expected two numbers from"),
        (["--augment", "echo"], "--augment echo: expected some of speed, reverb, shift"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    more: list[str], says: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    data = write_clips(tmp_path / "clips", [0.3] * 4)
    assert main(words(data, tmp_path / "run", *more)) == 2
    said = capfd.readouterr().err
    assert "decoded" not in said, "before the clips are, which can take long"
    last = said.strip().splitlines()[-1]
    assert last.startswith("earmark: error: ")
    assert says in last
    assert not (tmp_path / "run" / "run_config.yaml").exists()
