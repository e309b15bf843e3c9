"""Show the progress of training in clips, and measure training time without evaluation and saving."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback

from earmark.progress import Progress
from earmark.tasks.figures import Headline

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments


class TrainingClock:
    """Counts the seconds and the clips of training.

    Attributes:
        frozen_s: seconds spent computing the output of the frozen part of the model once.
        clips: clips trained on so far, over all processes.
    """

    def __init__(self) -> None:
        self.frozen_s = 0.0
        self.clips = 0
        self._before_s = 0.0
        self._started: float | None = None

    @property
    def seconds(self) -> float:
        """Seconds spent on training so far, without evaluation and saving."""
        return self._before_s + (0.0 if self._started is None else time.perf_counter() - self._started)

    @property
    def has_begun(self) -> bool:
        """Whether training has started, after loading model and checkpoint."""
        return self._started is not None or self._before_s > 0

    def start(self) -> None:
        """Start the clock."""
        self._started = time.perf_counter()

    def stop(self) -> bool:
        """Stop the clock; return whether it was running."""
        was_running = self._started is not None
        self._before_s, self._started = self.seconds, None
        return was_running

    def add(self, seconds: float, clips: int) -> None:
        """Count training without steps, such as fitting a head."""
        self._before_s += seconds
        self.clips += clips


class ClipProgress(TrainerCallback):
    """Shows training in clips and runs the training clock.

    Args:
        clock: the training clock.

    Attributes:
        headline: headline metric of the last evaluation.
        began_at_step: steps done before this start; above 0 in a resumed run.
    """

    def __init__(self, clock: TrainingClock) -> None:
        self.clock = clock
        self.headline: Headline | None = None
        self.began_at_step = 0
        self._bar: Progress | None = None
        self._note = ""

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Stop the training clock and the clock of the progress bar inside the block."""
        was_running = self.clock.stop()
        if self._bar is not None:
            self._bar.pause()
        try:
            yield
        finally:
            if was_running:
                self.clock.start()
            if self._bar is not None:
                self._bar.resume()

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Show a progress bar of all remaining clips, and start the clock."""
        self._num_clips = len(kwargs["train_dataloader"].dataset)
        batches = math.ceil(self._num_clips / (args.train_batch_size * args.world_size))
        epochs = state.max_steps / math.ceil(batches / args.gradient_accumulation_steps)
        self._began_at = state.epoch or 0.0  # above 0 in a resumed run
        self.began_at_step = state.global_step
        total = max(0, round((epochs - self._began_at) * self._num_clips))
        self._bar = Progress("training", total, quiet=args.disable_tqdm, keep=True)
        self.clock.start()

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Set the epoch of sampler and clips, because Trainer does not when several processes resume a run."""
        loader = kwargs["train_dataloader"]
        for part in (loader, loader.dataset):
            if hasattr(part, "set_epoch"):
                part.set_epoch(int(state.epoch))

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Count clips by the fraction of the epoch, because the last batch of an epoch is rarely full."""
        before, clips = self.clock.clips, round((state.epoch - self._began_at) * self._num_clips)
        self.clock.clips = clips
        if self._bar is not None:
            self._bar.update(clips - before, self._note)

    def on_log(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Show the loss next to the progress bar."""
        logs = kwargs.get("logs")
        if logs and "loss" in logs:
            self._note = f"epoch {state.epoch:.2f}, loss {float(logs['loss']):.3f}"

    def on_evaluate(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the headline metric above the bar."""
        head, metrics = self.headline, kwargs["metrics"]
        if self._bar is not None and head is not None and f"eval_{head.name}" in metrics:
            name = head.title.lower() if head.title.istitle() else head.title
            self._bar.write(
                f"epoch {state.epoch:.2f}: validation {name} {head.value:.4f}, loss {metrics['eval_loss']:.4f}"
            )

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Stop the clock and close the bar."""
        self.clock.stop()
        if self._bar is not None:
            self._bar.close()
            self._bar = None
