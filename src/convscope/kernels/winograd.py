"""3x3 convolutions of stride 1 in a quarter of the multiplications: Winograd's F(4x4, 3x3), and its gradients.

The same sums in another order: the result is off by some 1e-6 of the largest value, a few times as much as a direct
sum's (docs/kernels.md). Float32 only.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from convscope.kernels.cases import Case
from convscope.kernels.convolution_operator import check_convolution, native_passes
from convscope.kernels.library import Library, Pair, load
from convscope.kernels.registry import Comparison, family

__all__ = ["backward", "forward", "takes"]


def takes(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Return whether this is a convolution that the kernels compute: its groups fill whole vectors, if it has some."""
    if tuple(weight.shape[2:]) != (3, 3) or not tuple(stride) == tuple(dilation) == (1, 1):
        return False
    lanes = load().lanes
    whole = groups == 1 or (weight.shape[1] % lanes == 0 and weight.shape[0] // groups % lanes == 0)
    return whole and input.dtype == torch.float32


def worth(case: Case) -> bool:
    """Return whether the tiles are enough to make up for the weights' transform."""
    batch, channels, height, width = case.input
    tiles = batch * -(-height // 4) * -(-width // 4)
    return tiles >= 48 and min(channels, case.weight[0]) >= 16


forward, backward = native_passes("winograd", typed=False)


# (batch, channels, height, width), kernel, stride, padding, dilation, groups, output channels
_CASES: tuple[tuple[Any, ...], ...] = (
    ((2, 19, 9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 1, 37),
    ((1, 8, 17, 8), (3, 3), (1, 1), (0, 2), (1, 1), 1, 64),
    ((5, 40, 7, 7), (3, 3), (1, 1), (1, 1), (1, 1), 1, 9),
    ((2, 48, 6, 13), (3, 3), (1, 1), (1, 1), (1, 1), 3, 96),
    ((3, 160, 8, 8), (3, 3), (1, 1), (1, 1), (1, 1), 1, 200),
)


@family("winograd")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernels with float64 on small shapes."""
    bounds, wanted = {torch.float32: 1e-5}, (True, True, False)
    yield from check_convolution(library, forward, backward, _CASES, wanted=wanted, bounds=bounds)
