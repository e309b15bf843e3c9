"""The labelling page in a real browser."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import soundfile

from tests.browser import bright_height, needs_browser, tick_at
from tests.label.conftest import IDLE, Open, Start, decided
from tests.tiny import RATE_HZ, tone

pytestmark = needs_browser


def press(page: Any, key: str) -> None:
    """Press a key and wait for the next clip, or for the end."""
    before = page.inner_text("#path")
    page.keyboard.press(key)
    page.wait_for_function(
        "before => document.getElementById('path').textContent !== before || !document.getElementById('done').hidden",
        arg=before,
    )
    page.wait_for_selector(IDLE)


def shown(page: Any) -> str:
    """File name of the clip at hand."""
    return Path(page.inner_text("#path")).name


def choices(page: Any) -> list[str]:
    return page.locator("#choices button span:not(.n)").all_inner_texts()


def test_keys_label_and_the_file_has_it_at_once(start: Start, visit: Open, pool: Path) -> None:
    labelling = start(pool)
    page = visit(labelling)
    one = labelling.session.proposals[0]
    assert choices(page) == [label for label, _ in one.choices]
    assert page.inner_text("#accept") == f"Enter {one.choices[0][0]}"
    assert page.is_hidden("#cut")  # a whole recording
    assert page.inner_text("#take") == "Use this label"
    first = shown(page)
    press(page, "Enter")
    assert decided(labelling) == {first: one.choices[0][0]}
    second, third_choice = shown(page), choices(page)[2]
    press(page, "3")
    assert decided(labelling)[second] == third_choice
    assert "2 of 8 labelled, 1 of them as proposed; 0 set aside, 6 left" in page.inner_text("#counts")
    page.keyboard.press("9")  # there are three classes
    page.wait_for_timeout(100)
    assert len(decided(labelling)) == 2


def test_the_picture_has_axes_and_the_tone_is_at_its_tick(start: Start, visit: Open, tmp_path: Path) -> None:
    (tmp_path / "tones").mkdir()
    soundfile.write(tmp_path / "tones" / "a.wav", tone(1000, 2.0), RATE_HZ)
    page = visit(start(tmp_path / "tones"))
    frame = page.locator("#picture .framed")
    assert frame.locator(".axis span").all_inner_texts() == ["time (s)", "frequency (Hz)", "dB, 0 = loudest"]
    assert bright_height(frame) == pytest.approx(tick_at(frame, "y", "1k"), abs=0.02)
    assert frame.locator(".axis.x i").last.inner_text() == "2.0"
    assert tick_at(frame, "x", "2.0") == pytest.approx(1, abs=0.01)
    page.wait_for_function("() => document.getElementById('sound').readyState >= 2")
    page.evaluate("sound.pause(); sound.currentTime = 1")
    page.wait_for_function(
        """() => { const box = (one) => document.querySelector(one).getBoundingClientRect();
        return Math.abs((box("#head i").left - box(".plot").left) / box(".plot").width - .5) < .02; }"""
    )


def test_set_aside_later_and_undo(start: Start, visit: Open, pool: Path) -> None:
    labelling = start(pool)
    page = visit(labelling)
    first = shown(page)
    press(page, "n")
    second = shown(page)
    press(page, "m")
    assert f"{first},none" in labelling.aside()
    assert f"{second},several" in labelling.aside()
    assert labelling.labels() == ""
    third = shown(page)
    press(page, "s")
    assert shown(page) != third
    press(page, "u")  # the last decision, of the second clip
    assert shown(page) == second
    assert second not in labelling.aside()
    assert page.locator("#several.chosen").count() == 0
    press(page, "u")
    assert shown(page) == first
    assert labelling.aside() == ""
    assert page.is_disabled("#undo")
    for _ in range(7):
        press(page, "Enter")
    assert page.is_visible("#clip")  # the last of eight


def test_any_label_by_typing(start: Start, visit: Open, pool: Path) -> None:
    labelling = start(pool)
    page = visit(labelling)
    first = shown(page)
    page.keyboard.press("/")
    page.keyboard.type("3,u n")  # keys are letters in the box, and decide nothing
    page.keyboard.press("Escape")
    assert labelling.labels() == ""
    page.keyboard.press("/")
    page.fill("#word", "MID")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hint:has-text('The label mid exists')")
    assert labelling.labels() == ""
    before = page.inner_text("#path")
    page.click("#matches button:text-is('mid')")
    page.wait_for_function("before => document.getElementById('path').textContent !== before", arg=before)
    assert decided(labelling) == {first: "mid"}
    second = shown(page)
    page.keyboard.press("/")
    page.keyboard.type('Owl, "tawny" 梟')
    page.keyboard.press("Enter")
    page.wait_for_selector("#hint:has-text('is a new label')")
    press(page, "Enter")
    assert decided(labelling)[second] == 'Owl, "tawny" 梟'
    page.keyboard.press("/")
    page.keyboard.type("tawny")  # known from now on
    assert page.locator("#matches button").all_inner_texts() == ['Owl, "tawny" 梟']


def test_the_end_and_a_later_start(start: Start, visit: Open, pool: Path) -> None:
    labelling = start(pool)
    page = visit(labelling)
    for _ in range(8):
        press(page, "1")
    assert "labels.csv" in page.inner_text("#result")
    assert page.inner_text("#command").startswith("earmark train ")
    page.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    page.click("#copy")
    page.wait_for_function("document.getElementById('copy').textContent === 'Copied'")
    assert page.evaluate("window.copied") == page.inner_text("#command")
    page.focus("#done")
    assert page.evaluate("document.activeElement.id") == "done"
    page.click("#again")
    page.wait_for_selector("#choices .chosen")
    page.reload()  # the tab keeps its token
    page.wait_for_selector("#done:not([hidden])")
    again = visit(start(pool))
    assert again.is_visible("#done")
    assert "8 of 8 labelled" in again.inner_text("#counts")


def test_arrows_and_a_label_that_is_changed(start: Start, visit: Open, pool: Path) -> None:
    labelling = start(pool)
    page = visit(labelling)
    first = shown(page)
    press(page, "1")
    press(page, "ArrowLeft")
    assert shown(page) == first
    assert page.locator("#choices .chosen").count() == 1
    assert page.get_attribute("#choices .chosen button", "aria-pressed") == "true"
    other = choices(page)[1]
    press(page, "2")
    assert decided(labelling) == {first: other}


def test_two_pages(start: Start, visit: Open, pool: Path) -> None:
    labelling = start(pool)
    one, other = visit(labelling), visit(labelling)
    first, label = shown(one), choices(one)[0]
    press(one, "1")
    other.keyboard.press("2")
    other.wait_for_selector("#error:has-text('somebody else has labelled')")
    assert decided(labelling) == {first: label}
    assert shown(other) == first
    assert other.locator("#choices .chosen span:not(.n)").inner_text() == label  # what the other page said
    second = choices(other)[1]
    press(other, "2")  # and now it is meant
    assert decided(labelling)[first] == second


def test_sound_plays_and_stops(start: Start, visit: Open, pool: Path) -> None:
    labelling = start(pool)
    page = visit(labelling)
    page.uncheck("#auto")
    page.focus("#clip")
    page.wait_for_function("() => document.getElementById('sound').readyState >= 2")
    page.evaluate("sound.pause(); sound.loop = true")  # it may have begun by itself
    page.keyboard.press(" ")
    page.wait_for_function("() => !sound.paused && sound.currentTime > 0")
    page.keyboard.press(" ")
    page.wait_for_function("() => sound.paused")
    page.check("#auto")
    page.focus("#clip")
    page.evaluate("sound.onplaying = () => { window.heard = true; }")
    press(page, "ArrowRight")
    page.wait_for_function("() => window.heard === true")


def test_a_clip_at_a_time_is_held(start: Start, visit: Open, tmp_path: Path) -> None:
    """However many there are, the page has one clip's elements and the sound of a few."""
    folder = tmp_path / "many"
    folder.mkdir()
    for i in range(60):
        soundfile.write(folder / f"{i:02}.wav", tone(200 + 30 * i, 0.1, seed=i), RATE_HZ)
    labelling = start(folder)
    page = visit(labelling)
    before = page.evaluate("document.querySelectorAll('*').length")
    for _ in range(12):
        press(page, "1")
    assert page.evaluate("document.querySelectorAll('*').length") <= before + 3
    assert page.evaluate("pages.size") <= 3


