from __future__ import annotations

import pytest
import torch

from earmark.tasks.single_label_loss import ClassLoss
from earmark.tasks.task import LossSettings
from earmark.train.losses import StepLoss
from earmark.train.mixing import MixedLabels, mixed


def test_samples_are_mixed_in_the_ratio_of_the_batch() -> None:
    samples, partners = torch.arange(12.0).view(3, 4), torch.full((1, 4), 100.0)
    whole = mixed(samples, partners, torch.tensor([1]), torch.tensor([1.0, 0.75, 1.0]))
    torch.testing.assert_close(whole, torch.stack([samples[0], 0.75 * samples[1] + 25, samples[2]]))
    none = mixed(samples, samples[:0], torch.tensor([], dtype=torch.int64), torch.ones(3))
    torch.testing.assert_close(none, samples)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_the_loss_of_a_mix_is_that_of_a_soft_label_and_what_fills_up_counts_for_nothing(smoothing: float) -> None:
    torch.manual_seed(0)
    logits = torch.randn(4, 3, requires_grad=True)
    weights = torch.tensor([0.6, 1.0, 0.9, 0.7])
    labels = MixedLabels(torch.tensor([0, 2, 1, -100]), torch.tensor([1, 2, 1, -100]), weights)
    soft = torch.tensor([[0.6, 0.4, 0.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    soft = soft * (1 - smoothing) + smoothing / 3
    by_hand = -(soft * logits[:3].log_softmax(1)).sum() / 3
    loss = StepLoss(ClassLoss(LossSettings(smoothing)))({"logits": logits}, labels, torch.tensor(3))
    torch.testing.assert_close(loss, by_hand)
    gradient = torch.autograd.grad(loss, logits)[0]
    assert not gradient[3].any()


def test_labels_of_unmixed_clips_have_the_loss_they_had() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(5, 3), torch.tensor([0, 1, 2, 0, -100])
    plain = StepLoss(ClassLoss(LossSettings()))({"logits": logits}, labels, 4)
    torch.testing.assert_close(plain, torch.nn.functional.cross_entropy(logits, labels))
    torch.testing.assert_close(
        StepLoss(ClassLoss(LossSettings()))({"logits": logits}, MixedLabels(labels, labels, torch.ones(5)), 4), plain
    )
