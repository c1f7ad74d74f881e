"""Max pooling: `convscope::max_pool2d`, native for float32 and bfloat16 on the CPU.

The kernel remembers one byte an output, the tap that won, where PyTorch keeps eight; both ways it is exact and does
not depend on the threads. What it does not take (other types or devices, more than 255 taps) goes to PyTorch.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.kernels.layouts import channels_last, empty_maps, error_of, pointer
from convscope.kernels.library import Library, declare, element_type
from convscope.kernels.registry import Comparison, family, native_for

__all__ = ["max_pool2d"]

declare("max_pool_forward", "pippp")
declare("max_pool_backward", "pippp")

Settings = tuple[Any, Any, Any, Any, bool]  # kernel, stride, padding, dilation: pairs; ceil_mode
_MOST_TAPS = 255


class Pooling(ctypes.Structure):
    """One pooling in numbers, laid out as `Pooling` in csrc/max_pool.cpp."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("batch", "channels")],
        *[(name, ctypes.c_int64 * 2) for name in ("in_size", "out_size")],
        *[(name, ctypes.c_int64 * 2) for name in ("kernel", "stride", "padding", "dilation")],
        ("threads", ctypes.c_int64),
    ]


@functools.lru_cache(4096)
def _described(shape: tuple[int, ...], out_size: tuple[int, ...], window: Any, threads: int) -> Any:
    return ctypes.byref(Pooling(*shape[:2], shape[2:], out_size, *window, threads))


def _call(shape: Sequence[int], out_size: Sequence[int], settings: Settings) -> Any:
    window = tuple(tuple(each) for each in settings[:4])
    return _described(tuple(shape), tuple(out_size), window, torch.get_num_threads())


def _out_shape(input: Tensor, settings: Settings) -> tuple[int, ...]:
    # PyTorch's own rule, without its arithmetic; it also refuses what it would refuse.
    return tuple(F.max_pool2d(torch.empty(input.shape, device="meta"), *settings).shape)


def max_pool2d(
    input: Tensor,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    ceil_mode: bool = False,
) -> Tensor:
    """Return the largest value under each window, channels-last; equals `torch.nn.functional.max_pool2d`.

    Shapes:
        input (N, C, H, W); all settings are (height, width) pairs
    """
    return torch.ops.convscope.max_pool2d.default(input, kernel, stride, padding, dilation, ceil_mode)[0]


def forward(library: Library, input: Tensor, settings: Settings) -> tuple[Tensor, Tensor]:
    """Return the output and the taps that won."""
    input = channels_last(input)
    shape = _cached_shape(
        tuple(input.shape), tuple(tuple(s) if not isinstance(s, bool) else s for s in settings)
    )
    output = empty_maps(input, shape)
    taps = torch.empty_like(output, dtype=torch.uint8)
    library.max_pool_forward(
        _call(input.shape, shape[2:], settings),
        element_type(input),
        pointer(input),
        pointer(output),
        pointer(taps),
    )
    return output, taps


@functools.lru_cache(4096)
def _cached_shape(shape: tuple[int, ...], settings: Any) -> tuple[int, ...]:
    return _out_shape(torch.empty(shape, device="meta"), settings)


def backward(
    library: Library, grad: Tensor, taps: Tensor, shape: Sequence[int], settings: Settings
) -> Tensor:
    """Return the input's gradient."""
    grad, grad_input = channels_last(grad), empty_maps(grad, shape)
    library.max_pool_backward(
        _call(shape, grad.shape[2:], settings),
        element_type(grad),
        pointer(grad),
        pointer(channels_last(taps)),
        pointer(grad_input),
    )
    return grad_input


def _library(settings: Settings, *tensors: Tensor) -> Library | None:
    if settings[0][0] * settings[0][1] > _MOST_TAPS or tensors[0].ndim != 4 or not tensors[0].numel():
        return None
    return native_for("max_pool", *tensors)


