"""The page at ``/``: what a browser gets of it.

Its files are read once, when the server starts; a client names one of them or gets 404. All that the page needs comes
from this server, and its policy forbids a browser to ask anywhere else.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import FastAPI, Response

_FOLDER = Path(__file__).parent
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
}
_FILES = {
    "/" if path.name == "index.html" else f"/page/{path.relative_to(_FOLDER).as_posix()}": path
    for path in sorted(_FOLDER.rglob("*"))
    if path.suffix in _TYPES
}
PATHS = frozenset(_FILES)

# style: wavesurfer.js puts its own into the elements that it makes; blob: is the recording, which never has an address
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data: blob:; media-src blob:; "
    "connect-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def add_page(app: FastAPI) -> None:
    """Add the page's routes to an application."""
    for path, file in _FILES.items():
        answer = Response(file.read_bytes(), media_type=_TYPES[file.suffix], headers=_HEADERS)
        app.add_api_route(path, _giver(answer), methods=["GET", "HEAD"], include_in_schema=False)


def _giver(answer: Response) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return answer

    return give
