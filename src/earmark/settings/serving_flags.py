"""The settings of ``earmark serve``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from earmark.settings.flags import COUNT, above, flag, within
from earmark.settings.model_flags import TrainedModelArguments
from earmark.settings.run_flags import DEVICE_HELP

_SECONDS = above(0, "a number of seconds")
PORT = within(0, 65535, "0 to 65535")


@dataclass
class ServeOptions(TrainedModelArguments, page="serving"):
    """Settings of ``earmark serve``: a checkpoint, the address to listen on, and the limits of requests.

    Raises:
        UsageError: no checkpoint is named, or a number is out of range.
    """

    REQUIRED = ("model_name_or_path",)
    MISSING = "no model. Name its folder first: earmark serve MODEL."

    host: str = flag("127.0.0.1", "Address to listen on; one that other machines can reach needs a token.")
    port: int = flag(8000, "Port to listen on; 0 takes a free one, which the first log line names.", check=PORT)
    auth_token_file: str | None = flag(
        None, "File whose first line clients must send as bearer token (or set EARMARK_SERVE_TOKEN)."
    )
    allow_public_without_token: bool = flag(
        False, "Listen on an address that other machines can reach, without a token."
    )
    cors_origins: list[str] | None = flag(
        None, "Origins whose pages may send requests from a browser, e.g. https://a.example (default: none)."
    )
    frame_ancestors: list[str] | None = flag(
        None, "Sites that may show the page in an iframe, e.g. self https://a.example (default: none)."
    )
    batch_size: int = flag(32, "Windows per batch.", check=COUNT)
    batch_delay_ms: float = flag(
        5.0,
        "How long a window waits for other windows to share its batch, in milliseconds.",
        check=within(0, 1000, "0 to 1000"),
    )
    precision: Literal["fp32", "bf16", "fp16"] = flag("fp32", "Number format of the computation.")
    device: str = flag("auto", f"Device: {DEVICE_HELP}")
    num_workers: int = flag(2, "Threads that decode recordings.", check=COUNT)
    max_body_mb: float = flag(
        25.0, "Largest request body, in megabytes; larger ones are cut off and refused (413).", check=above(0)
    )
    max_seconds: float = flag(300.0, "Longest recording, in seconds; decoding stops there (413).", check=above(0))
    max_timeline_seconds: float = flag(
        3600.0,
        "Longest recording, in seconds, for /v1/timeline and /v1/stream, which work window by window.",
        check=above(0),
    )
    decode_timeout_seconds: float = flag(
        10.0, "Longest time for decoding one recording, in seconds (422).", check=_SECONDS
    )
    queue_size: int = flag(128, "Requests that may wait for an answer; more get 429.", check=COUNT)
    read_timeout_seconds: float = flag(
        10.0, "Longest pause of a client that is sending, in seconds (408).", check=_SECONDS
    )
    body_timeout_seconds: float = flag(60.0, "Longest time for receiving a request, in seconds (408).", check=_SECONDS)
    answer_timeout_seconds: float = flag(
        60.0, "Longest time for an answer once a request has arrived, in seconds (503).", check=_SECONDS
    )
    keep_alive_seconds: float = flag(
        5.0,
        "How long an idle connection stays open, in seconds; behind a proxy, use more than the proxy's own limit.",
        check=above(0),
    )
    max_connections: int = flag(512, "Open connections; more are refused (503).", check=COUNT)
    max_streams: int = flag(16, "Open streams at /v1/stream, each with a thread; more get 429.", check=COUNT)
    drain_timeout_seconds: float = flag(
        30.0, "How long requests in progress may take to finish after SIGTERM, in seconds.", check=_SECONDS
    )
