"""Grouped convolution, up to 32 channels a group: `convscope::grouped_conv2d`, native for float32 and bfloat16.

PyTorch runs it far under the machine, its weight gradient most of all. What the kernel does not take (other types or
devices, larger groups, one group) goes to PyTorch's convolution, with equal results.
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

__all__ = ["grouped_conv2d"]


declare("grouped_forward", "pipppp")
declare("grouped_backward_input", "pippp")
declare("grouped_backward_weight", "pippp")


_LARGEST = 32  # channels a group


def takes(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Return whether this is the convolution that the kernels compute: groups of few channels, but not depthwise."""
    group_in, group_out = weight.shape[1], weight.shape[0] // groups
    return groups > 1 and group_in <= _LARGEST and group_out <= _LARGEST and group_in * group_out > 1


def worth(case: Case) -> bool:
    """Return whether the kernels are faster here than PyTorch's: for groups that do not fill vectors of their own."""
    largest = max(case.weight[1], case.weight[0] // case.groups)
    return largest <= (4 if case.passing == "backward_weight" else 8)


def forward(
    library: Library, input: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings
) -> Tensor:
    """Return the convolution's output, channels-last."""
    call, shape = convolution_of(input, weight, settings)
    input, weight = channels_last(input), weight.contiguous()
    output = empty_maps(input, shape)
    library.grouped_forward(
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
        library.grouped_backward_input(call, kind, pointer(grad), pointer(weight), pointer(grad_input))
    if wanted[1]:
        input, grad_weight = channels_last(input), torch.empty_like(weight)
        library.grouped_backward_weight(call, kind, pointer(input), pointer(grad), pointer(grad_weight))
    return grad_input, grad_weight, grad.sum((0, 2, 3)) if wanted[2] else None


grouped_conv2d = define_convolution("grouped", takes, forward, backward)


# (batch, channels, height, width), kernel, stride, padding, dilation, groups, output channels
_CASES: tuple[tuple[Any, ...], ...] = (
    ((2, 20, 9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 5, 20),
    ((2, 32, 7, 9), (3, 3), (2, 2), (1, 1), (1, 1), 4, 32),
    ((1, 32, 8, 10), (3, 3), (1, 1), (2, 2), (2, 2), 2, 32),
    ((1, 9, 8, 17), (5, 2), (2, 1), (2, 0), (1, 1), 3, 15),
    ((2, 10, 7, 7), (1, 3), (1, 3), (0, 1), (1, 1), 5, 80),
    ((1, 64, 5, 6), (3, 3), (1, 2), (1, 1), (1, 1), 2, 32),
)


@family("grouped")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernels with float64 on small shapes."""
    yield from check_convolution(library, forward, backward, _CASES)
