"""The trainer: gradients under accumulation, evaluation through the scoring loop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers.trainer
from transformers import ProgressCallback, TrainerCallback

from earmark.clips.targets import table_targets
from earmark.families.spectra import Product
from earmark.models.build_model import AudioModel, ModelSource, build_for_training, load_trained
from earmark.models.packed import can_pack
from earmark.scoring.table import score_table
from earmark.settings.data_flags import DataArguments
from earmark.sources.folders import load_folder
from earmark.store.usable import UsableClips, keep_usable
from earmark.tasks.single_label_figures import compute_metrics
from earmark.tasks.single_label_loss import ClassLoss
from earmark.tasks.task import LossSettings
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.losses import StepLoss
from earmark.train.trainer import AudioTrainer
from tests.tiny import overrides, write_tones
from tests.train import small


class _Gradients(TrainerCallback):
    """Keeps the gradients of the first step, before the optimizer clears them."""

    def __init__(self) -> None:
        self.first: dict[str, torch.Tensor] = {}

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        if not self.first:
            self.first = {
                name: parameter.grad.clone()
                for name, parameter in model.named_parameters()
                if parameter.grad is not None
            }


def build() -> AudioModel:
    torch.manual_seed(0)
    source = ModelSource(
        model_type="wav2vec2",
        config_overrides=overrides("wav2vec2")[:-1]
        + ', "mask_time_prob": 0.0, "hidden_dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0,'
        + ' "feat_proj_dropout": 0.0, "final_dropout": 0.0}',
    )
    return build_for_training(source, ["high", "low"], 0.5, longest_s=0.5)


def usable(folder: Path) -> dict[str, UsableClips]:
    splits = load_folder(folder)
    tables = {"train": splits.train, "validation": splits.validation}
    return keep_usable(tables, 16_000, DataArguments())[0]


@pytest.mark.skipif(not can_pack(torch.device("cpu")), reason="nothing to pack for on this processor")
def test_the_log_mel_of_a_batch_is_computed_with_packed_matrices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tones(tmp_path / "clips", per_class=2)
    audio = small.build("whisper", length_s=1.0)
    trainer = small.make_trainer(audio, usable(tmp_path / "clips"), tmp_path / "run")
    batch = next(iter(trainer.get_train_dataloader()))
    samples = batch["samples"].float() * batch["scales"][:, None]
    expected = audio.frontend.inputs(samples)["input_features"]
    monkeypatch.setattr(Product, "forward", None)  # replaced while matrices are packed
    found = trainer.model_inputs({name: value for name, value in batch.items() if name != "rows"})["input_features"]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


def first_gradients(folder: Path, output: Path, per_device: int, accumulation: int) -> dict[str, torch.Tensor]:
    args = EarmarkTrainingArguments(
        output_dir=str(output),
        per_device_train_batch_size=per_device,
        gradient_accumulation_steps=accumulation,
        max_steps=1,
        learning_rate=1e-3,
        max_grad_norm=0.0,
        use_cpu=True,
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
    )
    trainer = AudioTrainer(build(), args, usable(folder)["train"], None)
    seen = _Gradients()
    trainer.add_callback(seen)
    trainer.train()
    return seen.first


@pytest.mark.parametrize(("per_device", "accumulation"), [(8, 4), (4, 8)])
def test_accumulated_gradients_are_those_of_one_batch(tmp_path: Path, per_device: int, accumulation: int) -> None:
    write_tones(tmp_path / "tones", per_class=16)
    whole = first_gradients(tmp_path / "tones", tmp_path / "a", 32, 1)
    parts = first_gradients(tmp_path / "tones", tmp_path / "b", per_device, accumulation)
    assert whole.keys() == parts.keys()
    assert sum(float(g.norm()) for g in whole.values()) > 0
    for name, gradient in whole.items():
        torch.testing.assert_close(parts[name], gradient, rtol=1e-3, atol=1e-6)


def test_progress_of_transformers_is_not_shown_beside_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class OfNotebooks(TrainerCallback):
        """Stands for Transformers' callback in notebooks, which needs IPython."""

    monkeypatch.setattr(transformers.trainer, "DEFAULT_PROGRESS_CALLBACK", OfNotebooks)
    args = EarmarkTrainingArguments(output_dir=str(tmp_path / "run"), use_cpu=True)
    clips = usable(write_tones(tmp_path / "clips", per_class=2))
    trainer = AudioTrainer(build(), args, clips["train"], clips["validation"])
    assert not [one for one in trainer.callback_handler.callbacks if isinstance(one, (OfNotebooks, ProgressCallback))]


def test_the_loss_is_the_mean_over_all_clips_of_the_step() -> None:
    logits, labels = torch.randn(6, 3), torch.tensor([0, 1, 2, 0, 1, 2])
    whole = StepLoss(ClassLoss(LossSettings()))({"logits": logits}, labels, torch.tensor(6))
    parts = sum(
        StepLoss(ClassLoss(LossSettings()))({"logits": logits[i:j]}, labels[i:j], torch.tensor(6))
        for i, j in ((0, 4), (4, 6))
    )
    torch.testing.assert_close(parts, whole)
    torch.testing.assert_close(whole, torch.nn.functional.cross_entropy(logits, labels))


def test_validation_is_the_loop_that_predicts_whatever_the_precision_of_training(tmp_path: Path) -> None:
    clips = usable(write_tones(tmp_path / "tones", per_class=8))
    validation = clips["validation"]
    audio = build()
    args = EarmarkTrainingArguments(
        output_dir=str(tmp_path / "out"), use_cpu=True, bf16=True, learning_rate=1e-3, max_steps=2, eval_strategy="no",
        save_strategy="no", load_best_model_at_end=False,
    )  # fmt: skip
    trainer = AudioTrainer(audio, args, clips["train"], validation)
    trainer.train()
    assert all(parameter.dtype == torch.float32 for parameter in audio.model.parameters())
    figures = trainer.evaluate()
    audio.save(tmp_path / "saved")
    saved = load_trained(ModelSource(name_or_path=str(tmp_path / "saved")))
    logits = score_table(saved.model, saved.frontend, validation.waveforms, batch_size=1, device=torch.device("cpu"))
    np.testing.assert_allclose(trainer.scorer.score(validation), logits, atol=1e-6)
    metrics = compute_metrics(logits, table_targets(validation.table, audio.labels), audio.labels)
    assert figures["eval_accuracy"] == metrics.accuracy
    assert figures["eval_loss"] == pytest.approx(metrics.loss, abs=1e-6)
