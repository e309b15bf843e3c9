"""Errors of full memory, with the setting to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from earmark.errors import DeviceError

# of torch on accelerators and on the CPU; torch_npu raises a plain RuntimeError, too
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch says that memory is full."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


@contextmanager
def out_of_memory_as(message: Callable[[], str | None]) -> Iterator[None]:
    """Raise a :class:`DeviceError` with what ``message`` returns if memory is full; with ``None`` the error stays."""
    try:
        yield
    except RuntimeError as exc:
        text = message() if is_out_of_memory(exc) else None
        if text is None:
            raise
        raise DeviceError(text) from exc


def nothing_fits(device: object) -> str:
    """The message of a model that is too large."""
    return f"out of memory on {device} before the first step: the model alone does not fit. Choose a smaller model."


def batch_does_not_fit(device: object, step: int, clips: int, longest_s: float) -> str:
    """The message of a batch of clips that is too large."""
    return (
        f"out of memory on {device} at step {step}, with {clips} clips of up to {longest_s:.3g} s: lower "
        "--per_device_train_batch_size (with --global_batch_size the result stays the same) or --max_length_seconds, "
        "or let --auto_find_batch_size look for what fits"
    )


def split_does_not_fit(device: object, clips: int) -> str:
    """The message of clips that are scored."""
    return (
        f"out of memory on {device} while scoring {clips} clips at a time: lower --per_device_eval_batch_size or "
        "--max_length_seconds"
    )
