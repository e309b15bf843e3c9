"""Turn out-of-memory errors into messages that name the setting to change."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from earmark.errors import DeviceError

# texts of torch's errors on accelerators and on the CPU; all of these are RuntimeErrors, in torch_npu too
_OUT_OF_MEMORY = ("out of memory", "can't allocate memory")


def is_out_of_memory(error: Exception) -> bool:
    """Return whether an error of torch means that memory is full."""
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _OUT_OF_MEMORY)


@contextmanager
def out_of_memory_as(message: Callable[[], str | None]) -> Iterator[None]:
    """Raise a :class:`DeviceError` with the text of ``message`` if memory is full, unless the text is ``None``."""
    try:
        yield
    except RuntimeError as exc:
        text = message() if is_out_of_memory(exc) else None
        if text is None:
            raise
        raise DeviceError(text) from exc


def nothing_fits(device: object) -> str:
    """Return the message for a model that is too large."""
    return f"out of memory on {device} before the first step: the model alone does not fit. Choose a smaller model."


def batch_does_not_fit(device: object, step: int, clips: int, longest_s: float) -> str:
    """Return the message for a training batch that is too large."""
    return (
        f"out of memory on {device} at step {step}, with {clips} clips of up to {longest_s:.3g} s. Lower "
        "--per_device_train_batch_size (with --global_batch_size the result stays the same) or --max_length_seconds, "
        "or add --auto_find_batch_size to find a batch size that fits."
    )


def split_does_not_fit(device: object, clips: int) -> str:
    """Return the message for an evaluation batch that is too large."""
    return (
        f"out of memory on {device} while scoring {clips} clips at a time. Lower --per_device_eval_batch_size or "
        "--max_length_seconds."
    )
