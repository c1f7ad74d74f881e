"""Depthwise convolution: `convscope::depthwise_conv2d`, native for float32 and bfloat16 on the CPU.

PyTorch's own weight gradient of it is far under the machine (docs/kernels.md). What the kernel does not take (other
types or devices, a depth multiplier) goes to PyTorch's convolution, with equal results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from convscope.kernels.cases import Case
from convscope.kernels.convolution_operator import check_convolution, define_convolution, native_passes
from convscope.kernels.library import Library, Pair
from convscope.kernels.registry import Comparison, family

__all__ = ["depthwise_conv2d"]


def takes(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Return whether this is the convolution that the kernels compute: one filter a channel."""
    return input.shape[1] == groups == weight.shape[0] and weight.shape[1] == 1


def worth(case: Case) -> bool:
    """Return whether the kernels are faster than PyTorch's: not on the way back through small windows with gaps."""
    return case.passing != "backward_input" or max(case.stride) == 1 or max(case.weight[2:]) > 3


forward, backward = native_passes("depthwise")
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
