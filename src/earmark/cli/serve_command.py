"""``earmark serve``."""

from __future__ import annotations

import sys

from earmark.cli.command import Command, HelpPage
from earmark.settings.serving_flags import ServeOptions


def _serve(options: ServeOptions) -> None:
    from earmark.serve.start_server import serve

    serve(options, greet=_greet)


def _greet(address: str) -> None:
    """Show a person the address of the page. Programs read the JSON lines on standard output."""
    if sys.stderr.isatty():
        print(f"open    {address}\nstop    Ctrl-C", file=sys.stderr)


_PAGE = HelpPage(
    summary="serve a model over HTTP, with a page to record and label recordings",
    usage="""
earmark serve MODEL [flags]
MODEL is a run folder, a model folder, an export or a hub name""",
    groups={"serving": "serving", "model": "loading the model"},
    notes="""
/ is the page. POST /v1/classify and /v1/timeline (long recordings) take the bytes of a recording, a form with a
file, or JSON with the recording in base64 (Hugging Face's form); WS /v1/stream takes audio while it is recorded.
Other paths: /healthz, /readyz, /metrics, /openapi.json""",
    examples="""
earmark serve runs/first
curl --data-binary @a.wav http://127.0.0.1:8000/v1/classify?top_k=3
EARMARK_SERVE_TOKEN=$(cat token) earmark serve runs/first --host 0.0.0.0""",
)
COMMAND = Command("serve", _serve, (ServeOptions,), _PAGE, words=("model_name_or_path",))
