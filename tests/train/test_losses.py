"""Losses by hand, weights from settings, and gradients that do not depend on how a step is cut."""

from __future__ import annotations

import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import TrainerCallback

from earmark.errors import UsageError
from earmark.tasks import SINGLE_LABEL
from earmark.tasks.single_label_loss import ClassLoss, class_weights
from earmark.tasks.task import LossSettings
from earmark.train.losses import StepLoss, make_loss, read_class_weights
from tests.families.tiny_models import KINDS_BY_FAMILY
from tests.train.small import build, make_trainer, usable, write_clips

LABELS = ["a", "b", "c"]
# softmax of these: 0.5, 0.3, 0.2
P = [0.5, 0.3, 0.2]
LOGITS = torch.tensor([[math.log(p) for p in P]])


def loss(target: int, **settings: object) -> float:
    return float(StepLoss(ClassLoss(LossSettings(**settings)))({"logits": LOGITS}, torch.tensor([target])))  # type: ignore[arg-type]


def test_losses_by_hand() -> None:
    assert loss(1) == pytest.approx(-math.log(0.3))
    assert loss(1, focal_gamma=2.0) == pytest.approx(-(0.7**2) * math.log(0.3))
    smoothed = -0.9 * math.log(0.3) - 0.1 / 3 * sum(math.log(p) for p in P)
    assert loss(1, label_smoothing=0.1) == pytest.approx(smoothed)
    assert loss(1, class_weights=torch.tensor([1.0, 3.0, 1.0])) == pytest.approx(-3 * math.log(0.3))
    both = -0.9 * 0.7**2 * math.log(0.3) - 0.1 / 3 * sum((1 - p) ** 2 * math.log(p) for p in P)
    assert loss(1, label_smoothing=0.1, focal_gamma=2.0) == pytest.approx(both)
    weights = torch.tensor([1.0, 3.0, 1.0])
    assert loss(1, label_smoothing=0.1, focal_gamma=2.0, class_weights=weights) == pytest.approx(3 * both)


SETTINGS = [
    {},
    {"label_smoothing": 0.1},
    {"focal_gamma": 2.0},
    {"focal_gamma": 0.5},
    {"focal_gamma": 2.0, "label_smoothing": 0.1, "class_weights": torch.tensor([0.5, 1.0, 4.0])},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_rows_that_only_fill_up_count_for_nothing(settings: dict, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3).to(dtype).requires_grad_()
    labels = torch.tensor([0, 2, -100, 1])
    whole = StepLoss(ClassLoss(LossSettings(**settings)))({"logits": logits}, labels)
    of_three = StepLoss(ClassLoss(LossSettings(**settings)))(
        {"logits": logits[[0, 1, 3]]}, labels[[0, 1, 3]], torch.tensor(3)
    )
    torch.testing.assert_close(whole, of_three)
    assert whole.dtype == torch.float32
    whole.backward()
    assert logits.grad is not None
    assert (logits.grad[2] == 0).all()
    assert (logits.grad[[0, 1, 3]] != 0).any(dim=-1).all()


def test_a_clip_that_is_certain_has_a_finite_focal_gradient() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [0.0, 200.0, 0.0]], requires_grad=True)
    total = StepLoss(ClassLoss(LossSettings(focal_gamma=0.5, label_smoothing=0.1)))(
        {"logits": logits}, torch.tensor([0, 0])
    )
    total.backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_balanced_weights_make_classes_count_the_same() -> None:
    counts = np.array([60, 30, 10])
    weights = class_weights(None, LABELS, counts)
    np.testing.assert_allclose(weights, 100 / (3 * counts))
    np.testing.assert_allclose(weights * counts, [100 / 3] * 3)


def test_weights_that_are_given_are_scaled_to_one_on_average(tmp_path: Path) -> None:
    counts = np.array([6, 2, 2])
    expected = np.array([1, 4, 1]) / (0.6 + 0.2 * 4 + 0.2)
    (tmp_path / "w.json").write_text('{"b": 4}')
    for setting in ("b=4", '{"b": 4}', "b=4.0, c=1", str(tmp_path / "w.json")):
        np.testing.assert_allclose(class_weights(read_class_weights(setting, LABELS), LABELS, counts), expected)
    # behind a sampler that evens classes out the average is over classes
    np.testing.assert_allclose(class_weights({"b": 4}, LABELS, counts, even=True), np.array([1, 4, 1]) / 2)
    given = read_class_weights("x=y=2", ["x=y", "z"])
    np.testing.assert_allclose(class_weights(given, ["x=y", "z"], np.array([1, 1])), np.array([2, 1]) / 1.5)


