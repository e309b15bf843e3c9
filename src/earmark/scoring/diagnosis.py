"""Report that a model has learned nothing, with the likely cause.

A published result for wav2vec2-base on SUPERB KS is an example: its accuracy of 0.6371 is about the fraction of
``_unknown_`` clips. With 8 cards x 32 clips x 4 accumulation steps, training had only 250 steps, and the learning rate
was still 3e-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from earmark.tasks.figures import Figures
from earmark.text import counted

# Sums of the learning rate over all steps, for fine-tuning wav2vec2-base on SUPERB KS with linear warm-up and decay.
# 250 steps at 3e-5 (0.0038) stayed at the majority-class rate; 0.018 worked, as did 0.030, the sum of Transformers'
# example. Other models were not measured.
COLLAPSED_RATE_SUM = 0.0038
WORKING_RATE_SUM = 0.018


@dataclass(frozen=True)
class Schedule:
    """Facts about a training run that may explain a bad result.

    Attributes:
        steps: optimizer steps; 0 if only the head was fitted.
        learning_rate: peak learning rate.
        global_batch_size: clips in one step, over all devices and accumulation steps.
        pretrained: whether the body came from a checkpoint.
        is_wav2vec2_base: whether all of a wav2vec2-base was trained, the case for which the sums above were measured.
        stopped_early: whether early stopping ended training before the last step of its schedule.
    """

    steps: int
    learning_rate: float
    global_batch_size: int
    pretrained: bool
    is_wav2vec2_base: bool = True
    stopped_early: bool = False

    @property
    def rate_sum(self) -> float:
        """Sum of the learning rates over all steps: half of steps times peak rate with linear warm-up and decay."""
        return self.steps * self.learning_rate / 2


def diagnose(metrics: Figures, schedule: Schedule | None = None) -> list[str]:
    """Return sentences about a result that is not clearly better than its baseline; none if it is.

    Args:
        metrics: metrics of a split.
        schedule: facts about the training run; ``None`` if they are unknown.
    """
    finding = metrics.finding()
    return [] if finding is None else [finding, _advice(schedule)]


def diagnose_splits(splits: Mapping[str, Figures], schedule: Schedule | None = None) -> list[str]:
    """Return :func:`diagnose` for several splits by name: one finding for each split, and the advice once."""
    found = {name: finding for name, metrics in splits.items() if (finding := metrics.finding()) is not None}
    return [f"{name}: {finding}" for name, finding in found.items()] + ([_advice(schedule)] if found else [])


def _advice(schedule: Schedule | None) -> str:
    if schedule is None:
        return "Train longer or at a higher --learning_rate; check that the labels fit the recordings."
    if not schedule.steps:
        return (
            "Only the head was fitted (--few_shot), on the embeddings of a pretrained model. Use another "
            "model or more clips, train without --few_shot, and check that the labels fit the recordings."
        )
    how = (
        f"{counted(schedule.steps, 'step')} of {counted(schedule.global_batch_size, 'clip')} at a peak learning rate "
        f"of {schedule.learning_rate:g}"
    )
    if schedule.stopped_early:
        return (
            f"Early stopping ended training after {how}. Raise --early_stopping_patience; try a lower --learning_rate "
            "if the loss jumped or rose, a higher one if it hardly fell; and check that the labels fit the recordings."
        )
    if schedule.pretrained and schedule.is_wav2vec2_base and schedule.rate_sum < WORKING_RATE_SUM:
        return (
            f"Likely cause: too little training ({how}). The learning rates of all steps add up to "
            f"{schedule.rate_sum:.2g}; wav2vec2-base learned nothing with a sum of {COLLAPSED_RATE_SUM:g} and worked "
            f"with {WORKING_RATE_SUM:g}. Use a smaller global batch (fewer --gradient_accumulation_steps), more "
            "--num_train_epochs or a higher --learning_rate."
        )
    return (
        f"It was trained for {how}. Try more --num_train_epochs; a lower --learning_rate if the loss jumped or rose, a "
        "higher one if it hardly fell; and check that the labels fit the recordings."
    )
