from __future__ import annotations

import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from earmark.augment_options import AugmentPreviewOptions
from earmark.cli.main import main
from earmark.train.preview import preview
from earmark.train.spectrogram_png import grid, log_mel, picture, png
from tests.browser import needs_browser, opened
from tests.tiny import RATE_HZ, tone
from tests.train.small import build, make_trainer, usable, write_clips


def pixels(data: bytes) -> np.ndarray:
    """uint8 (H, W, 3) of a PNG file as this project writes them, its checksums tested."""
    at, blocks = 8, {}
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + length]
        assert struct.unpack(">I", data[at + 8 + length : at + 12 + length])[0] == zlib.crc32(kind + body)
        blocks[kind] = body
        at += 12 + length
    width, height = struct.unpack(">II", blocks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(blocks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    return lines[:, 1:].reshape(height, width, 3)


def test_a_png_holds_the_pixels() -> None:
    shown = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(png(shown)), shown)
    assert grid([[shown, shown], [shown, shown]], gap=2).shape == (12, 16, 3)


def test_a_spectrogram_is_bright_where_the_tone_is() -> None:
    for frequency_hz, half in ((300, slice(64, 128)), (5000, slice(0, 64))):  # low at the bottom
        energies = log_mel(tone(frequency_hz, 0.5), RATE_HZ)
        image = picture(energies, float(energies.max())).astype(int).sum(axis=(1, 2))
        assert image[half].max() == image.max()
        assert image.argmax() in range(*half.indices(128))


def test_the_preview_is_what_training_hears(tmp_path: Path) -> None:
    data = write_clips(tmp_path / "clips", [0.3] * 8)
    kinds = "shift:1,gain:1,spec:1"
    options = AugmentPreviewOptions(
        data_dir=str(data), augment=kinds, output_dir=str(tmp_path / "out"), num_clips=3, num_variants=2, seed=11
    )
    shown = preview(options)
    assert [len(versions) for versions in shown.versions] == [3, 3, 3]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[-2:] == ["preview.html", "spectrograms.png"]
    assert len(names) == 11
    assert pixels((tmp_path / "out" / "spectrograms.png").read_bytes()).shape == (3 * 134 - 6, 3 * 246 - 6, 3)

    trainer = make_trainer(build("tc_resnet", length_s=0.3), usable(data), tmp_path / "run", augment=kinds, seed=11)
    trainer.train_dataset.set_epoch(1)
    trained = trainer.train_dataset.__getitems__([0])["samples"][0]
    heard, rate_hz = soundfile.read(tmp_path / "out" / "clip1_after2.wav", dtype="float32")
    assert rate_hz == RATE_HZ
    torch.testing.assert_close(torch.from_numpy(heard), trained, rtol=0, atol=1e-6)
    assert re.fullmatch(r"moved [+-]\d+ ms; gain [+-][\d.]+ dB; hidden: .*", shown.versions[0][2].words)


@needs_browser
def test_the_page_shows_and_plays_in_a_browser(tmp_path: Path, browser: Any) -> None:
    data = write_clips(tmp_path / "clips", [0.3] * 4)
    (data / "train" / "low").rename(data / "train" / "<script>alert(1)<")
    (data / "validation" / "low").rename(data / "validation" / "<script>alert(1)<")
    flags = ["--augment", "mixup:1,speed:1", "--output_dir", str(tmp_path / "out"), "--num_clips", "2"]
    assert main(["augment-preview", str(data), *flags]) == 0
    with opened(browser, tmp_path / "out" / "preview.html") as page:
        assert page.locator("h2").count() == 2
        assert page.locator("figure").count() == 8
        assert "<script>alert(1)<" in page.locator("h2").first.inner_text()
        widths = page.eval_on_selector_all("img", "images => images.map(image => image.naturalWidth)")
        assert widths == [240] * 8
        seconds = page.evaluate(
            "() => new Promise(done => { const sound = document.querySelectorAll('audio')[1];"
            " sound.onloadedmetadata = () => done(sound.duration); sound.onerror = () => done(-1); sound.load(); })"
        )
        assert seconds == pytest.approx(0.3, abs=0.05)
    text = (tmp_path / "out" / "preview.html").read_text()
    content = json.loads(re.findall(r'id="data">(.*?)</script>', text, flags=re.S)[0])
    assert content["clips"][0]["versions"][1]["words"].startswith("played ")


def test_recordings_without_labels_can_be_heard_too(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / "tapes").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "tapes" / f"{i}.wav", tone(300 + 400 * i, 0.3, seed=i), RATE_HZ)
    folder = str(tmp_path / "out")
    shown = preview(AugmentPreviewOptions(data_dir=str(tmp_path / "tapes"), augment="mixup:1", output_dir=folder))
    assert len(shown.versions) == 3
    assert re.fullmatch(r"[01]\.\d\d of it, [01]\.\d\d of [012]\.wav", shown.versions[0][1].words)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--output_dir", "x"], "nothing to show: add --augment"),
        (["--augment", "gain"], "where to? add --output_dir"),
        (["--augment", "gain", "--output_dir", "x", "--num_clips", "0"], "--num_clips 0: expected 1 to 50"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["augment-preview", str(tmp_path), *flags]) == 2
    assert says in capsys.readouterr().err
