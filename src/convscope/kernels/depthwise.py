"""Depthwise convolution: `convscope::depthwise_conv2d`, native for float32 and bfloat16 on the CPU.

PyTorch's own weight gradient of it is far under the machine (docs/kernels.md). What the kernel does not take (other
types or devices, a depth multiplier) goes to PyTorch's convolution, with equal results.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from convscope.kernels.cases import Case
from convscope.kernels.convolution_operator import check_convolution, define_convolution
from convscope.kernels.layouts import channels_last, empty_maps, pointer
from convscope.kernels.library import Library, Pair, Settings, convolution_of, declare, element_type
from convscope.kernels.registry import Comparison, family

__all__ = ["depthwise_conv2d"]


declare("depthwise_forward", "pipppp")
declare("depthwise_backward_input", "pippp")
declare("depthwise_backward_weight", "pippp")


def takes(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Return whether this is the convolution that the kernels compute: one filter a channel."""
    return input.shape[1] == groups == weight.shape[0] and weight.shape[1] == 1


def worth(case: Case) -> bool:
    """Return whether the kernels are faster than PyTorch's: not on the way back through small windows with gaps."""
    return case.passing != "backward_input" or max(case.stride) == 1 or max(case.weight[2:]) > 3


def forward(
    library: Library, input: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings
) -> Tensor:
    """Return the convolution's output, channels-last."""
    call, shape = convolution_of(input, weight, settings)
    input, weight = channels_last(input), weight.contiguous()
    output = empty_maps(input, shape)
    library.depthwise_forward(
        call, element_type(input), pointer(input), pointer(weight), pointer(bias), pointer(output)
    )
    return output


def backward(
    library: Library, grad: Tensor, input: Tensor, weight: Tensor, settings: Settings, wanted: Sequence[bool]
) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
    """Return those gradients of input, weight and bias that are wanted."""
    call, _ = convolution_of(input, weight, settings)
    grad, weight, kind = channels_last(grad), weight.contiguous(), element_type(input)
    grad_input = grad_weight = None
    if wanted[0]:
        grad_input = empty_maps(input, input.shape)
        library.depthwise_backward_input(call, kind, pointer(grad), pointer(weight), pointer(grad_input))
    if wanted[1]:
        input, grad_weight = channels_last(input), torch.empty_like(weight)
        library.depthwise_backward_weight(call, kind, pointer(input), pointer(grad), pointer(grad_weight))
    return grad_input, grad_weight, grad.sum((0, 2, 3)) if wanted[2] else None


depthwise_conv2d = define_convolution("depthwise", takes, forward, backward)


# (batch, channels, height, width), kernel, stride, padding, dilation
_CASES: tuple[tuple[tuple[int, ...], Any, Any, Any, Any], ...] = (
    ((2, 19, 9, 11), (3, 3), (1, 1), (1, 1), (1, 1)),
    ((1, 32, 8, 17), (5, 5), (2, 2), (2, 2), (1, 1)),
    ((2, 16, 7, 7), (7, 7), (1, 1), (3, 3), (1, 1)),
    ((1, 5, 12, 10), (2, 4), (3, 1), (0, 2), (2, 3)),
)


@family("depthwise")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernels with float64 on small shapes."""
    yield from check_convolution(library, forward, backward, [(*case, case[0][1]) for case in _CASES])
