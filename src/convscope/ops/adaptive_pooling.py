"""Pooling to a size that is given, or to a single value: adaptive and global pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch.nn.functional as F
from torch import Tensor

from convscope.errors import ShapeError, UsageError
from convscope.geometry import as_int, as_ints
from convscope.ops.plan import check_axes

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "global_avg_pool",
    "global_max_pool",
]

AdaptiveSizes = int | None | Sequence[int | None]

_AVG: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_avg_pool1d,
    2: F.adaptive_avg_pool2d,
    3: F.adaptive_avg_pool3d,
}
_MAX: dict[int, Callable[..., Tensor]] = {
    1: F.adaptive_max_pool1d,
    2: F.adaptive_max_pool2d,
    3: F.adaptive_max_pool3d,
}


def adaptive_avg_pool1d(input: Tensor, output_size: AdaptiveSizes) -> Tensor:
    """Average (N, C, L) or (C, L) over `output_size` windows; see `adaptive_avg_pool2d`.

    Example:
        >>> import torch
        >>> adaptive_avg_pool1d(torch.arange(5.0).reshape(1, 5), 2).tolist()
        [[1.0, 3.0]]
    """
    return _AVG[1](input, _sizes("adaptive_avg_pool1d", 1, input, output_size))


def adaptive_avg_pool2d(input: Tensor, output_size: AdaptiveSizes) -> Tensor:
    """Average over as many windows as the output has places, whatever the input size.

    Output o of n reads the pixels floor(o * size / n) to ceil((o + 1) * size / n) - 1 of its axis: windows
    overlap by one where n does not divide the size. Equals `torch.nn.functional.adaptive_avg_pool2d`.

    Shapes:
        input (N, C, H, W) or (C, H, W); returns (N, C, *output_size) or (C, *output_size)
    Args:
        output_size: one number, or (height, width); None leaves that axis as it is.
    Raises:
        ShapeError: a size below 1, or an input without pixels.
    Example:
        >>> import torch
        >>> adaptive_avg_pool2d(torch.arange(12.0).reshape(1, 3, 4), (None, 2)).tolist()
        [[[0.5, 2.5], [4.5, 6.5], [8.5, 10.5]]]
    """
    return _AVG[2](input, _sizes("adaptive_avg_pool2d", 2, input, output_size))


def adaptive_avg_pool3d(input: Tensor, output_size: AdaptiveSizes) -> Tensor:
    """Average (N, C, D, H, W) or (C, D, H, W) over `output_size` windows; see `adaptive_avg_pool2d`.

    Example:
        >>> import torch
        >>> adaptive_avg_pool3d(torch.ones(1, 4, 5, 6), (2, None, 1)).shape
        torch.Size([1, 2, 5, 1])
    """
    return _AVG[3](input, _sizes("adaptive_avg_pool3d", 3, input, output_size))


def adaptive_max_pool1d(input: Tensor, output_size: AdaptiveSizes, return_indices: bool = False) -> Tensor:
    """Take the largest sample of each of `output_size` windows; see `adaptive_max_pool2d`.

    Example:
        >>> import torch
        >>> adaptive_max_pool1d(torch.arange(5.0).reshape(1, 5), 2).tolist()
        [[2.0, 4.0]]
    """
    return _MAX[1](input, _sizes("adaptive_max_pool1d", 1, input, output_size), return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: AdaptiveSizes, return_indices: bool = False) -> Tensor:
    """Take the largest pixel of each window, for the windows of `adaptive_avg_pool2d`.

    Equals `torch.nn.functional.adaptive_max_pool2d`; shapes and errors as in `adaptive_avg_pool2d`.

    Args:
        return_indices: return a pair instead, the second the flat index of each maximum within its (H, W).
    Example:
        >>> import torch
        >>> output, indices = adaptive_max_pool2d(torch.arange(12.0).reshape(1, 3, 4), (1, 2), return_indices=True)
        >>> output.tolist(), indices.tolist()
        ([[[9.0, 11.0]]], [[[9, 11]]])
    """
    return _MAX[2](input, _sizes("adaptive_max_pool2d", 2, input, output_size), return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: AdaptiveSizes, return_indices: bool = False) -> Tensor:
    """Take the largest voxel of each of `output_size` windows; see `adaptive_max_pool2d`.

    Example:
        >>> import torch
        >>> adaptive_max_pool3d(torch.ones(1, 4, 5, 6), (2, None, 1)).shape
        torch.Size([1, 2, 5, 1])
    """
    return _MAX[3](input, _sizes("adaptive_max_pool3d", 3, input, output_size), return_indices)


def global_avg_pool(input: Tensor, *, ndim: int | None = None, keepdim: bool = False) -> Tensor:
    """Average each channel over all places.

    Shapes:
        input (N, C, *spatial); returns (N, C), or with `keepdim` (N, C, 1, ...)
    Args:
        ndim: the number of spatial axes, the last ones; by default all behind N and C, so an input without
            the batch axis must give it.
    Raises:
        ShapeError: no spatial axis, or one without pixels.
    Example:
        >>> import torch
        >>> global_avg_pool(torch.arange(12.0).reshape(1, 2, 2, 3)).tolist()
        [[2.5, 8.5]]
    """
    ndim = _spatial_axes("global_avg_pool", input, ndim)
    return input.mean(tuple(range(-ndim, 0)), keepdim=keepdim)


def global_max_pool(input: Tensor, *, ndim: int | None = None, keepdim: bool = False) -> Tensor:
    """Take the largest value of each channel; shapes, arguments and errors as in `global_avg_pool`.

    As in `max_pool2d`, the gradient goes to one place, also where several hold the maximum.

    Example:
        >>> import torch
        >>> global_max_pool(torch.arange(12.0).reshape(1, 2, 2, 3)).tolist()
        [[5.0, 11.0]]
    """
    ndim = _spatial_axes("global_max_pool", input, ndim)
    output = input.flatten(-ndim).max(-1).values
    return output.reshape(*output.shape, *[1] * ndim) if keepdim else output


def _sizes(call: str, ndim: int, input: Tensor, output_size: AdaptiveSizes) -> tuple[int, ...]:
    try:
        check_axes(ndim, input)
        _check_pixels(input, ndim)
        wanted = (
            [output_size] * ndim if output_size is None or isinstance(output_size, int) else [*output_size]
        )
        if len(wanted) == ndim:
            wanted = [
                size if entry is None else entry
                for entry, size in zip(wanted, input.shape[-ndim:], strict=True)
            ]
        return as_ints("output_size", wanted, ndim, at_least=1)
    except UsageError as error:
        raise error.at(call) from error


def _spatial_axes(call: str, input: Tensor, ndim: int | None) -> int:
    try:
        if ndim is None:
            if input.ndim < 3:
                raise ShapeError(
                    f"input {tuple(input.shape)} has no spatial axis behind N and C; without a batch, give ndim."
                )
            ndim = input.ndim - 2
        if as_int("ndim", ndim, at_least=1) > input.ndim:
            raise ShapeError(f"ndim is {ndim}; input {tuple(input.shape)} has {input.ndim} axes.")
        _check_pixels(input, ndim)
        return ndim
    except UsageError as error:
        raise error.at(call) from error


def _check_pixels(input: Tensor, ndim: int) -> None:
    if not all(input.shape[-ndim:]):
        raise ShapeError(f"input {tuple(input.shape)} has an axis of 0 pixels; there is nothing to pool.")
