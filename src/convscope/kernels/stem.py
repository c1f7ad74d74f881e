"""A network's first layer: `convscope::stem_conv2d`, a dense convolution of images with up to four channels.

PyTorch computes its output well and the gradient of its weights badly: only that gradient is native.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor

from convscope.kernels.cases import Case
from convscope.kernels.convolution_operator import (
    Gradients,
    check_convolution,
    define_convolution,
    native_weight_gradient,
)
from convscope.kernels.layouts import channels_last
from convscope.kernels.library import Library, Pair, Settings
from convscope.kernels.registry import Comparison, family

__all__ = ["stem_conv2d"]


_weight_gradient = native_weight_gradient("stem")
_MOST_CHANNELS = 4


def takes(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Return whether this is the convolution that the kernel differentiates: one group of few input channels."""
    return groups == 1 and weight.shape[1] <= _MOST_CHANNELS


def worth(case: Case) -> bool:
    """Return whether the kernel is faster than PyTorch's: with many overlapping windows."""
    return case.stride == (1, 1)


def forward(
    library: Library, input: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings
) -> Tensor:
    """Return the convolution's output, channels-last, as PyTorch computes it."""
    stride, padding, dilation, groups = settings
    return channels_last(
        torch.ops.aten.convolution(
            channels_last(input), weight, bias, stride, padding, dilation, False, (0, 0), groups
        )
    )


def backward(
    library: Library, grad: Tensor, input: Tensor, weight: Tensor, settings: Settings, wanted: Sequence[bool]
) -> Gradients:
    """Return those gradients of input, weight and bias that are wanted; that of the input is PyTorch's."""
    grad, input = channels_last(grad), channels_last(input)
    grad_input = None
    if wanted[0]:
        stride, padding, dilation, groups = settings
        grad_input, _, _ = torch.ops.aten.convolution_backward(
            grad, input, weight, None, stride, padding, dilation, False, (0, 0), groups, [True, False, False]
        )
        grad_input = channels_last(grad_input)
    grad_weight = _weight_gradient(library, grad, input, weight, settings) if wanted[1] else None
    return grad_input, grad_weight, grad.sum((0, 2, 3)) if wanted[2] else None


stem_conv2d = define_convolution("stem", takes, forward, backward)


# (batch, channels, height, width), kernel, stride, padding, dilation, groups, output channels
_CASES: tuple[tuple[Any, ...], ...] = (
    ((2, 3, 19, 22), (7, 7), (2, 2), (3, 3), (1, 1), 1, 32),
    ((1, 3, 23, 17), (11, 11), (4, 4), (2, 2), (1, 1), 1, 19),
    ((2, 1, 9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 1, 5),
    ((1, 4, 12, 10), (2, 3), (2, 1), (0, 2), (2, 3), 1, 24),
)


@family("stem")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the gradient, and what PyTorch computes beside it, with float64 on small shapes."""
    yield from check_convolution(library, forward, backward, _CASES)
