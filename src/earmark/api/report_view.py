"""A report page that a notebook shows in a frame."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

_HEIGHT_PX = 640
_MOST_BYTES = 30_000_000  # a notebook keeps the page in its file


@dataclass(frozen=True)
class Report:
    """A report, shown in notebooks as the page that it is.

    Attributes:
        path: the HTML file, which needs no network and no other files.
    """

    path: Path

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def _repr_html_(self) -> str:
        if not self.path.is_file():
            return f"<p>{escape(str(self.path))}: no report. Train or evaluate with report=True.</p>"
        size = self.path.stat().st_size
        if size > _MOST_BYTES:
            return (
                f"<p>{escape(str(self.path))}: {size / 1e6:.0f} MB, which is too large for a notebook. "
                "Open the file in a browser.</p>"
            )
        page = escape(self.path.read_text(encoding="utf-8"), quote=True)
        return (
            f'<iframe srcdoc="{page}" width="100%" height="{_HEIGHT_PX}" '
            'sandbox="allow-scripts" style="border: 1px solid #8884"></iframe>'
        )
