"""Report that a model has learned nothing, with the likely cause.

The published result that this project starts from is such a case: accuracy 0.6371 is about the fraction of
    ``_unknown_``
in SUPERB KS, reached because 8 cards x 32 clips x 4 accumulation steps left 250 steps at an unchanged learning rate
of 3e-5.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from earmark.tasks.figures import Figures
from earmark.text import counted

# Sum of the learning rate over all steps, for fine-tuning a wav2vec2-base with linear warm-up and decay on SUPERB KS:
# 250 steps at 3e-5 (0.0038) stayed at the majority rate, the original example's recipe is 0.030; 0.018 works as well.
# Nothing of the kind is known about other models.
COLLAPSED_RATE_SUM = 0.0038
WORKING_RATE_SUM = 0.018


@dataclass(frozen=True)
class Schedule:
    """Facts about a training that explain a failure.

    Attributes:
        steps: optimizer steps; 0 where nothing but the head was fitted.
        learning_rate: peak rate; linear warm-up and decay make the sum over steps half of rate times steps.
        global_batch_size: clips in one step, over all cards and accumulation steps.
        pretrained: whether the body came from a checkpoint.
        is_wav2vec2_base: whether all of a wav2vec2-base was trained, for which the sums above were measured.
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
        """Sum of the learning rates over all steps, for a linear schedule."""
        return self.steps * self.learning_rate / 2


def diagnose(metrics: Figures, schedule: Schedule | None = None) -> list[str]:
    """Return sentences about a result that is no better than its baseline; none when it clearly is better.

    Args:
        metrics: of the split that is reported.
        schedule: how the model was trained, when that is known.
    """
    finding = metrics.finding()
    return [] if finding is None else [finding, _advice(schedule)]


def diagnose_splits(splits: Mapping[str, Figures], schedule: Schedule | None = None) -> list[str]:
    """Return :func:`diagnose` of several splits by name: a finding for each, and the advice once."""
    found = {name: finding for name, metrics in splits.items() if (finding := metrics.finding()) is not None}
    return [f"{name}: {finding}" for name, finding in found.items()] + ([_advice(schedule)] if found else [])


def _advice(schedule: Schedule | None) -> str:
    if schedule is None:
        return "Train longer or at a higher --learning_rate; check that the labels fit the recordings."
    if not schedule.steps:
        return (
            "Only the head was fitted (--few_shot), on what the pretrained model makes of the clips: take another "
            "model or more clips, train without --few_shot, and check that the labels fit the recordings."
        )
    how = (
        f"{schedule.steps:,} steps of {counted(schedule.global_batch_size, 'clip')} at a peak learning rate of "
        f"{schedule.learning_rate:g}"
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
            f"from {WORKING_RATE_SUM:g} on. Use a smaller global batch (fewer --gradient_accumulation_steps), more "
            "--num_train_epochs or a higher --learning_rate."
        )
    return (
        f"It was trained for {how}. Try more --num_train_epochs; a lower --learning_rate if the loss jumped or rose, a "
        "higher one if it hardly fell; and check that the labels fit the recordings."
    )
