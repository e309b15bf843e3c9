"""Run ``earmark bench``: measure, and report as a table and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from earmark.bench import bench_report
from earmark.bench.bench_setup import BenchClips, decode, find_clips, sampling_rate_of_model
from earmark.bench.infer import bench_infer
from earmark.bench.time_data import bench_data
from earmark.bench.time_training import bench_train
from earmark.bench.timing import peak_memory
from earmark.device import describe_device, select_device
from earmark.distributed.launched import launched_processes
from earmark.errors import OutputError, UsageError
from earmark.io.os_errors import os_errors_as
from earmark.runs.environment import describe_environment
from earmark.runs.folder import write_json
from earmark.settings.bench_flags import BenchOptions
from earmark.settings.config_files import resolved_config
from earmark.text import counted

_NOT_WRITTEN = {"work", "json"}


@dataclass(frozen=True)
class BenchOutcome:
    """Results of a benchmark.

    Attributes:
        figures: content of the JSON file.
        summary: table to print.
    """

    figures: dict[str, Any]
    summary: str


def bench(options: BenchOptions) -> BenchOutcome:
    """Run a benchmark in a temporary folder.

    Raises:
        EarmarkError: the clips, the model, the device or the output cannot be used.
    """
    if launched_processes() > 1:
        raise UsageError("earmark bench measures one process. Start it without a launcher such as torchrun.")
    output = Path(options.json) if options.json else None
    if output is not None and not output.absolute().parent.is_dir():
        parent = output.absolute().parent
        raise OutputError(f"--json {output}: there is no folder {parent}. Fix the path, or make the folder first.")
    with os_errors_as(OutputError, "no temporary folder can be made", ". Name one with TMPDIR."):
        temporary = TemporaryDirectory(prefix="earmark-bench-")
    with temporary as folder:
        outcome = _in_folder(options, Path(folder))
    if output is not None:
        write_json(output, outcome.figures)
    return outcome


def _in_folder(options: BenchOptions, folder: Path) -> BenchOutcome:
    store_dir = folder / "store"
    device = select_device(options.device)
    if options.work == "data":
        data = bench_data(options, find_clips(options, folder / "clips"), store_dir, device)
        memory = peak_memory(device)
        table = bench_report.data_table(options, data, memory)
        return _outcome(options, data.clips, device, "", bench_report.data_json(data, memory), table)
    rate_hz = sampling_rate_of_model(options)  # before writing the clips, so that a wrong name fails at once
    clips = decode(find_clips(options, folder / "clips"), rate_hz, store_dir)
    if options.work == "train":
        trained = bench_train(options, clips, device, folder / "frozen")
        model, figures, table = trained.audio, bench_report.train_json(trained), bench_report.train_table(trained)
    else:
        scored = bench_infer(options, clips, device)
        model, figures, table = scored.audio, bench_report.infer_json(scored), bench_report.infer_table(scored)
    name = f"{model.model.config.model_type}, {figures['model']['parameters'] / 1e6:.3g} M parameters, "
    return _outcome(options, clips, device, name, figures, table)


def _outcome(
    options: BenchOptions, clips: BenchClips, device: torch.device, model: str, figures: dict[str, Any], table: str
) -> BenchOutcome:
    device_name = describe_device(device)
    described = bench_report.describe_clips(clips)
    kept = {name: value for name, value in resolved_config(options).items() if name not in _NOT_WRITTEN}
    whole = {
        "work": options.work,
        "settings": kept,
        "environment": describe_environment(device_name),
        "clips": described,
        "figures": figures,
    }
    shortest, longest = (f"{described[which]:.3g}" for which in ("shortest_s", "longest_s"))
    lengths = f"{longest} s" if shortest == longest else f"{shortest} to {longest} s"
    head = (
        f"earmark bench {options.work}: {model}batches of {options.batch_size}, "
        f"{counted(len(clips), 'clip')} of {lengths}, {device_name}"
    )
    return BenchOutcome(whole, f"{head}\n\n{table}")
