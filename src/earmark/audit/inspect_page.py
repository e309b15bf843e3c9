"""Write the page of an inspection: one file that works offline, with players for examples of each finding."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from earmark import pages
from earmark.audio.excerpts import excerpt
from earmark.audit.clip_findings import Audited, ClipFinding
from earmark.audit.level_checks import decibels

_EXAMPLES = 6  # per finding: with 3 s at 8 kB/s and fifteen kinds of findings, the page stays below 3 MB
_BINS = 40
_TEMPLATE = Path(__file__).with_name("inspect.html")


def render(content: dict[str, Any], audited: Audited, findings: Sequence[ClipFinding]) -> str:
    """Return the page as HTML.

    Args:
        content: content of ``inspect.json``.
        audited: the clips.
        findings: the findings.
    """
    shown = [
        {**finding, "examples": [_example(audited, found, at) for at in range(min(_EXAMPLES, len(found.rows)))]}
        for finding, found in zip(content["findings"], findings, strict=True)
    ]
    data = {**content, "findings": shown, "plots": _plots(audited)}
    return pages.render(_TEMPLATE, data)


def _example(audited: Audited, finding: ClipFinding, at: int) -> dict[str, object]:
    row = finding.rows[at]
    clip = audited.table[row]
    sound = excerpt(clip)
    return {
        "path": clip.name,
        "split": audited.splits[row],
        "label": clip.label_text,
        "detail": finding.details[at] if finding.details else "",
        "uri": sound.uri,
        "outline": sound.outline,
        "seconds": sound.seconds,
        "whole": sound.whole,
    }


def _plots(audited: Audited) -> list[dict[str, object]]:
    measures = audited.measures
    readable = measures.readable
    columns = (
        ("Length", measures.duration_s[readable], "length (s)"),
        ("Level (root mean square)", decibels(measures.rms[readable]).clip(-100, 0), "level (dB, 0 = full scale)"),
        ("Peak", decibels(measures.peak[readable]).clip(-100, 0), "peak (dB, 0 = full scale)"),
    )
    return [_histogram(title, values, name) for title, values, name in columns if len(values)]


def _histogram(title: str, values: np.ndarray, name: str) -> dict[str, object]:
    """Count values (N,) in at most 42 bins with round edges; ``name`` labels the axis with its unit."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    step = pages.round_step((high - low) / _BINS)
    first, last = math.floor(low / step), math.ceil(high / step)
    if values.min() >= 0:
        first = max(first, 0)  # lengths are not negative
    edges = step * np.arange(first, last + 1)
    counts, _ = np.histogram(values.clip(edges[0], edges[-1]), edges)
    return {"title": title, "name": name, "low": float(edges[0]), "high": float(edges[-1]), "counts": counts.tolist()}
