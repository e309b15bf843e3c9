from __future__ import annotations

import base64
import json
import re
import struct
import zlib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
import torch

from earmark.audio.excerpts import Spectrogram
from earmark.cli.main import main
from earmark.models.build_model import ModelSource, build_for_training
from earmark.settings.augmentation_flags import AugmentPreviewOptions
from earmark.train.mixing import mixed
from earmark.train.preview import preview
from earmark.train.spectrogram_svg import Row, colour, log_mel, png, spectrogram, svg
from tests.browser import NAMELESS, needs_browser, opened, tick_at
from tests.small_files import no_file_longer_than
from tests.tiny import ARCHITECTURES, RATE_HZ, tone
from tests.train.small import build, make_trainer, usable, write_clips

SVG = "{http://www.w3.org/2000/svg}"


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


def small_spectrogram(frequency_hz: float, seconds: float) -> Spectrogram:
    energies = log_mel(tone(frequency_hz, seconds), RATE_HZ)
    return spectrogram(energies, float(energies.max()), seconds, RATE_HZ)


@pytest.mark.parametrize("frequency_hz", [300, 1000, 5000])
def test_a_spectrogram_is_bright_where_the_tone_is(frequency_hz: float) -> None:
    found = small_spectrogram(frequency_hz, 0.5)
    assert found.levels.max() == 255
    low, high, here = (2595 * np.log10(1 + hertz / 700) for hertz in (found.low_hz, found.high_hz, frequency_hz))
    row = found.levels.mean(axis=1).argmax()  # of 64, low frequencies first
    assert (row + 0.5) / 64 == pytest.approx((here - low) / (high - low), abs=1 / 64)
    assert found.range_db == 50


def test_the_picture_has_axes_with_units_and_a_legend() -> None:
    picture = svg(
        [
            Row(
                "low <b>\x01\udcff",
                [("original", small_spectrogram(1000, 2.0)), ("epoch 1", small_spectrogram(500, 0.3))],
            )
        ]
    )
    root = ElementTree.fromstring(picture.encode())
    texts = list(root.iter(f"{SVG}text"))
    words = [text.text for text in texts]
    assert words[:7] == ["low <b>??", "original", "0.0", "0.5", "1.0", "1.5", "2.0"]
    assert words[7:17] == [*("100", "500", "1k", "2k", "5k"), "time (s)", "frequency (Hz)", "epoch 1", "0.0", "0.1"]
    assert words[-7:] == ["0", "−10", "−20", "−30", "−40", "−50", "dB, 0 = loudest"]
    image, *_ = root.iter(f"{SVG}image")
    left, top, width, height = (float(image.attrib[name]) for name in ("x", "y", "width", "height"))
    assert float(texts[6].attrib["x"]) == pytest.approx(left + width, abs=0.1)  # the end of 2 s
    points = pixels(base64.b64decode(image.attrib["href"].split(",")[1])).astype(int)
    bright = points.sum(axis=(1, 2)).argmax()
    tick = float(texts[9].attrib["y"]) - 4  # of 1 kHz; the text stands 4 below
    assert top + height * (bright + 0.5) / len(points) == pytest.approx(tick, abs=2)


def test_the_preview_is_what_training_hears(tmp_path: Path) -> None:
    data = write_clips(tmp_path / "clips", [0.3] * 8)
    kinds = "shift:1,gain:1,spec:1"
    options = AugmentPreviewOptions(
        data_dir=str(data), augment=kinds, output_dir=str(tmp_path / "out"), num_clips=3, num_variants=2, seed=11
    )
    shown = preview(options)
    assert [len(versions) for versions in shown.versions] == [3, 3, 3]
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names[-2:] == ["preview.html", "spectrograms.svg"]
    assert len(names) == 11
    picture = ElementTree.parse(tmp_path / "out" / "spectrograms.svg").getroot()
    assert len(list(picture.iter(f"{SVG}image"))) == 3 * 3 + 3  # and a legend in each row

    trainer = make_trainer(build("tc_resnet", length_s=0.3), usable(data), tmp_path / "run", augment=kinds, seed=11)
    trainer.train_dataset.set_epoch(1)
    trained = trainer.train_dataset.__getitems__([0])["samples"][0]
    heard, rate_hz = soundfile.read(tmp_path / "out" / "clip1_after2.wav", dtype="float32")
    assert rate_hz == RATE_HZ
    torch.testing.assert_close(torch.from_numpy(heard), trained, rtol=0, atol=1e-6)
    assert re.fullmatch(r"moved [+-]\d+ ms; gain [+-][\d.]+ dB; hidden: .*", shown.versions[0][2].words)


