"""``/v1/stream``: samples arrive over a WebSocket while they are recorded, and each window's result is sent at once.

The client sends binary messages of PCM samples, one channel, and the text ``end`` at the end. The server sends one JSON
text per window, ``{"start_s", "end_s", "scores"}``, or ``{"error"}`` before it closes. :mod:`earmark.serve.access`
decides who may open a stream.
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
_LOOK_UP_S = 0.25  # how often a silent stream checks whether the server is stopping
_LOOK_AGAIN_S = 0.005  # how often a stream with a full queue checks for room
_BLOCKS_AHEAD = 8  # messages in a stream's queue; after that the client has to wait
# WebSocket close codes (RFC 6455, section 7.4.1)
_DONE, _GOING_AWAY, _POLICY = 1000, 1001, 1008


class _GivenUpError(Exception):
    """The client disconnected, or the stream was stopped."""


class Streams:
    """All streams of a server.

    Args:
        classifier: provides labels, sampling rate and windows.
        batcher: scores windows; all streams and requests share batches.
        options: limits.
        lifecycle: state of the server; streams end at once when it stops.
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
        """Stop the threads."""
        self._threads.shutdown(cancel_futures=True)

    async def serve(self, socket: WebSocket) -> None:
        """Handle one stream until its end."""
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
            pass  # the client disconnected
        finally:
            self._num_open -= 1

    async def _converse(self, socket: WebSocket, stream: _Stream) -> None:
        processing = stream.processing = asyncio.get_running_loop().run_in_executor(self._threads, stream.run)
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
            await asyncio.wait({processing})
        processing.result()
        if error is not None:
            await socket.send_json({"error": error})
        await socket.close(code)

    async def _listen(self, socket: WebSocket, stream: _Stream) -> int:
        """Receive messages until the client or the server ends the stream. Return the close code."""
        receive = asyncio.ensure_future(socket.receive())
        heard_s = time.monotonic()
        try:
            while True:
                await asyncio.wait({receive}, timeout=_LOOK_UP_S)
                if self._lifecycle.draining:
                    return _GOING_AWAY
                if not receive.done():
                    if time.monotonic() - heard_s > self._silence_s:
                        raise HTTPException(408, f"no samples for {self._silence_s:g} s. Send faster")
                    continue
                message = receive.result()
                if message["type"] == "websocket.disconnect":
                    raise WebSocketDisconnect(message.get("code", _DONE))
                if message.get("text") is not None:
                    if message["text"] != "end":
                        raise HTTPException(400, "unknown message. Send binary samples, or the text: end")
                    return _DONE
                await stream.take(message["bytes"])
                heard_s = time.monotonic()
                receive = asyncio.ensure_future(socket.receive())
        finally:
            receive.cancel()


class _Stream:
    """One stream: samples in, results of windows out.

    Attributes:
        processing: future of the thread that processes samples.
        given_up: set when the results are no longer needed.

    Raises:
        HTTPException: 400, invalid settings.
    """

    def __init__(self, socket: WebSocket, classifier: Classifier, batcher: Batcher, max_s: float) -> None:
        question = Question(b"", single_settings(socket.query_params.multi_items()))
        question.refuse_unknown(STREAM_SETTINGS)
        encoding = socket.query_params.get("encoding", "s16le")
        given_hz = question.number("sampling_rate")
        rate_hz = classifier.sampling_rate_hz if given_hz is None else given_hz
        if encoding not in _ENCODINGS:
            raise HTTPException(400, f"encoding: unknown encoding. Use one of {', '.join(_ENCODINGS)}")
        if rate_hz != int(rate_hz) or not _RATES_HZ[0] <= rate_hz <= _RATES_HZ[1]:
            raise HTTPException(400, f"sampling_rate: invalid rate. Use {_RATES_HZ[0]} to {_RATES_HZ[1]}")
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
        self.processing: asyncio.Future[None] = self._loop.create_future()
        self._blocks: asyncio.Queue[np.ndarray | None] = asyncio.Queue(_BLOCKS_AHEAD)
        self.given_up = threading.Event()

    async def take(self, data: bytes) -> None:
        """Queue samples. Wait while the queue is full.

        Raises:
            HTTPException: the samples are invalid, or too many.
        """
        if len(data) % self._type.itemsize:
            raise HTTPException(400, f"a message of {len(data)} bytes has a partial sample. Send whole samples")
        samples = as_floats(np.frombuffer(data, self._type), "stream").astype(np.float32)
        if not (np.abs(samples) <= FULL_SCALE_LIMIT).all():
            raise HTTPException(
                400, f"NaN or more than {FULL_SCALE_LIMIT:g} times full scale. Scale the samples to -1 to 1"
            )
        self._num_samples += len(samples)
        if self._num_samples > self._max_samples:
            raise HTTPException(413, f"longer than {self._max_s:g} s. Open a new stream")
        if len(samples):
            await self.put(samples)

    async def put(self, block: np.ndarray | None) -> None:
        """Queue samples, or the end marker, while the processing thread is running."""
        while self._blocks.full() and not self.processing.done():
            await asyncio.sleep(_LOOK_AGAIN_S)
        if not self.processing.done():
            self._blocks.put_nowait(block)

    def run(self) -> None:
        """Cut, score and send results, in a separate thread, until the samples end."""
        rate_hz = self._classifier.sampling_rate_hz
        try:
            for start, samples in self._windowing.cut(self._at_rate()):
                if not len(samples):
                    return  # the stream ended without samples
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
        except (WebSocketDisconnect, RuntimeError) as exc:  # RuntimeError: the socket is already closed
            self.given_up.set()
            raise _GivenUpError from exc

    def _in_loop(self, coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()