def test_names_and_labels_are_text(start: Start, visit: Open, tmp_path: Path) -> None:
    folder = tmp_path / "<b>"
    folder.mkdir()
    soundfile.write(folder / "<img src=x onerror=alert(1)>.wav", tone(300, 0.2), RATE_HZ)
    labelling = start(folder)
    page = visit(labelling)
    assert shown(page) == "<img src=x onerror=alert(1)>.wav"
    page.keyboard.press("/")
    page.keyboard.type("<script>")
    page.keyboard.press("Enter")
    page.wait_for_selector("#hint:has-text('<script> is a new label')")
    page.keyboard.press("Enter")
    page.wait_for_selector("#done:not([hidden])")
    assert list(decided(labelling).values()) == ["<script>"]
    assert page.locator("main img, header img").count() == 0


def test_labels_that_are_checked(start: Start, visit: Open, tmp_path: Path) -> None:
    for i, name in enumerate(("low", "high", "owl")):
        (tmp_path / "data" / name).mkdir(parents=True)
        soundfile.write(tmp_path / "data" / name / f"{i}.wav", tone(300 + 900 * i, 0.3, seed=i), RATE_HZ)
    labelling = start(tmp_path / "data", check=True)
    page = visit(labelling)
    assert len(decided(labelling)) == 3
    assert shown(page) == "2.wav"  # of a class that the model does not have
    assert page.inner_text("#keep") == "g keep owl"
    assert "a class that the model does not have" in page.inner_text("#why")
    press(page, "g")
    second, label = shown(page), choices(page)[0]
    press(page, "Enter")
    assert decided(labelling)["2.wav"] == "owl"
    assert decided(labelling)[second] == label
    press(page, "n")
    assert len(decided(labelling)) == 2
    assert page.is_visible("#done")