@pytest.mark.parametrize(
    ("setting", "says"),
    [
        ("dog=2", "no class 'dog'"),
        ("a=0", "'a' has the weight 0.0. Give a number above 0."),
        ("a=-1", "Give a number above 0"),
        ('{"a": "2"}', "Give a number above 0"),
        ('{"a": NaN}', "Give a number above 0"),
        ("a=1,b=2,a=3", "'a' is listed twice"),
        ("a=nan", "Give a number above 0"),
        ("balance", "cannot be read .* Give balanced, label=weight"),
        ('{"a": 1', "cannot be read .* Give balanced, label=weight"),
        ("missing.json", "cannot be read"),
    ],
)
def test_weights_that_cannot_be(setting: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        read_class_weights(setting, LABELS)
    assert "\n" not in str(caught.value)


def test_a_smoothing_out_of_range_is_refused() -> None:
    settings = SimpleNamespace(label_smoothing_factor=1.0, class_weights=None, focal_gamma=0.0, sampler="random")
    with pytest.raises(UsageError, match=r"label_smoothing_factor 1\.0: out of range. Give"):
        make_loss(SimpleNamespace(labels=LABELS, task=SINGLE_LABEL), settings, np.array([0, 1, 2]))


class _FirstGradient(TrainerCallback):
    value: torch.Tensor | None = None

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs) -> None:
        if self.value is None:
            self.value = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def gradient(kind: str, clips: dict, output: Path, **settings: object) -> torch.Tensor:
    trainer = make_trainer(
        build(kind), clips, output, bucket_waste=1.0, max_steps=1, max_grad_norm=0.0, class_weights="low=5",
        label_smoothing_factor=0.1, focal_gamma=2.0, **settings,
    )  # fmt: skip
    seen = _FirstGradient()
    trainer.add_callback(seen)
    trainer.train()
    assert seen.value is not None
    return seen.value


def test_gradients_do_not_depend_on_how_a_step_is_cut(tmp_path: Path) -> None:
    # an odd number, so that the parts hold other shares of the classes and their weights
    clips = usable(write_clips(tmp_path / "clips", [0.3] * 9))
    whole = gradient("wav2vec2", clips, tmp_path / "a", per_device_train_batch_size=9)
    parts = gradient("wav2vec2", clips, tmp_path / "b", per_device_train_batch_size=2, gradient_accumulation_steps=5)
    assert whole.norm() > 0
    torch.testing.assert_close(parts, whole, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS_BY_FAMILY)
@pytest.mark.parametrize("bf16", [False, True])
def test_every_architecture_learns_from_our_loss(kind: str, bf16: bool, tmp_path: Path) -> None:
    """The loss that Trainer logs is ours on the model's logits, whatever its own loss would be."""
    clips = usable(write_clips(tmp_path / "clips", [0.3] * 4))
    audio = build(kind)
    trainer = make_trainer(
        audio, clips, tmp_path / "out", max_steps=1, learning_rate=1e-12, class_weights=json.dumps({"low": 3}),
        label_smoothing_factor=0.1, focal_gamma=1.5, bf16=bf16,
    )  # fmt: skip
    logged = trainer.train().training_loss
    expected = trainer.compute_loss_func(
        {"logits": torch.from_numpy(trainer.scorer.score(clips["train"]))},
        torch.from_numpy(trainer.train_dataset.labels),
    )
    # a batch norm hears the batch in training, which moves logits a little, those of TC-ResNet a lot
    rel = {"tc_resnet": 1.0, "wav2vec2-conformer": 1e-2}.get(kind, 1e-4)
    assert logged == pytest.approx(float(expected), rel=max(rel, 0.03) if bf16 else rel)


def test_validation_stays_plain_cross_entropy(tmp_path: Path) -> None:
    clips = usable(write_clips(tmp_path / "clips", [0.3] * 5))
    plain = make_trainer(build(), clips, tmp_path / "a").evaluate()
    other = make_trainer(
        build(), clips, tmp_path / "b", class_weights="balanced", focal_gamma=2.0, label_smoothing_factor=0.2
    ).evaluate()
    assert other["eval_loss"] == plain["eval_loss"]
