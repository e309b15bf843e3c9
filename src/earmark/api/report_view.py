"""Show a report page in a notebook."""

from __future__ import annotations

import os
from dataclasses import dataclass
from html import escape
from pathlib import Path

_HEIGHT_PX = 640
_MOST_BYTES = 30_000_000  # limits the size of the notebook's file, which contains the page


@dataclass(frozen=True)
class Report:
    """A report page, which notebooks show in a frame.

    Attributes:
        path: the HTML file, which works offline and needs no other files.
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
