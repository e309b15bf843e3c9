"""What makes reports of many clips cheap to write."""

from __future__ import annotations

from typing import Any

import pytest

from earmark.audio.excerpts import Excerpt, excerpt
from earmark.clips.clip import Clip


@pytest.fixture
def encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode each recording once, for a test whose clips all have the same one."""
    known: dict[str, Excerpt] = {}

    def known_excerpt(clip: Clip, **how: Any) -> Excerpt:
        if clip.path not in known:
            known[clip.path] = excerpt(clip, **how)
        return known[clip.path]

    monkeypatch.setattr("earmark.report.examples.excerpt", known_excerpt)
