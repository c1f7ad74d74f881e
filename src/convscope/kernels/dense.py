"""The weight gradient of ordinary convolutions, which PyTorch leaves at half the speed of its forward."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor

from convscope.kernels.cases import Case
from convscope.kernels.convolution_operator import Gradients, check_convolution, native_weight_gradient
from convscope.kernels.library import Library, Pair, Settings
from convscope.kernels.registry import Comparison, family

__all__ = ["backward", "takes"]

_weight_gradient = native_weight_gradient("dense")


def takes(input: Tensor, weight: Tensor, stride: Pair, padding: Pair, dilation: Pair, groups: int) -> bool:
    """Return whether this is a convolution that every output channel sees whole."""
    return groups == 1


def worth(case: Case) -> bool:
    """Return whether the kernel is faster than PyTorch's: not where the gradient is one product of matrices."""
    return case.weight[1] >= 8 and case.weight[2:] != (1, 1)


def backward(
    library: Library, grad: Tensor, input: Tensor, weight: Tensor, settings: Settings, wanted: Sequence[bool]
) -> Gradients:
    """Return the weight's gradient; the others are PyTorch's."""
    return None, _weight_gradient(library, grad, input, weight, settings), None


# (batch, channels, height, width), kernel, stride, padding, dilation, groups, output channels
_CASES: tuple[tuple[Any, ...], ...] = (
    ((2, 19, 9, 11), (3, 3), (1, 1), (1, 1), (1, 1), 1, 37),
    ((1, 8, 30, 17), (5, 2), (2, 3), (2, 0), (1, 2), 1, 64),
    ((3, 40, 7, 7), (1, 1), (1, 1), (0, 0), (1, 1), 1, 9),
)


@family("dense")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernel with float64 on small shapes."""
    yield from check_convolution(library, None, backward, _CASES, wanted=(False, True, False))
