"""The application: routes, what OpenAPI says of them, and errors as one line of JSON."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.cors import CORSMiddleware

from earmark import __version__
from earmark.serve import openapi
from earmark.serve.gate import DEFECT, NOTES, Gate
from earmark.serve.lifecycle import Lifecycle
from earmark.serve.metrics import CONTENT_TYPE, Metrics
from earmark.serve.page import add_page
from earmark.serve.service import Service
from earmark.serve.stream import Streams


def build_app(
    service: Service,
    streams: Streams,
    lifecycle: Lifecycle,
    metrics: Metrics,
    *,
    token: str | None,
    cors_origins: list[str],
) -> Any:
    """The ASGI application.

    Args:
        service: answers.
        streams: answers as sound is recorded.
        lifecycle: whether the server drains.
        metrics: what ``/metrics`` shows.
        token: bearer token that clients must send; ``None`` for none.
        cors_origins: origins whose pages may ask from a browser.
    """
    app = FastAPI(
        title="earmark",
        version=__version__,
        description="Labels for recordings.",
        docs_url=None,  # these pages load their scripts from elsewhere
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(AnyHTTPException, _error)
    app.add_exception_handler(Exception, _defect)
    _add_routes(app, service, lifecycle, metrics)
    app.add_api_websocket_route("/v1/stream", streams.serve)
    add_page(app)
    gated: Any = Gate(app, token, lifecycle, metrics)
    if not cors_origins:
        return gated
    return CORSMiddleware(
        gated,
        allow_origins=cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=["Authorization", "Content-Type"],
    )


def _add_routes(app: FastAPI, service: Service, lifecycle: Lifecycle, metrics: Metrics) -> None:
    @app.post("/v1/classify", **openapi.CLASSIFY)
    async def classify(request: Request) -> Response:
        return JSONResponse(await service.classify(request))

    @app.post("/v1/timeline", **openapi.TIMELINE)
    async def timeline(request: Request) -> Response:
        return JSONResponse(await service.timeline(request))

    @app.get("/v1/model", **openapi.MODEL)
    async def model() -> Response:
        return JSONResponse(service.model())

    @app.get("/healthz", summary="Whether the process is alive", responses=openapi.STATUS)
    async def healthz() -> Response:
        return JSONResponse({"status": "ok"})

    @app.get("/readyz", summary="Whether requests are taken", responses=openapi.STATUS | openapi.errors(503))
    async def readyz() -> Response:
        if lifecycle.draining:
            raise HTTPException(503, "this server is about to stop")
        if not service.batcher.is_alive:
            raise HTTPException(503, "the thread that owns the model has died: start the server anew")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Figures for Prometheus", response_class=Response)
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)


async def _error(request: Request, exc: Exception) -> Response:
    assert isinstance(exc, AnyHTTPException)
    if exc.status_code != 404:
        request.scope[NOTES]["error"] = str(exc.detail)
    return JSONResponse({"error": str(exc.detail)}, exc.status_code, headers=dict(exc.headers or {}))


async def _defect(request: Request, exc: Exception) -> Response:
    """What the client hears; the exception goes on to the gate, which logs it."""
    return JSONResponse({"error": DEFECT}, 500)
