"""Metrics for Prometheus, in their own registry."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class ServerMetrics:
    """Counters of the server. Labels have few values: routes and status codes, never client data."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self._requests = Counter("earmark_requests", "Requests answered", ["route", "status"], registry=self._registry)
        self._seconds = Histogram(
            "earmark_request_seconds",
            "From a request's headers to its response",
            ["route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._audio_s = Counter("earmark_audio_seconds", "Audio processed", registry=self._registry)
        self._batch = Histogram("earmark_batch_windows", "Windows per batch", buckets=_WINDOWS, registry=self._registry)
        self._batch_seconds = Histogram(
            "earmark_batch_seconds", "Time in the model per batch", buckets=_SECONDS, registry=self._registry
        )
        self._in_flight = Gauge("earmark_in_flight", "Requests in flight", registry=self._registry)
        self._waiting = Gauge("earmark_windows_waiting", "Windows waiting for a batch", registry=self._registry)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a finished request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def audio(self, seconds: float) -> None:
        """Count processed audio."""
        self._audio_s.inc(seconds)

    def batch(self, windows: int, seconds: float) -> None:
        """Count a batch."""
        self._batch.observe(windows)
        self._batch_seconds.observe(seconds)

    def watch(self, in_flight: Callable[[], float], waiting: Callable[[], float]) -> None:
        """Set the functions that return the number of requests in flight and of waiting windows."""
        self._in_flight.set_function(in_flight)
        self._waiting.set_function(waiting)

    def text(self) -> bytes:
        """Return the metrics in Prometheus' text format."""
        return generate_latest(self._registry)
