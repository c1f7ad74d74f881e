"""What a route is chosen for: one pass of one convolution."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from convscope.geometry import Windows, conv_macs
from convscope.kernels.library import Settings

__all__ = ["PASSES", "Case", "Operands"]

PASSES = ("forward", "backward_input", "backward_weight")


class Case(NamedTuple):
    """One pass of one convolution: what a route is chosen for."""

    passing: str
    input: tuple[int, ...]
    weight: tuple[int, ...]
    stride: tuple[int, ...]
    padding: tuple[int, ...]
    dilation: tuple[int, ...]
    groups: int
    dtype: str
    threads: int

    @classmethod
    def of(cls, passing: str, operands: Operands) -> Case:
        """Return the case of some operands, as this process would compute it."""
        input, weight, _, _, (stride, padding, dilation, groups) = operands
        shapes = tuple(input.shape), tuple(weight.shape)
        window = tuple(stride), tuple(padding), tuple(dilation)
        return cls(passing, *shapes, *window, groups, str(input.dtype)[6:], torch.get_num_threads())

    @property
    def macs(self) -> int:
        """Multiply-accumulates, the same for each pass of a convolution."""
        windows = Windows.of(2, self.weight[2:], self.stride, self.padding, self.dilation)
        return conv_macs(self.input[0], windows.output_size(self.input[2:]), self.weight)

    @property
    def pointwise(self) -> bool:
        """Whether the convolution is a matrix product at each pixel that it reads."""
        return self.weight[2:] == (1, 1) and self.padding == (0, 0) and self.groups == 1


class Operands(NamedTuple):
    """The tensors of a pass: `grad` is the output's, None in forward; `bias` is None in backward."""

    input: Tensor
    weight: Tensor
    bias: Tensor | None
    grad: Tensor | None
    settings: Settings
