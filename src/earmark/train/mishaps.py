"""What can go wrong within a training step, in words that say which clips and which setting."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

import torch.distributed as dist

from earmark.errors import DeviceError
from earmark.scoring.table import rank_and_world

if TYPE_CHECKING:
    from earmark.train.trainer import AudioTrainer

_NAMED = 8  # clips of a batch in a message
# of torch on accelerators and on the CPU; torch_npu raises a plain RuntimeError, too
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


def bad_loss(trainer: AudioTrainer, rows: Sequence[int]) -> str:
    """Which clips gave a loss that is not a number."""
    names = [trainer.train_table[row].source for row in rows[:_NAMED]]
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"the loss is NaN or infinite, of the batch {', '.join(names)}{more}"


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch says that memory is full."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


def on_every_rank(fine: bool) -> bool:
    """Whether it is fine on all ranks of a distributed run."""
    if rank_and_world()[1] == 1:
        return fine
    answers: list[bool | None] = [None] * dist.get_world_size()
    dist.all_gather_object(answers, fine)
    return all(answers)


@contextmanager
def translated_out_of_memory(trainer: AudioTrainer) -> Iterator[None]:
    """Say what did not fit and what to change; left alone where ``--auto_find_batch_size`` takes care of it."""
    try:
        yield
    except RuntimeError as exc:
        if trainer.args.auto_find_batch_size or not is_out_of_memory(exc):
            raise
        if trainer.rows is None:
            raise DeviceError(
                f"out of memory on {trainer.args.device} before the first step: the model alone does not fit"
            ) from exc
        longest_s = (
            trainer.train_dataset.lengths[trainer.rows.cpu().numpy()].max() / trainer.audio.frontend.sampling_rate_hz
        )
        raise DeviceError(
            f"out of memory on {trainer.args.device} at step {trainer.state.global_step + 1}, with {len(trainer.rows)} "
            f"clips of up to {longest_s:.3g} s: lower --per_device_train_batch_size (with --global_batch_size the "
            "result stays the same) or --max_length_seconds, or let --auto_find_batch_size look for what fits"
        ) from exc


@contextmanager
def out_of_memory_as(message: str) -> Iterator[None]:
    """Raise a :class:`DeviceError` with ``message`` if memory is full."""
    try:
        yield
    except RuntimeError as exc:
        if not is_out_of_memory(exc):
            raise
        raise DeviceError(message) from exc


def translated_out_of_memory_in_scoring(trainer: AudioTrainer) -> AbstractContextManager[None]:
    """Name the flags of scoring if memory is full while validation or test clips are scored."""
    return out_of_memory_as(
        f"out of memory on {trainer.args.device} while scoring {trainer.args.per_device_eval_batch_size} clips at "
        "a time: lower --per_device_eval_batch_size or --max_length_seconds"
    )
