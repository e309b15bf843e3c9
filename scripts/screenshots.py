"""Make the pictures in docs/images: generate audio, train tiny models on it and photograph earmark's pages in Chromium.

    scripts/screenshots                  # all pictures
    scripts/screenshots report label     # these two
    scripts/screenshots --work_dir DIR   # keep recordings and models in DIR and use them again

The script uses no real recordings and no network: eSpeak NG speaks the words (`earmark synth`), and the noises are
computed.
page-phone shows Chinese, so it needs a Chinese font (on Debian and Ubuntu, fonts-wqy-microhei).
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from PIL import Image
from playwright.sync_api import Browser, FloatRect, Page, sync_playwright

from earmark.sources.speech_commands import COMMANDS, SILENCE, UNKNOWN

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
RATE_HZ = 16_000
CORPUS, NOISES, TEST_CLIPS = "corpus", "corpus/_background_noise_", "corpus/speech_commands_test_set_v0.01"
TRAIN = ["train", "--model_type", "tc_resnet", "--max_length_seconds", "1", "--learning_rate", "4e-3"]


def earmark(*arguments: str) -> list[str]:
    """Return the command line of earmark in this environment."""
    return [sys.executable, "-m", "earmark", *arguments]


def make(target: str, *arguments: str) -> Path:
    """Run earmark, unless an earlier call has written the target."""
    if not Path(target).exists():
        print("earmark", *arguments, flush=True)
        subprocess.run(earmark(*arguments), check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return Path(target)


def corpus() -> Path:
    """Generate 2,000 spoken words, background noises and test clips."""
    return make(f"{CORPUS}/validation_list.txt", "synth", CORPUS, "--utterances", "2000").parent


def recordings() -> Path:
    """Copy the words into class folders, split by voice: ten commands, other words, and stretches of noise."""
    folder = Path("recordings")
    if folder.exists():
        return folder
    held_out = {
        name for kind in ("validation", "testing") for name in (corpus() / f"{kind}_list.txt").read_text().split()
    }
    for name in (*COMMANDS, UNKNOWN, SILENCE):
        for split in ("train", "validation"):
            (folder / split / name).mkdir(parents=True)
    for path in sorted(corpus().glob("[a-z]*/*_nohash_*.wav")):
        word = path.parent.name
        split = "validation" if f"{word}/{path.name}" in held_out else "train"
        if word in COMMANDS:
            shutil.copy(path, folder / split / word)
        else:
            shutil.copy(path, folder / split / UNKNOWN / f"{word}_{path.name}")
    for noise in ("pink_noise", "running_tap", "white_noise"):
        samples = soundfile.read(f"{NOISES}/{noise}.wav")[0]
        for i, start in enumerate(range(0, len(samples) - RATE_HZ, RATE_HZ)):
            split = "train" if i % 5 else "validation"
            stretch = (0.05 + 0.3 * (i % 7) / 7) * samples[start : start + RATE_HZ]
            soundfile.write(folder / split / SILENCE / f"{noise}_{i}.wav", stretch - stretch.mean(), RATE_HZ)
    return folder


def words_run(name: str, epochs: int) -> Path:
    """Train on the words."""
    data = ["--data_dir", str(recordings()), "--num_train_epochs", str(epochs)]
    return make(f"runs/{name}/report.html", *TRAIN, *data, "--output_dir", f"runs/{name}").parent


def longer() -> Path:
    """Train the model that the pages use."""
    return words_run("longer", 8)


def faulty_recordings() -> Path:
    """Copy the recordings and plant faults: copies, silence, low level, clipping, DC offset."""
    folder = Path("commands")
    if folder.exists():
        return folder
    shutil.copytree(recordings(), folder)
    clips = sorted(path for command in COMMANDS for path in folder.glob(f"train/{command}/*.wav"))
    for i, path in enumerate(clips[40::300][:5]):
        split = "validation" if i < 3 else "train"
        shutil.copy(path, folder / split / path.parent.name / f"copy_{i}.wav")
    faults: list[Callable[[np.ndarray], np.ndarray]] = [
        lambda samples: 0 * samples,
        lambda samples: 0.003 * samples / np.abs(samples).max(),
        lambda samples: np.clip(8 * samples, -0.9, 0.9),
        lambda samples: 0.5 * samples + 0.1,
    ]
    for i, path in enumerate(clips[5::60]):
        soundfile.write(path, faults[i % len(faults)](soundfile.read(path)[0]), RATE_HZ)
    return folder


def mixtures() -> Path:
    """Mix up to three commands with noise, and list the labels of each mixture."""
    folder = Path("mixtures")
    if folder.exists():
        return folder
    rng = np.random.default_rng(0)
    noises = [soundfile.read(path)[0] for path in sorted(Path(NOISES).iterdir())]
    for split, count in (("train", 1200), ("validation", 300)):
        (folder / split).mkdir(parents=True)
        rows = [["audio", "label"]]
        for i in range(count):
            noise = noises[rng.integers(len(noises))]
            start = rng.integers(len(noise) - RATE_HZ)
            samples = 0.1 * noise[start : start + RATE_HZ]
            names = sorted(rng.choice(COMMANDS, size=rng.integers(4), replace=False))
            for name in names:
                paths = sorted((recordings() / split / name).iterdir())
                word = soundfile.read(paths[rng.integers(len(paths))])[0]
                word = np.pad(word, (0, RATE_HZ - len(word)))
                samples = samples + rng.uniform(0.4, 1) * np.roll(word, rng.integers(-3200, 3200))
            soundfile.write(folder / split / f"{i}.wav", 0.5 * samples / np.abs(samples).max(), RATE_HZ)
            rows.append([f"{split}/{i}.wav", ",".join(names)])
        with (folder / f"{split}.csv").open("w", newline="") as file:
            csv.writer(file).writerows(rows)
    return folder


def sentence() -> Path:
    """Write a recording with a word or a pause in each second, over faint noise."""
    path = Path("five words.wav")
    samples = 0.02 * soundfile.read(f"{NOISES}/pink_noise.wav")[0][: 7 * RATE_HZ]
    for second, word in {0: "yes", 2: "stop", 3: "left", 5: "no", 6: "go"}.items():
        clips = [soundfile.read(one)[0] for one in sorted(Path(TEST_CLIPS, word).iterdir())]
        clip = min(clips, key=lambda one: np.median(np.abs(one)) / np.abs(one).max())  # little noise in the background
        samples[second * RATE_HZ :][: len(clip)] += 0.5 * clip / np.abs(clip).max()
    soundfile.write(path, samples, RATE_HZ)
    return path


@contextmanager
def served(*arguments: str) -> Iterator[str]:
    """Run a command that serves a page; yield the address of the page."""
    with (
        tempfile.TemporaryFile("w+") as log,
        subprocess.Popen(earmark(*arguments, "--port", "0"), stdout=log, stderr=log) as server,
    ):
        try:
            while True:
                log.seek(0)
                text = log.read()
                if found := re.search(r'http://\S+|"port": (\d+)', text):
                    break
                if server.poll() is not None:
                    sys.exit(f"earmark {arguments[0]} ended: {text}")
                time.sleep(0.2)
            yield f"http://127.0.0.1:{found[1]}" if found[1] else found[0]
        finally:
            server.send_signal(signal.SIGINT)


def augment(page: Page) -> None:
    """Open the preview of two augmented clips."""
    rooms, rng = Path("rooms"), np.random.default_rng(0)
    rooms.mkdir(exist_ok=True)
    decay = np.exp(-np.arange(RATE_HZ // 2) / (0.08 * RATE_HZ))
    soundfile.write(rooms / "hall.wav", 0.3 * decay * rng.standard_normal(len(decay)), RATE_HZ)
    for word in ("go", "yes"):
        shutil.copytree(recordings() / "train" / word, Path("words", word), dirs_exist_ok=True)
    kinds = "speed:0.5,reverb:0.4,shift:0.5,noise:0.5,mixup:0.4,spec:0.7"
    folders = ["--augment_noise", NOISES, "--augment_reverb", str(rooms), "--output_dir", "preview"]
    sizes = ["--num_clips", "2", "--augment_mixup_alpha", "1", "--seed", "3"]
    preview = make("preview/preview.html", "augment-preview", "words", "--augment", kinds, *folders, *sizes)
    page.goto(preview.absolute().as_uri())


def inspect(page: Page) -> None:
    """Open the findings about recordings with faults."""
    found = make("inspection/inspect.html", "inspect", str(faulty_recordings()), "--output_dir", "inspection")
    page.goto(found.absolute().as_uri())


def report(page: Page) -> None:
    """Open the report of a run and select the cell with the most mistakes."""
    page.goto((longer() / "report.html").absolute().as_uri())
    page.locator("#pairs button").first.click()


def report_labels(page: Page) -> None:
    """Open the report of a run with several labels per clip."""
    folder = mixtures()
    tables = ["--train_file", f"{folder}/train.csv", "--eval_file", f"{folder}/validation.csv"]
    fitted = ["--task", "multi_label", "--calibrate", "--target_precision", "0.7", "--num_train_epochs", "8"]
    run = make("runs/mixtures/report.html", *TRAIN, *tables, *fitted, "--output_dir", "runs/mixtures")
    page.goto(run.absolute().as_uri())
    page.get_by_role("button", name="stop", exact=True).click()


def compare(page: Page) -> None:
    """Open the comparison of a short and a longer run."""
    runs = [str(words_run("shorter", 4)), str(longer())]
    page.goto(make("comparison.html", "report", *runs, "--output", "comparison.html").absolute().as_uri())


def label(page: Page) -> None:
    """Open the labelling page and label the first seven clips."""
    pool = Path("new_recordings")
    longer()
    if not pool.exists():
        pool.mkdir()
        for i, path in enumerate(sorted(Path(TEST_CLIPS).glob("*/*.wav"))):
            shutil.copy(path, pool / f"clip_{i * 7 % 300:04}.wav")
    shutil.rmtree("labels", ignore_errors=True)
    with served("label", str(pool), "--model", str(longer())) as address:
        page.goto(address)
        page.wait_for_selector("#picture canvas")
        for key in ("Enter", "Enter", "2", "Enter", "n", "Enter", "Enter"):
            before = page.inner_text("#path")
            page.keyboard.press(key)
            page.wait_for_function("before => document.getElementById('path').textContent !== before", arg=before)
        page.wait_for_timeout(1500)  # the clip is drawn and has played
        page.evaluate("document.getElementById('sound').currentTime = 0.6")


def serve(page: Page) -> None:
    """Send a recording to the server's page."""
    with served("serve", str(longer())) as address:
        page.goto(address)
        page.set_input_files("#file", sentence())
        page.wait_for_selector("#spectrogram canvas", state="attached")
        page.wait_for_timeout(1000)


