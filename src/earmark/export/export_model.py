"""Export a model: trace it, write the file, compare it with PyTorch, and only then rename the folder."""

from __future__ import annotations

import logging
import shutil
import tempfile
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path

import torch

from earmark.errors import ModelError, OutputError, UsageError
from earmark.export.check import LARGEST_DIFFERENCE, ExportComparison, compare
from earmark.export.description import MODEL_FILES, ExportDescription, cpu_limit_s
from earmark.export.graph import WaveformClassifier, trace
from earmark.export.load_export import ExportedModel
from earmark.export.onnx_file import quantize, write_onnx
from earmark.export.pt2_file import write_pt2
from earmark.export.recordings import Recordings, find_recordings
from earmark.extras import require
from earmark.io.os_errors import os_errors_as
from earmark.models.build_model import AudioModel, load_trained
from earmark.models.frontend import Frontend
from earmark.models.model_source import model_source
from earmark.runs.folder import RunFolder, write_json
from earmark.runs.split_record import find_record, write_record
from earmark.runs.split_settings import write_split_settings
from earmark.scoring.torch_scorer import TorchScorer, shortest_in_batch
from earmark.settings.export_flags import ExportOptions
from earmark.tasks import find_task
from earmark.tasks.decision import FILE_NAME as DECISION_FILE
from earmark.text import counted

logger = logging.getLogger(__name__)

_PACKAGES = {"earmark", "torch", "transformers"}  # an export records their versions
_OF_ONNX = {"onnx", "onnxscript", "onnxruntime"}
_WORTH_A_WARNING = 0.005  # an int8 export warns above this loss of accuracy, or fraction of changed predictions


@dataclass(frozen=True)
class ExportOutcome:
    """A finished export.

    Attributes:
        folder: folder of the export.
        description: content of ``export.json``.
        summary: lines to print.
    """

    folder: Path
    description: ExportDescription
    summary: str


def export(options: ExportOptions) -> ExportOutcome:
    """Export a trained model into a folder.

    Raises:
        ModelError: the model cannot be exported (the message names the operator), or its export predicts differently.
        OutputError: the folder is not empty or cannot be written.
        UsageError: the model does not take the fixed shape.
        MissingExtraError: the packages of the format are not installed.
    """
    output = _free_folder(str(options.output))
    for package in () if options.format == "pt2" else sorted(_OF_ONNX):
        require(package)
    audio = load_trained(model_source(options))
    kind = audio.model.config.model_type
    if audio.frontend.features is None:
        name = type(audio.frontend.extractor).__name__
        raise ModelError(
            f"{kind}: the feature extractor {name} has no tensor code to export. Choose one of the architectures in "
            "docs/export.md."
        )
    fixed_shape, frontend = _limits(audio, options)
    graph = WaveformClassifier(audio)
    record = find_record(options.model_name_or_path)
    recordings = find_recordings(
        options.calibration, frontend.sampling_rate_hz, audio.labels, options.max_calibration_samples, record
    )
    description = describe(options.format, audio, graph, frontend, fixed_shape)
    unfinished = _folder_beside(output)
    try:
        with os_errors_as(OutputError, f"{output}: cannot be written"):
            logger.info("tracing %s", description.architecture)
            write(trace(graph, fixed_shape), description, unfinished)
            comparison = _check(audio, frontend, recordings, ExportedModel(unfinished, description))
            checked = {"recordings": recordings.origin, "largest_allowed": LARGEST_DIFFERENCE, **comparison.to_dict()}
            description = replace(description, checked=checked)
            description.save(unfinished)
            if description.decision is not None:
                write_json(unfinished / DECISION_FILE, description.decision)
            if record is not None:  # `earmark evaluate` of the export needs to know which clips were held out
                write_record(RunFolder(unfinished).splits, record.rows())
                write_split_settings(options.model_name_or_path, unfinished)
            unfinished.chmod(0o755)
            unfinished.replace(output)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)  # without effect after success, because the folder was renamed
    return ExportOutcome(output, description, _summary(output, description, comparison, recordings, options))


def _free_folder(name: str) -> Path:
    output = Path(name)
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise OutputError(f"{output}: exists and is not an empty folder. Give another --output.")
    return output.absolute()


def _folder_beside(output: Path) -> Path:
    """Make an empty folder next to ``output``, which takes the name ``output`` when it is complete."""
    with os_errors_as(OutputError, f"{output}: cannot be written"):
        output.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{output.name}.", dir=output.parent))


def _limits(audio: AudioModel, options: ExportOptions) -> tuple[tuple[int, int] | None, Frontend]:
    """Return the fixed shape in samples, or ``None``, and the frontend with the length limits of the export."""
    frontend = audio.frontend
    if options.batch_and_seconds is None:
        return None, frontend
    batch, seconds = options.batch_and_seconds
    length = round(seconds * frontend.sampling_rate_hz)
    if not frontend.min_samples <= length <= frontend.max_samples:
        shortest_s, longest_s = (n / frontend.sampling_rate_hz for n in (frontend.min_samples, frontend.max_samples))
        raise UsageError(
            f"--fixed_shape {options.fixed_shape}: this model takes {shortest_s:g} to {longest_s:g} s at once. Choose "
            "a length in this range."
        )
    whole = shortest_in_batch(audio.model, frontend) == 1.0
    if whole:
        logger.info("%s takes no mask: shorter clips are padded to %g s", audio.model.config.model_type, seconds)
    return (batch, length), frontend.with_limits(length if whole else frontend.min_samples, length)


