"""One operator a kind of convolution: its schema, its gradients, its way back to PyTorch, its check against float64."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from convscope.kernels.layouts import channels_last, empty_maps, error_of, pointer
from convscope.kernels.library import Library, Settings, convolution_of, declare, element_type
from convscope.kernels.registry import Comparison, native_for

__all__ = [
    "Gradients",
    "check_convolution",
    "define_convolution",
    "define_operator",
    "native_passes",
    "native_weight_gradient",
]

_LIBRARY = torch.library.Library("convscope", "FRAGMENT")
_SETTINGS = "int[2] stride, int[2] padding, int[2] dilation, int groups"

Takes = Callable[..., bool]  # input, weight, stride, padding, dilation, groups
Forward = Callable[[Library, Tensor, Tensor, Tensor | None, Settings], Tensor]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]
Backward = Callable[[Library, Tensor, Tensor, Tensor, Settings, Sequence[bool]], Gradients]
WeightGradient = Callable[[Library, Tensor, Tensor, Tensor, Settings], Tensor]


def define_convolution(
    family: str, takes: Takes, forward: Forward, backward: Backward
) -> Callable[..., Tensor]:
    """Define `convscope::<family>_conv2d` and its backward operator; return the function that calls it.

    The arguments are those of `torch.ops.aten.convolution` without transposition; the result is channels-last. Where
    the kernels do not apply, PyTorch's convolution computes.
    """
    name = f"{family}_conv2d"

    def compute(input: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
        library = native_for(family, input, weight, bias) if takes(input, weight, *settings) else None
        if library is None or not input.numel():
            return _fallback(input, weight, bias, *settings)
        return forward(library, input, weight, bias, settings)  # pyright: ignore[reportArgumentType]

    def gradients(grad: Tensor, input: Tensor, weight: Tensor, *rest: Any) -> Gradients:
        *settings, wanted = rest
        library = native_for(family, input, weight, grad) if takes(input, weight, *settings) else None
        if library is None or not input.numel():
            return _fallback_gradients(grad, input, weight, *settings, wanted)
        return backward(library, grad, input, weight, tuple(settings), wanted)  # pyright: ignore[reportArgumentType]

    return define_operator(name, compute, gradients)


def native_passes(family: str, typed: bool = True) -> tuple[Forward, Backward]:
    """Return forward and backward of a family that has one C function for each pass, named as in `declare` below.

    Args:
        typed: whether the functions take the number of the tensors' type; if not, they are of float32.
    """
    kind = "i" if typed else ""
    declare(f"{family}_forward", f"p{kind}pppp")
    declare(f"{family}_backward_input", f"p{kind}ppp")
    weight_gradient = native_weight_gradient(family, typed)

    def forward(
        library: Library, input: Tensor, weight: Tensor, bias: Tensor | None, settings: Settings
    ) -> Tensor:
        """Return the output, (N, out_channels, H, W) channels-last."""
        call, shape = convolution_of(input, weight, settings)
        input, weight = channels_last(input), weight.contiguous()
        output = empty_maps(input, shape)
        addresses = map(pointer, (input, weight, bias, output))
        getattr(library, f"{family}_forward")(call, *_kind(input, typed), *addresses)
        return output

    def backward(
        library: Library,
        grad: Tensor,
        input: Tensor,
        weight: Tensor,
        settings: Settings,
        wanted: Sequence[bool],
    ) -> Gradients:
        """Return the gradients of input, weight and bias, None for those that are not wanted."""
        grad, grad_input = channels_last(grad), None
        if wanted[0]:
            call, _ = convolution_of(input, weight, settings)
            weight, grad_input = weight.contiguous(), empty_maps(input, input.shape)
            addresses = map(pointer, (grad, weight, grad_input))
            getattr(library, f"{family}_backward_input")(call, *_kind(input, typed), *addresses)
        grad_weight = weight_gradient(library, grad, input, weight, settings) if wanted[1] else None
        return grad_input, grad_weight, grad.sum((0, 2, 3)) if wanted[2] else None

    return forward, backward


def native_weight_gradient(family: str, typed: bool = True) -> WeightGradient:
    """Return the weight's gradient by a family's C function, from library, grad, input, weight and settings."""
    name = f"{family}_backward_weight"
    declare(name, f"p{'i' if typed else ''}ppp")

    def weight_gradient(
        library: Library, grad: Tensor, input: Tensor, weight: Tensor, settings: Settings
    ) -> Tensor:
        call, _ = convolution_of(input, weight, settings)
        input, grad, grad_weight = channels_last(input), channels_last(grad), weight.new_empty(weight.shape)
        getattr(library, name)(call, *_kind(input, typed), *map(pointer, (input, grad, grad_weight)))
        return grad_weight

    return weight_gradient


def _kind(tensor: Tensor, typed: bool) -> tuple[int, ...]:
    return (element_type(tensor),) if typed else ()


def define_operator(
    name: str, compute: Callable[..., Tensor], gradients: Callable[..., Gradients]
) -> Callable[..., Tensor]:
    """Define `convscope::<name>` for the CPU, with PyTorch's convolution for all other devices.

    `compute` takes input, weight, bias, stride, padding, dilation and groups; `gradients` the output's gradient, input,
    weight, those settings and which gradients are wanted.
    """
    _LIBRARY.define(f"{name}(Tensor input, Tensor weight, Tensor? bias, {_SETTINGS}) -> Tensor")
    _LIBRARY.define(
        f"{name}_backward(Tensor grad, Tensor input, Tensor weight, {_SETTINGS}, bool[3] wanted)"
        " -> (Tensor?, Tensor?, Tensor?)"
    )
    _LIBRARY.impl(name, compute, "CPU")
    _LIBRARY.impl(name, _fallback, "CompositeExplicitAutograd")
    _LIBRARY.impl(f"{name}_backward", gradients, "CPU")
    _LIBRARY.impl(f"{name}_backward", _fallback_gradients, "CompositeExplicitAutograd")
    operator = getattr(torch.ops.convscope, name)
    backward_operator = getattr(torch.ops.convscope, f"{name}_backward")

    def save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        input, weight, bias, *settings = inputs
        ctx.save_for_backward(input, weight)
        ctx.settings, ctx.has_bias = settings, bias is not None

    def differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        input, weight = ctx.saved_tensors
        needed = ctx.needs_input_grad
        wanted = [needed[0], needed[1], needed[2] and ctx.has_bias]
        return (*backward_operator(grad, input, weight, *ctx.settings, wanted), *[None] * 4)

    torch.library.register_autograd(f"convscope::{name}", differentiate, setup_context=save, lib=_LIBRARY)
    return operator.default


def _fallback(input: Tensor, weight: Tensor, bias: Tensor | None, *settings: Any) -> Tensor:
    stride, padding, dilation, groups = settings
    return channels_last(
        torch.ops.aten.convolution(input, weight, bias, stride, padding, dilation, False, (0, 0), groups)
    )


def _fallback_gradients(grad: Tensor, input: Tensor, weight: Tensor, *rest: Any) -> Gradients:
    stride, padding, dilation, groups, wanted = rest
    sizes = [weight.shape[0]] if wanted[2] else None
    found = torch.ops.aten.convolution_backward(
        grad, input, weight, sizes, stride, padding, dilation, False, (0, 0), groups, wanted
    )
    input_grad, weight_grad, bias_grad = (
        each if want else None for each, want in zip(found, wanted, strict=True)
    )
    if input_grad is not None:
        input_grad = channels_last(input_grad)
    return input_grad, weight_grad.contiguous() if weight_grad is not None else None, bias_grad


_BOUNDS = {torch.float32: 2e-6, torch.bfloat16: 1e-2}


def check_convolution(
    library: Library,
    forward: Forward | None,
    backward: Backward,
    cases: Iterable[tuple[Any, ...]],
    *,
    wanted: tuple[bool, bool, bool] = (True, True, True),
    bounds: Mapping[torch.dtype, float] = MappingProxyType(_BOUNDS),
) -> Iterator[Comparison]:
    """Compare output and those gradients that are `wanted` with PyTorch's in float64.

    `cases`: input shape, kernel, stride, padding, dilation, groups and, where it is not that of the input, the number
    of output channels.
    """
    for shape, kernel, stride, padding, dilation, groups, *out in cases:
        settings: Any = stride, padding, dilation, groups
        for dtype, bound in bounds.items():
            input = torch.randn(shape).to(dtype)
            weight = torch.randn(*(out or shape[1:2]), shape[1] // groups, *kernel).to(dtype)
            bias = torch.randn(weight.shape[0]).to(dtype)
            true = input.double(), weight.double()
            truth = _fallback(*true, bias.double(), *settings)
            grad = torch.randn_like(truth).to(dtype)
            pairs = {}
            if forward is not None:
                pairs["output"] = forward(library, input, weight, bias, settings), truth
            names = ("input gradient", "weight gradient", "bias gradient")
            results = backward(library, grad, input, weight, settings, wanted)
            true_gradients = _fallback_gradients(grad.double(), *true, *settings, wanted)
            pairs |= dict(zip(names, zip(results, true_gradients, strict=True), strict=True))
            for name, (result, truth) in pairs.items():
                if result is not None and truth is not None:
                    text = (
                        f"{name}, {dtype}, input {shape}, kernel {kernel}, stride {stride}, groups {groups}"
                    )
                    yield Comparison(text, error_of(result, truth), bound)
