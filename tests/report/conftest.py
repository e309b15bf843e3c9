"""The report of a module, opened; and what makes reports of many clips cheap to write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from earmark.audio.excerpts import Excerpt, excerpt
from earmark.clips.clip import Clip
from tests.browser import opened


@pytest.fixture
def encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode each recording once, for a test whose clips all have the same one."""
    known: dict[str, Excerpt] = {}

    def known_excerpt(clip: Clip, **how: Any) -> Excerpt:
        if clip.path not in known:
            known[clip.path] = excerpt(clip, **how)
        return known[clip.path]

    monkeypatch.setattr("earmark.report.examples.excerpt", known_excerpt)


@pytest.fixture
def page(browser: Any, report: Path) -> Iterator[Any]:
    """A page of the file that the module's fixture ``report`` has written."""
    with opened(browser, report) as page:
        yield page
