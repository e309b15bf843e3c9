"""Pages in a real, headless browser."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")

# what a screen reader has no name for
NAMELESS = """() => [...document.querySelectorAll("button, select, audio, canvas, [role=img]")].filter((one) =>
  !one.textContent.trim() && !one.getAttribute("aria-label") && !one.labels?.length).map((one) => one.outerHTML)"""
# red, green, blue and alpha of a canvas; of a copy, because Chromium warns of a second reading
PIXELS = """canvas => { const copy = new OffscreenCanvas(canvas.width, canvas.height).getContext("2d");
  copy.drawImage(canvas, 0, 0);
  return copy.getImageData(0, 0, canvas.width, canvas.height).data; }"""
# the first bright column of a spectrogram, from 0 to 1; below 0 for none
ONSET = f"""canvas => {{ const data = ({PIXELS})(canvas), width = canvas.width, columns = Array(width).fill(0);
  for (let i = 0; i < data.length; i += 4) columns[i / 4 % width] = Math.max(columns[i / 4 % width], data[i + 1]);
  return columns.findIndex((one) => one > 200) / width; }}"""
# headings that skip a level, ids that are there twice
MUDDLED = """() => {
  const levels = [...document.querySelectorAll("h1, h2, h3")].map((one) => Number(one.tagName[1]));
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  return [...levels.filter((level, i) => level > (levels[i - 1] ?? 0) + 1),
    ...ids.filter((id, i) => ids.indexOf(id) < i)];
}"""


@contextmanager
def chromium() -> Iterator[Any]:
    """A browser with a microphone that beeps."""
    sync_api = pytest.importorskip("playwright.sync_api")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    flags += ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    with sync_api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=BROWSER, args=flags)
        yield started
        started.close()


def settled(page: Any) -> Any:
    """The page, once it has been laid out and resampled: what observes sizes has run by then."""
    page.evaluate("() => new Promise((drawn) => requestAnimationFrame(() => requestAnimationFrame(drawn)))")
    return page


def watch(page: Any, *own: str, console: str = "") -> list[str]:
    """Return a list that gets faults of a page's script, requests to elsewhere, and lines in its console.

    Args:
        page: page to watch.
        own: beginnings of the addresses that it may request.
        console: text in the lines to list.
    """
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on("console", lambda line: faults.append(line.text) if console in line.text else None)
    page.on("request", lambda one: faults.append(one.url) if not one.url.startswith(own) else None)
    return faults


@contextmanager
def opened(browser: Any, path: Path, width: int = 360) -> Iterator[Any]:
    """A page, opened. Faults of its script, lines in its console and requests to elsewhere fail the test."""
    view = {"width": width, "height": 800}
    page = browser.new_page(viewport=view, reduced_motion="reduce")  # a page still scrolling has no places
    faults = watch(page, "file:", "data:")
    page.goto(path.as_uri())
    yield page
    page.close()
    assert not faults, faults


def bright_height(frame: Any) -> float:
    """Height of the brightest row of a spectrogram, from 0 at the bottom to 1 at the top."""
    found: float = frame.locator("canvas").first.evaluate(
        f"""canvas => {{ const data = ({PIXELS})(canvas), width = canvas.width;
        const rows = Array(canvas.height).fill(0);
        for (let i = 0; i < data.length; i += 4) rows[Math.floor(i / 4 / width)] += data[i] + data[i + 1];
        return 1 - (rows.indexOf(Math.max(...rows)) + .5) / canvas.height; }}"""
    )
    return found


def tick_at(frame: Any, axis: str, text: str) -> float:
    """Place of a tick of a framed picture along its plot, as drawn: from 0 at the left or bottom to 1.

    Both boxes are read in one step: the page may still be scrolling.
    """
    found: float = frame.evaluate(
        """(frame, [axis, text]) => {
        const plot = frame.querySelector(".plot").getBoundingClientRect();
        const ticks = [...frame.querySelectorAll(`.axis.${axis} i`)];
        const box = ticks.find((one) => one.textContent.trim() === text).getBoundingClientRect();
        return axis === "x" ? (box.x + box.width / 2 - plot.x) / plot.width
          : 1 - (box.y + box.height / 2 - plot.y) / plot.height; }""",
        [axis, text],
    )
    return found
