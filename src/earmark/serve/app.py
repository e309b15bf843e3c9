"""The ASGI application: routes, their OpenAPI schema, and errors as one line of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.middleware.cors import CORSMiddleware

from earmark import __version__
from earmark.http.gate import Gate
from earmark.http.lifecycle import Lifecycle
from earmark.http.origins import check_origins
from earmark.http.refusal import defect_response, http_error_response
from earmark.serve import openapi
from earmark.serve.access import Access
from earmark.serve.page import add_page, check_frame_ancestors
from earmark.serve.requests import Requests, no_route
from earmark.serve.server_metrics import CONTENT_TYPE, ServerMetrics
from earmark.serve.service import Service
from earmark.serve.stream import Streams


def build_app(
    service: Service,
    streams: Streams,
    lifecycle: Lifecycle,
    metrics: ServerMetrics,
    *,
    token: str | None,
    cors_origins: Sequence[str] = (),
    frame_ancestors: Sequence[str] = (),
) -> object:
    """Return the ASGI application.

    Args:
        service: handles requests with recordings.
        streams: handles streams.
        lifecycle: state of the server.
        metrics: metrics for ``/metrics``.
        token: bearer token that clients must send; ``None`` for no token.
        cors_origins: origins whose pages may use the server.
        frame_ancestors: sites that may show the page in a frame.

    Raises:
        UsageError: an origin or site is invalid.
    """
    origins = check_origins(cors_origins)
    access = Access(token, origins)
    app = FastAPI(
        title="earmark",
        version=__version__,
        description="Labels for recordings.",
        docs_url=None,  # these pages load scripts from other servers
        redoc_url=None,
        redirect_slashes=False,
    )
    app.add_exception_handler(AnyHTTPException, _http_error)
    app.add_exception_handler(Exception, defect_response)
    _add_routes(app, service, lifecycle, metrics)
    _add_stream(app, streams, access)
    add_page(app, check_frame_ancestors(frame_ancestors))
    openapi.complete_schema(app, has_token=token is not None)
    requests = Requests(access, lifecycle, metrics)
    gated: Any = Gate(app, lifecycle, requests.check, requests.record)
    if not origins:
        return gated
    return _Cors(
        gated,
        allow_origins=origins,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["Authorization", "Content-Type"],
        expose_headers=["Retry-After", "X-Request-Id"],
    )


class _Cors(CORSMiddleware):
    """CORS middleware that refuses preflight requests with JSON, like every other error."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Respond to a preflight request."""
        response = super().preflight_response(request_headers)
        if response.status_code < 400:
            return response
        kept = {key: value for key, value in response.headers.items() if not key.startswith("content-")}
        return JSONResponse({"error": bytes(response.body).decode()}, response.status_code, headers=kept)


def _add_routes(app: FastAPI, service: Service, lifecycle: Lifecycle, metrics: ServerMetrics) -> None:
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

    @app.get("/readyz", summary="Whether the server accepts requests", responses=openapi.STATUS | openapi.errors(503))
    async def readyz() -> Response:
        if lifecycle.draining:
            raise HTTPException(503, "the server is stopping. Try again in a second")
        if not service.batcher.is_alive:
            raise HTTPException(503, "the thread that owns the model has died. Restart the server.")
        return JSONResponse({"status": "ready"})

    @app.get("/metrics", summary="Metrics for Prometheus", response_class=Response, responses=openapi.errors(401))
    async def show_metrics() -> Response:
        return Response(metrics.text(), media_type=CONTENT_TYPE)


def _add_stream(app: FastAPI, streams: Streams, access: Access) -> None:
    app.add_api_websocket_route("/v1/stream", streams.serve)

    @app.get("/v1/stream", **openapi.STREAM)
    async def stream() -> Response:
        raise HTTPException(426, "open a WebSocket here", headers={"Upgrade": "websocket", "Connection": "Upgrade"})

    @app.post("/v1/stream-ticket", **openapi.STREAM_TICKET)
    async def stream_ticket() -> Response:
        answer = {"ticket": access.tickets.issue(), "expires_in_s": access.tickets.lifetime_s}
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})


async def _http_error(request: Request, exc: Exception) -> Response:
    if isinstance(exc, AnyHTTPException) and exc.status_code == 404:
        exc = AnyHTTPException(404, no_route(request.scope["path"]))
    return await http_error_response(request, exc)
