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


def _dense(input: Tensor) -> bool:
    return input.is_contiguous() or (
        input.dim() == 4 and input.is_contiguous(memory_format=torch.channels_last)
    )


def _without(input: Tensor, given: Sequence[int] | None, keep: bool) -> list[int] | None:
    """Return the shape without some axes, without any where none is given; None for axes that torch refuses."""
    ndim = input.dim()
    given = given or range(ndim)
    axes = {axis % ndim for axis in given if -ndim <= axis < ndim}
    if len(axes) < len(given):  # one that is not there, or twice
        return None
    return [1 if axis in axes else n for axis, n in enumerate(input.shape) if keep or axis not in axes]


def _mean(bound: dict[str, Any]) -> Tensor | None:
    input = bound["self"]
    if not input.dtype.is_floating_point:
        return None
    shape = _without(input, bound.get("dim"), bool(bound.get("keepdim")))
    return None if shape is None else _empty(shape, bound.get("dtype") or input.dtype)


def _largest(bound: dict[str, Any]) -> Tensor | None:
    input = bound["self"]
    if not input.is_contiguous() or not input.numel():
        return None
    shape = _without(input, bound.get("dim"), bool(bound.get("keepdim")))
    return None if shape is None else _empty(shape, input.dtype)


def _addmm(bound: dict[str, Any]) -> Tensor | None:
    bias, left, right = bound["self"], bound["mat1"], bound["mat2"]
    if left.dim() != 2 or right.dim() != 2 or left.shape[1] != right.shape[0]:
        return None
    if not left.dtype == right.dtype == bias.dtype or bias.shape != right.shape[1:]:
        return None
    return _empty((left.shape[0], right.shape[1]), left.dtype)


def _mm(bound: dict[str, Any]) -> Tensor | None:
    left, right = bound["self"], bound["mat2"]
    if left.dim() != 2 or right.dim() != 2 or left.shape[1] != right.shape[0] or left.dtype != right.dtype:
        return None
    return _empty((left.shape[0], right.shape[1]), left.dtype)


def _convolution(bound: dict[str, Any]) -> Tensor | None:
    input, weight, groups = bound["input"], bound["weight"], bound["groups"]
    ndim = weight.dim() - 2
    if input.dim() != weight.dim() or input.dtype != weight.dtype or input.numel() == 0:
        return None
    if bound["transposed"]:
        return _transposed_convolution(bound)
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


def _transposed_convolution(bound: dict[str, Any]) -> Tensor | None:
    input, weight, groups = bound["input"], bound["weight"], bound["groups"]
    # What torch's own rule for meta tensors lets pass.
    if input.shape[1] != weight.shape[0] or input.shape[1] % groups:
        raise ShapeError(
            f"input {tuple(input.shape)} has {input.shape[1]} channels, weight {tuple(weight.shape)} is for "
            f"{weight.shape[0]} in {groups} equal groups.",
            call="transposed convolution",
        )
    if any(bound["output_padding"]):
        return None
    if not input.is_contiguous() or not weight.is_contiguous():
        return None
    ndim = weight.dim() - 2
    names = ("stride", "padding", "output_padding", "dilation")
    settings = (tuple(bound[name]) * (ndim if len(bound[name]) == 1 else 1) for name in names)
    try:
        windows = Windows.transposed(ndim, tuple(weight.shape[2:]), *settings)
        sizes = windows.output_size(tuple(input.shape[2:]))
    except ShapeError:
        return None
    return _empty((input.shape[0], weight.shape[1] * groups, *sizes), input.dtype)


def _adaptive_pool(bound: dict[str, Any]) -> Tensor | None:
    input, size = bound["self"], bound["output_size"]
    if input.dim() != 4 or not input.is_contiguous() or not input.numel() or min(size) < 1:
        return None
    return _empty((*input.shape[:2], *size), input.dtype) if input.dtype.is_floating_point else None


def _cat(bound: dict[str, Any]) -> Tensor | None:
    tensors = bound["tensors"]
    if not tensors:
        return None
    first = tensors[0]
    if not all(t.numel() and t.dtype == first.dtype for t in tensors):
        return None
    # One plainly laid out tensor is enough for a plain result.
    channels_last = {"memory_format": torch.channels_last}
    if not all(t.is_contiguous() for t in tensors) and not any(
        t.is_contiguous() and not (t.dim() == 4 and t.is_contiguous(**channels_last)) for t in tensors
    ):
        return None
    axis = bound["dim"]
    if not -first.dim() <= axis < first.dim():
        return None
    axis %= first.dim()
    around = {(*t.shape[:axis], *t.shape[axis + 1 :]) for t in tensors}
    if len(around) > 1 or any(t.dim() != first.dim() for t in tensors):
        return None
    length = sum(t.shape[axis] for t in tensors)
    return _empty((*first.shape[:axis], length, *first.shape[axis + 1 :]), first.dtype)


