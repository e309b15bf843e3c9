"""The labelling page for several labels, in a real browser."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import Any

import pytest
import torch

from earmark.clips.columns import Columns
from earmark.models.build_model import ModelSource, build_for_training
from earmark.sources.manifests import load_manifest
from earmark.tasks import MULTI_LABEL
from tests.browser import needs_browser
from tests.label.conftest import IDLE, Open, Start, decided
from tests.label.test_page import press, shown
from tests.tiny import overrides

pytestmark = needs_browser

LABELS = ["bark", "rain", "speech"]


def save_tagger(folder: Path, labels: list[str]) -> Path:
    """A random wav2vec2 of several labels whose probabilities differ from clip to clip."""
    torch.manual_seed(0)
    source = ModelSource(model_type="wav2vec2", config_overrides=overrides("wav2vec2"))
    audio = build_for_training(source, labels, 1.0, 1.0, MULTI_LABEL)
    with torch.no_grad():
        audio.model.classifier.weight *= 300
    audio.save(folder)
    return folder


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tagger(tmp_path_factory.mktemp("tagger"), LABELS)


def marked(page: Any) -> list[str]:
    names = page.locator("#choices [aria-pressed=true] span:not(.n)").all_inner_texts()
    return names + page.locator("#more button").all_inner_texts()


def test_keys_mark_labels_and_enter_confirms_them(start: Start, visit: Open, pool: Path, tagger: Path) -> None:
    labelling = start(pool, model_name_or_path=str(tagger))
    page = visit(labelling)
    one = labelling.session.proposals[0]
    assert page.locator("#choices button span:not(.n)").all_inner_texts() == LABELS  # keys stay the same
    assert page.is_hidden("#several")
    assert page.inner_text("#take") == "Add this label"
    assert marked(page) == list(one.proposed[1])  # type: ignore[index]
    first, proposed = shown(page), set(one.proposed[1])  # type: ignore[index]
    page.keyboard.press("1")
    page.keyboard.press("3")
    wanted = sorted(proposed ^ {"bark", "speech"})
    assert marked(page) == wanted
    assert page.inner_text("#accept") == f"Enter {', '.join(wanted) or 'none of the labels'}"
    assert labelling.labels() == ""  # nothing is decided yet
    press(page, "Enter")
    assert decided(labelling) == {first: ",".join(wanted)}
    second = shown(page)
    press(page, "n")  # none of the labels: a row, and not set aside
    assert decided(labelling)[second] == ""
    assert labelling.aside() == ""
    third = shown(page)
    press(page, "x")
    assert f"{third},unclear" in labelling.aside()
    assert third not in decided(labelling)
    fourth = shown(page)
    press(page, "s")
    assert fourth not in decided(labelling)  # not decided: no row
    assert "2 of 8 labelled" in page.inner_text("#counts")
    assert "1 set aside, 5 left" in page.inner_text("#counts")
    table = load_manifest(labelling.folder / "labels.csv", Columns(task=MULTI_LABEL))
    assert {Path(clip.source).name: clip.label for clip in table} == {first: tuple(wanted), second: ()}


def test_undo_going_back_and_a_later_start(start: Start, visit: Open, pool: Path, tagger: Path) -> None:
    labelling = start(pool, model_name_or_path=str(tagger))
    page = visit(labelling)
    first = shown(page)
    page.keyboard.press("n")
    page.wait_for_selector(IDLE)
    press(page, "ArrowLeft")
    assert shown(page) == first
    assert page.get_attribute("#none", "class") == "chosen"
    assert marked(page) == []
    page.keyboard.press("2")
    press(page, "Enter")
    assert decided(labelling) == {first: "rain"}
    press(page, "u")
    assert decided(labelling) == {first: ""}
    press(page, "ArrowRight")
    press(page, "u")
    assert decided(labelling) == {}
    page.keyboard.press("2") if "rain" not in marked(page) else None
    wanted = marked(page)
    press(page, "Enter")
    again = start(pool, model_name_or_path=str(tagger))
    other = visit(again)
    assert shown(other) != first
    assert "1 of 8 labelled" in other.inner_text("#counts")
    press(other, "ArrowLeft")
    assert marked(other) == wanted


def test_any_label_by_typing_and_by_mouse(start: Start, visit: Open, pool: Path, tagger: Path) -> None:
    labelling = start(pool, model_name_or_path=str(tagger))
    page = visit(labelling)
    first = shown(page)
    for name in marked(page):
        page.click(f"#choices button:has-text('{name}')")  # unmark by mouse
    assert marked(page) == []
    page.keyboard.press("/")
    page.keyboard.type("owl, tawny")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hint:has-text('is a new label')")
    page.keyboard.press("Enter")
    assert marked(page) == ["owl, tawny"]
    assert labelling.labels() == ""  # typed, and not yet confirmed
    page.click("#choices button:has-text('rain')")
    press(page, "Enter")  # confirms, and does not press the button that was clicked
    assert decided(labelling) == {first: '["owl, tawny", "rain"]'}
    page.keyboard.press("/")
    page.keyboard.type("tawny")
    assert page.locator("#matches button").all_inner_texts() == ["owl, tawny"]  # known from now on


def test_two_pages(start: Start, visit: Open, pool: Path, tagger: Path) -> None:
    labelling = start(pool, model_name_or_path=str(tagger))
    one, other = visit(labelling), visit(labelling)
    press(one, "n")
    other.keyboard.press("1")
    other.keyboard.press("2")
    other.keyboard.press("Enter")
    other.wait_for_selector("#error:has-text('somebody else has decided that the clip has no labels')")
    assert list(decided(labelling).values()) == [""]


def test_labels_that_are_checked(start: Start, visit: Open, pool: Path, tagger: Path, tmp_path: Path) -> None:
    rows = ["path,label", 'pool/0.wav,"bark,owl"', "pool/2.wav,", "pool/4.wav,speech"]
    (tmp_path / "given.csv").write_text("\n".join(rows) + "\n")
    labelling = start(tmp_path / "given.csv", model_name_or_path=str(tagger), check=True)
    assert decided(labelling) == {"0.wav": "bark,owl", "2.wav": "", "4.wav": "speech"}
    page = visit(labelling)
    assert shown(page) == "0.wav"  # of a label that the model does not have
    assert marked(page) == ["bark", "owl"]
    assert page.inner_text("#keep") == "g keep bark, owl"
    assert "'owl', a label that the model does not have" in page.inner_text("#why")
    page.click("#more button")
    assert marked(page) == ["bark"]
    press(page, "Enter")
    press(page, "g")
    press(page, "g")
    page.wait_for_selector("#done:not([hidden])")
    table = {row["path"].rpartition("/")[2]: row for row in csv.DictReader(io.StringIO(labelling.labels()))}
    assert {name: row["label"] for name, row in table.items()} == {"0.wav": "bark", "2.wav": "", "4.wav": "speech"}
    assert {row["checked"] for row in table.values()} == {"yes"}
    assert table["0.wav"]["given_label"] == "bark,owl"


def test_more_labels_than_keys(start: Start, visit: Open, pool: Path, tmp_path: Path) -> None:
    many = save_tagger(tmp_path / "many", [f"sound {i:02}" for i in range(30)])
    labelling = start(pool, model_name_or_path=str(many))
    page = visit(labelling)
    names = page.locator("#choices button span:not(.n)").all_inner_texts()
    assert len(names) == 9
    one = labelling.session.proposals[0]
    assert sorted(marked(page)) == list(one.proposed[1])  # type: ignore[index]  # those beyond nine are shown, too
    assert len(one.proposed[1]) > 9  # type: ignore[index,arg-type]
    first = shown(page)
    press(page, "Enter")
    assert decided(labelling)[first] == ",".join(one.proposed[1])  # type: ignore[index]


def test_keyboard_and_screen_reader(start: Start, visit: Open, pool: Path, tagger: Path) -> None:
    page = visit(start(pool, model_name_or_path=str(tagger)))
    assert page.inner_text("#status").startswith("1 of 8, proposed ")
    page.keyboard.press("2")
    assert page.inner_text("#status").startswith("rain ")
    page.focus("#choices button")
    before = page.get_attribute("#choices button", "aria-pressed")
    page.keyboard.press(" ")  # a focused button is pressed, and keeps the focus
    assert page.get_attribute("#choices button", "aria-pressed") != before
    assert page.evaluate("document.activeElement === document.querySelector('#choices button')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
