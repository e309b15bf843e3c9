"""``POST /v1/timeline``: windows and segments of a long recording, in almost constant memory.

A thread decodes one batch ahead of the model. Windows of all requests share batches.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
from fastapi import HTTPException

from earmark.audio.decode import own_rate_hz
from earmark.clips.clip import Clip
from earmark.errors import UsageError
from earmark.formats.segments import Window
from earmark.predict.classifier import Classifier
from earmark.predict.timeline import SegmentRules, Timeline
from earmark.scoring.windows import Windowing
from earmark.serve import openapi
from earmark.serve.batching import Batcher
from earmark.serve.decode_request import DecodeLimits, iter_windows
from earmark.serve.forms import Question

_MOST_WINDOWS = 100_000  # per response; a hop of one millisecond gives 3.6 million per hour


def read_windowing(question: Question, classifier: Classifier) -> Windowing:
    """Return how to cut the client's recording.

    Raises:
        HTTPException: 400, the model does not support the settings.
    """
    window_s, hop_s = question.number("window_seconds"), question.number("hop_seconds")
    try:
        return classifier.windowing(window_s, hop_s)
    except UsageError as exc:
        raise HTTPException(400, str(exc).lstrip("-")) from exc


def read_rules(question: Question) -> SegmentRules:
    """Return the rules for making segments.

    Raises:
        HTTPException: 400, the settings are invalid.
    """
    names = ("threshold", "release", "smooth_windows", "merge_gap_s", "min_duration_s")
    given: dict[str, Any] = {name: value for name in names if (value := question.number(name)) is not None}
    if (windows := given.get("smooth_windows")) is not None:
        if windows != int(windows):
            raise HTTPException(400, "smooth_windows: invalid value. Send a whole number")
        given["smooth_windows"] = int(windows)
    given["include_background"] = question.flag("include_background")
    try:
        return SegmentRules(**given)
    except UsageError as exc:
        raise HTTPException(400, str(exc)) from exc


def score_timeline(
    question: Question,
    classifier: Classifier,
    batcher: Batcher,
    limits: DecodeLimits,
    given_up: threading.Event,
) -> dict[str, object]:
    """Return the result for one recording; runs in the calling thread.

    Args:
        question: recording and settings.
        classifier: provides labels, sampling rate and windows.
        batcher: scores windows.
        limits: limits of decoding.
        given_up: set when nobody waits for the result.

    Returns:
        ``duration_s``; ``recording_rate_hz``, ``None`` if unknown; the model's ``task`` and ``has_classes``;
        ``windows`` and ``segments`` in order of time; ``omitted_classes``, without segments because they are background
        classes; ``scores`` of the whole recording.

    Raises:
        HTTPException: 400 for invalid settings; also see :func:`iter_windows`.
    """
    question.refuse_unknown(openapi.TIMELINE_SETTINGS)
    top_k, rules, windowing = question.top_k(), read_rules(question), read_windowing(question, classifier)
    if limits.max_s * classifier.sampling_rate_hz / windowing.hop_samples > _MOST_WINDOWS:
        limits = DecodeLimits(_MOST_WINDOWS * windowing.hop_samples / classifier.sampling_rate_hz, limits.timeout_s)
    cut = iter_windows(question.audio, windowing, classifier.sampling_rate_hz, limits, question.hint)
    windows = list(_scored(cut, batcher, classifier, given_up))
    timeline = Timeline(
        "recording", list(classifier.labels), windows, classifier.decision, classifier.background_classes
    )
    return {
        "duration_s": windows[-1].end_s,
        "recording_rate_hz": own_rate_hz(Clip("recording", read_bytes=lambda: question.audio)) or None,
        "task": classifier.task.name,
        "has_classes": classifier.task.has_classes,
        "scores": classifier.top(timeline.aggregate(), top_k),
        "omitted_classes": [] if rules.include_background else list(classifier.background_classes),
        "segments": [
            {"start_s": one.start_s, "end_s": one.end_s, "label": one.label, "score": one.score}
            for one in (timeline.segments(rules) if classifier.task.has_classes else [])
        ],
        "windows": [window_row(window, classifier, top_k) for window in windows],
    }


def window_row(window: Window, classifier: Classifier, top_k: int) -> dict[str, object]:
    """Return the JSON of one window."""
    return {
        "start_s": window.start_s,
        "end_s": window.end_s,
        "scores": classifier.top(window.probabilities, top_k),
    }


def _scored(
    cut: Iterator[tuple[int, np.ndarray]], batcher: Batcher, classifier: Classifier, given_up: threading.Event
) -> Iterator[Window]:
    rate_hz = classifier.sampling_rate_hz
    count = classifier.batch_size
    ahead = _submit(cut, batcher, count)
    while ahead is not None:
        chunk, future = ahead
        if given_up.is_set():
            raise HTTPException(503, "nobody waits for this result")
        ahead = _submit(cut, batcher, count)
        for (start, samples), logits in zip(chunk, future.result(), strict=True):
            yield Window(start / rate_hz, (start + len(samples)) / rate_hz, classifier.task.scores(logits))


def _submit(cut: Iterator[tuple[int, np.ndarray]], batcher: Batcher, count: int) -> Any:
    """Submit the next windows to the batcher; return ``None`` if there are none."""
    chunk = list(islice(cut, count))
    return (chunk, batcher.submit([samples for _, samples in chunk])) if chunk else None
