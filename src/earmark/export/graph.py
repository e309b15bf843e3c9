"""What an export computes: waveforms to probabilities, the frontend included, as one graph of PyTorch operations.

Of a regression the output is the number itself.

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
from earmark.families.family_registry import find_family
from earmark.models.build_model import AudioModel
from earmark.models.forward import pads_exactly

_EXAMPLE_BATCH = 2  # torch.export takes a size of 1 for a constant
_MOST_CLIPS = 4096


class WaveformClassifier(nn.Module):
    """Samples (B, T) and, where clips may differ in length, ``num_samples`` (B,) int64 to probabilities (B, C).

    Args:
        audio: model and frontend, on the CPU; the frontend has to be tensor code.
    """

    def __init__(self, audio: AudioModel) -> None:
        super().__init__()
        self.model = audio.model.eval()
        self.frontend = audio.frontend
        self.features = audio.frontend.features  # so that torch.export finds its buffers
        one_length = audio.frontend.pads_itself
        self.pad_to = audio.frontend.max_samples if one_length else None
        ignores_padding = one_length and not audio.frontend.tells_padding_from_silence
        self.task = audio.task
        self.takes_num_samples = pads_exactly(audio.model) and not ignores_padding

    def forward(self, samples: torch.Tensor, num_samples: torch.Tensor | None = None) -> torch.Tensor:
        """Probabilities (B, C); of a regression the numbers (B, 1)."""
        if self.pad_to is not None:  # the encoder takes this length only, so every length becomes it at once
            samples = F.pad(samples, (0, self.pad_to - samples.shape[1]))
        inputs = self.frontend.inputs(samples, num_samples)
        logits: torch.Tensor = self.model(**inputs).logits
        return self.task.scores_in_graph(logits)


def trace(graph: WaveformClassifier, fixed_shape: tuple[int, int] | None) -> torch.export.ExportedProgram:
    """The graph as an exported program, for any batch and length within the frontend's limits, or for one shape.

    Raises:
        ModelError: an operation of the model depends on values or lengths in a way that cannot be exported.
    """
    frontend = graph.frontend
    batch, length = fixed_shape or (_EXAMPLE_BATCH, example_length(graph))
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
    except Exception as exc:  # torch.export lets through whatever the model, sympy or the tracer raised
        kind = graph.model.config.model_type
        raise ModelError(f"{kind}: torch.export cannot trace it ({type(exc).__name__}: {first_line(exc)})") from exc
    _loosen(program)
    _drop_source_lines(program)
    return program


def _drop_source_lines(program: torch.export.ExportedProgram) -> None:
    """Remove where in the source each operation was called.

    Exporters would write it into the file: most of the size of a small model, and paths of the machine it was made on.
    """
    for module in program.graph_module.modules():
        if isinstance(module, torch.fx.GraphModule):
            for node in module.graph.nodes:
                node.meta.pop("stack_trace", None)


def example_length(graph: WaveformClassifier) -> int:
    """Samples of the clips that are traced."""
    middle = (graph.frontend.min_samples + graph.frontend.max_samples) // 2
    return find_family(graph.model.config).example_samples(graph.model.config, middle)


def _loosen(program: torch.export.ExportedProgram) -> None:
    """Let every ``view`` be a ``reshape``, and drop what the tracer assumed of lengths.

    Strides differ where a fused attention is taken apart later. The assumptions are those of the one length traced:
    that one size is no multiple of another, and so on. Whether they mattered is what the comparison over many lengths
    shows.
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
    """No advice of torch's exporters about other people's operators; what matters to a user is raised."""
    log = logging.getLogger("torch")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)
