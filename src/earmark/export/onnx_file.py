"""Write an exported program as an ONNX file, in float32 or with 8-bit weights of its linear layers."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import torch

from earmark.errors import ModelError, first_line
from earmark.export.description import ExportDescription
from earmark.export.graph import quiet_exporter
from earmark.extras import require

# The newest opset that both ONNX Runtime and CANN's ATC read (operator lists of CANN 7.0 and 8.0: opset 9 to 18).
OPSET = 18
_IR_VERSION = 8  # belongs to opset 18; the exporter's default is newer, and programs with that opset reject it


def write_onnx(program: torch.export.ExportedProgram, description: ExportDescription, path: Path) -> None:
    """Write an ONNX file with its weights, and with the description as the metadata entry ``earmark``.

    Raises:
        ModelError: ONNX lacks an operator, which the message names.
        MissingExtraError: the exporter's packages are not installed.
    """
    onnx = require("onnx")
    require("onnxscript")
    try:
        with torch.no_grad(), quiet_exporter():
            converted = torch.onnx.export(
                program, dynamo=True, opset_version=OPSET, output_names=["probabilities"], verbose=False
            )
    except torch.onnx.errors.OnnxExporterError as exc:
        raise ModelError(f"{description.architecture}: {_unsupported(exc)}. Use --format pt2.") from exc
    assert converted is not None, "with dynamo=True, the exporter returns a program"
    proto: Any = converted.model_proto
    proto.ir_version = _IR_VERSION
    onnx.helper.set_model_props(proto, {"earmark": description.to_json()})
    del proto.graph.value_info[:]  # symbolic shapes of the tracer make the quantizer's shape inference fail
    try:
        onnx.checker.check_model(proto, full_check=False)
    except (onnx.checker.ValidationError, ValueError) as exc:
        raise ModelError(
            f"{description.architecture}: the ONNX file would be invalid ({first_line(exc)}). Use --format pt2."
        ) from exc
    onnx.save(proto, path)


def quantize(whole: Path, path: Path) -> None:
    """Quantize the linear layers of the float32 file ``whole`` to 8 bits per channel, and write the result.

    Activations are quantized dynamically, so no calibration is needed. The frontend's matrix products (a Fourier
    transform, whose small results matter) and convolutions (slower in 8 bits) stay in float32.
    """
    onnx = require("onnx")
    require("onnxruntime")
    from onnxruntime.quantization import QuantType, quantize_dynamic

    frontend = [node.name for node in onnx.load(whole).graph.node if _is_of_frontend(node)]
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)  # onnxruntime's quantizer logs through the root logger
    try:
        quantize_dynamic(
            whole,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
            nodes_to_exclude=frontend,
        )
    finally:
        root.setLevel(level)


def _is_of_frontend(node: Any) -> bool:
    scopes = next((entry.value for entry in node.metadata_props if entry.key == "pkg.torch.onnx.name_scopes"), "")
    return "features" in scopes or "log_mel" in scopes


def _unsupported(exc: BaseException) -> str:
    """Return one line about what cannot be converted: the operator, if the exporter names one."""
    cause: BaseException | None = exc
    while cause is not None:
        found = re.search(r"No ONNX function found for <OpOverload\(op='([\w.:]+)'", str(cause))
        if found:
            return f"the operator {found.group(1)} does not exist in ONNX opset {OPSET}"
        last, cause = cause, cause.__cause__ or cause.__context__
    node = re.search(r"While executing %\w+ .*?target=([\w.]+)", str(last))
    of = f", at {node.group(1)}" if node else ""
    return f"cannot be converted to ONNX{of} ({type(last).__name__}: {first_line(last)})"
