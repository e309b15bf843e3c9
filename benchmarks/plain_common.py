"""Functions that the scripts of this folder share: read recordings, measure peak memory, and print the results."""

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
    """Return the recordings in ``folder`` and its subfolders, sorted; exit with a message if there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        sys.exit(f"{folder}: no recordings in this folder. Name a folder with {', '.join(sorted(_SUFFIXES))} files.")
    return found


def read_recording(path: Path, sampling_rate_hz: int) -> np.ndarray:
    """Return the samples of a recording, float32 (T,), with averaged channels, at ``sampling_rate_hz``."""
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)  # (T, channels)
    waveform = samples.mean(axis=1)
    return waveform if rate_hz == sampling_rate_hz else soxr.resample(waveform, rate_hz, sampling_rate_hz)


def accuracy_by_folder(predictions: Iterable[tuple[str, str]]) -> float | None:
    """Return the fraction of recordings whose predicted label is the name of their folder.

    Args:
        predictions: ``(path, predicted label)`` of each recording.

    Returns:
        ``None`` if no label is a folder name, because then the folders are not named after the classes.
    """
    hits = [Path(path).parent.name == label for path, label in predictions]
    return sum(hits) / len(hits) if any(hits) else None


def peak_memory_bytes() -> int:
    """Return the peak memory of this process: of the accelerator if it used one, else resident memory."""
    import torch

    accelerator = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    if accelerator is not None:
        measure = getattr(getattr(torch, accelerator.type), "max_memory_allocated", None)
        on_device = measure() if measure is not None else 0
        if on_device:
            return int(on_device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # bytes on macOS, kilobytes elsewhere


def print_results(results: dict[str, object]) -> None:
    """Print the results as one line of JSON, which ``compare.py`` reads from the end of standard output."""
    print(json.dumps(results), flush=True)
