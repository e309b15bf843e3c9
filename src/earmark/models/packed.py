"""Speed up products and convolutions with constant weights on x86 CPUs by packing the weights once for oneDNN.

torch multiplies float32 matrices with MKL, whose AVX-512 code runs only on Intel's processors. On an AMD EPYC with
AVX-512, oneDNN with packed weights takes less than half the time (``benchmarks/products.py``). In bfloat16, torch
rearranges the weights at every call, which takes a third of the time of a small batch. ``torch.compile`` uses the same
operators for frozen weights.

Shapes: B batch, F frames, R rows, K inputs, N outputs.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from earmark.families.spectra import Product
from earmark.models.convolutions import TOLERANCE, Geometry, measured_error

# The packed weight of each module, with the weights that it was made of and their versions.
Packs = dict[nn.Module, tuple[list[torch.Tensor], list[int], torch.Tensor]]

_FEWEST_ROWS = 8  # for fewer rows, the call costs more than the product


def can_pack(device: torch.device) -> bool:
    """Return whether packing helps: on an x86 CPU, if torch has oneDNN and it is not switched off."""
    if device.type != "cpu" or platform.machine().lower() not in ("x86_64", "amd64"):
        return False
    operators = torch.ops.mkldnn
    needed = ("_linear_pointwise", "_reorder_linear_weight", "_convolution_pointwise", "_reorder_convolution_weight")
    has_operators = all(hasattr(operators, name) for name in needed)
    return has_operators and torch.backends.mkldnn.is_available() and torch._C._get_mkldnn_enabled()


@contextmanager
def replaced_forwards(forwards: Mapping[nn.Module, Callable[..., torch.Tensor]]) -> Iterator[None]:
    """Replace the forward of modules in this context. A forward that other code sets meanwhile stays."""
    for module, forward in forwards.items():
        module.forward = forward
    try:
        yield
    finally:
        for module, forward in forwards.items():
            if vars(module).get("forward") is forward:
                del module.forward


def _run(
    module: Any, values: torch.Tensor, *, run: Callable[[torch.Tensor], torch.Tensor] | None = None
) -> torch.Tensor:
    """Return ``run(values)``, or the output of the module if ``run`` is ``None``."""
    output: torch.Tensor = type(module).forward(module, values) if run is None else run(values)
    return output


def _packable_dtypes() -> set[torch.dtype]:
    supports_bfloat16 = getattr(torch.ops.mkldnn, "_is_mkldnn_bf16_supported", bool)()
    return {torch.float32, torch.bfloat16} if supports_bfloat16 else {torch.float32}


class PackedProducts:
    """The products of linear layers, of :class:`Product` and of one-dimensional convolutions.

    Weights are packed at first use, and again after a change that torch counts (``_version``). torch does not count
    in-place changes through ``.data`` or by fused optimizers. With gradients, autocast or types other than float32 and
    bfloat16, the modules compute as usual, and so do modules whose ``forward`` was replaced.
    :mod:`earmark.families.fused` calls the methods that compute more than a module does.

    Args:
        *roots: modules to search.
        activated: linear layers and the GELU after each, which is then computed with the layer
            (:meth:`earmark.families.family.Family.activated_linears`).
    """

    def __init__(self, *roots: nn.Module, activated: Sequence[tuple[Any, Any]] = ()) -> None:
        modules = [module for root in roots for module in root.modules() if "forward" not in vars(module)]
        self._linears = [module for module in modules if type(module) is nn.Linear]
        self._products = [module for module in modules if type(module) is Product]
        self._convolutions = [module for module in modules if isinstance(module, nn.Conv1d)]
        self._activated = [pair for pair in activated if not any("forward" in vars(module) for module in pair)]
        self._dtypes = _packable_dtypes()
        self._packed: Packs = {}
        self._is_paused = False

    @contextmanager
    def used(self, packs: Packs | None = None) -> Iterator[None]:
        """Let the modules compute with packed weights in this context.

        Args:
            packs: where to keep packed weights for other contexts; ``None`` to drop them at the end. Clear it after a
                change of weights that torch does not count.
        """
        self._packed = {} if packs is None else packs
        forwards: dict[nn.Module, Callable[..., torch.Tensor]] = {
            **{linear: partial(self._linear, linear) for linear in self._linears},
            **{convolution: partial(_run, convolution) for convolution in self._convolutions},
            **{product: partial(self._product, product) for product in self._products},
        }
        for linear, activation in self._activated:
            forwards |= {
                linear: partial(self._activated_linear, linear, activation),
                activation: partial(self._activation, activation),
            }
        marked = (*self._linears, *self._convolutions)
        for module in marked:
            module.packing = self  # type: ignore[assignment]  # no submodule
        try:
            with replaced_forwards(forwards):
                yield
        finally:
            for module in marked:
                del module.packing
            self._packed = {}

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let each module compute its own output in this context, to compare with packed weights."""
        self._is_paused = True
        try:
            yield
        finally:
            self._is_paused = False

    def takes(self, module: nn.Module, values: torch.Tensor) -> bool:
        """See :class:`earmark.families.fused.Packing`."""
        weight = next(module.parameters())
        if not self._is_for_packing(values, weight):
            return False
        is_probed = isinstance(module, nn.Conv1d) and module.groups > 1 and values.dtype != torch.float32
        return not is_probed or _is_right(Geometry.of_module(module), values.dtype)

    # The methods of the protocol call the module, so that its hooks run.

    def product(self, module: Any, rows: torch.Tensor, matrix: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        """See :class:`earmark.families.fused.Packing`."""
        output: torch.Tensor = module(rows, run=lambda values: _multiply(values, matrix, None, gelu=gelu))
        return output

    def linear(self, module: Any, rows: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        """See :class:`earmark.families.fused.Packing`."""
        output: torch.Tensor = module(rows, gelu=gelu)
        return output

    def over_frames(self, module: Any, frames: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        """See :class:`earmark.families.fused.Packing`."""
        output: torch.Tensor = module(frames, run=partial(self._over_frames, module, gelu=gelu))
        return output

    def convolution(self, module: Any, frames: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        """See :class:`earmark.families.fused.Packing`."""
        output: torch.Tensor = module(frames, run=partial(self._convolution, module, gelu=gelu))
        return output

    def _over_frames(self, module: Any, frames: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        width, stride, channels = module.kernel_size[0], module.stride[0], frames.shape[1]
        frames = frames.contiguous()
        count = (len(frames) - width) // stride + 1
        rows = frames.as_strided((count, width * channels), (stride * channels, 1))
        return _multiply(rows, self._pack(module, [module.weight], _pack_over_frames), module.bias, gelu=gelu)

    def _convolution(self, module: Any, frames: torch.Tensor, *, gelu: bool) -> torch.Tensor:
        sources = list(module.parameters())  # with weight norm, two parameters give the weight
        packed = self._pack(module, sources, lambda _: _pack_convolution(module, frames.shape))
        return _convolve(module, packed, frames, gelu=gelu)

    def _linear(self, module: nn.Linear, rows: torch.Tensor, *, gelu: bool = False) -> torch.Tensor:
        if not self._is_for_packing(rows, module.weight):
            inner = F.linear(rows, module.weight, module.bias)
            return F.gelu(inner) if gelu else inner
        return _multiply(rows, self._pack(module, [module.weight], _pack_linear), module.bias, gelu=gelu)

    def _activated_linear(self, module: nn.Linear, activation: Any, rows: torch.Tensor) -> torch.Tensor:
        if self._is_for_packing(rows, module.weight):
            return self._linear(module, rows, gelu=True)
        inner = F.linear(rows, module.weight, module.bias)
        if self._is_paused:
            return inner
        activated: torch.Tensor = type(activation).forward(activation, inner)
        return activated

    def _activation(self, module: Any, values: torch.Tensor) -> torch.Tensor:
        """Return the values unchanged, because :meth:`_activated_linear` has activated them; activate if paused."""
        activated: torch.Tensor = type(module).forward(module, values) if self._is_paused else values
        return activated

    def _product(self, module: nn.Module, rows: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        if not self._is_for_packing(rows, matrix):
            return rows @ matrix
        packed = self._pack(module, [matrix], lambda one: _pack_linear(one.t().contiguous()))
        return _multiply(rows, packed, None, gelu=False)

    def _pack(
        self, module: nn.Module, sources: list[torch.Tensor], pack: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """Return the packed weight for ``sources``; ``pack`` makes it from the first of them."""
        known = self._packed.get(module)
        versions = [source._version for source in sources]
        # Keep the memory of packed weights, so that no other weight can get its address.
        if (
            known is None
            or known[1] != versions
            or any(old.data_ptr() != new.data_ptr() for old, new in zip(known[0], sources, strict=True))
        ):
            sources = [source.detach() for source in sources]
            known = self._packed[module] = (sources, versions, pack(sources[0]))
        return known[2]

    def _is_for_packing(self, values: torch.Tensor, weight: torch.Tensor) -> bool:
        if self._is_paused or torch.is_grad_enabled() or torch.is_autocast_enabled("cpu"):
            return False
        if torch.compiler.is_compiling() or weight.is_inference():  # an inference tensor does not count its changes
            return False
        if values.dtype != weight.dtype or values.dtype not in self._dtypes:
            return False
        return values.numel() >= _FEWEST_ROWS * values.shape[-1]


def constant_products(module: nn.Module | None, device: torch.device) -> Callable[[], AbstractContextManager[None]]:
    """Return a function that makes contexts in which a module on ``device`` computes with packed matrices.

    The matrices are packed in the first context and kept for the others.

    Args:
        module: a module whose matrices never change, such as a log-mel; ``None`` for contexts without effect.
        device: where it computes.
    """
    if module is None or not can_pack(device):
        return nullcontext
    packs: Packs = {}
    return partial(PackedProducts(module).used, packs)


def _pack_linear(weight: torch.Tensor) -> Any:
    """Pack (N, K)."""
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def _pack_over_frames(weight: torch.Tensor) -> Any:
    """Pack the weight of a convolution (N, C, width) for rows of ``width`` frames of C channels."""
    return _pack_linear(weight.transpose(1, 2).flatten(1).contiguous())


def _pack_convolution(module: Any, shape: torch.Size) -> Any:
    """Pack the weight of a convolution for inputs of the shape (B, F, C); inputs of other shapes also work."""
    batch, frames, channels = shape
    size = [batch, channels, 1, frames]
    weight = module.weight.detach()[:, :, None].contiguous()
    return torch.ops.mkldnn._reorder_convolution_weight(weight, *_settings(module), size)


def _convolve(module: Any, packed: torch.Tensor, frames: torch.Tensor, *, gelu: bool) -> Any:
    """Return (B, F, N) of frames (B, F, C), which are in memory like an image (B, C, 1, F) with channels last."""
    bias = None if module.bias is None else module.bias.detach()
    image = frames.contiguous().transpose(1, 2)[:, :, None]
    output = torch.ops.mkldnn._convolution_pointwise(image, packed, bias, *_settings(module), *_last_step(gelu))
    return output[:, :, 0].transpose(1, 2)


@cache
def _is_right(geometry: Geometry, dtype: torch.dtype) -> bool:
    """Return whether this CPU computes a packed convolution correctly; see :mod:`earmark.models.convolutions`."""
    packs: list[torch.Tensor] = []

    def run(module: Any, values: torch.Tensor) -> torch.Tensor:
        frames = values.transpose(1, 2)
        packs[:] = packs or [_pack_convolution(module, frames.shape)]  # one pack for all lengths, as in a session
        output: torch.Tensor = _convolve(module, packs[0], frames, gelu=False)
        return output.transpose(1, 2)

    return measured_error(geometry, dtype, backward=False, device="cpu", run=run) <= TOLERANCE


def _settings(module: Any) -> tuple[list[int], list[int], list[int], int]:
    """Return padding, stride, dilation and groups of an ``nn.Conv1d`` as a convolution of images one pixel high."""
    return [0, *module.padding], [1, *module.stride], [1, *module.dilation], module.groups


def _last_step(gelu: bool) -> tuple[str, list[float], str]:
    """Return what oneDNN applies to each output: the exact GELU, or nothing."""
    return ("gelu", [], "none") if gelu else ("none", [], "")


def _multiply(rows: torch.Tensor, packed: torch.Tensor, bias: torch.Tensor | None, *, gelu: bool) -> Any:
    return torch.ops.mkldnn._linear_pointwise(rows, packed, bias, *_last_step(gelu))