def _compute(input: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    library = _library(settings, input)
    if library is None:
        return _fallback(input, *settings)
    return forward(library, input, settings)


def _fallback(input: Tensor, *settings: Any) -> tuple[Tensor, Tensor]:
    output, places = F.max_pool2d(input, *settings, return_indices=True)
    return channels_last(output), channels_last(_taps_of(places, input.shape, settings))


def _taps_of(places: Tensor, shape: Sequence[int], settings: Any) -> Tensor:
    """Return which tap lies at each output's place in the input; of a type that holds all."""
    kernel, stride, padding, dilation, _ = settings
    rows, columns = (torch.arange(places.shape[2 + i], device=places.device) * stride[i] for i in range(2))
    y = (places // shape[3] - rows[:, None] + padding[0]) // dilation[0]
    x = (places % shape[3] - columns + padding[1]) // dilation[1]
    return (y * kernel[1] + x).to(_type_of_taps(kernel))


def _places_of(taps: Tensor, shape: Sequence[int], settings: Any) -> Tensor:
    kernel, stride, padding, dilation, _ = settings
    rows, columns = (torch.arange(taps.shape[2 + i], device=taps.device) * stride[i] for i in range(2))
    taps = taps.long()
    y = taps // kernel[1] * dilation[0] + rows[:, None] - padding[0]
    return y * shape[3] + taps % kernel[1] * dilation[1] + columns - padding[1]


def _type_of_taps(kernel: Sequence[int]) -> torch.dtype:
    return torch.uint8 if kernel[0] * kernel[1] <= _MOST_TAPS else torch.int32


def _gradient(grad: Tensor, taps: Tensor, shape: Sequence[int], *settings: Any) -> Tensor:
    library = _library(settings, grad)
    if library is None:
        return _fallback_gradient(grad, taps, shape, *settings)
    return backward(library, grad, taps, shape, settings)


def _fallback_gradient(grad: Tensor, taps: Tensor, shape: Sequence[int], *settings: Any) -> Tensor:
    places = _places_of(taps, shape, settings).contiguous()
    empty = grad.new_empty(shape)
    return channels_last(
        torch.ops.aten.max_pool2d_with_indices_backward(grad.contiguous(), empty, *settings, places)
    )


_SETTINGS = "int[2] kernel, int[2] stride, int[2] padding, int[2] dilation, bool ceil_mode"
_LIBRARY = torch.library.Library("convscope", "FRAGMENT")
_LIBRARY.define(f"max_pool2d(Tensor input, {_SETTINGS}) -> (Tensor output, Tensor taps)")
_LIBRARY.define(f"max_pool2d_backward(Tensor grad, Tensor taps, SymInt[] shape, {_SETTINGS}) -> Tensor")
_LIBRARY.impl("max_pool2d", _compute, "CPU")
_LIBRARY.impl("max_pool2d", _fallback, "CompositeExplicitAutograd")
_LIBRARY.impl("max_pool2d_backward", _gradient, "CPU")
_LIBRARY.impl("max_pool2d_backward", _fallback_gradient, "CompositeExplicitAutograd")


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])
    ctx.shape, ctx.settings = inputs[0].shape, inputs[1:]


def _differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 6
    (taps,) = ctx.saved_tensors
    back = torch.ops.convscope.max_pool2d_backward(grad, taps, ctx.shape, *ctx.settings)
    return (back, *[None] * 5)


torch.library.register_autograd("convscope::max_pool2d", _differentiate, setup_context=_save, lib=_LIBRARY)

# input shape, kernel, stride, padding, dilation, ceil mode
_CASES: tuple[tuple[tuple[int, ...], Settings], ...] = (
    ((2, 19, 9, 11), ((3, 3), (2, 2), (1, 1), (1, 1), False)),
    ((1, 32, 8, 8), ((2, 2), (2, 2), (0, 0), (1, 1), False)),
    ((2, 5, 11, 12), ((3, 2), (1, 3), (1, 0), (2, 1), True)),
)


@family("max_pool")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernels with PyTorch on small shapes: the output exactly."""
    for shape, settings in _CASES:
        for dtype, bound in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
            input = torch.randn(shape).to(dtype)
            truth, _ = _fallback(input.double(), *settings)
            output, taps = forward(library, input, settings)
            text = f"{dtype}, {shape}, {settings}"
            yield Comparison(f"output, {text}", error_of(output, truth), 1e-12)
            grad = torch.randn(truth.shape).to(dtype)
            right = _fallback_gradient(grad.double(), _fallback(input, *settings)[1], shape, *settings)
            yield Comparison(
                f"gradient, {text}", error_of(backward(library, grad, taps, shape, settings), right), bound
            )
