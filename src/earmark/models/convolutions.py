"""Compare half-precision convolutions on a CPU with float32, and run those with wrong results in float32.

oneDNN, which computes torch's convolutions on a CPU, has kernels that return garbage for some shapes. In torch 2.13.0
on an Intel Xeon with AMX, bfloat16 convolutions with 2 to 24 input channels per group and a kernel width of 8, 16 or
128 have relative errors of 40 to 130 %; all others have 0.2 %. Observations:

* Only forward passes of dense and grouped ``Conv1d`` and ``Conv2d`` return wrong values. The gradients of their inputs
  and weights are correct. The gradient of a transposed convolution's input is wrong, because a convolution computes it.
  Depthwise and dilated convolutions, linear layers, matrix products, norms, attention and activations are correct. The
  memory layout does not matter.
* Errors depend on the length, with a period of 8 samples, and rarely on the batch size. With kernel 8 and stride 8, for
  example, five of eight lengths are wrong, and all lengths below 5 output frames are correct.

So every distinct convolution of a model is run once per process on small seeded inputs of :data:`_NUM_LENGTHS`
consecutive lengths, forward and, for training, backward. If one error exceeds :data:`TOLERANCE`, the layer runs in
float32 at every length, so that the result for a clip does not depend on its batch. There is no list of wrong shapes,
because other processors and versions of torch have other faults. For wav2vec2-base, the check takes 0.3 s on one core,
with gradients 0.8 s.

On accelerators, :mod:`earmark.models.numerics` compares whole models instead.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import nn

from earmark.text import and_more

logger = logging.getLogger(__name__)

TOLERANCE = 0.05  # relative error (Euclidean norm); correct kernels: 0.002 in bfloat16, wrong ones: 0.4 to 1.3
_NUM_LENGTHS = 8  # one period of the known faults
_FEWEST_FRAMES = 17  # output frames of the shortest probe: more than a tile of AMX with 16 rows
_HALF = (torch.bfloat16, torch.float16)


@dataclass(frozen=True)
class Geometry:
    """The settings of a convolution that determine which oneDNN kernel computes it.

    Attributes:
        dims: 1, 2 or 3.
    """

    dims: int
    in_channels: int
    out_channels: int
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    padding: str | tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    padding_mode: str
    has_bias: bool

    @classmethod
    def of_module(cls, module: Any) -> Geometry:
        """Return the geometry of an ``nn.Conv1d``, ``nn.Conv2d`` or ``nn.Conv3d``."""
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        settings = {name: getattr(module, name) for name in (*names, "padding_mode")}
        return cls(dims=len(module.kernel_size), has_bias=module.bias is not None, **settings)

    def build(self) -> Any:
        """Return a module of this geometry with weights from a fixed seed, float32, on the CPU."""
        names = ("in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups")
        settings = {name: getattr(self, name) for name in (*names, "padding_mode")}
        kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[self.dims - 1]
        # On the meta device, the usual initialization does not change the random generator of training.
        # nn.utils.skip_init would do the same, but imports sympy.
        module: Any = kind(bias=self.has_bias, device="meta", **settings)
        generator = torch.Generator().manual_seed(0)
        for name, parameter in list(module.named_parameters()):
            setattr(module, name, nn.Parameter(torch.randn(parameter.shape, generator=generator)))
        with torch.no_grad():
            module.weight /= module.weight[0].numel() ** 0.5
        return module

    def inputs(self, extra: int) -> torch.Tensor:
        """Return an input (1, C, length, ...) from a fixed seed, ``extra`` samples longer than the shortest probe."""
        paddings = (0,) * self.dims if isinstance(self.padding, str) else self.padding
        sizes = zip(self.kernel_size, self.stride, self.dilation, paddings, strict=True)
        lengths = [
            max((kernel - 1) * dilation + 1 + stride * (_FEWEST_FRAMES - 1) - 2 * padding, _FEWEST_FRAMES) + extra
            for kernel, stride, dilation, padding in sizes
        ]
        generator = torch.Generator().manual_seed(extra)
        return torch.randn(1, self.in_channels, *lengths, generator=generator)


@cache
def probe(geometry: Geometry, dtype: torch.dtype, backward: bool, device: str = "cpu") -> float:
    """Return :func:`measured_error` of a convolution as torch computes it, measured once per process."""
    return measured_error(geometry, dtype, backward, device, _call)


def measured_error(
    geometry: Geometry, dtype: torch.dtype, backward: bool, device: str, run: Callable[[Any, torch.Tensor], Any]
) -> float:
    """Return the largest relative error of a convolution in ``dtype`` over the probed lengths.

    Inputs and weights are rounded to ``dtype`` first, so that only the arithmetic is compared. The function changes no
    random generator, and works within ``inference_mode`` and autocast.

    Args:
        geometry: the convolution.
        dtype: a half-precision type.
        backward: also compare the gradients of input, weight and bias.
        device: where to compute both results.
        run: takes the module in ``dtype`` and an input, and returns the output.

    Returns:
        The largest error; infinity if a value is not finite.
    """
    kind = torch.device(device).type
    with torch.inference_mode(False), torch.enable_grad(), torch.autocast(kind, enabled=False):
        half = geometry.build().to(dtype).to(device)
        exact = copy.deepcopy(half).float()
        inputs = [geometry.inputs(extra).to(dtype).to(device) for extra in range(_NUM_LENGTHS)]
        return max(_error(exact, half, values, backward, run) for values in inputs)


def _call(module: Any, values: torch.Tensor) -> Any:
    return module(values)


def _error(exact: Any, half: Any, values: torch.Tensor, backward: bool, run: Callable[..., Any]) -> float:
    results = []
    for module, inputs, compute in ((exact, values.float(), _call), (half, values, run)):
        inputs.requires_grad_(backward)
        with torch.set_grad_enabled(backward):
            output = compute(module, inputs)
        tensors = [output]
        if backward:
            along = torch.randn(output.shape, generator=torch.Generator().manual_seed(0)).to(values)
            tensors += torch.autograd.grad(output, [inputs, *module.parameters()], along.to(output.dtype))
        results.append([tensor.detach().float() for tensor in tensors])
    return max(relative_error(of_half, of_exact) for of_exact, of_half in zip(*results, strict=True))


def relative_error(values: torch.Tensor, exact: torch.Tensor) -> float:
    """Return norm(values - exact) / norm(exact), Euclidean; infinity if ``values`` are not finite."""
    size, off = float(exact.norm()), float((values - exact).norm())
    if off == 0.0:
        return 0.0
    return off / size if size > 0 and off < float("inf") else float("inf")


class CheckedConvolutions:
    """The convolutions of a model, which run in float32 if this CPU computes them wrongly in half precision.

    Args:
        model: model whose convolutions get a ``_conv_forward`` that uses this object. The method works with cast
            weights and under autocast. It changes nothing in float32 and on accelerators.

    Attributes:
        in_float32: names of layers that run in float32, by half-precision type; a type is missing until it is probed.
    """

    def __init__(self, model: nn.Module) -> None:
        self.layers = {name: module for name, module in model.named_modules() if _is_convolution(module)}
        self.in_float32: dict[torch.dtype, frozenset[str]] = {}
        self._with_gradients: set[torch.dtype] = set()
        for name, module in self.layers.items():
            module._conv_forward = partial(self._conv_forward, name, module)

    def check(self, dtype: torch.dtype | None, *, backward: bool) -> None:
        """Find the layers to run in float32 if the model is on a CPU, and log them once.

        Args:
            dtype: type that the model will compute in.
            backward: whether the model will be trained.
        """
        if dtype not in _HALF or not self.layers:
            return
        first = next(iter(self.layers.values()))
        if dtype in self._with_gradients or (dtype in self.in_float32 and not backward):
            return
        if next(first.parameters()).device.type != "cpu":
            return
        errors = {name: probe(Geometry.of_module(layer), dtype, backward) for name, layer in self.layers.items()}
        wrong = {name: error for name, error in errors.items() if error > TOLERANCE}
        if set(wrong) - self.in_float32.get(dtype, frozenset()):
            logger.warning(
                "%d of %d convolutions run in float32, which is slower: this CPU computes them wrongly in %s (relative "
                "error up to %.2g, tolerance %g): %s",
                len(wrong),
                len(errors),
                str(dtype).removeprefix("torch."),
                max(wrong.values()),
                TOLERANCE,
                and_more(sorted(wrong), 6),
            )
        self.in_float32[dtype] = frozenset(wrong)
        if backward:
            self._with_gradients.add(dtype)

    def _conv_forward(
        self, name: str, module: Any, values: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        """Compute the same as the module's own method."""
        plain = partial(type(module)._conv_forward, module)
        dtype = values.dtype
        if values.device.type != "cpu":
            return plain(values, weight, bias)
        if torch.is_autocast_enabled("cpu"):
            dtype = torch.get_autocast_dtype("cpu")
        if dtype not in _HALF or not self._needs_float32(name, dtype, torch.is_grad_enabled()):
            return plain(values, weight, bias)
        with torch.autocast("cpu", enabled=False):
            output = plain(values.float(), weight.float(), None if bias is None else bias.float())
        return output.to(dtype)

    def _needs_float32(self, name: str, dtype: torch.dtype, backward: bool) -> bool:
        if not torch.compiler.is_compiling():
            self.check(dtype, backward=backward)
        # If a graph is compiled before any probe, use float32, which is always correct.
        return dtype not in self.in_float32 or name in self.in_float32[dtype]


def _is_convolution(module: nn.Module) -> bool:
    return isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