@pytest.mark.parametrize(
    ("kind", "asked_s"),
    [
        ("whisper", 0.37),
        ("whisper", None),
        ("audio-spectrogram-transformer", 0.03),
        ("wav2vec2", 0.37),
        ("tc_resnet", 0.25),
        (None, 0.37),
        (None, None),
    ],
)
def test_with_the_model_named_the_preview_is_what_it_hears(
    kind: str | None, asked_s: float | None, tmp_path: Path
) -> None:
    # nothing is known of the shortest input of a model that is not named
    data = write_clips(tmp_path / "clips", [0.02 if kind else 0.1, 0.2, 0.4, 0.45] * 2)
    settings: dict[str, Any] = {"augment": "speed:1,shift:1,mixup:0.5", "augment_speed": "0.8,1.25", "seed": 4}
    trained = kind or "wav2vec2"  # takes any length
    config = json.dumps(ARCHITECTURES[trained])
    named = {"model_type": kind, "config_overrides": config} if kind else {}
    source = ModelSource(model_type=trained, config_overrides=config)
    audio = build_for_training(source, ["high", "low"], asked_s, longest_s=0.45)
    trainer = make_trainer(audio, usable(data), tmp_path / "run", **settings)
    clips: Any = trainer.train_dataset
    where = {"data_dir": str(data), "output_dir": str(tmp_path / "out"), "max_length_seconds": asked_s}
    shown = preview(AugmentPreviewOptions(num_clips=8, num_variants=2, **where, **settings, **named))  # type: ignore[arg-type]
    rows = [0, 4, 1, 5, 2, 6, 3, 7]  # classes take turns
    for row, (_, *versions) in zip(rows, shown.versions, strict=True):
        for epoch, version in enumerate(versions):
            clips.set_epoch(epoch)
            batch = clips.__getitems__([row])
            heard = batch["samples"]
            if len(batch["partners"]):
                heard = mixed(heard, batch["partner_samples"], batch["partners"], batch["own_weights"])
            length = batch["num_samples"].item() if "num_samples" in batch else heard.shape[1]
            np.testing.assert_allclose(version.samples, heard[0, :length].numpy(), rtol=0, atol=1e-6)
            assert not heard[0, length:].any()


def test_the_settings_of_a_run_are_previewed_for_its_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = write_clips(tmp_path / "clips", [1.5] * 4)
    (tmp_path / "clips" / "train" / "low" / "bad.wav").write_text("no sound")
    settings = tmp_path / "run_config.yaml"
    tiny = json.dumps(ARCHITECTURES["whisper"])
    settings.write_text(
        f"data_dir: {data}\nmodel_type: whisper\nconfig_overrides: '{tiny}'\nmax_length_seconds: 0.4\n"
        "augment: gain:1\nlearning_rate: 0.001\noutput_dir: elsewhere\non_bad_audio: skip\n"
    )
    assert main(["augment-preview", "--config", str(settings), "--output_dir", str(tmp_path / "out")]) == 0
    heard, _ = soundfile.read(tmp_path / "out" / "clip1_after1.wav")
    assert len(heard) == RATE_HZ  # whole seconds
    assert "bad.wav" in (tmp_path / "out" / "bad_audio.csv").read_text()
    capsys.readouterr()
    more = ["--augment", "gain", "--output_dir", str(tmp_path / "out"), "--model_type", "tc_resnet"]
    assert main(["augment-preview", str(data), *more, "--sampling_rate", "8000"]) == 2
    assert "--sampling_rate 8000: the model has its own rate" in capsys.readouterr().err


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
        frame = page.locator(".framed").first
        assert frame.locator(".axis span").all_inner_texts() == ["time (s)", "frequency (Hz)", "dB, 0 = loudest"]
        assert tick_at(frame, "x", "0.3") == pytest.approx(1, abs=0.02)
        assert frame.locator(".axis.colours i").all_inner_texts() == ["−40", "−20", "0"]
        label = page.locator("canvas").first.get_attribute("aria-label")
        assert label.endswith(
            "(mel scale), colour from −50 to 0 dB (the loudest point of the clip before augmentation)"
        )
        assert page.evaluate(NAMELESS) == []
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        stops = page.evaluate("[0, .25, .5, 1].map(colour)")
        assert stops == colour(np.array([0, 0.25, 0.5, 1])).tolist()  # the picture's colours are the page's
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
    assert re.fullmatch(r"[01]\.\d\d of this clip mixed with [01]\.\d\d of [012]\.wav", shown.versions[0][1].words)


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--output_dir", "x"], "nothing to show. Add --augment"),
        (["--augment", "gain"], "no output folder. Add --output_dir"),
        (["--augment", "gain", "--output_dir", "x", "--num_clips", "0"], "--num_clips 0: expected 1 to 50"),
    ],
)
def test_mistakes_are_one_line(flags: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["augment-preview", str(tmp_path), *flags]) == 2
    assert says in capsys.readouterr().err


def test_sound_that_does_not_fit_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = write_clips(tmp_path / "clips", [0.3] * 2), tmp_path / "out"
    with no_file_longer_than(2000):
        code = main(["augment-preview", str(data), "--augment", "gain", "--output_dir", str(out), "--store", "off"])
    assert code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last == f"earmark: error: {out}: cannot be written (File too large). Name another --output_dir."
