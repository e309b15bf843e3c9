"""Pages of other origins in a real Chromium: streams with a token, and the page in a frame."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import needs_browser
from tests.loopback import QuietHandler, serving
from tests.patience import PATIENCE_S
from tests.serve.conftest import Server, Start

TOKEN = "a+token/of=letters-and-digits-0123456789"

# opens a stream, sends a second of samples and waits for the end: the rows and what the close event says
STREAM = """async ([url, subprotocols, messages]) => new Promise((resolve) => {
  const socket = new WebSocket(url, subprotocols);
  const rows = [];
  socket.onopen = () => messages.forEach((one) => socket.send(typeof one === "number" ? new Uint8Array(one) : one));
  socket.onmessage = (event) => rows.push(JSON.parse(event.data));
  socket.onclose = (event) => resolve({ rows, code: event.code, reason: event.reason, protocol: socket.protocol });
})"""
BEARER = """(token) => "earmark.bearer." + btoa(token).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")"""
TICKET = """async ([url, token]) => {
  const headers = { Authorization: `Bearer ${token}` };
  const response = await fetch(`${url}/v1/stream-ticket`, { method: "POST", headers });
  return (await response.json()).ticket;
}"""
SECOND: list[Any] = [32_000, "end"]


class Site(QuietHandler):
    """A page with a frame."""

    def do_GET(self) -> None:
        """Send the page; the address of the frame is behind the question mark."""
        address = self.path.partition("?")[2]
        self.send(200, f'<!doctype html><iframe src="{address}"></iframe>'.encode(), "text/html")


@pytest.fixture(scope="module")
def sites() -> Iterator[tuple[str, str]]:
    """Origins of two other sites: one that the server allows, one that it does not."""
    with serving(Site) as allowed, serving(Site) as other:
        yield allowed, other


@pytest.fixture(scope="module")
def guarded(start: Start, sites: tuple[str, str]) -> Server:
    return start("--cors_origins", sites[0], "--frame_ancestors", sites[0], token=TOKEN)


@pytest.fixture
def page(browser: Any) -> Iterator[Any]:
    context = browser.new_context()
    opened = context.new_page()
    opened.set_default_timeout(1000 * PATIENCE_S)
    yield opened
    context.close()


@needs_browser
def test_a_stream_with_a_token(page: Any, guarded: Server, sites: tuple[str, str]) -> None:
    stream = f"ws://127.0.0.1:{guarded.port}/v1/stream"
    page.goto(sites[0])
    with_token = ["earmark", page.evaluate(BEARER, TOKEN)]
    answer = page.evaluate(STREAM, [stream, with_token, SECOND])
    assert (answer["code"], answer["protocol"], len(answer["rows"])) == (1000, "earmark", 1)
    assert answer["rows"][0]["end_s"] == 1.0
    ticket = page.evaluate(TICKET, [guarded.url, TOKEN])
    answers = [page.evaluate(STREAM, [f"{stream}?ticket={ticket}", [], SECOND]) for _ in range(2)]
    assert [(answer["code"], len(answer["rows"])) for answer in answers] == [(1000, 1), (1006, 0)]  # once
    for subprotocols in ([], ["earmark"], ["earmark", page.evaluate(BEARER, TOKEN[:-1])]):
        assert page.evaluate(STREAM, [stream, subprotocols, SECOND])["code"] == 1006
    page.goto(sites[1])  # another origin with the right token
    assert page.evaluate(STREAM, [stream, with_token, SECOND])["code"] == 1006
    with pytest.raises(Exception, match="Failed to fetch"):
        page.evaluate(TICKET, [guarded.url, TOKEN])
    page.goto(guarded.url)  # the server's own origin
    assert page.evaluate(STREAM, [stream, with_token, SECOND])["code"] == 1000
    assert TOKEN not in guarded.log.read_text()
    assert ticket not in guarded.log.read_text()


@needs_browser
def test_a_message_that_is_too_large_is_told_to_the_page(page: Any, guarded: Server, sites: tuple[str, str]) -> None:
    page.goto(sites[0])
    with_token = ["earmark", page.evaluate(BEARER, TOKEN)]
    for size in (2_000_000, 8_000_000):
        answer = page.evaluate(STREAM, [f"ws://127.0.0.1:{guarded.port}/v1/stream", with_token, [size]])
        assert answer["code"] == 1009
        assert "limit" in answer["reason"]
        assert "larger than 1048576 bytes" in answer["rows"][-1]["error"]


@needs_browser
def test_only_named_sites_show_the_page_in_a_frame(
    page: Any, guarded: Server, server: Server, sites: tuple[str, str]
) -> None:
    for site, shown, is_allowed in (
        (sites[0], guarded, True),
        (sites[1], guarded, False),
        (sites[0], server, False),  # no site is named
    ):
        refusals: list[str] = []
        page.on("console", lambda line, found=refusals: found.append(line.text))
        page.goto(f"{site}/?{shown.url}/", wait_until="load")
        frame = page.frames[1]
        assert (frame.locator("#pick, #record").count() > 0) == is_allowed
        assert any("frame-ancestors" in text for text in refusals) != is_allowed
