"""Blur-pool: a low-pass filter before the stride, so that a shifted image gives a shifted feature map."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from math import comb

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import UsageError
from convscope.geometry import Windows, as_ints
from convscope.ops.padding import PaddingMode, pad
from convscope.ops.plan import Sizes, check_axes, plan_axes

__all__ = ["blur_pool1d", "blur_pool2d", "blur_pool3d"]

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def blur_pool1d(
    input: Tensor, kernel_size: Sizes = 3, stride: Sizes = 2, *, padding_mode: PaddingMode = "reflect"
) -> Tensor:
    """Blur and subsample (N, C, L) or (C, L); see `blur_pool2d`.

    Example:
        >>> blur_pool1d(torch.tensor([[0.0, 4.0, 0.0, 4.0, 0.0]])).tolist()
        [[2.0, 2.0, 2.0]]
    """
    return _blur_pool(1, input, kernel_size, stride, padding_mode)


def blur_pool2d(
    input: Tensor, kernel_size: Sizes = 3, stride: Sizes = 2, *, padding_mode: PaddingMode = "reflect"
) -> Tensor:
    """Blur every channel with a binomial filter, then keep every `stride`-th pixel.

    Striding alone folds fine patterns into coarse ones; the blur removes them first. The filter is a row of
    Pascal's triangle, (1 2 1) / 4 for size 3, along each axis.

    Shapes:
        input (N, C, H, W) or (C, H, W)
        returns (N, C, ceil(H / stride), ceil(W / stride)), or the same without N
    Args:
        kernel_size: taps of the filter; one number, or (height, width). 1 only subsamples. An odd filter is
            centred; an even one reads one pixel more after than before.
        padding_mode: what lies beyond the edge; see `pad`.
    Raises:
        ShapeError: a setting below 1, or an input without pixels.
        UnknownNameError: an unknown padding mode.
        UsageError: an input of whole numbers.
    Cost:
        N * C * H_out * W_out * K_h * K_w MACs, and a copy of the input for the padding.
    Source:
        Zhang, Making convolutional networks shift-invariant again, arXiv:1904.11486.
    Example:
        >>> stripes = torch.tensor([[0.0, 4.0, 0.0, 4.0]]).expand(1, 4, 4)
        >>> stripes[:, ::2, ::2].tolist(), blur_pool2d(stripes).tolist()
        ([[[0.0, 0.0], [0.0, 0.0]]], [[[2.0, 2.0], [2.0, 2.0]]])
    """
    return _blur_pool(2, input, kernel_size, stride, padding_mode)


def blur_pool3d(
    input: Tensor, kernel_size: Sizes = 3, stride: Sizes = 2, *, padding_mode: PaddingMode = "reflect"
) -> Tensor:
    """Blur and subsample (N, C, D, H, W) or (C, D, H, W); see `blur_pool2d`.

    Example:
        >>> blur_pool3d(torch.ones(1, 4, 5, 6), stride=(1, 2, 2)).shape
        torch.Size([1, 4, 3, 3])
    """
    return _blur_pool(3, input, kernel_size, stride, padding_mode)


def _blur_pool(
    ndim: int, input: Tensor, kernel_size: Sizes, stride: Sizes, padding_mode: PaddingMode
) -> Tensor:
    try:
        check_axes(ndim, input)
        if not input.is_floating_point():
            raise UsageError(f"input is {input.dtype}; a blur has fractions. Use input.float().")
        sizes = as_ints("kernel_size", kernel_size, ndim, at_least=1)
        sides = tuple(((size - 1) // 2, size // 2) for size in sizes)
        plan = plan_axes(Windows.of, input.shape[-ndim:], ndim, sizes, stride, sides)
        padded = pad(input, sides, padding_mode)
    except UsageError as error:
        raise error.at(f"blur_pool{ndim}d") from error
    channels = input.shape[-ndim - 1]
    weight = _binomial(sizes, input).expand(channels, 1, *sizes)
    return _CONV[ndim](padded, weight, None, plan.stride, groups=channels)


def _binomial(sizes: tuple[int, ...], like: Tensor) -> Tensor:
    rows = [
        torch.tensor(
            [comb(size - 1, tap) / 2 ** (size - 1) for tap in range(size)],
            dtype=like.dtype,
            device=like.device,
        )
        for size in sizes
    ]
    return reduce(lambda taps, row: taps.unsqueeze(-1) * row, rows)
