"""Grouped convolution, up to 32 channels a group: `convscope::grouped_conv2d`, native for float32 and bfloat16.

PyTorch runs it far under the machine, its weight gradient most of all. What the kernel does not take (other types or
devices, larger groups, one group) goes to PyTorch's convolution, with equal results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor

from convscope.kernels.cases import Case
from convscope.kernels.convolution_operator import check_convolution, define_convolution, native_passes
from convscope.kernels.library import Library, Pair
from convscope.kernels.registry import Comparison, family

__all__ = ["grouped_conv2d"]


_LARGEST = 32  # channels a group


def takes(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Return whether this is the convolution that the kernels compute: groups of few channels, but not depthwise."""
    group_in, group_out = weight.shape[1], weight.shape[0] // groups
    return groups > 1 and group_in <= _LARGEST and group_out <= _LARGEST and group_in * group_out > 1


def worth(case: Case) -> bool:
    """Return whether the kernels are faster here than PyTorch's: for groups that do not fill vectors of their own."""
    largest = max(case.weight[1], case.weight[0] // case.groups)
    return largest <= (4 if case.passing == "backward_weight" else 8)


forward, backward = native_passes("grouped")
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
