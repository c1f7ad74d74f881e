"""Lp pooling in 1, 2 and 3 dimensions: between the sum (p = 1) and the maximum (p = inf)."""

from __future__ import annotations

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from convscope.errors import UsageError
from convscope.geometry import Padding
from convscope.ops.padding import pad
from convscope.ops.plan import Sizes, pool_plan, reached_pads

__all__ = ["lp_pool1d", "lp_pool2d", "lp_pool3d"]

_LP: dict[int, Callable[..., Tensor]] = {1: F.lp_pool1d, 2: F.lp_pool2d, 3: F.lp_pool3d}


def lp_pool1d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
) -> Tensor:
    """Take the p-th root of the sum of p-th powers of each window of (N, C, L) or (C, L); see `lp_pool2d`.

    Example:
        >>> import torch
        >>> lp_pool1d(torch.tensor([[3.0, 4.0, 6.0, 8.0]]), 2, 2).tolist()
        [[5.0, 10.0]]
    """
    return _lp_pool(1, input, norm_type, kernel_size, stride, ceil_mode, padding)


def lp_pool2d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
) -> Tensor:
    """Take the p-th root of the sum of p-th powers of each window: (sum x^p)^(1/p).

    Calls `torch.nn.functional.lp_pool2d` and equals it without `ceil_mode`, where torch takes a window that
    sticks out for a full one and returns too much; torch lacks padding. As there, no absolute value is taken:
    p = 1 is a sum, and an odd or broken p gives NaN where the sum is negative. p = inf is the largest |x|.

    Shapes:
        input (N, C, H, W) or (C, H, W); returns (N, C, H_out, W_out) or (C, H_out, W_out)
    Args:
        norm_type: p, above 0.
        stride, padding, ceil_mode: as in `max_pool2d`; padding is zeros.
    Raises:
        ShapeError: a setting out of its range, or a window that does not fit.
        UsageError: p of 0 or less.
        UnknownNameError: an unknown padding word.
    Example:
        >>> import torch
        >>> lp_pool2d(torch.ones(1, 3, 4), 2, 2, ceil_mode=True).tolist()
        [[[2.0, 2.0], [1.4142135381698608, 1.4142135381698608]]]
    """
    return _lp_pool(2, input, norm_type, kernel_size, stride, ceil_mode, padding)


def lp_pool3d(
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    ceil_mode: bool = False,
    *,
    padding: Padding = 0,
) -> Tensor:
    """Take the p-th root of the sum of p-th powers of each window of a volume; see `lp_pool2d`.

    Example:
        >>> import torch
        >>> lp_pool3d(torch.ones(1, 4, 4, 4), 3, 2).unique().tolist()
        [2.0]
    """
    return _lp_pool(3, input, norm_type, kernel_size, stride, ceil_mode, padding)


def _lp_pool(
    ndim: int,
    input: Tensor,
    norm_type: float,
    kernel_size: Sizes,
    stride: Sizes | None,
    ceil_mode: bool,
    padding: Padding,
) -> Tensor:
    call = f"lp_pool{ndim}d"
    if not norm_type > 0:
        raise UsageError(f"norm_type is {norm_type!r}; it must be above 0.", call=call)
    plan = pool_plan(call, ndim, input, kernel_size, stride, padding, 1, ceil_mode)
    # Zeros add nothing to the sum, so torch may see every window whole.
    padded = pad(input, reached_pads(plan, input, ceil_mode))
    kernel = plan.kernel_size if ndim > 1 else plan.kernel_size[0]  # torch's 1-D function takes no tuple
    return _LP[ndim](padded, norm_type, kernel, plan.stride)
