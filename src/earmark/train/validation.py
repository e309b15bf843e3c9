"""Score clips with the model in training: validation clips during training, and every split at the end."""

from __future__ import annotations

import functools
import logging
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from earmark.clips.targets import table_targets
from earmark.models.build_model import AudioModel
from earmark.models.embedding import EmbeddingModel, classify_all
from earmark.runs.example_results import scalars
from earmark.scoring.clip_windows import WindowsOfClips
from earmark.scoring.extra_metrics import ExtraMetrics
from earmark.scoring.table import score_table
from earmark.store.usable import UsableClips
from earmark.tasks.calibration import WindowLogits
from earmark.tasks.figures import Headline, metric_key
from earmark.tasks.task import FigureOptions
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.out_of_memory import out_of_memory_as, split_does_not_fit

if TYPE_CHECKING:
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class SplitScorer:
    """Scores clips with the same loop as `earmark predict`.

    Attributes:
        audio: classifier and frontend.
        args: batch size, device, precision and the metric that selects the best model.
        extra: metrics that are not built in.
        whole_model: returns the model with all its weights, on the device; called on all ranks.
        probes: whether the body is frozen, so that embeddings are computed once.
    """

    audio: AudioModel
    args: EarmarkTrainingArguments
    extra: ExtraMetrics
    whole_model: Callable[[], Any]
    probes: bool = field(default=False, init=False)
    _embeddings: dict[int, np.ndarray] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        self._own = self.audio.model, vars(self.audio.model).get("forward")

    def score(self, clips: UsableClips, what: str = "scoring") -> np.ndarray:
        """Return the logits of clips, float32 (N, C), computed in fp32 unless a full-eval flag is set.

        Args:
            clips: the clips.
            what: label of the progress bar.

        Raises:
            DeviceError: the device does not have enough memory.
        """
        model, args = self.whole_model(), self.args
        does_not_fit = functools.partial(split_does_not_fit, args.device, args.per_device_eval_batch_size)
        with self._own_forward(model), out_of_memory_as(does_not_fit):
            in_windows = clips.waveforms.num_samples.max() > self.audio.frontend.max_samples
            if not self.probes or in_windows:
                return self._scored(model, clips, what)
            if id(clips) not in self._embeddings:  # computed once, because the body is frozen
                self._embeddings[id(clips)] = self._scored(EmbeddingModel(model), clips, what)
            return classify_all(model, self._embeddings[id(clips)], self.args.device)

    def score_windows(self, clips: UsableClips, what: str) -> WindowLogits:
        """Return the logits of every window of a split, on every rank."""
        windows = WindowsOfClips(clips.waveforms, self.audio.frontend.max_samples)
        # if every clip is one window, keep the table, so that stored embeddings can be used
        cut = clips if len(windows.num_samples) == len(windows.starts) else UsableClips(clips.table, windows)
        return WindowLogits(self.score(cut, what), windows.starts, self.audio.task)

    def judge(self, clips: UsableClips) -> tuple[dict[str, float], Headline]:
        """Score validation clips.

        Returns:
            ``(metrics, headline)``: metrics by name, and the headline metric.
        """
        logits = self.score(clips, "validation")
        labels, task = self.audio.labels, self.audio.task
        # without intervals, which are computed for the saved model only
        metrics = task.figures(logits, table_targets(clips.table, labels, task), labels, FigureOptions(intervals=False))
        values = scalars(metrics)
        return values | self._extra_figures(values, logits, clips), metrics.headline

    def _scored(self, model: PreTrainedModel, clips: UsableClips, what: str) -> np.ndarray:
        args = self.args
        half = torch.bfloat16 if args.bf16_full_eval else torch.float16 if args.fp16_full_eval else None
        return score_table(
            model,
            self.audio.frontend,
            clips.waveforms,
            batch_size=args.per_device_eval_batch_size,
            device=args.device,
            dtype=half,
            what=what,
        )

    @contextmanager
    def _own_forward(self, model: PreTrainedModel) -> Iterator[None]:
        """Remove the autocast that accelerate wraps around ``forward``, inside the block.

        With autocast, validation would use the training precision, and the saved model would predict differently.
        """
        trained, own = self._own
        wrapped = vars(model).get("forward")
        if model is not trained or wrapped is own:
            yield
            return
        model.forward = own
        try:
            yield
        finally:
            model.forward = wrapped

    def _extra_figures(self, values: Mapping[str, float], logits: np.ndarray, clips: UsableClips) -> dict[str, float]:
        """Return metrics that are not built in: of functions, and of the folder if it selects the best model."""
        metric, task = metric_key(self.args.metric_for_best_model), self.audio.task
        is_folders = metric not in values and metric not in task.metrics and self.extra.folder is not None
        found: dict[str, float] = {}
        if is_folders or self.extra.functions:
            targets = table_targets(clips.table, self.audio.labels, task)
            found = self.extra.of_functions(task, logits, targets)
            if is_folders and metric not in found:
                of_folder = self.extra.of_folder(task, logits, targets)
                found |= {name: value for name, value in of_folder.items() if name == metric}
        if metric not in values and metric not in found:
            logger.warning(
                "validation: %s is undefined for these predictions, so this model cannot be the best one", metric
            )
            found[metric] = math.nan
        return found
