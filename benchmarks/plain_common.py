"""What the scripts of this folder share: reading recordings, peak memory, and the line of figures they end with."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile
import soxr

_SUFFIXES = {".wav", ".flac", ".ogg", ".mp3"}


def recordings_in(folder: Path) -> list[Path]:
    """Recordings in ``folder`` and below, sorted; the program ends with a message where there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        sys.exit(f"{folder}: no recordings in this folder")
    return found


def read_recording(path: Path, sampling_rate_hz: int) -> np.ndarray:
    """Samples (T,) float32 of a recording, channels averaged, at ``sampling_rate_hz``."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)  # (T, channels)
    waveform = samples.mean(axis=1)
    return waveform if rate_hz == sampling_rate_hz else soxr.resample(waveform, rate_hz, sampling_rate_hz)


def accuracy_by_folder(answers: Iterable[tuple[str, str]]) -> float | None:
    """Share of recordings labelled as the folder they lie in; ``None`` where none is, so folders name no classes.

    Args:
        answers: ``(path, predicted label)`` of each recording.
    """
    hits = [Path(path).parent.name == label for path, label in answers]
    return sum(hits) / len(hits) if any(hits) else None


def peak_memory_bytes() -> int:
    """Most memory this process has held: on the accelerator where one was used, else resident memory."""
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        measure = getattr(getattr(torch, accelerator.type), "max_memory_allocated", None)
        on_device = measure() if measure is not None else 0
        if on_device:
            return int(on_device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, kilobytes elsewhere


def print_figures(figures: dict[str, object]) -> None:
    """Print ``figures`` as one line of JSON, the last line of standard output, where ``compare.py`` looks for it."""
    print(json.dumps(figures), flush=True)
