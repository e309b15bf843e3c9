"""Measure the speed of training steps (``earmark bench train``).

:class:`earmark.train.trainer.AudioTrainer` trains as usual, without evaluating and saving. The first steps, which
choose kernels and allocate memory, are not timed.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from transformers import TrainerCallback

from earmark.batch.dataset import TrainingClips
from earmark.bench.bench_setup import BenchClips, build_model
from earmark.bench.flops import Shapes, flop_of_clip
from earmark.bench.timing import DTYPES, Compute, Memory, Rate, forget_device_peak, peak_memory
from earmark.device import abilities, check_compiler, choose_precision
from earmark.errors import UsageError
from earmark.heap import freed_memory_kept
from earmark.models.build_model import AudioModel
from earmark.models.freeze import freeze
from earmark.profiling.matmul_peak import matmul_peak, synchronize
from earmark.settings.bench_flags import BenchOptions
from earmark.train.arguments import EarmarkTrainingArguments
from earmark.train.frozen import FrozenClips
from earmark.train.profiled_training import profiled_training
from earmark.train.trainer import AudioTrainer

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_LEARNING_RATE = 1e-5  # any value: the trained model is discarded


@dataclass(frozen=True)
class TrainMeasurements:
    """Speed of training.

    Attributes:
        audio: the model.
        frozen: name of the frozen part.
        kept: ``"features"`` or ``"embeddings"`` if the output of the frozen part was computed once, else ``None``.
        frozen_s: seconds to compute it for all clips.
        rate: clips per second over the timed steps.
        compute: operations of the timed steps.
        memory: peak memory.
    """

    audio: AudioModel
    frozen: str
    kept: str | None
    frozen_s: float
    rate: Rate
    compute: Compute
    memory: Memory


def bench_train(options: BenchOptions, clips: BenchClips, device: torch.device, folder: Path) -> TrainMeasurements:
    """Train for a number of steps and time them.

    Args:
        options: model, batch size, steps.
        clips: training clips.
        device: where to train.
        folder: folder for the output of the model's frozen part.

    Raises:
        ModelError: the model cannot be built, or cannot be frozen as ``--freeze`` says.
        UsageError: Trainer cannot train on the device, or torch.compile finds no compiler.
    """
    able = abilities(device)
    check_compiler(able, asked=options.torch_compile, backend=None, mode=options.torch_compile_mode)
    precision, _ = choose_precision(able, bf16=False, fp16=False)
    audio = build_model(options, clips)
    frozen = freeze(audio, options.freeze)
    args = _arguments(options, device, precision, folder)
    trainer = AudioTrainer(audio, args, clips.usable, None, bucket_waste=options.bucket_waste)
    timed = _TimedSteps(audio, options.skipped_steps, options.steps)
    trainer.add_callback(timed)
    trainer.batch_observers.append(timed.note)
    forget_device_peak(device)
    with ExitStack() as stack:
        if device.type == "cpu":
            stack.enter_context(freed_memory_kept())  # as in ``earmark train``
        if options.keep_frozen:
            trainer.keep_frozen(stack, folder, small_only=False)
        before = options.skipped_steps + options.steps
        stack.enter_context(profiled_training(trainer, options.profile, options.profile_folder, warm_up=before))
        trainer.train()
        kept = trainer.train_dataset
        memory = peak_memory(device)
        flop = timed.shapes.flop(lambda width: _flop_of_width(audio, kept, width, device))
    peak = matmul_peak(device, DTYPES[precision])
    return TrainMeasurements(
        audio=audio,
        frozen=frozen,
        kept=kept.stage if isinstance(kept, FrozenClips) else None,
        frozen_s=trainer.clock.frozen_s,
        rate=_rate(audio, kept, timed),
        compute=Compute(flop, timed.shapes.useful_share, timed.seconds, peak, DTYPES[precision]),
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
        max_steps=options.skipped_steps + options.steps + (options.profile or 0),
        learning_rate=_LEARNING_RATE,
        warmup_steps=0,
        eval_strategy="no",
        save_strategy="no",
        logging_strategy="no",
        torch_compile=options.torch_compile,
        torch_compile_mode=options.torch_compile_mode,
        seed=options.seed,
    )
    if training.device != device:
        raise UsageError(f"--device {options.device}: Trainer uses {training.device}. Hide the other cards from it.")
    return training


class _TimedSteps(TrainerCallback):
    """Times steps after the skipped ones, and records their shapes; synchronizes only at the start and the end.

    Attributes:
        shapes: shapes of the batches in timed steps.
        seconds: duration of the timed steps.
    """

    def __init__(self, audio: AudioModel, skipped_steps: int, steps: int) -> None:
        self.shapes = Shapes()
        self.seconds = 0.0
        self._frontend = audio.frontend
        self._first, self._last = skipped_steps, skipped_steps + steps
        self._finished = 0
        self._begun = 0.0

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        self._finished = state.global_step
        if state.global_step == self._first:
            synchronize(args.device)
            self._begun = time.perf_counter()
        elif state.global_step == self._last:
            synchronize(args.device)
            self.seconds = time.perf_counter() - self._begun

    def note(self, batch: dict[str, torch.Tensor], loss: torch.Tensor) -> None:
        """Record the shape of a batch if the step is timed."""
        if not self._first <= self._finished < self._last:
            return
        clips = len(batch["labels"])
        if "embeddings" in batch:
            self.shapes.add(clips, 1, clips)
            return
        values, lengths = ("features", "num_frames") if "features" in batch else ("samples", "num_samples")
        width = batch[values].shape[1]
        own = int(batch[lengths].sum()) if lengths in batch else clips * width
        self.shapes.add(clips, self._frontend.max_samples if self._frontend.pads_itself else width, own)


def _rate(audio: AudioModel, clips: TrainingClips | FrozenClips, timed: _TimedSteps) -> Rate:
    """Return clips and seconds of audio of the timed steps."""
    units = clips.num_frames.sum() if isinstance(clips, FrozenClips) else clips.lengths.sum()
    audio_s = timed.shapes.own * clips.lengths.sum() / units / audio.frontend.sampling_rate_hz
    return Rate(timed.shapes.clips, float(audio_s), timed.seconds)


def _flop_of_width(audio: AudioModel, clips: TrainingClips | FrozenClips, width: int, device: torch.device) -> int:
    """Count the operations, forward and backward, for one clip that was padded to ``width``."""
    if not isinstance(clips, FrozenClips):
        inputs = {"samples": torch.zeros(1, width)}
    elif clips.stage == "features":
        inputs = {"features": torch.zeros(1, width, clips.width)}
    else:
        inputs = {"embeddings": torch.zeros(1, clips.width)}
    return flop_of_clip(audio, inputs, device, audio.model.forward.training_dtype, backward=True)
