"""Handle requests behind the HTTP layer: read, decode, wait for a batch, return scores.

Shapes: W windows, C classes.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from fastapi import HTTPException, Request

from earmark.export.load_export import ExportedScorer
from earmark.http.scope import NOTES
from earmark.predict.classifier import Classifier, Prediction
from earmark.serve import openapi
from earmark.serve.batching import Batcher, settle
from earmark.serve.decode_request import DecodeLimits, iter_windows
from earmark.serve.forms import Question, read_question, single_settings
from earmark.serve.read_body import BodyLimits, MemoryBudget, busy, read_body
from earmark.serve.server_metrics import ServerMetrics
from earmark.serve.timelines import score_timeline
from earmark.settings.serving_flags import ServeOptions
from earmark.tasks import pool, sigmoid, softmax
from earmark.tasks.decision import PLAIN

_BODIES_AT_ONCE = 16  # all bodies in memory together may be this many times as large as the largest allowed body
_MEGABYTE = 1_000_000

T = TypeVar("T")
Read = Callable[[], Question]


class Service:
    """A classifier used by many clients at once.

    Args:
        classifier: the model.
        options: limits and batching.
        metrics: counters of batches and audio.

    Attributes:
        batcher: batcher whose thread owns the model.
    """

    def __init__(self, classifier: Classifier, options: ServeOptions, metrics: ServerMetrics) -> None:
        self._classifier = classifier
        self._metrics = metrics
        max_bytes = round(options.max_body_mb * _MEGABYTE)
        self._body_limits = BodyLimits(max_bytes, options.read_timeout_seconds, options.body_timeout_seconds)
        self._decode_limits = DecodeLimits(options.max_seconds, options.decode_timeout_seconds)
        self._budget = MemoryBudget(_BODIES_AT_ONCE * max_bytes)
        self._answer_timeout_s = options.answer_timeout_seconds
        self._queue_size = options.queue_size
        self._num_waiting = 0
        self._decoders = ThreadPoolExecutor(options.num_workers, thread_name_prefix="decode")
        # separate threads for long recordings, so that short ones need not wait for them
        self._timelines = ThreadPoolExecutor(options.num_workers, thread_name_prefix="timeline")
        self._timeline_limits = DecodeLimits(options.max_timeline_seconds, options.decode_timeout_seconds)
        self.batcher = Batcher(
            classifier.logits,
            batch_size=options.batch_size,
            delay_s=options.batch_delay_ms / 1000,
            observe=metrics.batch,
        )

    def warm_up(self) -> None:
        """Score a second of noise, so that the first client need not wait for one-time work.

        Silence does not work, because the comparison of half precision with float32 skips silent clips.

        Raises:
            DeviceError: the device computes wrong results in the chosen precision.
            ModelError: the scores are not finite.
        """
        noise = 0.1 * np.random.default_rng(0).standard_normal(self._classifier.sampling_rate_hz)
        self.batcher.submit([noise.astype(np.float32)]).result()

    def close(self) -> None:
        """Stop the threads."""
        self._decoders.shutdown(cancel_futures=True)
        self._timelines.shutdown(cancel_futures=True)
        self.batcher.stop()

    async def classify(self, request: Request) -> list[Prediction]:
        """Return the most likely classes of the recording in a request.

        Raises:
            HTTPException: the request is invalid, or the server is too busy.
        """
        return await self._ask(request, self._classify)

    def model(self) -> dict[str, object]:
        """Return a description of the model."""
        classifier = self._classifier
        decision = None if classifier.decision.is_plain else classifier.decision.to_dict(classifier.labels)
        return {
            "labels": list(classifier.labels),
            "task": classifier.task.name,
            "sampling_rate_hz": classifier.sampling_rate_hz,
            "max_window_s": classifier.scorer.max_samples / classifier.sampling_rate_hz,
            "decision": decision,
        }

    async def timeline(self, request: Request) -> dict[str, object]:
        """Return windows and segments of a request; see :func:`earmark.serve.timelines.score_timeline`.

        Raises:
            HTTPException: the request is invalid, or the server is too busy.
        """
        return await self._ask(request, self._timeline)

    async def _ask(self, request: Request, answer: Callable[[Read, dict[str, object]], Awaitable[T]]) -> T:
        """Read a request, wait for its turn, and respond within the time limit."""
        self._refuse_if_full()
        body = await read_body(request, self._body_limits, self._budget)
        size = len(body)
        content_type = request.headers.get("content-type", "")
        try:
            query = single_settings(request.query_params.multi_items())
            self._refuse_if_full()
            with self._place():
                return await self._in_time(
                    answer(lambda: read_question(body, content_type, query), request.scope[NOTES])
                )
        finally:
            self._budget.give_back(size)

    async def _classify(self, read: Read, notes: dict[str, object]) -> list[Prediction]:
        windowing, rate_hz = self._classifier.windowing(), self._classifier.sampling_rate_hz
        task = self._classifier.task
        own = task.score_function
        scored: asyncio.Future[np.ndarray] = asyncio.get_running_loop().create_future()
        questions: list[Question] = []

        def prepare() -> list[np.ndarray]:
            question = read()
            question.refuse_unknown(openapi.CLASSIFY_SETTINGS)
            question.top_k()  # report invalid settings before decoding
            self._check_function(question.function(own))
            questions.append(question)
            windows = list(iter_windows(question.audio, windowing, rate_hz, self._decode_limits, question.hint))
            last_start, last = windows[-1]
            self._count((last_start + len(last)) / rate_hz, notes)
            return [samples for _, samples in windows]

        def work() -> None:
            # Submit from this thread, because each hand-over to the event loop costs processor time.
            try:
                self.batcher.submit_for(scored, prepare())
            except Exception as exc:  # any error is the answer to this request
                settle([(scored, exc)])

        decoding = self._decoders.submit(work)
        try:
            logits = await scored
        finally:
            decoding.cancel()
        (question,) = questions
        function, top_k = question.function(own), question.top_k()
        if function != own:  # the thresholds only fit the model's own function
            return PLAIN.top(_mean_scores(logits, _FUNCTIONS[function]), self._classifier.labels, top_k)
        return self._classifier.top(_mean_scores(logits, task.scores), top_k)

    async def _timeline(self, read: Read, notes: dict[str, Any]) -> dict[str, Any]:
        given_up = threading.Event()

        def work() -> dict[str, Any]:
            return score_timeline(read(), self._classifier, self.batcher, self._timeline_limits, given_up)

        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._timelines, work)
        finally:
            given_up.set()
        self._count(answer["duration_s"], notes)
        return answer

    def _count(self, seconds: float, notes: dict[str, Any]) -> None:
        notes["audio_seconds"] = round(seconds, 3)
        self._metrics.audio(seconds)

    def _check_function(self, function: str) -> None:
        own = self._classifier.task.score_function
        if function != own and isinstance(self._classifier.scorer, ExportedScorer):
            raise HTTPException(400, f"function_to_apply: {function} needs logits; exports have none. Use {own}")

    async def _in_time(self, answer: Awaitable[T]) -> T:
        try:
            return await asyncio.wait_for(answer, self._answer_timeout_s)
        except asyncio.TimeoutError as exc:
            reason = f"no result within {self._answer_timeout_s:g} s. Try again in a second"
            raise HTTPException(503, reason, headers={"Retry-After": "1"}) from exc

    def _refuse_if_full(self) -> None:
        if self._num_waiting >= self._queue_size:
            raise busy(f"{self._queue_size} requests are waiting")

    @contextmanager
    def _place(self) -> Iterator[None]:
        self._num_waiting += 1
        try:
            yield
        finally:
            self._num_waiting -= 1


_FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "softmax": softmax,
    "sigmoid": sigmoid,
    "none": lambda logits: logits,
}


def _mean_scores(logits: np.ndarray, function: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Return scores (C,) of a recording: the mean over its windows of ``function`` applied to their logits (W, C)."""
    return pool(function(logits.astype(np.float64))).astype(np.float32)