@dataclass(frozen=True)
class Picture:
    """A page and the part of it that is photographed.

    Attributes:
        open_page: opens the page.
        width: width of the window, in CSS pixels.
        height: maximum height of the picture, in CSS pixels.
        browser: settings of the browser's page.
        element: selector of the element to photograph; without one, the top of the page.
    """

    open_page: Callable[[Page], None]
    width: int
    height: int = 2000
    browser: dict[str, Any] = field(default_factory=dict)
    element: str | None = None


PICTURES = {
    "augment": Picture(augment, 1180, 1250),
    "compare": Picture(compare, 1100, 1470),
    "inspect": Picture(inspect, 1000, 1270),
    "label": Picture(label, 820, 960),
    "page": Picture(serve, 1100, 1400),
    "page-phone": Picture(serve, 390, 1500, {"locale": "zh-CN", "color_scheme": "dark"}),
    "report": Picture(report, 1000, 1868),
    "report-labels": Picture(report_labels, 1000, 2100),
    "timeline": Picture(serve, 1000, browser={"device_scale_factor": 2}, element="#picture"),  # the README's
}


def part(page: Page, picture: Picture) -> FloatRect:
    """Return the rectangle to photograph, in CSS pixels; an element gets a margin."""
    if picture.element:
        box = page.locator(picture.element).bounding_box()
        assert box is not None
        margin = 6
        width, height = box["width"] + 2 * margin, box["height"] + 2 * margin
        return {"x": box["x"] - margin, "y": box["y"] - margin, "width": width, "height": height}
    page_height = page.evaluate("Math.ceil(document.documentElement.getBoundingClientRect().height)")
    return {"x": 0, "y": 0, "width": picture.width, "height": min(picture.height, page_height)}


