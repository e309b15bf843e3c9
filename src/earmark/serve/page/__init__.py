"""The page at ``/``: its files and their HTTP headers.

The files are read once, when the server starts. Other paths give status 404. Everything the page needs comes
from this server, and the content security policy forbids requests to other servers.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from fastapi import FastAPI, Response

from earmark.errors import UsageError
from earmark.pages import AXES

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
_FILES |= {f"/page/{path.name}": path for path in AXES}
PATHS = frozenset(_FILES)

# style: wavesurfer.js adds inline styles to its elements; blob: is the recording, which has no URL
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src data: blob:; media-src blob:; "
    "connect-src 'self' blob:; base-uri 'none'; form-action 'none'; frame-ancestors "
)
# a frame source of a content security policy: a scheme, or a host with an optional scheme and port
_ANCESTOR = re.compile(
    r"https?:|(https?://)?(\*\.)?[A-Za-z0-9.-]+(:(\d{1,5}|\*))?|https?://\[[0-9A-Fa-f:.]+\](:\d{1,5})?"
)
_HEADERS = {
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


def check_frame_ancestors(names: Sequence[str]) -> list[str]:
    """Return sources for ``frame-ancestors`` in the syntax of a content security policy.

    Raises:
        UsageError: a name is not a valid source.
    """
    sources = []
    for name in names:
        word = name.strip("'")
        if word in ("self", "none"):
            sources.append(f"'{word}'")
        elif name == "*" or _ANCESTOR.fullmatch(name.removesuffix("/")):
            sources.append(name.removesuffix("/"))
        else:
            raise UsageError(
                f"--frame_ancestors {name}: not a source. Write self, an origin such as https://a.example, "
                "https://*.a.example, or *."
            )
    if len(sources) > 1 and "'none'" in sources:
        raise UsageError("--frame_ancestors none: it excludes all others. Remove none, or the others.")
    return sources


def add_page(app: FastAPI, frame_ancestors: Sequence[str] = ()) -> None:
    """Add the page's routes to an application.

    Args:
        app: the application.
        frame_ancestors: sources of pages that may show the page in a frame; none if empty.
    """
    headers = _HEADERS | {"Content-Security-Policy": _POLICY + (" ".join(frame_ancestors) or "'none'")}
    for path, file in _FILES.items():
        answer = Response(file.read_bytes(), media_type=_TYPES[file.suffix], headers=headers)
        app.add_api_route(path, _giver(answer), methods=["GET"], include_in_schema=False)


def _giver(answer: Response) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return answer

    return give
