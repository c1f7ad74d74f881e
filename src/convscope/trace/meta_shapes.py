"""Shapes of the results of common operators, without torch's own rules for meta tensors.

Those rules are written in Python for some operators, and importing what they need (torch's compiler, sympy) takes
0.8 s once. A rule here returns None where it is not sure; torch then answers, or refuses in its own words.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from convscope.errors import ShapeError
from convscope.geometry import Windows
from convscope.ops.plan import plan_axes

__all__ = ["SHORTCUTS"]


def _empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(tuple(shape), dtype=dtype, device="meta")


def _like(tensor: Tensor) -> Tensor:
    return torch.empty_strided(tensor.shape, tensor.stride(), dtype=tensor.dtype, device="meta")


def _batch_norm(bound: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    input = bound["input"]
    saved = input.shape[1] if bound["training"] else 0
    statistics = _empty((saved,), torch.promote_types(input.dtype, torch.float32))
    return _like(input), statistics, _like(statistics)


def _layer_norm(bound: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor] | None:
    input, axes = bound["input"], len(bound["normalized_shape"])
    if list(input.shape[-axes:]) != list(bound["normalized_shape"]):
        return None
    saved = _empty((*input.shape[:-axes], *[1] * axes), input.dtype)
    return _empty(input.shape, input.dtype), saved, _like(saved)


def _mean(bound: dict[str, Any]) -> Tensor | None:
    input, given = bound["self"], bound.get("dim")
    if not input.dtype.is_floating_point:
        return None
    axes = {axis % max(input.dim(), 1) for axis in given or range(input.dim())}
    keep = bool(bound.get("keepdim"))
    shape = [1 if axis in axes else n for axis, n in enumerate(input.shape) if keep or axis not in axes]
    return _empty(shape, bound.get("dtype") or input.dtype)


def _addmm(bound: dict[str, Any]) -> Tensor | None:
    bias, left, right = bound["self"], bound["mat1"], bound["mat2"]
    if left.dim() != 2 or right.dim() != 2 or left.shape[1] != right.shape[0]:
        return None
    if not left.dtype == right.dtype == bias.dtype or bias.shape != right.shape[1:]:
        return None
    return _empty((left.shape[0], right.shape[1]), left.dtype)


def _convolution(bound: dict[str, Any]) -> Tensor | None:
    input, weight, groups = bound["input"], bound["weight"], bound["groups"]
    ndim = weight.dim() - 2
    if (
        input.dim() != weight.dim()
        or input.dtype != weight.dtype
        or bound["transposed"]
        or input.numel() == 0
    ):
        return None
    if input.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        return None
    stride, padding, dilation = (
        tuple(bound[name]) * (ndim if len(bound[name]) == 1 else 1)
        for name in ("stride", "padding", "dilation")
    )
    sizes = tuple(input.shape[2:])
    try:
        plan = plan_axes(Windows.of, sizes, ndim, tuple(weight.shape[2:]), stride, padding, dilation)
    except ShapeError:
        return None
    shape = (input.shape[0], weight.shape[0], *plan.windows.output_size(sizes))
    output = _empty(shape, input.dtype)
    if ndim == 2 and any(
        tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()
        for tensor in (input, weight)
    ):
        _, c, h, w = shape
        output = torch.empty_strided(shape, (c * h * w, 1, w * c, c), dtype=input.dtype, device="meta")
    return output


def _max_pool(bound: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    input = bound["self"]
    if input.dim() != 4 or not input.is_contiguous() or input.numel() == 0:
        return None
    kernel, stride, padding, dilation = (
        tuple(bound[name]) * (2 if len(bound[name]) == 1 else 1)
        for name in ("kernel_size", "stride", "padding", "dilation")
    )
    sizes = tuple(input.shape[2:])
    try:
        plan = plan_axes(
            Windows.pool,
            sizes,
            2,
            kernel,
            stride or kernel,
            padding,
            dilation,
            ceil_mode=bool(bound["ceil_mode"]),
        )
    except ShapeError:
        return None
    shape = (*input.shape[:2], *plan.windows.output_size(sizes))
    return _empty(shape, input.dtype), _empty(shape, torch.int64)


def _activation(bound: dict[str, Any]) -> Tensor | None:
    input = bound["self"]
    dense = input.is_contiguous() or (
        input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last)
    )
    return _like(input) if dense and input.dtype.is_floating_point else None


def _arithmetic(bound: dict[str, Any]) -> Tensor | None:
    """Answer where one operand is contiguous and as large as the result."""
    first, second = bound["self"], bound["other"]
    if not isinstance(second, Tensor) or first.dtype != second.dtype or not first.dtype.is_floating_point:
        return None
    if not first.is_contiguous() or not second.is_contiguous() or first.dim() != second.dim():
        return None
    large = first if first.numel() >= second.numel() else second
    fits = all(a == b or a == 1 or b == 1 for a, b in zip(first.shape, second.shape, strict=True))
    shape = tuple(map(max, first.shape, second.shape))
    return _like(large) if fits and shape == tuple(large.shape) and large.numel() else None


def _arithmetic_in_place(bound: dict[str, Any]) -> Tensor | None:
    first, second = bound["self"], bound["other"]
    same = isinstance(second, Tensor) and first.dtype == second.dtype and first.shape == second.shape
    return first if same else None


def _activation_in_place(bound: dict[str, Any]) -> Tensor:
    return bound["self"]


SHORTCUTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "aten.addmm": _addmm,
    "aten.convolution": _convolution,
    "aten.mean": _mean,
    "aten.native_batch_norm": _batch_norm,
    "aten.native_layer_norm": _layer_norm,
    "aten.max_pool2d_with_indices": _max_pool,
    **{
        f"aten.{name}": _activation
        for name in ("silu", "gelu", "hardswish", "hardsigmoid", "mish", "relu", "sigmoid")
    },
    **{
        f"aten.{name}_": _activation_in_place for name in ("silu", "hardswish", "hardsigmoid", "mish", "relu")
    },
    **{f"aten.{name}": _arithmetic for name in ("add", "mul")},
    **{f"aten.{name}_": _arithmetic_in_place for name in ("add", "mul")},
}