def _pooled(bound: dict[str, Any], dilation: Sequence[int]) -> tuple[int, ...] | None:
    """Return the shape after pooling (N, C, H, W)."""
    input = bound["self"]
    if input.dim() != 4 or not input.is_contiguous() or input.numel() == 0:
        return None
    kernel, stride, padding, spread = (
        tuple(given) * (2 if len(given) == 1 else 1)
        for given in (*(bound[name] for name in ("kernel_size", "stride", "padding")), dilation)
    )
    sizes = tuple(input.shape[2:])
    settings = 2, kernel, stride or kernel, padding, spread
    try:
        plan = plan_axes(Windows.pool, sizes, *settings, ceil_mode=bool(bound["ceil_mode"]))
    except ShapeError:
        return None
    return (*input.shape[:2], *plan.windows.output_size(sizes))


def _max_pool(bound: dict[str, Any]) -> tuple[Tensor, Tensor] | None:
    shape = _pooled(bound, bound["dilation"])
    return None if shape is None else (_empty(shape, bound["self"].dtype), _empty(shape, torch.int64))


def _average_pool(bound: dict[str, Any]) -> Tensor | None:
    shape = _pooled(bound, (1, 1))
    if shape is None or bound["divisor_override"] == 0 or not bound["self"].dtype.is_floating_point:
        return None
    return _empty(shape, bound["self"].dtype)


def _activation(bound: dict[str, Any]) -> Tensor | None:
    input = bound["self"]
    return _like(input) if _dense(input) and input.dtype.is_floating_point else None


def _arithmetic(bound: dict[str, Any]) -> Tensor | None:
    """Answer for a plain number, and where one operand is dense and as large as the result."""
    first, second = bound["self"], bound["other"]
    if type(second) in (int, float):
        return _activation(bound)
    if not isinstance(second, Tensor) or first.dtype != second.dtype or not first.dtype.is_floating_point:
        return None
    if first.shape == second.shape and first.stride() == second.stride():
        return _activation(bound) if first.numel() else None
    larger = (first.dim(), first.numel()) >= (second.dim(), second.numel())
    large, small = (first, second) if larger else (second, first)
    if not large.numel() or not small.is_contiguous() or not _dense(large):
        return None
    # A vector along one axis has no layout of its own that the result could take.
    if not large.is_contiguous() and sum(n > 1 for n in small.shape) > 1:
        return None
    sizes = (1,) * (large.dim() - small.dim()) + tuple(small.shape)
    fits = all(n in (1, of) for n, of in zip(sizes, large.shape, strict=True))
    return _like(large) if fits else None


def _arithmetic_in_place(bound: dict[str, Any]) -> Tensor | None:
    first, second = bound["self"], bound["other"]
    same = isinstance(second, Tensor) and first.dtype == second.dtype and first.shape == second.shape
    return first if same else None


def _activation_in_place(bound: dict[str, Any]) -> Tensor | None:
    input = bound["self"]
    return input if input.dtype.is_floating_point else None


SHORTCUTS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "aten._adaptive_avg_pool2d": _adaptive_pool,
    "aten.addmm": _addmm,
    "aten.amax": _largest,
    "aten.avg_pool2d": _average_pool,
    "aten.cat": _cat,
    "aten.convolution": _convolution,
    "aten.mean": _mean,
    "aten.mm": _mm,
    "aten.native_batch_norm": _batch_norm,
    "aten.native_layer_norm": _layer_norm,
    "aten.max_pool2d_with_indices": _max_pool,
    **{
        f"aten.{name}": _activation
        for name in (
            "silu",
            "gelu",
            "hardswish",
            "hardsigmoid",
            "hardtanh",
            "mish",
            "relu",
            "sigmoid",
            "tanh",
        )
    },
    **{
        f"aten.{name}_": _activation_in_place
        for name in ("silu", "hardswish", "hardsigmoid", "hardtanh", "mish", "relu")
    },
    **{f"aten.{name}": _arithmetic for name in ("add", "div", "mul")},
    **{f"aten.{name}_": _arithmetic_in_place for name in ("add", "mul")},
}
