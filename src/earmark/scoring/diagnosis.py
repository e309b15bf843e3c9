"""Say it in words when a model has learned nothing, with the likely cause.

The published result that this project starts from is such a case: accuracy 0.6371 is about the share of ``_unknown_``
in SUPERB KS, reached because 8 cards x 32 clips x 4 accumulation steps left 250 steps at an unchanged learning rate
of 3e-5.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from earmark.tasks.figures import Figures, Headline
from earmark.tasks.multi_label_figures import MultiLabelMetrics
from earmark.tasks.single_label_figures import Metrics
from earmark.words import counted, every

# Sum of the learning rate over all steps, for fine-tuning a wav2vec2-base with linear warm-up and decay on SUPERB KS:
# 250 steps at 3e-5 (0.0038) stayed at the majority rate, the original example's recipe is 0.030; 0.018 works as well.
# Nothing of the kind is known about other models.
COLLAPSED_RATE_SUM = 0.0038
WORKING_RATE_SUM = 0.018
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
    finding = _finding(metrics)
    return [] if finding is None else [finding, _advice(schedule)]


def diagnose_splits(splits: Mapping[str, Figures], schedule: Schedule | None = None) -> list[str]:
    """Return :func:`diagnose` of several splits by name: a finding for each, and the advice once."""
    found = {name: finding for name, metrics in splits.items() if (finding := _finding(metrics)) is not None}
    return [f"{name}: {finding}" for name, finding in found.items()] + ([_advice(schedule)] if found else [])


def _finding(metrics: Figures) -> str | None:
    if isinstance(metrics, Metrics):
        return _finding_of_classes(metrics)
    head = metrics.headline
    if isinstance(metrics, MultiLabelMetrics):
        return _against(metrics, replace(head, baseline=metrics.chance_average_precision), "the mAP of random scores")
    if head.value == head.baseline == 0:
        return None  # every number is the same and was predicted: nothing follows from that
    return _against(metrics, head, "the error of always predicting the median")


def _finding_of_classes(metrics: Metrics) -> str | None:
    if metrics.majority_class_rate == 1.0:
        return None  # clips of one class only: no accuracy can beat the rate, and nothing follows from that
    if metrics.predicted_classes == 1 and len(metrics.per_class) > 1:
        return (
            f"The model answers the same class for {every(metrics.num_clips, 'clip')}: its accuracy, "
            f"{metrics.accuracy:.4f}, is no result; it has learned nothing about the sound."
        )
    if _lowest_balanced_accuracy(metrics) > metrics.balanced_majority_rate and not _barely(metrics):
        return None  # it tells the classes apart, even if it trades the frequent class for the rare ones
    rate = f"the rate of always answering {metrics.majority_class!r}"
    finding = _against(metrics, metrics.headline, rate)
    if finding is None and _barely(metrics):
        return f"Accuracy {metrics.accuracy:.4f} hardly beats {metrics.majority_class_rate:.4f}, {rate}."
    return finding


def _barely(metrics: Metrics) -> bool:
    near = metrics.majority_class_rate < metrics.accuracy < metrics.majority_class_rate + _BARELY
    return near and metrics.balanced_accuracy < 1.5 * metrics.balanced_majority_rate


def _lowest_balanced_accuracy(metrics: Metrics) -> float:
    """Lower end of the 95 % interval of the balanced accuracy: normal, with the variances of the recalls added up.

    The variance of each recall is taken as if one more clip of its class were right and one more wrong, so that a class
    with few clips, all of them right, is not beyond doubt.
    """
    variance, present = 0.0, [row for row in metrics.per_class if row.support]
    for row in present:
        assert row.recall is not None, "a class with clips has a recall"
        share = (row.recall * row.support + 1) / (row.support + 2)
        variance += share * (1 - share) / row.support
    return metrics.balanced_accuracy - 1.96 * math.sqrt(variance) / len(present)


def _against(metrics: Figures, head: Headline, what: str) -> str | None:
    """Compare a headline with its baseline, by its 95 % interval; ``None`` if it clearly beats it.

    Args:
        metrics: the figures.
        head: their headline, with the baseline to compare with.
        what: names the baseline.
    """
    sign = 1 if head.higher_is_better else -1
    interval = metrics.intervals.get(head.name)
    if interval is None:  # too many clips and labels for one, so any clear distance is significant
        worst = head.value - sign * _BARELY * abs(head.baseline)
    elif isinstance(metrics, MultiLabelMetrics):
        # average precision grows when clips are drawn twice: the width of its interval is right, its place is not
        worst = head.value - (interval.high - interval.low) / 2
    else:
        worst = interval.low if sign > 0 else interval.high
    if sign * (worst - head.baseline) > 0:
        return None
    digits = ".4g" if metrics.headline.name == "mae" else ".4f"
    within = "" if interval is None else f" (95 % interval {interval.low:{digits}} to {interval.high:{digits}})"
    value = f"{head.title} {head.value:{digits}}{within} on {counted(metrics.num_clips, 'clip')}"
    if sign * (head.value - head.baseline) > 0:
        return (
            f"{value} is better than {head.baseline:{digits}}, {what}, by no more than chance may give: the model may "
            "have learned little, or the clips are too few to tell."
        )
    return (
        f"{value} does not beat {head.baseline:{digits}}, {what}: the model has learned little or nothing that "
        "helps on these clips."
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
