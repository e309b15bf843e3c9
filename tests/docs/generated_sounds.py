"""Recordings for the tutorials: calls that are easy to tell apart, with other pitch, length and level each time."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile

from earmark.cli.main import main
from tests.tiny import RATE_HZ, overrides


def _curlew(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A whistle that rises."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    start_hz = rng.uniform(1400, 1800)
    return np.sin(2 * np.pi * (start_hz * time_s + 900 * time_s**2 / seconds))


def _owl(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """A low hoot, three times."""
    time_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return np.sin(2 * np.pi * rng.uniform(330, 420) * time_s) * np.abs(np.sin(3 * np.pi * time_s / seconds))


def _rain(rng: np.random.Generator, seconds: float) -> np.ndarray:
    """Noise."""
    return np.asarray(rng.standard_normal(round(seconds * RATE_HZ)) / 3)


SOUNDS: dict[str, Callable[[np.random.Generator, float], np.ndarray]] = {"curlew": _curlew, "owl": _owl, "rain": _rain}


def call(label: str, rng: np.random.Generator, seconds: float = 1.0) -> np.ndarray:
    """One call in a little noise, float32 (samples,)."""
    wave = SOUNDS[label](rng, seconds) * rng.uniform(0.2, 0.4)
    return (wave + 0.005 * rng.standard_normal(len(wave))).astype(np.float32)


def class_folders(folder: str, per_class: int, labels: tuple[str, ...] = tuple(SOUNDS), seed: int = 0) -> None:
    """Write clips of 0.8 to 1.2 s: ``folder/LABEL/LABEL_1.wav``."""
    rng = np.random.default_rng(seed)
    for label in labels:
        place = Path(folder, label)
        place.mkdir(parents=True)
        for i in range(per_class):
            soundfile.write(place / f"{label}_{i + 1}.wav", call(label, rng, rng.uniform(0.8, 1.2)), RATE_HZ)


def unlabelled(folder: str, count: int, seed: int = 1) -> None:
    """Write clips of all sounds in turn, whose names do not say which: ``folder/clip_1.wav``."""
    rng = np.random.default_rng(seed)
    Path(folder).mkdir()
    for i in range(count):
        soundfile.write(Path(folder, f"clip_{i + 1}.wav"), call(list(SOUNDS)[i % len(SOUNDS)], rng), RATE_HZ)


def long_recordings(folder: str, names: tuple[str, ...], minutes: float = 1.0, seed: int = 2) -> None:
    """Write recordings with a curlew or an owl every ten seconds, and quiet noise between them."""
    rng = np.random.default_rng(seed)
    Path(folder).mkdir()
    for name in names:
        wave = 0.005 * rng.standard_normal(round(minutes * 60 * RATE_HZ)).astype(np.float32)
        for i, start_s in enumerate(range(4, round(minutes * 60) - 2, 10)):
            sound = call(("curlew", "owl")[i % 2], rng)
            wave[start_s * RATE_HZ :][: len(sound)] += sound
        soundfile.write(Path(folder, name), wave, RATE_HZ)


def quiet(folder: str, count: int, seed: int = 3) -> None:
    """Write recordings in which nothing occurs: ``folder/quiet_1.wav``."""
    rng = np.random.default_rng(seed)
    Path(folder).mkdir()
    for i in range(count):
        soundfile.write(Path(folder, f"quiet_{i + 1}.wav"), 0.005 * rng.standard_normal(10 * RATE_HZ), RATE_HZ)


def mixtures(table: str, folder: str, count: int, seed: int) -> None:
    """Write clips with none, one or two of the sounds, and a table of their labels."""
    rng = np.random.default_rng(seed)
    Path(folder).mkdir(exist_ok=True)
    with open(table, "w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["path", "label"])
        for i in range(count):
            present = [label for j, label in enumerate(SOUNDS) if (i >> j) & 1]
            wave = 0.005 * rng.standard_normal(RATE_HZ) + sum(call(label, rng) for label in present)
            name = f"{Path(table).stem}_{i + 1}.wav"
            soundfile.write(Path(folder, name), 0.5 * wave, RATE_HZ)
            rows.writerow([f"{folder}/{name}", ",".join(present)])


def tiny_whisper(folder: str) -> None:
    """Write a tiny Whisper with random weights, as somebody else would have trained it."""
    import torch

    from earmark.models.build_model import ModelSource, build_for_training

    torch.manual_seed(0)
    source = ModelSource(model_type="whisper", config_overrides=overrides("whisper"))
    build_for_training(source, ["LABEL_0", "LABEL_1"], 1.0, longest_s=1.0).save(Path(folder))


def labels(table: str, by_name: dict[str, str]) -> None:
    """Write what a person decides on the page of ``earmark label``."""
    rows = [f"../new_recordings/{name}.wav,{label}\n" for name, label in by_name.items()]
    Path(table).write_text("path,label\n" + "".join(rows), encoding="utf-8")


def earmark(line: str) -> None:
    """Run a command that a page takes for done."""
    assert main(line.split()) == 0
