"""The flag ``--profile`` of the commands that compute with a model."""

from __future__ import annotations

from typing import Any

from earmark.settings.flags import COUNT, Scope, flag

TRAINING_STEPS = 10
BATCHES = 16  # a multiple of the 8 batches that the inference loop scores before it waits for data


def profile_flag(steps: int, what: str, place: str, **how: Any) -> Any:
    """Declare ``--profile``.

    Args:
        steps: number of steps if no number follows the flag.
        what: noun for the steps, for the help text.
        place: folder of the files, for the help text.
        **how: other arguments of :func:`earmark.settings.flags.flag`.
    """
    text = (
        f"profile this many {what} after a warm-up ({steps} without a number): writes a trace, and a table with the "
        f"time of each part of the model, to {place}."
    )
    text = text if how.get("only") else text[0].upper() + text[1:]
    return flag(
        None,
        text,
        check=COUNT,
        scope=Scope.ONCE | Scope.MACHINE | Scope.EPOCHS,
        metavar="[STEPS]",
        bare=str(steps),
        **how,
    )
