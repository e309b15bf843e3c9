"""Count the floating-point operations of operators from the shapes that a profiler recorded.

A multiplication and the addition after it count as two operations, as in :mod:`torch.utils.flop_counter`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

Shape = Sequence[int]
Shapes = Sequence[Shape]  # shape of each argument; empty for an argument that is not a tensor
Values = Sequence[str]  # value of each argument that is not a tensor, as text


def operations(name: str, shapes: Shapes, values: Values = ()) -> int:
    """Return the operations of an operator; 0 for one that is not counted, such as element-wise operators.

    Args:
        name: name of the operator: ``aten::addmm``.
        shapes: shapes of its arguments.
        values: values of its other arguments, such as strides; a convolution needs them.
    """
    count = _FORMULAS.get(name)
    if count is None and name.startswith("aten::_scaled_dot_product") and name.endswith("_backward"):
        count = _attention_backward
    try:
        return 0 if count is None else count(shapes, values)
    except (IndexError, ValueError):  # an argument without a shape, such as a packed weight
        return 0


def convolution_gradients(grad: Shape, inputs: Shape, weight: Shape, *, transposed: bool, num_gradients: int) -> int:
    """Count the operations of a convolution's gradients, each of which takes as many as the forward pass.

    PyTorch's formula ignores groups in the gradient of the weights. For wav2vec2's positional convolution, it
    counts 16 times too many.

    Args:
        grad: shape of the output's gradient, (B, channels, ...).
        inputs: shape of the input, (B, channels, ...).
        weight: shape of the weight.
        transposed: whether the convolution is transposed.
        num_gradients: 2 with the gradients of input and weight, 1 with one of them.
    """
    places = math.prod((inputs if transposed else grad)[2:])
    return 2 * grad[0] * places * math.prod(weight) * num_gradients


def _product(left: Shape, right: Shape) -> int:
    return 2 * math.prod(left) * right[-1]


def _convolution(shapes: Shapes, values: Values) -> int:
    if values[6] == "True":
        return 2 * shapes[0][0] * math.prod(shapes[0][2:]) * math.prod(shapes[1])
    strides, padding, dilation = (_numbers(text) for text in values[3:6])
    return _forward_convolution(shapes, strides, padding, dilation)


def _packed_convolution(shapes: Shapes, values: Values) -> int:
    padding, strides, dilation = (_numbers(text) for text in values[3:6])
    return _forward_convolution(shapes, strides, padding, dilation)


def _forward_convolution(
    shapes: Shapes, strides: Sequence[int], padding: Sequence[int], dilation: Sequence[int]
) -> int:
    (batch, _, *inputs), weight = shapes[0], shapes[1]
    places = 1
    for size, kernel, stride, pad, step in zip(inputs, weight[2:], strides, padding, dilation, strict=True):
        places *= (size + 2 * pad - step * (kernel - 1) - 1) // stride + 1
    return 2 * batch * places * math.prod(weight)


def _convolution_backward(shapes: Shapes, values: Values) -> int:
    grad, inputs, weight = shapes[:3]
    wanted = values[10].strip("[]").split(", ")[:2]  # of input and weight; the gradient of the bias is only a sum
    return convolution_gradients(
        grad, inputs, weight, transposed=values[7] == "True", num_gradients=wanted.count("True")
    )


def _attention(shapes: Shapes, _: Values) -> int:
    query, key, value = shapes[:3]
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def _attention_backward(shapes: Shapes, _: Values) -> int:
    """Count five products: the scores again, and the gradients of values, scores, queries and keys."""
    query, key, value = shapes[1:4]
    return 2 * math.prod(query[:-1]) * key[-2] * (3 * query[-1] + 2 * value[-1])


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.strip("[]").split(",")]


_FORMULAS: dict[str, Callable[[Shapes, Values], int]] = {
    "aten::mm": lambda shapes, _: _product(shapes[0], shapes[1]),
    "aten::bmm": lambda shapes, _: _product(shapes[0], shapes[1]),
    "aten::addmm": lambda shapes, _: _product(shapes[1], shapes[2]),
    "aten::_addmm_activation": lambda shapes, _: _product(shapes[1], shapes[2]),
    "aten::baddbmm": lambda shapes, _: _product(shapes[1], shapes[2]),
    "mkldnn::_linear_pointwise": lambda shapes, _: 2 * math.prod(shapes[0]) * shapes[1][0],
    "mkldnn::_convolution_pointwise": _packed_convolution,
    "aten::convolution": _convolution,
    "aten::convolution_backward": _convolution_backward,
    "aten::scaled_dot_product_attention": _attention,
}
