"""``/v1/stream``: samples come over a WebSocket as they are recorded, the answer of each window goes back at once.

Client to server: binary messages of PCM samples, one channel; the text ``end`` when there are no more. The other way:
one JSON text a window, ``{"start_s", "end_s", "scores"}``; or ``{"error"}`` and the end. Who may open a stream is in
:mod:`earmark.serve.access`.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import soxr
from fastapi import HTTPException, WebSocket
from fastapi.responses import JSONResponse
from starlette.websockets import WebSocketDisconnect

from earmark.audio.samples import FULL_SCALE_LIMIT, as_floats
from earmark.formats.segments import Window
from earmark.http.lifecycle import Lifecycle
from earmark.predict.classifier import Classifier
from earmark.scoring.windows import Windowing
from earmark.serve.access import SUBPROTOCOL, Access
from earmark.serve.batching import Batcher
from earmark.serve.forms import Question, single_settings
from earmark.serve.openapi import STREAM_SETTINGS
from earmark.serve.read_body import busy
from earmark.serve.timelines import read_windowing, window_row
from earmark.settings.serving_flags import ServeOptions

_ENCODINGS: dict[str, np.dtype[Any]] = {"s16le": np.dtype("<i2"), "f32le": np.dtype("<f4")}
_RATES_HZ = (4_000, 192_000)
_LOOK_UP_S = 0.25  # how often a stream that hears nothing looks whether the server stops
_LOOK_AGAIN_S = 0.005  # and one that waits for room
_BLOCKS_AHEAD = 8  # messages that may wait for the model; then the client has to
# WebSocket close codes (RFC 6455, section 7.4.1)
_DONE, _GOING_AWAY, _POLICY = 1000, 1001, 1008


class _GivenUpError(Exception):
    """The client has gone, or may not go on."""


class Streams:
    """All streams of a server.

    Args:
        classifier: for its labels, rate and windows.
        batcher: scores; windows of all streams and requests share batches.
        options: limits.
        lifecycle: streams end where they are when the server stops.
    """

    def __init__(self, classifier: Classifier, batcher: Batcher, options: ServeOptions, lifecycle: Lifecycle) -> None:
        self._classifier = classifier
        self._batcher = batcher
        self._lifecycle = lifecycle
        self._silence_s = options.read_timeout_seconds
        self._max_s = options.max_timeline_seconds
        self._max_streams = options.max_streams
        self._num_open = 0
        self._threads = ThreadPoolExecutor(options.max_streams, thread_name_prefix="stream")

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(cancel_futures=True)

    async def serve(self, socket: WebSocket) -> None:
        """Answer one stream until its end."""
        try:
            if self._num_open >= self._max_streams:
                raise busy(f"{self._max_streams} streams are open")
            Access.refuse_lone_token(socket.scope)
            stream = _Stream(socket, self._classifier, self._batcher, self._max_s)
        except HTTPException as exc:
            await socket.send_denial_response(
                JSONResponse({"error": exc.detail}, exc.status_code, headers=dict(exc.headers or {}))
            )
            return
        self._num_open += 1
        try:
            offered = socket.scope.get("subprotocols") or ()
            await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
            await self._converse(socket, stream)
        except WebSocketDisconnect:
            pass  # the client has gone; there is nobody to tell
        finally:
            self._num_open -= 1

    async def _converse(self, socket: WebSocket, stream: _Stream) -> None:
        hearing = stream.hearing = asyncio.get_running_loop().run_in_executor(self._threads, stream.hear)
        code, error = _DONE, None
        try:
            code = await self._listen(socket, stream)
        except HTTPException as exc:
            code, error = _POLICY, exc.detail
            stream.given_up.set()
        except BaseException:
            stream.given_up.set()
            raise
        finally:
            await stream.put(None)
            await asyncio.wait({hearing})
        hearing.result()
        if error is not None:
            await socket.send_json({"error": error})
        await socket.close(code)

    async def _listen(self, socket: WebSocket, stream: _Stream) -> int:
        """Take messages until the client or the server wants to end; the code to close with."""
        receive = asyncio.ensure_future(socket.receive())
        heard_s = time.monotonic()
        try:
            while True:
                await asyncio.wait({receive}, timeout=_LOOK_UP_S)
                if self._lifecycle.draining:
                    return _GOING_AWAY
                if not receive.done():
                    if time.monotonic() - heard_s > self._silence_s:
                        raise HTTPException(408, f"no samples for {self._silence_s:g} s")
                    continue
                message = receive.result()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message.get("code", _DONE))
                if message.get("text") is not None:
                    if message["text"] != "end":
                        raise HTTPException(400, "expected binary messages of samples, or the text: end")
                    return _DONE
                await stream.take(message["bytes"])
                heard_s = time.monotonic()
                receive = asyncio.ensure_future(socket.receive())
        finally:
            receive.cancel()


class _Stream:
    """One stream: samples in, windows out.

    Attributes:
        hearing: the thread that takes samples.
        given_up: set when no more answers are wanted.

    Raises:
        HTTPException: 400, settings that cannot be.
    """

    def __init__(self, socket: WebSocket, classifier: Classifier, batcher: Batcher, max_s: float) -> None:
        question = Question(b"", single_settings(socket.query_params.multi_items()))
        question.refuse_unknown(STREAM_SETTINGS)
        encoding = socket.query_params.get("encoding", "s16le")
        rate_hz = question.number("sampling_rate") or classifier.sampling_rate_hz
        if encoding not in _ENCODINGS:
            raise HTTPException(400, f"encoding: expected {', '.join(_ENCODINGS)}")
        if rate_hz != int(rate_hz) or not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
            raise HTTPException(400, f"sampling_rate: expected a whole number from {_RATES_HZ[0]} to {_RATES_HZ[1]}")
        self._socket = socket
        self._classifier = classifier
        self._batcher = batcher
        self._top_k = question.top_k()
        self._windowing: Windowing = read_windowing(question, classifier)
        self._type = _ENCODINGS[encoding]
        self._rate_hz = int(rate_hz)
        self._max_samples = max_s * rate_hz
        self._max_s = max_s
        self._num_samples = 0
        self._loop = asyncio.get_running_loop()
        self.hearing: asyncio.Future[None] = self._loop.create_future()
        self._blocks: asyncio.Queue[np.ndarray | None] = asyncio.Queue(_BLOCKS_AHEAD)
        self.given_up = threading.Event()

    async def take(self, data: bytes) -> None:
        """Queue samples; waits where the model is behind.

        Raises:
            HTTPException: they are no samples, or too many.
        """
        if len(data) % self._type.itemsize:
            raise HTTPException(400, f"a message of {len(data)} bytes does not hold whole samples")
        samples = as_floats(np.frombuffer(data, self._type), "stream").astype(np.float32)
        if not (np.abs(samples) <= FULL_SCALE_LIMIT).all():
            raise HTTPException(400, f"samples are NaN or above {FULL_SCALE_LIMIT:g} times full scale")
        self._num_samples += len(samples)
        if self._num_samples > self._max_samples:
            raise HTTPException(413, f"longer than {self._max_s:g} s, the most that is taken")
        if len(samples):
            await self.put(samples)

    async def put(self, block: np.ndarray | None) -> None:
        """Queue samples, or their end, as long as there is a thread that takes them."""
        while self._blocks.full() and not self.hearing.done():
            await asyncio.sleep(_LOOK_AGAIN_S)
        if not self.hearing.done():
            self._blocks.put_nowait(block)

    def hear(self) -> None:
        """Cut, score and answer, in a thread of its own, until the samples end."""
        rate_hz = self._classifier.sampling_rate_hz
        try:
            for start, samples in self._windowing.cut(self._at_rate()):
                if not len(samples):
                    return  # a stream that ended before it began
                logits = self._batcher.submit([samples]).result()
                window = Window(
                    start / rate_hz, (start + len(samples)) / rate_hz, self._classifier.task.scores(logits[0])
                )
                self._send(window_row(window, self._classifier, self._top_k))
        except _GivenUpError:
            return

    def _at_rate(self) -> Iterator[np.ndarray]:
        to_hz = self._classifier.sampling_rate_hz
        resampler = None
        if self._rate_hz != to_hz:
            resampler = soxr.ResampleStream(self._rate_hz, to_hz, 1, dtype="float32", quality="HQ")
        while (block := self._in_loop(self._blocks.get())) is not None:
            if self.given_up.is_set():
                raise _GivenUpError
            yield block if resampler is None else resampler.resample_chunk(block)
        if self.given_up.is_set():
            raise _GivenUpError
        if resampler is not None:
            yield resampler.resample_chunk(np.empty(0, np.float32), last=True)

    def _send(self, row: dict[str, object]) -> None:
        try:
            self._in_loop(self._socket.send_json(row))
        except (WebSocketDisconnect, RuntimeError) as exc:  # RuntimeError: the socket is closed already
            self.given_up.set()
            raise _GivenUpError from exc

    def _in_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
