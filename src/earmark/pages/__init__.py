"""Pages that are one file and need no network: a template, the style and script they share, and their data."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path

_HERE = Path(__file__).parent
AXES = tuple(_HERE / f"axes{suffix}" for suffix in (".css", ".js"))  # which the page of the server has too


def render(template: Path, data: object, shared: Sequence[Path] = ()) -> str:
    """A template with its data, as HTML.

    Args:
        template: HTML with ``__HEAD__``, ``__STYLE__`` and ``__SCRIPT__`` where what all pages share goes, and
            ``__DATA__`` in a script element of the type ``application/json``.
        data: JSON values.
        shared: style (``.css``) and script (``.js``) that some pages share, put behind those of all, and parts
            (``.html``) that go where they are named: ``my_part.html`` in place of ``__MY_PART__``.
    """
    # "<" cannot end the script element, whatever labels and file names hold
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    text = text.encode("utf-8", "replace").decode()  # file names that are no UTF-8
    page = template.read_text(encoding="utf-8")
    for part in (_HERE / "head.html", *(file for file in shared if file.suffix == ".html")):
        page = page.replace(f"__{part.stem.upper()}__", part.read_text(encoding="utf-8").rstrip("\n"))
    for mark, suffix in (("__STYLE__", ".css"), ("__SCRIPT__", ".js")):
        files = [file for file in (*AXES, _HERE / f"common{suffix}", *shared) if file.suffix == suffix]
        page = page.replace(mark, "\n".join(file.read_text(encoding="utf-8").rstrip("\n") for file in files))
    return page.replace("__DATA__", text)  # last, so that a mark inside the data stays what it is


def round_step(least: float) -> float:
    """Return the smallest of 1, 2 and 5 times a power of ten that is at least ``least``, for round ticks."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(times * power for times in (1, 2, 5, 10) if times * power >= least * (1 - 1e-9))
