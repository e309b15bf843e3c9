"""``earmark serve``: bind the address, load the model, listen, and drain at the end."""

from __future__ import annotations

import gc
import logging
import os
import socket
from collections.abc import Callable

from earmark import extras
from earmark.errors import UsageError
from earmark.http.listen import bind, listen, page_address
from earmark.settings.serving_flags import ServeOptions

logger = logging.getLogger(__name__)

_TOKEN_VARIABLE = "EARMARK_SERVE_TOKEN"
_SHORTEST_TOKEN = 16
_LAST_BYTES_S = 2  # wait at shutdown for responses that clients have not read yet


def serve(options: ServeOptions, greet: Callable[[str], None] = lambda address: None) -> None:
    """Serve over HTTP until SIGTERM or SIGINT.

    Args:
        options: model, address and limits.
        greet: called with the URL of the page when the server listens.

    Raises:
        UsageError: the server cannot listen on the address, or must not do so without a token.
        MissingExtraError: the packages of the extra are not installed.
        ModelError: the model does not exist.
    """
    for module in ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "websockets"):
        extras.require(module)
    token = read_token(options.auth_token_file)
    check_address(options, token)
    _check_browser_names(options)
    with bind(options.host, options.port, _address_flags(options)) as listener:
        _run(options, token, listener, greet)


def read_token(file: str | None) -> str | None:
    """Return the bearer token from a file or the environment; ``None`` if neither is given.

    Raises:
        UsageError: the file cannot be read, or the token is too short.
    """
    source = f"--auth_token_file {file}" if file is not None else _TOKEN_VARIABLE
    if file is None:
        token = os.environ.get(_TOKEN_VARIABLE)
        if token is None:
            return None
    else:
        try:
            with open(file, encoding="utf-8") as lines:
                token = lines.readline()
        except (OSError, UnicodeDecodeError) as exc:
            reason = getattr(exc, "strerror", None) or exc
            raise UsageError(f"{source}: cannot be read ({reason}). Fix the file") from exc
    token = token.strip()
    if not token and file is None:  # probably $(cat FILE) of a missing file, so do not serve without a token
        raise UsageError(f"{source} is empty. Unset it to serve without a token, or set it to one.")
    if len(token) < _SHORTEST_TOKEN or not token.isascii() or not token.isprintable() or " " in token:
        raise UsageError(f"{source}: invalid token. Use at least {_SHORTEST_TOKEN} letters and digits, without spaces")
    return token


def _check_browser_names(options: ServeOptions) -> None:
    """Reject names that browsers do not send or understand, before loading the model."""
    from earmark.http.origins import check_origins
    from earmark.serve.page import check_frame_ancestors

    check_origins(options.cors_origins or [])
    check_frame_ancestors(options.frame_ancestors or [])


def check_address(options: ServeOptions, token: str | None) -> None:
    """Refuse to listen on a public address without a token.

    Raises:
        UsageError: other machines can reach the address, and there is no token.
    """
    from earmark.http.origins import is_loopback

    if token is None and not options.allow_public_without_token and not is_loopback(options.host):
        raise UsageError(
            f"--host {options.host}: other machines could reach it without a token. Set {_TOKEN_VARIABLE} or "
            "--auth_token_file, or add --allow_public_without_token"
        )


def _address_flags(options: ServeOptions) -> str:
    return f"--host {options.host} --port {options.port}"


def _run(options: ServeOptions, token: str | None, listener: socket.socket, greet: Callable[[str], None]) -> None:
    from earmark.export.load_export import load_any
    from earmark.http.lifecycle import Lifecycle, make_server
    from earmark.models.model_source import model_source
    from earmark.predict.background_warning import lacks_background, warn_of_windows
    from earmark.predict.classifier import Classifier
    from earmark.serve.app import build_app
    from earmark.serve.logs import use_json_logs
    from earmark.serve.server_metrics import ServerMetrics
    from earmark.serve.service import Service
    from earmark.serve.stream import Streams
    from earmark.serve.websocket import MAX_MESSAGE_BYTES, StreamProtocol

    use_json_logs()
    classifier = Classifier(
        load_any(model_source(options)),
        device=options.device,
        batch_size=options.batch_size,
        precision=options.precision,
    )
    metrics, lifecycle = ServerMetrics(), Lifecycle(options.drain_timeout_seconds)
    service = Service(classifier, options, metrics)
    metrics.watch(lambda: lifecycle.in_flight, lambda: service.batcher.num_waiting)
    service.warm_up()
    streams = Streams(classifier, service.batcher, options, lifecycle)
    gc.collect()
    gc.freeze()  # keeps the garbage collector from scanning loaded objects, which blocks responses for 0.2 s
    app = build_app(
        service,
        streams,
        lifecycle,
        metrics,
        token=token,
        cors_origins=options.cors_origins or [],
        frame_ancestors=options.frame_ancestors or [],
    )
    server = make_server(
        app,
        lifecycle,
        header_timeout_s=options.read_timeout_seconds,
        max_connections=options.max_connections,
        last_bytes_s=_LAST_BYTES_S,
        ws=StreamProtocol,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # a few bytes can decompress to very many
        timeout_keep_alive=options.keep_alive_seconds,
    )
    listen(listener, _address_flags(options))
    host, port = listener.getsockname()[:2]
    fields = {"host": host, "port": port, "labels": len(classifier.labels), "token": token is not None}
    logger.info("listening", extra={"fields": fields})  # programs read the port from this line
    greet(page_address(host, port))
    if lacks_background(classifier.task, classifier.decision, classifier.background_class):
        logger.warning("%s", warn_of_windows("/v1/timeline and /v1/stream", classifier.labels))
    server.run(sockets=[listener])
    streams.close()
    service.close()
    logger.info("stopped")
