"""Render pages that are one file and work offline, from a template, shared styles and scripts, and data."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent
AXES = tuple(_HERE / f"axes{suffix}" for suffix in (".css", ".js"))  # the server's page also uses them


def render(template: Path, data: object, shared: Sequence[Path] = ()) -> str:
    """Return a template with its data as HTML.

    Args:
        template: HTML with ``__HEAD__``, ``__STYLE__`` and ``__SCRIPT__`` for the parts that all pages have, and
            ``__DATA__`` in a script element of the type ``application/json``.
        data: JSON values.
        shared: additional styles (``.css``) and scripts (``.js``), inserted after the common ones, and parts
            (``.html``): ``my_part.html`` replaces ``__MY_PART__``.
    """
    # Escape "<", so that no label or file name can end the script element.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    text = text.encode("utf-8", "replace").decode()  # file names may be invalid UTF-8
    page = template.read_text(encoding="utf-8")
    for part in (_HERE / "head.html", *(file for file in shared if file.suffix == ".html")):
        page = page.replace(f"__{part.stem.upper()}__", part.read_text(encoding="utf-8").rstrip("\n"))
    for mark, suffix in (("__STYLE__", ".css"), ("__SCRIPT__", ".js")):
        files = [file for file in (*AXES, _HERE / f"common{suffix}", *shared) if file.suffix == suffix]
        page = page.replace(mark, "\n".join(file.read_text(encoding="utf-8").rstrip("\n") for file in files))
    return page.replace("__DATA__", text)  # last, so that placeholders inside the data are not replaced


def round_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is at least ``least``, for round ticks."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= least * (1 - 1e-9))
