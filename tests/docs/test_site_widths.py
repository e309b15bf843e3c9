"""No page of the built documentation is wider than the window, on a phone and a desktop. ``scripts/docs`` builds it."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..browser import chromium, needs_browser

ROOT = Path(__file__).parents[2]
SITE = ROOT / "build" / "docs"
PHONE, DESKTOP = 390, 1280
# text, tables, pictures and code right of the window that no box around them scrolls to
CUT = """() => {
  const width = document.documentElement.clientWidth, right = (one) => one.getBoundingClientRect().right;
  const scrolls = (one) => one && (["auto", "scroll"].includes(getComputedStyle(one).overflowX)
    && right(one) <= width + 1 || scrolls(one.parentElement));
  return [...document.querySelectorAll("article :is(a, code, dt, h1, h2, h3, img, li, p, pre, table, td)")]
    .filter((one) => right(one) > width + 1 && !scrolls(one.parentElement)).map((one) => one.outerHTML.slice(0, 120));
}"""


@pytest.mark.slow
@needs_browser
@pytest.mark.skipif(not (SITE / "index.html").exists(), reason="build/docs is missing: run scripts/docs")
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_no_page_is_wider_than_the_window(width: int) -> None:
    pages = [path for path in sorted(SITE.rglob("*.html")) if "_static" not in path.parts]
    wide: dict[str, object] = {}
    with chromium() as browser:
        page = browser.new_page(viewport={"width": width, "height": 844})
        for path in pages:
            page.goto(path.as_uri())
            cut = page.evaluate(CUT)
            if cut or page.evaluate("document.documentElement.scrollWidth") > width:
                wide[str(path.relative_to(SITE))] = cut[:3]
    assert not wide


@needs_browser
def test_a_wide_table_scrolls_in_its_box(tmp_path: Path) -> None:
    cells = "".join(f"<td><code class=docutils><span class=pre>a_long_name_{i}</span></code></td>" for i in range(9))
    table = f"<table class=docutils><tr>{cells}</tr></table>"
    (tmp_path / "page.html").write_text(
        f"<link rel=stylesheet href={(ROOT / 'docs' / 'static' / 'earmark.css').as_uri()}>"
        f"<article><div class=table-wrapper>{table}</div></article>"
    )
    with chromium() as browser:
        page = browser.new_page(viewport={"width": PHONE, "height": 844})
        page.goto((tmp_path / "page.html").as_uri())
        assert page.evaluate(CUT) == []
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE
        assert page.locator("table").evaluate("one => one.scrollWidth") > PHONE
