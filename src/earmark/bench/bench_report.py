"""Format measurements as a small table and as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from earmark.bench.bench_setup import BenchClips
from earmark.bench.infer import InferMeasurements
from earmark.bench.time_data import DataMeasurements
from earmark.bench.time_training import TrainMeasurements
from earmark.bench.timing import Compute, Memory, Rate
from earmark.settings.bench_flags import BenchOptions
from earmark.text import counted, format_bytes

Rows = list[tuple[str, ...]]


def describe_clips(clips: BenchClips) -> dict[str, object]:
    """Return the number and the lengths of the clips."""
    lengths_s = clips.lengths_s
    return {
        "count": len(clips),
        "audio_s": float(lengths_s.sum()),
        "shortest_s": float(lengths_s.min()),
        "longest_s": float(lengths_s.max()),
        "sampling_rate_hz": clips.sampling_rate_hz,
    }


def data_json(measured: DataMeasurements, memory: Memory) -> dict[str, Any]:
    """Return the measurements of ``earmark bench data`` for JSON."""
    return {
        "build": measured.build.to_dict(),
        "in_process": measured.in_process.to_dict(),
        "through_workers": measured.through_workers.to_dict(),
        "decoding": measured.decoding.to_dict(),
        "to_device": None if measured.to_device is None else measured.to_device.to_dict(),
        "memory": _memory_json(memory),
    }


def data_table(options: BenchOptions, measured: DataMeasurements, memory: Memory) -> str:
    """Return the measurements of ``earmark bench data`` as a table."""
    workers = counted(options.num_workers, "DataLoader worker")
    rates: dict[str, Rate] = {
        "recordings to store": measured.build,
        "store to batches": measured.in_process,
        f"store to batches, {workers}": measured.through_workers,
        "recordings to batches, decoded each time": measured.decoding,
    }
    if measured.to_device is not None:
        rates["store to batches on the device"] = measured.to_device
    rows: Rows = [("", "clips/s", "s of audio/s")]
    rows += [
        (what, _number(rate.clips_per_second), _number(rate.audio_seconds_per_second)) for what, rate in rates.items()
    ]
    return _aligned([*rows, *_memory_rows(memory)])


def train_json(measured: TrainMeasurements) -> dict[str, Any]:
    """Return the measurements of ``earmark bench train`` for JSON."""
    return {
        **_model_json(measured),
        "freeze": measured.frozen,
        "kept": measured.kept,
        "frozen_s": measured.frozen_s,
    }


def train_table(measured: TrainMeasurements) -> str:
    """Return the measurements of ``earmark bench train`` as a table."""
    rows = _model_rows(measured)
    if measured.kept:
        rows.append((f"{measured.kept} of all clips, computed once", f"{_number(measured.frozen_s)} s, not included"))
    return _aligned(rows)


def infer_json(measured: InferMeasurements) -> dict[str, Any]:
    """Return the measurements of ``earmark bench infer`` for JSON."""
    return _model_json(measured)


def infer_table(measured: InferMeasurements) -> str:
    """Return the measurements of ``earmark bench infer`` as a table."""
    return _aligned([*_model_rows(measured), ("decoding of recordings", "not included")])


def _model_json(measured: TrainMeasurements | InferMeasurements) -> dict[str, object]:
    parameters = list(measured.audio.model.parameters())
    return {
        **measured.rate.to_dict(),
        **measured.compute.to_dict(),
        "flop_per_clip": measured.compute.flop / measured.rate.clips,
        "memory": _memory_json(measured.memory),
        "model": {
            "model_type": measured.audio.model.config.model_type,
            "parameters": sum(parameter.numel() for parameter in parameters),
            "learning": sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            "max_length_seconds": measured.audio.frontend.max_samples / measured.audio.frontend.sampling_rate_hz,
        },
    }


def _model_rows(measured: TrainMeasurements | InferMeasurements) -> Rows:
    return [*_rate_rows(measured.rate), *_compute_rows(measured.compute, measured.rate), *_memory_rows(measured.memory)]


def _rate_rows(rate: Rate) -> Rows:
    return [
        ("clips/s", f"{_number(rate.clips_per_second)} ({rate.clips:,} in {_number(rate.seconds)} s)"),
        ("seconds of audio/s", _number(rate.audio_seconds_per_second)),
    ]


def _compute_rows(compute: Compute, rate: Rate) -> Rows:
    dtype = str(compute.dtype).removeprefix("torch.")
    return [
        ("model FLOP/s", f"{_flop(compute.flop_per_second)}/s ({_flop(compute.flop / rate.clips)} per clip)"),
        ("  for clips, not padding", f"{100 * compute.useful_share:.1f} %"),
        (
            "fraction of matmul peak",
            f"{100 * compute.share_of_peak:.1f} % of {_flop(compute.peak_flop_per_second)}/s ({dtype})",
        ),
    ]


def _memory_rows(memory: Memory) -> Rows:
    rows: Rows = [("peak memory, resident", format_bytes(memory.resident_bytes))]
    if memory.device_bytes is not None:
        rows.append(("peak memory, device", format_bytes(memory.device_bytes)))
    return rows


def _memory_json(memory: Memory) -> dict[str, int | None]:
    return {"peak_resident_bytes": memory.resident_bytes, "peak_device_bytes": memory.device_bytes}


def _number(value: float) -> str:
    """Return a number with three significant digits or more before the point: ``0.0123``, ``12.3``, ``12,345``."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _flop(count: float) -> str:
    for size, unit in ((1e12, "TFLOP"), (1e9, "GFLOP")):
        if count >= size:
            return f"{_number(count / size)} {unit}"
    return f"{_number(count / 1e6)} MFLOP"


def _aligned(rows: Sequence[tuple[str, ...]]) -> str:
    """Return rows as lines. The first column is aligned left, and several other columns are aligned right."""
    first = max(len(row[0]) for row in rows)
    wide = max(len(row) for row in rows) > 2
    lines = ["  ".join([row[0].ljust(first), *(cell.rjust(12 if wide else 0) for cell in row[1:])]) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