def test_a_clip_that_is_part_of_a_recording_shows_where_and_gets_no_note_about_long_recordings(
    start: Start, visit: Open, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    soundfile.write(tmp_path / "long.wav", tone(300, 70), RATE_HZ)
    rows = ["path,start,end,label", "long.wav,1.5,2.25,owl", "long.wav,61.5,67,high"]  # of a model of 1 s
    (tmp_path / "parts.csv").write_text("\n".join(rows) + "\n")
    page = visit(start(tmp_path / "parts.csv", check=True))
    assert page.inner_text("#cut") == "1.5 s to 2.25 s of the recording"
    page.keyboard.press("ArrowRight")
    page.wait_for_selector("#cut:has-text('1:01.5 to 1:07 of the recording')")
    assert page.evaluate("[clock(3725.5), clock(59.5), clock(60)]") == ["1:02:05.5", "59.5 s", "1:00"]
    assert "longer than" not in caplog.text


def test_a_server_that_is_gone_and_an_address_of_before(start: Start, visit: Open, pool: Path) -> None:
    labelling = start(pool)
    page = visit(labelling)
    first = page.inner_text("#path")
    page.context.set_offline(True)
    page.keyboard.press("1")
    page.wait_for_selector("#error:has-text('does not respond. Start')")
    assert page.inner_text("#path") == first  # nothing is passed over as if it were done
    page.context.set_offline(False)
    press(page, "1")
    assert page.inner_text("#error") == ""
    page.evaluate("sessionStorage.setItem('token', 'of-before')")
    page.reload()
    page.wait_for_selector("#error:has-text('Open the address that the terminal shows')")
    page.goto(labelling.address)  # in the same tab, where nothing but the part behind # is new
    page.wait_for_selector("#picture canvas")


def test_keyboard_and_screen_reader(start: Start, visit: Open, pool: Path) -> None:
    page = visit(start(pool))
    names = page.evaluate(
        "[...document.querySelectorAll('main button, main input, main audio, main canvas')]"
        ".filter((one) => !one.hidden)"
        ".map((one) => one.ariaLabel || one.textContent.trim() || one.labels?.[0]?.textContent)"
    )
    assert all(names)
    assert page.inner_text("#status").startswith("1 of 8, proposed ")
    reached = set()
    page.focus("#clip")
    for _ in range(26):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"sound", "BUTTON", "accept", "word", "take", "none", "several", "skip", "back", "on", "auto"} <= reached
    page.focus("#skip")
    press(page, "Enter")  # a button in focus is pressed; nothing is accepted
    assert "0 of 8 labelled" in page.inner_text("#counts")
    assert page.evaluate("document.activeElement.id") == "clip"  # so that Enter is the next clip's again


def test_a_phone_in_the_dark(start: Start, visit: Open, pool: Path) -> None:
    page = visit(start(pool), viewport={"width": 360, "height": 700}, color_scheme="dark", has_touch=True)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 24, 30)"
    before = page.inner_text("#path")
    page.tap("#choices li:nth-child(2) button")
    page.wait_for_function("before => document.getElementById('path').textContent !== before", arg=before)
    assert "1 of 8 labelled" in page.inner_text("#counts")
