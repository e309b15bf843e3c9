"""What all pages share: data that stays data."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from earmark import pages


def test_data_cannot_leave_its_element(tmp_path: Path) -> None:
    template = tmp_path / "x.html"
    template.write_text('<style>__STYLE__</style><script id="data">__DATA__</script><script>__SCRIPT__</script>')
    hostile = {"</script><b>": "__STYLE__ __SCRIPT__ \udcff 鸟"}
    html = pages.render(template, hostile)
    assert html.count("</script>") == 2
    (text,) = re.findall(r'id="data">(.*?)</script>', html, re.DOTALL)
    assert json.loads(text) == {"</script><b>": "__STYLE__ __SCRIPT__ ? 鸟"}
    assert "color-scheme" in html
    assert "function make" in html


def test_what_json_lacks_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.html").write_text("__DATA__")
    with pytest.raises(ValueError, match="JSON"):
        pages.render(tmp_path / "x.html", {"a": float("nan")})


def test_style_and_script_that_some_pages_share_stand_behind_those_of_all(tmp_path: Path) -> None:
    for name, text in (("x.html", "__STYLE__<between>__SCRIPT__"), ("a.css", ".mine {}"), ("a.js", "mine();")):
        (tmp_path / name).write_text(text)
    style, script = pages.render(tmp_path / "x.html", {}, [tmp_path / "a.css", tmp_path / "a.js"]).split("<between>")
    assert ":root" in style
    assert style.endswith(".mine {}")
    assert script.endswith("mine();")
