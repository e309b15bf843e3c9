"""Transformers' Trainer with three things changed: the loss, the evaluation and what is shown.

* The loss is averaged over all clips of a step. Trainer believes that audio models divide by ``num_items_in_batch``,
  because their ``forward`` takes ``**kwargs``; they do not, so that four accumulation steps give four times the
  gradient. Handing Trainer a loss function is its own way round this.
* Evaluation goes through :mod:`earmark.scoring`, the loop that predicts.
* Progress is counted in clips.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback

from earmark.batch.dataset import Collator, TrainingClips
from earmark.data.clips import ClipTable
from earmark.models.build import AudioModel
from earmark.progress import Progress
from earmark.runs.judged import targets_of
from earmark.scoring.metrics import compute_metrics
from earmark.scoring.table import score_table


class ClipLoss:
    """Cross-entropy averaged over every clip of an optimizer step, however many micro-batches it came in."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing

    def __call__(
        self, outputs: Any, labels: torch.Tensor, num_items_in_batch: torch.Tensor | int | None = None
    ) -> torch.Tensor:
        """Scalar loss of logits (B, C) against labels (B,) int64."""
        logits = outputs["logits"].float()
        total = F.cross_entropy(logits, labels, reduction="sum", label_smoothing=self.label_smoothing)
        return total / (len(labels) if num_items_in_batch is None else num_items_in_batch)


class AudioTrainer(Trainer):
    """Trains an :class:`AudioModel` on a table of clips.

    Args:
        audio: classifier and frontend.
        args: ``TrainingArguments``.
        train_table: clips to learn from.
        validation: clips to judge by; ``None`` when there is no evaluation while training.
        num_threads: decoder threads of evaluation.

    Attributes:
        training_s: seconds spent training so far, evaluation and saving left out.
        trained_clips: clips trained on in that time.
    """

    def __init__(
        self, audio: AudioModel, args: Any, train_table: ClipTable, validation: ClipTable | None, *, num_threads: int
    ) -> None:
        label2id = {label: i for i, label in enumerate(audio.labels)}
        frontend = audio.frontend
        clips = TrainingClips(train_table, label2id, frontend.sampling_rate_hz, frontend.max_samples)
        super().__init__(
            model=audio.model,
            args=args,
            train_dataset=clips,
            eval_dataset=validation,
            data_collator=Collator(frontend),
            processing_class=frontend.extractor,
            compute_loss_func=ClipLoss(args.label_smoothing_factor),
        )
        self.audio = audio
        self.num_threads = num_threads
        self.training_s = 0.0
        self.trained_clips = 0
        self._started: float | None = None
        for shown_otherwise in (ProgressCallback, PrinterCallback):
            self.remove_callback(shown_otherwise)
        self.add_callback(_ClipProgress(self))

    @property
    def has_begun(self) -> bool:
        """Whether training has got past loading what it starts from."""
        return self._started is not None or self.training_s > 0

    def score(self, table: ClipTable, what: str = "scoring") -> Any:
        """Logits (N, C) float32 of a table, through the loop that predicts; in fp32 unless a full-eval flag is set."""
        half = {self.args.bf16_full_eval: torch.bfloat16, self.args.fp16_full_eval: torch.float16}
        with _own_forward(self.model):
            return score_table(
                self.model.to(self.args.device),
                self.audio.frontend,
                table,
                batch_size=self.args.per_device_eval_batch_size,
                device=self.args.device,
                dtype=half.get(True),
                num_threads=self.num_threads,
                what=what,
            )

    def evaluate(
        self,
        eval_dataset: Any = None,
        ignore_keys: Sequence[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> dict[str, float]:
        """Score the validation clips, log the figures and tell the callbacks, as Trainer's own method does."""
        table = eval_dataset if isinstance(eval_dataset, ClipTable) else self.eval_dataset
        with _Paused(self):
            start = time.perf_counter()
            logits = self.score(table, "validation")
            metrics = compute_metrics(logits, targets_of(table, self.audio.labels), self.audio.labels)
            seconds = time.perf_counter() - start
        figures = {
            f"{metric_key_prefix}_{name}": value
            for name, value in metrics.to_dict().items()
            if isinstance(value, (int, float))
        }
        figures[f"{metric_key_prefix}_runtime"] = round(seconds, 3)
        figures[f"{metric_key_prefix}_samples_per_second"] = round(len(table) / seconds, 1)
        self.log(figures)
        self.control: Any = self.callback_handler.on_evaluate(self.args, self.state, self.control, figures)
        return figures

    def _save_checkpoint(self, *args: Any, **kwargs: Any) -> None:
        with _Paused(self):
            super()._save_checkpoint(*args, **kwargs)


@contextmanager
def _own_forward(model: Any) -> Iterator[None]:
    """The model without the autocast that accelerate puts round its ``forward`` for good.

    With it validation would be scored in the precision of training, and a saved model would answer otherwise.
    """
    wrapped = vars(model).get("forward")
    if wrapped is None or not hasattr(model, "_original_forward"):
        yield
        return
    model.forward = model._original_forward
    try:
        yield
    finally:
        model.forward = wrapped


class _Paused:
    """Stops the training clock."""

    def __init__(self, trainer: AudioTrainer) -> None:
        self.trainer = trainer

    def __enter__(self) -> None:
        self.was_running = self.trainer._started is not None
        _stop_clock(self.trainer)

    def __exit__(self, *exc: object) -> None:
        if self.was_running:
            self.trainer._started = time.perf_counter()


def _stop_clock(trainer: AudioTrainer) -> None:
    if trainer._started is not None:
        trainer.training_s += time.perf_counter() - trainer._started
        trainer._started = None


class _ClipProgress(TrainerCallback):
    """Shows training in clips and runs the training clock."""

    def __init__(self, trainer: AudioTrainer) -> None:
        self.trainer = trainer
        self.bar: Progress | None = None
        self.note = ""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.num_clips = len(self.trainer.train_dataset)
        batches = math.ceil(self.num_clips / (args.train_batch_size * args.world_size))
        epochs = state.max_steps / math.ceil(batches / args.gradient_accumulation_steps)
        self.began_at = state.epoch or 0.0  # above 0 where a run is gone on with
        total = max(0, round((epochs - self.began_at) * self.num_clips))
        self.bar = Progress("training", total, quiet=args.disable_tqdm)
        self.trainer._started = time.perf_counter()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        # by the share of the epoch: its last batch is seldom full
        before, clips = self.trainer.trained_clips, round((state.epoch - self.began_at) * self.num_clips)
        self.trainer.trained_clips = clips
        if self.bar is not None:
            self.bar.update(clips - before, self.note)

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs:
            self.note = f"epoch {state.epoch:.2f}, loss {float(logs['loss']):.3f}"

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: dict[str, float], **kwargs: Any) -> None:
        if self.bar is not None and "eval_accuracy" in metrics:
            self.bar.write(
                f"epoch {state.epoch:.2f}: validation accuracy {metrics['eval_accuracy']:.4f}, "
                f"loss {metrics['eval_loss']:.4f}"
            )

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        _stop_clock(self.trainer)
        if self.bar is not None:
            self.bar.close()
            self.bar = None
