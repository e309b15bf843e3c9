"""Trace frontend and model as one graph, from waveforms to probabilities (or to numbers, for a regression).

Shapes: B batch, T samples, C classes.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from earmark.errors import ModelError, first_line
from earmark.models.build_model import AudioModel
from earmark.models.forward import pads_exactly

_EXAMPLE_BATCH = 2  # torch.export treats a size of 1 as a constant
_MOST_CLIPS = 4096


class WaveformClassifier(nn.Module):
    """Map samples (B, T), and ``num_samples`` (B,) int64 if clip lengths may differ, to probabilities (B, C).

    Args:
        audio: model and frontend, on the CPU; the frontend must be tensor code.

    Attributes:
        example_length: length of the clips to trace with, in samples.
    """

    def __init__(self, audio: AudioModel) -> None:
        super().__init__()
        self.model = audio.model.eval()
        self.frontend = audio.frontend
        self.features = audio.frontend.features  # an attribute of its own, so that torch.export finds its buffers
        one_length = audio.frontend.pads_itself
        self.pad_to = audio.frontend.max_samples if one_length else None
        ignores_padding = one_length and not audio.frontend.tells_padding_from_silence
        self.task = audio.task
        middle = (self.frontend.min_samples + self.frontend.max_samples) // 2
        self.example_length = audio.family.example_samples(self.model.config, middle)
        self.takes_num_samples = pads_exactly(audio.model) and not ignores_padding

    def forward(self, samples: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Return probabilities (B, C), or numbers (B, 1) for a regression."""
        if self.pad_to is not None:  # the encoder takes only this length
            samples = F.pad(samples, (0, self.pad_to - samples.shape[1]))
        inputs = self.frontend.inputs(samples, num_samples)
        logits: torch.Tensor = self.model(**inputs).logits
        return self.task.scores_in_graph(logits)


def trace(graph: WaveformClassifier, fixed_shape: tuple[int, int] | None) -> torch.export.ExportedProgram:
    """Return the exported program of a graph, for one shape or for any batch and length within the frontend's limits.

    Raises:
        ModelError: torch.export cannot trace the model.
    """
    frontend = graph.frontend
    batch, length = fixed_shape or (_EXAMPLE_BATCH, graph.example_length)
    arguments: tuple[torch.Tensor, ...] = (torch.zeros(batch, length),)
    shapes: Any = None
    if fixed_shape is None:
        batches = torch.export.Dim.DYNAMIC(min=1, max=_MOST_CLIPS)
        lengths = torch.export.Dim.DYNAMIC(min=frontend.min_samples, max=frontend.max_samples)
        shapes = [{0: batches, 1: lengths}]
    if graph.takes_num_samples:
        arguments += (torch.full((batch,), length),)
        if shapes:
            shapes.append({0: batches})
    try:
        with torch.no_grad(), quiet_exporter():
            program = torch.export.export(
                graph,
                arguments,
                dynamic_shapes=tuple(shapes) if shapes else None,
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except Exception as exc:  # torch.export passes on any error of the model, sympy or the tracer
        kind = graph.model.config.model_type
        raise ModelError(
            f"{kind}: torch.export cannot trace this model ({type(exc).__name__}: {first_line(exc)}). Choose one of "
            "the architectures in docs/export.md."
        ) from exc
    _loosen(program)
    _drop_source_lines(program)
    return program


def _drop_source_lines(program: torch.export.ExportedProgram) -> None:
    """Remove the source location of each operation.

    Exporters write the locations into the file, where they can take most of the space, and they contain local paths.
    """
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def _loosen(program: torch.export.ExportedProgram) -> None:
    """Turn every ``view`` into a ``reshape``, and drop the tracer's assumptions about lengths.

    ``view`` would fail where exporters decompose a fused attention, which changes strides. The assumptions, such as
    one size not being a multiple of another, hold for the traced length only. The comparison over many lengths shows
    whether dropping them was safe.
    """
    for node in list(program.graph.nodes):
        if node.target is torch.ops.aten.view.default:
            node.target = torch.ops.aten.reshape.default
        elif node.target is torch.ops.aten._assert_scalar.default:
            program.graph.erase_node(node)
    program.graph.eliminate_dead_code()
    program.graph_module.recompile()


@contextmanager
def quiet_exporter() -> Iterator[None]:
    """Silence the log messages of torch's exporters about operators; errors are still raised."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