def describe(
    format: str, audio: AudioModel, graph: WaveformClassifier, frontend: Frontend, fixed_shape: tuple[int, int] | None
) -> ExportDescription:
    """Describe an export before it is written.

    Args:
        format: ``onnx``, ``onnx-int8`` or ``pt2``.
        audio: the model.
        graph: the module to trace.
        frontend: frontend with the length limits of the export.
        fixed_shape: ``(B, T)`` if the export takes only that shape, else ``None``.
    """
    return ExportDescription(
        format=format,
        model_file=MODEL_FILES[format],
        architecture=audio.model.config.model_type,
        labels=audio.labels,
        sampling_rate_hz=frontend.sampling_rate_hz,
        min_samples=frontend.min_samples,
        max_samples=frontend.max_samples,
        shortest_in_batch=0.0 if fixed_shape else shortest_in_batch(audio.model, frontend),
        takes_num_samples=graph.takes_num_samples,
        fixed_shape=fixed_shape,
        decision=None if audio.decision.is_plain else audio.decision.to_dict(audio.labels),
        versions=_versions(format),
        task=audio.task.name,
        background_class=audio.background_class,
        cpu_batch_s=cpu_limit_s(audio.architecture),
    )


def _versions(format: str) -> dict[str, str]:
    packages = _PACKAGES if format == "pt2" else _PACKAGES | _OF_ONNX
    # From the modules, because onnxruntime may come from a package with another name.
    return {name: str(import_module(name).__version__) for name in sorted(packages)}


def write(program: torch.export.ExportedProgram, description: ExportDescription, folder: Path) -> None:
    """Write the model file.

    Raises:
        ModelError: the format lacks an operator that the model needs.
        MissingExtraError: the packages of the format are not installed.
    """
    path = folder / description.model_file
    if description.format == "pt2":
        write_pt2(program, description, path)
    elif description.format == "onnx":
        write_onnx(program, description, path)
    else:
        whole = folder / "float32.onnx"
        write_onnx(program, description, whole)
        quantize(whole, path)
        whole.unlink()


def _check(audio: AudioModel, frontend: Frontend, recordings: Recordings, exported: ExportedModel) -> ExportComparison:
    """Compare an export with PyTorch on the CPU, and reject it if the predictions differ.

    Raises:
        ModelError: probabilities or predictions of a float32 export differ.
    """
    logger.info("comparing with PyTorch on %s", recordings.origin)
    reference = TorchScorer(audio.model, frontend, torch.device("cpu"))
    comparison = compare(reference, exported.scorer("cpu"), recordings, frontend.min_samples)
    description = exported.description
    if description.format == "onnx-int8":
        warn_of_losses(comparison)
    elif not comparison.largest_difference <= LARGEST_DIFFERENCE or comparison.flips:  # "not <=" also rejects NaN
        task = find_task(description.task)
        raise ModelError(
            f"{description.architecture}: the export differs from PyTorch: largest difference "
            f"{comparison.largest_difference:.2g} {task.difference_unit} (at most {LARGEST_DIFFERENCE:g}), "
            f"{comparison.flips} of {counted(comparison.clips, 'clip')} with other predictions. Try "
            f"--format {'onnx' if description.format == 'pt2' else 'pt2'}, and report the architecture."
        )
    return comparison


def warn_of_losses(comparison: ExportComparison) -> None:
    """Warn if an 8-bit export loses accuracy or changes predictions on whole recordings."""
    drop = 1 - comparison.agreement if comparison.accuracy is None else comparison.accuracy[0] - comparison.accuracy[1]
    if drop > _WORTH_A_WARNING:
        what = (
            "% of the predictions change" if comparison.accuracy is None else "percentage points of accuracy are lost"
        )
        logger.warning("8 bits: %.1f %s", 100 * drop, what)


def _summary(
    folder: Path,
    description: ExportDescription,
    comparison: ExportComparison,
    recordings: Recordings,
    options: ExportOptions,
) -> str:
    size_mb = (folder / description.model_file).stat().st_size / 1e6
    rate = description.sampling_rate_hz
    task = find_task(description.task)
    lengths = f"{comparison.lengths[0] / rate:g} to {comparison.lengths[-1] / rate:g} s"
    lines = [
        f"exported     {folder / description.model_file} ({description.format}, {size_mb:.1f} MB)",
        f"checked on   {recordings.origin}",
        f"             {counted(comparison.clips, 'clip')}, {lengths}, batches of "
        f"{', '.join(str(size) for size in comparison.batch_sizes)}",
        f"difference   {comparison.largest_difference:.2g} {task.difference_unit} at most, {comparison.flips} clips "
        "with other predictions",
        f"agreement    {comparison.agreement:.4f} of the recordings",
    ]
    if description.decision is not None:
        temperature = description.decision["temperature"]
        lines.append(f"decision     temperature {temperature:g} in the model file; thresholds in {DECISION_FILE}")
    if comparison.accuracy is not None:
        before, after = comparison.accuracy
        lines.append(f"accuracy     {after:.4f} (PyTorch {before:.4f})")
    if description.fixed_shape is not None and description.format == "onnx":
        lines += ["", "for an Ascend card:", "  " + atc_line(folder, description, options.soc_version)]
    return "\n".join(lines)


def atc_line(folder: Path, description: ExportDescription, soc_version: str) -> str:
    """Return the command of Ascend's compiler (CANN) that turns a fixed-shape ONNX file into an offline model."""
    assert description.fixed_shape is not None, "ATC compiles one shape"
    batch, length = description.fixed_shape
    inputs = f"samples:{batch},{length}" + (f";num_samples:{batch}" if description.takes_num_samples else "")
    return (
        f"atc --framework=5 --model={folder / description.model_file} --output={folder / 'model'} --input_format=ND "
        f'--input_shape="{inputs}" --soc_version={soc_version} --precision_mode=must_keep_origin_dtype'
    )
