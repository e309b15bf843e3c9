"""Decode generated recordings with earmark and with PyAV, and compare length, content and random access.

    python benchmarks/variants.py --count 400 --json variants.json

Each variant is a recording in one of 45 combinations of container and codec. It is unchanged, truncated, damaged,
joined with another recording or tagged, or its header is wrong. It depends only on its number and ``--seed``, so
``--only 17`` repeats a single one.

A variant fails if earmark
- refuses a recording that PyAV decodes, unless more than half of the audio that the header announces is missing, or
  samples are not finite or far above full scale;
- returns less audio than PyAV, or less than was encoded, without a warning;
- returns other samples than PyAV;
- returns other samples for a part of the recording than for the same part of the whole recording.
The exit code is 1 if any variant fails.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

from earmark.audio.decode import stream_at_own_rate
from earmark.audio.incomplete import INCOMPLETE
from earmark.audio.samples import CANCELLED, FULL_SCALE_LIMIT
from earmark.clips.clip import Clip
from earmark.errors import AudioError

try:
    from benchmarks.variant_cases import Variant, encoders, make_variant
except ModuleNotFoundError:  # run as a script
    from variant_cases import Variant, encoders, make_variant

_WINDOW_S = 0.12  # length of the windows that are compared
_LIKE = 0.9  # smallest accepted correlation of a window with PyAV's samples


@dataclass(frozen=True)
class Outcome:
    """Result of one variant.

    Attributes:
        number: number of the variant.
        name: description of the variant.
        result: "read", "read with a warning", "refused", or a failure, which starts with "FAIL".
        ours_s: seconds of audio that earmark returned.
        pyav_s: seconds of audio that PyAV returned.
        said: the warning, or the reason why earmark refused the recording.
    """

    number: int
    name: str
    result: str
    ours_s: float
    pyav_s: float
    said: str


def with_pyav(data: bytes, suffix: str) -> tuple[np.ndarray, int]:
    """Decode with PyAV as far as possible; return mono samples (T,), which may be empty, and the sampling rate."""
    blocks, rate_hz = [], 0
    try:
        with av.open(io.BytesIO(data), metadata_errors="ignore") as container:
            stream = container.streams.audio[0]
            rate_hz = stream.rate
            resampler = av.AudioResampler(format="fltp", rate=rate_hz)
            for packet in container.demux(stream):
                try:
                    frames = packet.decode()
                except av.error.FFmpegError:
                    continue
                for frame in frames:
                    blocks += [converted.to_ndarray().mean(axis=0) for converted in resampler.resample(frame)]
    except (av.error.FFmpegError, EOFError, IndexError, ValueError):
        pass
    return (np.concatenate(blocks) if blocks else np.zeros(0, np.float32)), rate_hz


def with_earmark(path: Path, **cut: float) -> tuple[np.ndarray, int]:
    """Decode with earmark, at the sampling rate of the recording.

    Raises:
        AudioError: earmark refuses the recording.
    """
    blocks, rates = zip(*stream_at_own_rate(Clip(path.name, path=str(path), **cut)), strict=True)  # type: ignore[arg-type]
    return np.concatenate(blocks), rates[0]


def check(variant: Variant, folder: Path) -> Outcome:
    """Decode a variant with both and compare the results."""
    path = folder / f"{variant.number}{variant.suffix}"
    path.write_bytes(variant.data)
    theirs, their_hz = with_pyav(variant.data, variant.suffix)
    pyav_s = len(theirs) / their_hz if len(theirs) else 0.0
    INCOMPLETE.take()
    try:
        ours, rate_hz = with_earmark(path)
    except AudioError as exc:
        half_there = pyav_s >= 0.5 * variant.seconds + 0.1  # encoders add padding to the length in the header
        usable = bool(np.isfinite(theirs).all() and (np.abs(theirs) <= FULL_SCALE_LIMIT).all())
        allowed = not len(theirs) or not usable or (not half_there and "cut short" in exc.reason)
        return Outcome(variant.number, variant.name, "refused" if allowed else "FAIL: refused", 0, pyav_s, exc.reason)
    finally:
        CANCELLED.take()
    said = "; ".join(INCOMPLETE.take().values())
    ours_s = len(ours) / rate_hz
    # between joined files, PyAV may lose a frame or decode one too many
    damaged = "damaged" in variant.name or ("joined" in variant.name and abs(pyav_s - ours_s) > 0.01)
    slack_s = 0.02 + 2400 / rate_hz
    result = "read with a warning" if said else "read"
    wanted_s = max(pyav_s, variant.seconds if "cut to" not in variant.name else 0.0)
    if ours_s < wanted_s - slack_s and not said:
        result = "FAIL: silent loss"
    elif len(theirs) and rate_hz == their_hz and (worst := likeness(theirs, ours, rate_hz, damaged=damaged)) < _LIKE:
        result = f"FAIL: other samples ({worst:.2f})"
    elif difference := cut_difference(path, ours, rate_hz, variant):
        result = f"FAIL: a part differs ({difference})"
    return Outcome(variant.number, variant.name, result, round(ours_s, 4), round(pyav_s, 4), said)


def likeness(theirs: np.ndarray, ours: np.ndarray, rate_hz: int, *, damaged: bool = False) -> float:
    """Return how well windows of PyAV's samples occur in ours: the smallest normalised correlation.

    Decoders fill damaged parts with different samples, so for a damaged recording, it is the median correlation.
    """
    size = round(_WINDOW_S * rate_hz)
    if len(theirs) < 2 * size or len(ours) < size:
        return 1.0
    found = [1.0]
    length = 1 << (len(ours) + size).bit_length()
    spectrum = np.fft.rfft(ours, length)
    energy = np.concatenate([[0.0], np.cumsum(np.square(ours, dtype=np.float64))])
    norms = np.sqrt(np.maximum(energy[size:] - energy[:-size], 1e-9))
    for start in np.linspace(0, min(len(theirs), len(ours)) - size, 6).astype(int)[1:-1]:
        window = theirs[start : start + size]
        norm = float(np.sqrt(np.square(window, dtype=np.float64).sum()))
        if norm < 0.01:
            continue
        correlation = np.fft.irfft(spectrum * np.conj(np.fft.rfft(window, length)), length)[: len(norms)]
        found.append(float((correlation / (norms * norm)).max()))
    return float(np.median(found)) if damaged else min(found)


def cut_difference(path: Path, whole: np.ndarray, rate_hz: int, variant: Variant) -> str:
    """Return how decoded parts differ from the same parts of the whole recording; empty if they do not."""
    rng = np.random.default_rng(variant.number)
    for _ in range(3):
        first = int(rng.integers(0, max(1, len(whole) - rate_hz // 8)))
        count = min(rate_hz // 10, len(whole) - first)
        try:
            cut, _ = with_earmark(path, offset_s=first / rate_hz, duration_s=count / rate_hz)
        except AudioError as exc:
            return f"at {first / rate_hz:.3f} s: {exc.reason}"
        worst = float(np.abs(cut - whole[first : first + count]).max()) if len(cut) == count else np.inf
        # Opus needs some time to settle after a seek, and AAC decoders replace noise with random numbers
        if worst > (0.1 if "opus" in variant.name or "aac" in variant.name else 1e-3):
            return f"at {first / rate_hz:.3f} s by {worst:.3g}, {len(cut)} of {count} frames"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """Run the variants; return 1 if one fails."""
    parser = argparse.ArgumentParser(description="Decode generated recordings with earmark and with PyAV, and compare.")
    parser.add_argument("--count", type=int, default=400, help="Number of variants.")
    parser.add_argument("--seed", type=int, default=0, help="Seed of all variants.")
    parser.add_argument("--only", type=int, help="Number of the only variant to make, which is also written to a file.")
    parser.add_argument("--json", type=Path, help="File for all results.")
    options = parser.parse_args(arguments)
    os.environ.setdefault("AV_LOG_LEVEL", "quiet")
    av.logging.set_level(None)
    numbers = range(options.count) if options.only is None else [options.only]
    with tempfile.TemporaryDirectory() as folder:
        outcomes = [check(make_variant(number, options.seed), Path(folder)) for number in numbers]
    if options.only is not None:
        made = make_variant(options.only, options.seed)
        Path(f"variant_{made.number}{made.suffix}").write_bytes(made.data)
    if options.json:
        options.json.write_text(json.dumps([asdict(outcome) for outcome in outcomes], indent=1))
    return report(outcomes)


def report(outcomes: list[Outcome]) -> int:
    """Print the failures and a table of the results by container; return 1 if there is a failure."""
    failed = [outcome for outcome in outcomes if outcome.result.startswith("FAIL")]
    for one in failed:
        print(f"{one.number}: {one.name}: {one.result}; earmark {one.ours_s} s, PyAV {one.pyav_s} s; {one.said}")
    names = [encoder.name for encoder in encoders()]
    columns = ("read", "read with a warning", "refused", "FAIL")
    print(f"| recording | variants | {' | '.join(columns)} |\n|---|---|---|---|---|---|")
    for name in [*names, "all"]:
        here = [one for one in outcomes if name in ("all", one.name.split(",")[0])]
        counts = Counter("FAIL" if one in failed else one.result for one in here)
        print(f"| {name} | {len(here)} | {' | '.join(str(counts[column]) for column in columns)} |")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
