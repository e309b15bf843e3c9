"""What a new architecture takes: a model, a family, and one line in the registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModelForAudioClassification, PreTrainedConfig, PreTrainedModel
from transformers.modeling_outputs import SequenceClassifierOutput

from earmark.families import family_registry
from earmark.families.family import Family, Recipe
from earmark.models.build_model import AudioModel, ModelSource, build_for_training, load_trained
from earmark.models.embedding import classify_all
from earmark.models.freeze import freeze, head_parameters
from earmark.scoring.inference import score
from earmark.scoring.torch_scorer import TorchScorer
from earmark.settings.training_flags import TrainingArguments
from earmark.train.recipe import training_needs
from tests.train.small import CPU


class ToyConfig(PreTrainedConfig):
    model_type = "toy"
    width: int = 8
    min_samples: int = 400


class ToyForAudioClassification(PreTrainedModel):
    """Mean of strided frames, without padding, and two linear layers."""

    config_class = ToyConfig

    def __init__(self, config: ToyConfig) -> None:
        super().__init__(config)
        self.encoder = nn.ModuleDict({"frames": nn.Conv1d(1, config.width, 400, 160)})
        self.classifier = nn.Linear(config.width, config.num_labels)
        self.post_init()

    def pooled(self, input_values: torch.Tensor, attention_mask: torch.Tensor | None = None) -> torch.Tensor:
        frames = self.encoder["frames"](input_values[:, None]).tanh()  # (B, D, F)
        if attention_mask is None:
            return frames.mean(dim=-1)
        count = ((attention_mask.sum(dim=1) - 400) // 160 + 1)[:, None]
        valid = torch.arange(frames.shape[-1], device=frames.device) < count
        return (frames * valid[:, None]).sum(dim=-1) / count

    def forward(self, **inputs: Any) -> SequenceClassifierOutput:
        return SequenceClassifierOutput(logits=self.classifier(self.pooled(**inputs)))


class Toy(Family):
    model_types = ("toy",)
    is_own = True
    masks_padding = True
    feature_encoder = ("frames",)
    from_scratch = Recipe(1e-2, 32, 77)

    def min_samples(self, config: Any, rate_hz: int) -> int:
        return int(config.min_samples)

    def embeddings(self, model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
        return model.pooled(**inputs)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[AudioModel]:
    monkeypatch.setattr(family_registry, "FAMILIES", (*family_registry.FAMILIES, Toy()))
    AutoConfig.register("toy", ToyConfig, exist_ok=True)
    AutoModelForAudioClassification.register(ToyConfig, ToyForAudioClassification, exist_ok=True)
    torch.manual_seed(0)
    return build_for_training(ModelSource(model_type="toy"), ["a", "b", "c"], None, longest_s=1.0)


def test_it_is_built_saved_loaded_and_scored_alone_and_in_a_batch(toy: AudioModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = [rng.standard_normal(length).astype(np.float32) for length in (300, 5000, 16_000, 9001)]
    toy.save(tmp_path)
    loaded = load_trained(ModelSource(str(tmp_path)))
    together = list(score(TorchScorer(loaded.model, loaded.frontend, CPU), clips, batch_size=4))
    alone = [
        row for clip in clips for row in score(TorchScorer(loaded.model, loaded.frontend, CPU), [clip], batch_size=1)
    ]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert loaded.frontend.min_samples == 400
    assert toy.labels == loaded.labels


def test_its_family_answers_for_freezing_embeddings_and_the_recipe(toy: AudioModel) -> None:
    model = toy.model
    needs = training_needs(TrainingArguments(), toy.family, pretrained=False, freeze=None)
    assert (needs.steps, needs.ema) == (77, None)
    assert freeze(toy, "feature_encoder") == "feature_encoder"
    assert {name for name, one in model.named_parameters() if one.requires_grad} == head_parameters(model, toy.family)
    samples = torch.randn(2, 8000)
    vectors = model(input_values=samples, stop_at="embeddings").detach().numpy()
    expected = model.eval()(input_values=samples).logits.detach().numpy()
    np.testing.assert_allclose(classify_all(model, vectors, CPU), expected, atol=1e-5)


def test_an_architecture_without_a_family_gets_the_answers_of_most() -> None:
    assert type(family_registry.find_family("never-heard-of")) is Family


def test_no_architecture_is_in_two_families() -> None:
    names = [name for family in family_registry.FAMILIES for name in family.model_types]
    assert len(names) == len(set(names))
