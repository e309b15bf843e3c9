"""Say it in words when a model has learned nothing, with the likely cause.

The published result that this project starts from is such a case: accuracy 0.6371 is about the share of ``_unknown_``
in SUPERB KS, reached because 8 cards x 32 clips x 4 accumulation steps left 250 steps at an unchanged learning rate
of 3e-5.
"""

from __future__ import annotations

from dataclasses import dataclass

from earmark.scoring.figures import Figures, Headline
from earmark.scoring.metrics import Metrics
from earmark.words import counted

# Sum of the learning rate over all steps, for fine-tuning a wav2vec2-base with linear warm-up and decay on SUPERB KS:
# 250 steps at 3e-5 (0.0038) stayed at the majority rate, the original example's recipe is 0.030; 0.018 works as well.
COLLAPSED_RATE_SUM = 0.0038
WORKING_RATE_SUM = 0.018
_MEASURED = "wav2vec2"  # what these two were found with
# Within this much of the majority rate a model has hardly begun to tell classes apart.
_BARELY = 0.02


@dataclass(frozen=True)
class Schedule:
    """How a model was trained, as far as it explains a failure.

    Attributes:
        steps: optimizer steps; 0 where nothing but the head was fitted.
        learning_rate: peak rate; linear warm-up and decay make the sum over steps half of rate times steps.
        global_batch_size: clips in one step, over all cards and accumulation steps.
        pretrained: whether the body came from a checkpoint.
        what: what learned, for a reader: the model type, or e.g. ``"adapters of whisper"``.
    """

    steps: int
    learning_rate: float
    global_batch_size: int
    pretrained: bool
    what: str = _MEASURED

    @property
    def known(self) -> str:
        """What is known of sums of rates, as far as it says something about this model."""
        figures = f"learned nothing with a sum of {COLLAPSED_RATE_SUM:g} and worked from {WORKING_RATE_SUM:g} on"
        if self.what == _MEASURED:
            return f"fine-tuning wav2vec2-base {figures}"
        return f"fine-tuning all of wav2vec2-base {figures}, {self.what} may need another sum"

    @property
    def rate_sum(self) -> float:
        """Sum of the learning rates over all steps, for a linear schedule."""
        return self.steps * self.learning_rate / 2


def diagnose(metrics: Figures, schedule: Schedule | None = None) -> list[str]:
    """Sentences about what went wrong; none when the model clearly beats one that knows nothing.

    Args:
        metrics: of the split that is reported.
        schedule: how it was trained, when that is known.
    """
    finding = _finding(metrics) if isinstance(metrics, Metrics) else _no_better_than_nothing(metrics.headline)
    if finding is None:
        return []
    return [finding, _advice(schedule)]


def _finding(metrics: Metrics) -> str | None:
    if metrics.majority_class_rate == metrics.accuracy == 1.0:
        return None  # clips of one class only: no accuracy can beat the rate, and nothing follows from that
    rate = f"the rate of always answering {metrics.majority_class!r}, {metrics.majority_class_rate:.4f}"
    if metrics.predicted_classes == 1 and len(metrics.per_class) > 1:
        return (
            f"The model answers the same class for all {counted(metrics.num_clips, 'clip')}: its accuracy, "
            f"{metrics.accuracy:.4f}, is no result; it has learned nothing about the sound."
        )
    if metrics.accuracy <= metrics.majority_class_rate:
        if metrics.balanced_accuracy > 2 * metrics.balanced_majority_rate:
            return None  # it trades the frequent class for the rare ones, which is not a failure to learn
        return f"Accuracy {metrics.accuracy:.4f} does not beat {rate}: the model has learned little or nothing."
    near = metrics.accuracy < metrics.majority_class_rate + _BARELY
    if near and metrics.balanced_accuracy < 1.5 * metrics.balanced_majority_rate:
        return f"Accuracy {metrics.accuracy:.4f} hardly beats {rate}."
    return None


def _no_better_than_nothing(head: Headline) -> str | None:
    gain = head.value - head.baseline if head.higher_is_better else head.baseline - head.value
    if gain > _BARELY * abs(head.baseline):
        return None
    how = "does not beat" if gain <= 0 else "hardly beats"
    return (
        f"{head.title} {head.value:.4g} {how} {head.baseline:.4g}, which takes no listening: the model has learned "
        "little or nothing."
    )


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
        f"{schedule.learning_rate:g} (the rates of all steps add up to {schedule.rate_sum:.2g})"
    )
    if schedule.pretrained and schedule.rate_sum < WORKING_RATE_SUM:
        return (
            f"Likely cause: too little training, {how}; {schedule.known}. Use a smaller global batch (fewer "
            "--gradient_accumulation_steps), more --num_train_epochs, or a --learning_rate that grows with the batch."
        )
    return (
        f"It was trained for {how}. Try more --num_train_epochs; a lower --learning_rate if the loss jumped or rose, a "
        "higher one if it hardly fell; and check that the labels fit the recordings."
    )