def photograph(browser: Browser, name: str, output_dir: Path) -> None:
    """Open a page, check that its script is free of errors, and save the top of it."""
    picture = PICTURES[name]
    size = {"width": picture.width, "height": 800}
    page = browser.new_page(viewport=size, **{"locale": "en-GB", **picture.browser})
    page.set_default_timeout(120_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    picture.open_page(page)
    page.wait_for_timeout(500)
    path = output_dir / f"{name}.png"
    page.screenshot(path=path, clip=part(page, picture), full_page=True)
    page.close()
    with Image.open(path) as image:  # 256 colours look the same and take half the space
        image.convert("RGB").quantize(256, kmeans=2).save(path, optimize=True)
        shape = f"{image.width} x {image.height}"
    if errors:
        sys.exit(f"{path}: the page has errors: {errors}")
    print(f"{path}: {shape} pixels, {path.stat().st_size / 1000:.0f} kB", flush=True)


def main() -> None:
    """Parse the command line and make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="PICTURE", help=f"{', '.join(PICTURES)} (default: all)")
    parser.add_argument("--output_dir", type=Path, default=IMAGES, help="folder of the pictures (default: docs/images)")
    parser.add_argument("--work_dir", type=Path, help="folder for recordings and models (default: a temporary one)")
    options = parser.parse_args()
    if unknown := sorted(set(options.names) - set(PICTURES)):
        parser.error(f"unknown picture {unknown[0]}: choose from {', '.join(PICTURES)}")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        parser.error("no Chromium found. Run scripts/install-browser.")
    fonts = shutil.which("fc-list")
    if fonts and not subprocess.run([fonts, ":lang=zh"], check=True, capture_output=True).stdout:
        parser.error("no Chinese font found. Install one: apt install fonts-wqy-microhei.")
    output_dir = options.output_dir.absolute()
    output_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary, sync_playwright() as playwright:
        work_dir = options.work_dir or Path(temporary)
        work_dir.mkdir(parents=True, exist_ok=True)
        os.chdir(work_dir)  # short relative paths, because the pages show paths as they are given
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        for name in options.names or PICTURES:
            photograph(browser, name, output_dir)
        browser.close()
        os.chdir(output_dir)  # Windows cannot remove the current folder


if __name__ == "__main__":
    main()
