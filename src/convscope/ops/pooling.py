"""Max and average pooling in 1, 2 and 3 dimensions: torch's kernels, with every kind of padding."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import UsageError
from convscope.geometry import Padding
from convscope.ops.padding import pad
from convscope.ops.plan import Plan, Sizes, pool_plan, reached_pads

__all__ = [
    "avg_pool1d",
    "avg_pool2d",
    "avg_pool3d",
    "max_pool1d",
    "max_pool2d",
    "max_pool3d",
]

# torch's pooling functions return a tensor, or a pair when asked for indices: no one type says that.
_MAX: dict[int, Callable[..., Any]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


def max_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Take the largest sample of each window of (N, C, L) or (C, L); see `max_pool2d`.

    Example:
        >>> max_pool1d(torch.tensor([[1.0, 5.0, 2.0, 3.0, 4.0]]), 2, padding="same").tolist()
        [[5.0, 3.0, 4.0]]
    """
    return _max_pool(1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Take the largest pixel of each window.

    Equals `torch.nn.functional.max_pool2d` and calls it; torch lacks words and unequal sides. Padding never
    wins: it counts as minus infinity. Only a dilated window can read nothing else, and then returns that.

    Shapes:
        input (N, C, H, W) or (C, H, W); returns (N, C, H_out, W_out) or (C, H_out, W_out)
    Args:
        stride: pixels; the kernel size by default.
        padding: one number, (height, width), a (before, after) pair an axis, or `valid`, `same`, `full`;
            a number is at most half the kernel.
        ceil_mode: let the last window stick out of the padded input, if it starts before its end.
        return_indices: return a pair instead, the second the flat index of each maximum within its (H, W).
    Raises:
        ShapeError: a setting out of its range, or a window that does not fit.
        UnknownNameError: an unknown padding word.
    Cost:
        N * C * H_out * W_out * K_h * K_w comparisons; unequal sides copy the input once.
    Example:
        >>> image = torch.arange(12.0).reshape(1, 3, 4)
        >>> max_pool2d(image, 2).tolist(), max_pool2d(image, 2, ceil_mode=True).tolist()
        ([[[5.0, 7.0]]], [[[5.0, 7.0], [9.0, 11.0]]])
    """
    return _max_pool(2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor:
    """Take the largest voxel of each window of (N, C, D, H, W) or (C, D, H, W); see `max_pool2d`.

    Example:
        >>> max_pool3d(torch.ones(1, 4, 5, 6), (1, 2, 2)).shape
        torch.Size([1, 4, 2, 3])
    """
    return _max_pool(3, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def _max_pool(
    ndim: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool,
    return_indices: bool,
) -> Any:
    plan = pool_plan(f"max_pool{ndim}d", ndim, input, kernel_size, stride, padding, dilation, ceil_mode)
    settings = plan.kernel_size, plan.stride
    if _torch_takes(plan):
        return _MAX[ndim](input, *settings, plan.padding, plan.dilation, ceil_mode, return_indices)
    lowest = -torch.inf if input.is_floating_point() else torch.iinfo(input.dtype).min
    padded = pad(input, reached_pads(plan, input, ceil_mode), "constant", lowest)
    if not return_indices:
        return _MAX[ndim](padded, *settings, 0, plan.dilation)
    output, indices = _MAX[ndim](padded, *settings, 0, plan.dilation, return_indices=True)
    return output, _unpadded(indices, plan.pads, padded.shape[-ndim:], input.shape[-ndim:])


def _unpadded(
    indices: Tensor, pads: tuple[tuple[int, int], ...], padded: tuple[int, ...], sizes: tuple[int, ...]
) -> Tensor:
    """Turn flat indices into a padded input into flat indices into the input itself."""
    flat, step = torch.zeros_like(indices), 1
    for (before, _), width, size in reversed(list(zip(pads, padded, sizes, strict=True))):
        flat = flat + (indices % width - before).clamp(0, size - 1) * step
        indices, step = indices // width, step * size
    return flat


def avg_pool1d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Average each window of (N, C, L) or (C, L); see `avg_pool2d`.

    torch's function takes no `divisor_override`.

    Example:
        >>> avg_pool1d(torch.tensor([[2.0, 4.0, 8.0]]), 2, padding="same", count_include_pad=False).tolist()
        [[3.0, 8.0]]
    """
    return _avg_pool(1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool2d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Average each window.

    Equals `torch.nn.functional.avg_pool2d` and calls it; torch lacks words and unequal sides.

    Shapes:
        input (N, C, H, W) or (C, H, W); returns (N, C, H_out, W_out) or (C, H_out, W_out)
    Args:
        stride, padding, ceil_mode: as in `max_pool2d`.
        count_include_pad: divide by the pixels of the window within the padded input; without it by those
            within the input.
        divisor_override: divide by this number instead; 1 sums.
    Raises:
        ShapeError: a setting out of its range, or a window that does not fit.
        UnknownNameError: an unknown padding word.
    Cost:
        N * C * H_out * W_out * K_h * K_w additions; unequal sides copy the input once.
    Example:
        >>> image = torch.ones(1, 3, 4)
        >>> avg_pool2d(image, 2, padding="same").tolist()
        [[[1.0, 1.0], [0.5, 0.5]]]
        >>> avg_pool2d(image, 2, padding="same", count_include_pad=False).tolist()
        [[[1.0, 1.0], [1.0, 1.0]]]
    """
    return _avg_pool(2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def avg_pool3d(
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """Average each window of (N, C, D, H, W) or (C, D, H, W); see `avg_pool2d`.

    Example:
        >>> avg_pool3d(torch.ones(1, 4, 5, 6), 2, divisor_override=1).unique().tolist()
        [8.0]
    """
    return _avg_pool(3, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)


def _avg_pool(
    ndim: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    call = f"avg_pool{ndim}d"
    if divisor_override is not None and not divisor_override:
        raise UsageError("divisor_override is 0; nothing can be divided by it.", call=call)
    plan = pool_plan(call, ndim, input, kernel_size, stride, padding, 1, ceil_mode)
    if _torch_takes(plan) and (ndim > 1 or divisor_override is None):
        override = () if ndim == 1 else (divisor_override,)
        return _AVG[ndim](
            input, plan.kernel_size, plan.stride, plan.padding, ceil_mode, count_include_pad, *override
        )
    padded = pad(input, reached_pads(plan, input, ceil_mode))
    half = input.dtype in (torch.float16, torch.bfloat16)
    total = _sum_pool(
        plan, padded.float() if half else padded
    )  # a sum of halves overflows where their mean does not
    divisor = torch.tensor(divisor_override or 1, device=input.device)
    if divisor_override is None:
        for axis, (size, kernel, step, (before, after)) in enumerate(
            zip(input.shape[-ndim:], plan.kernel_size, plan.stride, plan.pads, strict=True), start=-ndim
        ):
            start = torch.arange(total.shape[axis], device=input.device) * step - before
            low, high = (-before, size + after) if count_include_pad else (0, size)
            count = (start + kernel).clamp(max=high) - start.clamp(min=low)
            divisor = divisor * count.reshape(-1, *[1] * (-1 - axis))
    mean = torch.div(total, divisor, rounding_mode=None if total.is_floating_point() else "trunc")
    return mean.to(input.dtype) if half else mean


def _sum_pool(plan: Plan, padded: Tensor) -> Tensor:
    """Sum each window of an input that holds all its padding; torch's 1-D average takes no divisor."""
    if len(plan.pads) == 1:
        return F.avg_pool2d(
            padded.unsqueeze(-2), (1, *plan.kernel_size), (1, *plan.stride), divisor_override=1
        ).squeeze(-2)
    return _AVG[len(plan.pads)](padded, plan.kernel_size, plan.stride, divisor_override=1)


def _torch_takes(plan: Plan) -> bool:
    """Tell whether torch pads by itself: the same on both sides, at most half a kernel."""
    return plan.padding is not None and all(
        side <= kernel // 2 for side, kernel in zip(plan.padding, plan.kernel_size, strict=True)
    )
