"""``earmark bench train``: how fast ``earmark train`` takes its steps.

:class:`earmark.train.trainer.AudioTrainer` trains as it would, without evaluation and saving. The first steps, in which
kernels are chosen and memory is allocated, are not timed.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from earmark.bench.bench_setup import BenchClips, build_model
from earmark.bench.flops import Shapes, flop_of_clip
from earmark.bench.timing import Compute, Memory, Rate, forget_device_peak, matmul_peak, peak_memory, synchronize
from earmark.device import abilities, choose_precision
from earmark.errors import UsageError
from earmark.models.build_model import AudioModel
from earmark.models.freeze import freeze
from earmark.settings.bench_flags import BenchOptions
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.frozen import FrozenClips
from earmark.train.trainer import AudioTrainer

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
_LEARNING_RATE = 1e-5  # what is learned is thrown away


@dataclass(frozen=True)
class TrainFigures:
    """How fast training goes.

    Attributes:
        audio: the model.
            frozen: what does not learn.
        kept: ``"features"`` or ``"embeddings"`` where the frozen part was computed once, else ``None``.
        frozen_s: seconds that took, for all clips.
        rate: clips through the timed steps.
        compute: work of the timed steps.
        memory: peak.
    """

    audio: AudioModel
    frozen: str
    kept: str | None
    frozen_s: float
    rate: Rate
    compute: Compute
    memory: Memory


def bench_train(options: BenchOptions, clips: BenchClips, device: torch.device, folder: Path) -> TrainFigures:
    """Train for some steps and time them.

    Args:
        options: model, batch size, steps.
        clips: what to train on.
        device: where.
        folder: for what the frozen part of the model makes of the clips.

    Raises:
        ModelError: the model cannot be built or frozen so.
        UsageError: a device that the trainer does not take.
    """
    precision, _ = choose_precision(abilities(device), bf16=False, fp16=False)
    audio = build_model(options, clips)
    frozen = freeze(audio.model, options.freeze)
    trainer = _TimedTrainer(audio, _arguments(options, device, precision, folder), clips, options)
    forget_device_peak(device)
    with ExitStack() as stack:
        if options.keep_frozen:
            trainer.keep_frozen(stack, folder, small_only=False)
        trainer.train()
        kept = trainer.train_dataset
        memory = peak_memory(device)
        flop = trainer.shapes.flop(lambda width: trainer.flop_of_width(width))
    peak = matmul_peak(device, _DTYPES[precision])
    return TrainFigures(
        audio=audio,
        frozen=frozen,
        kept=kept.stage if isinstance(kept, FrozenClips) else None,
        frozen_s=trainer.frozen_s,
        rate=trainer.rate(),
        compute=Compute(flop, trainer.shapes.useful_share, trainer.seconds, peak, _DTYPES[precision]),
        memory=memory,
    )


def _arguments(options: BenchOptions, device: torch.device, precision: str, folder: Path) -> EarmarkTrainingArguments:
    assert options.batch_size is not None, "settled by BenchOptions"
    training = EarmarkTrainingArguments(
        output_dir=str(folder / "run"),
        use_cpu=device.type == "cpu",
        bf16=precision == "bf16",
        fp16=precision == "fp16",
        per_device_train_batch_size=options.batch_size,
        per_device_eval_batch_size=options.batch_size,
        max_steps=options.skipped_steps + options.steps,
        learning_rate=_LEARNING_RATE,
        warmup_steps=0,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        seed=options.seed,
    )
    if training.device != device:
        raise UsageError(f"--device {options.device}: training takes {training.device}; hide the other cards from it")
    return training


class _TimedTrainer(AudioTrainer):
    """Trains as always and notes when, and on what shapes.

    Attributes:
        shapes: of the timed steps' batches.
        seconds: the timed steps took.
    """

    def __init__(self, audio: AudioModel, args: Any, clips: BenchClips, options: BenchOptions) -> None:
        super().__init__(audio, args, clips.usable, None, bucket_waste=options.bucket_waste)
        self.shapes = Shapes()
        self.seconds = 0.0
        self.skipped_steps = options.skipped_steps
        self.add_callback(_StepClock(self))

    def training_step(self, model: Any, inputs: dict[str, torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        """One step; its shapes are noted where it is timed."""
        if self.state.global_step >= self.skipped_steps:
            self._note(inputs)
        return super().training_step(model, inputs, *args, **kwargs)

    def rate(self) -> Rate:
        """Clips and sound of the timed steps."""
        clips = self.train_dataset
        units = clips.num_frames.sum() if isinstance(clips, FrozenClips) else clips.lengths.sum()
        audio_s = self.shapes.own * clips.lengths.sum() / units / self.audio.frontend.sampling_rate_hz
        return Rate(self.shapes.clips, float(audio_s), self.seconds)

    def flop_of_width(self, width: int) -> int:
        """Operations of one clip that was padded to ``width``, forward and backward."""
        clips = self.train_dataset
        if not isinstance(clips, FrozenClips):
            inputs = {"samples": torch.zeros(1, width)}
        elif clips.stage == "features":
            inputs = {"features": torch.zeros(1, width, clips.width)}
        else:
            inputs = {"embeddings": torch.zeros(1, clips.width)}
        dtype = self.audio.model.forward.training_dtype
        return flop_of_clip(self.audio, inputs, self.args.device, dtype, backward=True)

    def _note(self, batch: dict[str, torch.Tensor]) -> None:
        clips = len(batch["labels"])
        if "embeddings" in batch:
            self.shapes.add(clips, 1, clips)
            return
        values, lengths = ("features", "num_frames") if "features" in batch else ("samples", "num_samples")
        width = batch[values].shape[1]
        own = int(batch[lengths].sum()) if lengths in batch else clips * width
        frontend = self.audio.frontend
        self.shapes.add(clips, frontend.max_samples if frontend.pads_itself else width, own)


class _StepClock(TrainerCallback):
    """Times the steps behind the skipped ones; waits for the device at both ends only."""

    def __init__(self, trainer: _TimedTrainer) -> None:
        self.trainer = trainer
        self.begun = 0.0

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == self.trainer.skipped_steps:
            synchronize(args.device)
            self.begun = time.perf_counter()
        elif state.global_step == state.max_steps:
            synchronize(args.device)
            self.trainer.seconds = time.perf_counter() - self.begun
