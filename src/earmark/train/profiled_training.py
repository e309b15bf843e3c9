"""Profile training steps (``--profile``)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from transformers import TrainerCallback

from earmark.device import supports_bf16
from earmark.distributed.launched import is_main_process
from earmark.families.model_parts import StepPart
from earmark.profiling.attribution import MODEL, PAUSE
from earmark.profiling.bounds import Advice
from earmark.profiling.part_ranges import range_name
from earmark.profiling.profile_session import ProfileRequest, ProfileSession
from earmark.train.trainer import AudioTrainer

if TYPE_CHECKING:
    from transformers import TrainerControl, TrainerState, TrainingArguments

_WARM_UP = 3  # steps that choose kernels and allocate memory


@contextmanager
def profiled_training(
    trainer: AudioTrainer, steps: int | None, folder: Path, *, warm_up: int = _WARM_UP
) -> Iterator[None]:
    """Profile the training inside the block, on rank 0; see :class:`ProfiledTraining`.

    Args:
        trainer: the trainer.
        steps: number of steps to profile; ``None`` for no profile.
        folder: folder for the files.
        warm_up: number of steps before the profiled ones.
    """
    if steps is None or not is_main_process():
        yield
        return
    profiled = ProfiledTraining(trainer, steps, folder, warm_up)
    trainer.add_callback(profiled)
    try:
        yield
    finally:
        profiled.session.close()


class ProfiledTraining(TrainerCallback):
    """Profiles steps of a trainer.

    Args:
        trainer: the trainer.
        steps: number of steps to profile.
        folder: folder for the files.
        warm_up: number of steps before the profiled ones.

    Attributes:
        session: the profile.

    Raises:
        DeviceError: this installation cannot profile the device.
        OutputError: the folder cannot be made.
    """

    def __init__(self, trainer: AudioTrainer, steps: int, folder: Path, warm_up: int) -> None:
        args = trainer.args
        is_half = trainer.audio.model.forward.training_dtype is not None
        advice = Advice(
            workers="--dataloader_num_workers",
            batch="--per_device_train_batch_size",
            compiles="" if args.torch_compile or args.device.type == "cpu" else "--torch_compile",  # slower on a CPU
            precision="--precision bf16" if supports_bf16(args.device) and not is_half else "",
        )
        self.session = ProfileSession(ProfileRequest(steps, warm_up, "training step", folder, advice), args.device)
        self._trainer = trainer

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """Put the pieces of a step into ranges."""
        trainer, ranges = self._trainer, self.session.ranges
        if args.torch_compile:  # hooks on modules would change the compiled graph
            ranges.add_call(trainer, "compute_loss", MODEL)
        else:
            ranges.add_model(trainer.audio.model, trainer.audio.family)
        for owner, name, place in (
            (trainer, "model_inputs", range_name(StepPart.FRONTEND)),
            (trainer, "compute_loss_func", range_name(StepPart.LOSS)),
            (trainer.accelerator, "clip_grad_norm_", range_name(StepPart.CLIPPING)),
            (trainer, "evaluate", PAUSE),
            (trainer, "_save_checkpoint", PAUSE),
        ):
            ranges.add_call(owner, name, place)

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: object
    ) -> None:
        """End a step."""
        self.session.step()
