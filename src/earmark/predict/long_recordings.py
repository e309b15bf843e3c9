"""Detect recordings that are much longer than a model's clips but get only one label."""

from __future__ import annotations

from collections.abc import Iterable

from earmark.text import agreeing, counted

TIMES = 4  # the clip length of the model


def count_long(durations_s: Iterable[float], window_s: float) -> int:
    """Return how many recordings are longer than :data:`TIMES` times the model's window ``window_s``."""
    return sum(duration_s > TIMES * window_s for duration_s in durations_s)


def one_label_for_long(count: int, window_s: float) -> str:
    """Return a sentence, without full stop, about the number of long recordings and their single label."""
    recordings = f"{counted(count, 'recording')} {agreeing(count, 'are')}"
    return (
        f"{recordings} longer than {TIMES} times the model's window of {window_s:.3g} s, "
        "and each recording gets one label"
    )
