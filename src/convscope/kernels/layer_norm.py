"""Layer normalisation over the last axis with what follows it: `activation(layer_norm(input))`, read and written once.

On channels-last maps the last axis of `maps.permute(0, 2, 3, 1)` are the channels of a pixel. Back it reads input and
gradient once: nothing else is kept. What the kernel does not take (other types or devices) goes to PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import ShapeError, UnknownNameError
from convscope.kernels.activations import ACTIVATION_GRADIENTS, ACTIVATION_NUMBERS, ACTIVATIONS
from convscope.kernels.layouts import error_of, pointer
from convscope.kernels.library import Library, declare, element_type
from convscope.kernels.registry import Comparison, family, native_for

__all__ = ["layer_norm_act"]

declare("layer_norm_forward", "iilldppppi")
declare("layer_norm_backward", "iilldpppppppi")


def layer_norm_act(
    input: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
    activation: str = "none",
) -> Tensor:
    """Normalise over the last axis, apply an activation.

    Equals `torch.nn.functional.layer_norm` over that axis and what follows it. The result is contiguous.

    Shapes:
        input, result (..., C); weight, bias (C,)
    """
    if activation not in ACTIVATIONS:
        raise UnknownNameError("activation", activation, ACTIVATIONS, call="layer_norm_act")
    for name, each in (("weight", weight), ("bias", bias)):
        if each is not None and each.shape != input.shape[-1:]:
            raise ShapeError(
                f"{name} is {tuple(each.shape)}, the last axis of input {tuple(input.shape)} has another size; "
                "give one number for each channel.",
                call="layer_norm_act",
            )
    return torch.ops.convscope.layer_norm_act.default(input, weight, bias, eps, activation)


Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


def _compute(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, activation: str
) -> Tensor:
    library = native_for("layer_norm", input)
    if library is None or not input.numel():
        return _fallback(input, weight, bias, eps, activation)
    return forward(library, input, weight, bias, eps, activation)


def forward(
    library: Library,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str,
) -> Tensor:
    """Return the output."""
    input, weight, bias = input.contiguous(), _parameter(weight), _parameter(bias)
    channels, output = input.shape[-1], torch.empty_like(input)
    library.layer_norm_forward(
        element_type(input),
        ACTIVATION_NUMBERS[activation],
        input.numel() // channels,
        channels,
        eps,
        pointer(input),
        pointer(weight),
        pointer(bias),
        pointer(output),
        torch.get_num_threads(),
    )
    return output


def _parameter(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float().contiguous()


def _fallback(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float, activation: str
) -> Tensor:
    return ACTIVATIONS[activation](F.layer_norm(input, input.shape[-1:], weight, bias, eps)).contiguous()


def _gradients(grad: Tensor, input: Tensor, *rest: Any) -> Gradients:
    library = native_for("layer_norm", input, grad)
    if library is None or not input.numel():
        return _fallback_gradients(grad, input, *rest)
    return backward(library, grad, input, *rest)


def backward(
    library: Library,
    grad: Tensor,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str,
    wanted: list[bool],
) -> Gradients:
    """Return those gradients of input, weight and bias that are wanted."""
    grad, input, weight, bias = grad.contiguous(), input.contiguous(), _parameter(weight), _parameter(bias)
    channels = input.shape[-1]
    found = (
        torch.empty_like(input) if wanted[0] else None,
        torch.empty(channels) if wanted[1] else None,
        torch.empty(channels) if wanted[2] else None,
    )
    library.layer_norm_backward(
        element_type(input),
        ACTIVATION_NUMBERS[activation],
        input.numel() // channels,
        channels,
        eps,
        pointer(grad),
        pointer(input),
        pointer(weight),
        pointer(bias),
        *(pointer(each) for each in found),
        torch.get_num_threads(),
    )
    return found


def _fallback_gradients(
    grad: Tensor,
    input: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str,
    wanted: list[bool],
) -> Gradients:
    shape = input.shape[-1:]
    output, mean, inverse = torch.ops.aten.native_layer_norm(input, shape, weight, bias, eps)
    grad = ACTIVATION_GRADIENTS[activation](grad, output)
    found = torch.ops.aten.native_layer_norm_backward(grad, input, shape, mean, inverse, weight, bias, wanted)
    of_input, of_weight, of_bias = (
        each.contiguous() if want else None for each, want in zip(found, wanted, strict=True)
    )
    return of_input, of_weight, of_bias


_LIBRARY = torch.library.Library("convscope", "FRAGMENT")
_LIBRARY.define(
    "layer_norm_act(Tensor input, Tensor? weight, Tensor? bias, float eps, str activation) -> Tensor"
)
_LIBRARY.define(
    "layer_norm_act_backward(Tensor grad, Tensor input, Tensor? weight, Tensor? bias, float eps, str activation,"
    " bool[3] wanted) -> (Tensor?, Tensor?, Tensor?)"
)
_LIBRARY.impl("layer_norm_act", _compute, "CPU")
_LIBRARY.impl("layer_norm_act", _fallback, "CompositeExplicitAutograd")
_LIBRARY.impl("layer_norm_act_backward", _gradients, "CPU")
_LIBRARY.impl("layer_norm_act_backward", _fallback_gradients, "CompositeExplicitAutograd")


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    *tensors, ctx.eps, ctx.activation = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    input, weight, bias = ctx.saved_tensors
    of_input, of_weight, of_bias = torch.ops.convscope.layer_norm_act_backward(
        grad, input, weight, bias, ctx.eps, ctx.activation, list(ctx.needs_input_grad[:3])
    )
    return (
        of_input,
        None if of_weight is None else of_weight.to(weight.dtype),
        None if of_bias is None else of_bias.to(bias.dtype),
        None,
        None,
    )


torch.library.register_autograd(
    "convscope::layer_norm_act", _differentiate, setup_context=_save, lib=_LIBRARY
)


@family("layer_norm")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernels with float64 on small shapes."""
    for number, activation in enumerate(ACTIVATIONS):
        for dtype, bound in ((torch.float32, 4e-6), (torch.bfloat16, 1.2e-2)):
            shape = (3, 37, 19 + 13 * number)
            input, grad = torch.randn(shape).add_(3).to(dtype), torch.randn(shape).to(dtype)
            weight, bias = torch.randn(2, shape[-1]).unbind()
            settings, wanted = (1e-5, activation), [True, True, True]
            true = input.double(), weight.double(), bias.double()
            text = f"{activation}, {dtype}, {shape}"
            result = forward(library, input, weight, bias, *settings)
            yield Comparison(f"output, {text}", error_of(result, _fallback(*true, *settings)), bound)
            mine = backward(library, grad, input, weight, bias, *settings, wanted)
            right = _fallback_gradients(grad.double(), *true, *settings, wanted)
            for name, each, exact in zip(("input", "weight", "bias"), mine, right, strict=True):
                assert each is not None
                assert exact is not None
                yield Comparison(f"gradient of {name}, {text}", error_of(each, exact), bound)
