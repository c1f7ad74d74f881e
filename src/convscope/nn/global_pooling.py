"""Global pooling layers: one value for each channel, whatever the input size."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor

from convscope import ops

__all__ = [
    "GlobalAvgPool1d",
    "GlobalAvgPool2d",
    "GlobalAvgPool3d",
    "GlobalMaxPool1d",
    "GlobalMaxPool2d",
    "GlobalMaxPool3d",
]


class _GlobalPool(torch.nn.Module):
    _ndim: ClassVar[int]
    _function: ClassVar[Callable[..., Tensor]]

    def __init__(self, keepdim: bool = False) -> None:
        super().__init__()
        self.keepdim = keepdim

    def forward(self, input: Tensor) -> Tensor:
        """Return one value for each channel."""
        return self._function(input, ndim=self._ndim, keepdim=self.keepdim)

    def extra_repr(self) -> str:
        """Return the setting if it is not the usual one."""
        return "keepdim=True" if self.keepdim else ""


class GlobalAvgPool1d(_GlobalPool):
    """Average each channel of (N, C, L) or (C, L): `ops.global_avg_pool`.

    Example:
        >>> GlobalAvgPool1d()(torch.tensor([[1.0, 2.0, 6.0]])).tolist()
        [3.0]
    """

    _ndim = 1
    _function = staticmethod(ops.global_avg_pool)


class GlobalAvgPool2d(_GlobalPool):
    """Average each channel of (N, C, H, W) or (C, H, W): `ops.global_avg_pool`.

    Example:
        >>> GlobalAvgPool2d()(torch.ones(2, 8, 5, 4)).shape, GlobalAvgPool2d(keepdim=True)(torch.ones(8, 5, 4)).shape
        (torch.Size([2, 8]), torch.Size([8, 1, 1]))
    """

    _ndim = 2
    _function = staticmethod(ops.global_avg_pool)


class GlobalAvgPool3d(_GlobalPool):
    """Average each channel of (N, C, D, H, W) or (C, D, H, W): `ops.global_avg_pool`.

    Example:
        >>> GlobalAvgPool3d()(torch.ones(2, 8, 3, 5, 4)).shape
        torch.Size([2, 8])
    """

    _ndim = 3
    _function = staticmethod(ops.global_avg_pool)


class GlobalMaxPool1d(_GlobalPool):
    """Take the largest value of each channel of (N, C, L) or (C, L): `ops.global_max_pool`.

    Example:
        >>> GlobalMaxPool1d()(torch.tensor([[1.0, 2.0, 6.0]])).tolist()
        [6.0]
    """

    _ndim = 1
    _function = staticmethod(ops.global_max_pool)


class GlobalMaxPool2d(_GlobalPool):
    """Take the largest value of each channel of (N, C, H, W) or (C, H, W): `ops.global_max_pool`.

    Example:
        >>> GlobalMaxPool2d(keepdim=True)(torch.ones(2, 8, 5, 4)).shape
        torch.Size([2, 8, 1, 1])
    """

    _ndim = 2
    _function = staticmethod(ops.global_max_pool)


class GlobalMaxPool3d(_GlobalPool):
    """Take the largest value of each channel of (N, C, D, H, W) or (C, D, H, W): `ops.global_max_pool`.

    Example:
        >>> GlobalMaxPool3d()(torch.ones(2, 8, 3, 5, 4)).shape
        torch.Size([2, 8])
    """

    _ndim = 3
    _function = staticmethod(ops.global_max_pool)
