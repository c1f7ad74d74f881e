"""Batch normalisation with what follows it: `activation(batch_norm(input) + residual)` in one pass, back in two.

PyTorch's three operators read and write the maps three times as often. What the kernel does not take (other types or
devices) goes to PyTorch's operators, with equal results.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import ShapeError, UnknownNameError
from convscope.kernels.activations import ACTIVATION_GRADIENTS, ACTIVATION_NUMBERS, ACTIVATIONS
from convscope.kernels.layouts import channels_last, empty_maps, error_of, pointer
from convscope.kernels.library import Library, declare, element_type
from convscope.kernels.registry import Comparison, family, native_for

__all__ = ["batch_norm_act"]

_SLOPE_FROM_OUTPUT = ("relu", "relu6")  # where the output tells which gradients pass

declare("batch_norm_forward", "iiilldpppppppi")
declare("batch_norm_backward", "iiillppppppppppppi")


def batch_norm_act(
    input: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float = 0.1,
    eps: float = 1e-5,
    activation: str = "none",
) -> Tensor:
    """Normalise maps by channel, add `residual`, apply an activation.

    Equals `torch.nn.functional.batch_norm` and what follows it, running statistics included; in evaluation
    (`training` False) those are used. The result is channels-last.

    Shapes:
        input, residual, result (N, C, H, W); the others (C,)
    """
    if activation not in ACTIVATIONS:
        raise UnknownNameError("activation", activation, ACTIVATIONS, call="batch_norm_act")
    if residual is not None and residual.shape != input.shape:
        raise ShapeError(
            f"residual {tuple(residual.shape)} is added to input {tuple(input.shape)}; make them alike.",
            call="batch_norm_act",
        )
    pixels = input.numel() // max(1, input.shape[1])
    if training and pixels == 1:
        raise ShapeError(
            f"input {tuple(input.shape)} has one value a channel, which has no variance; use a larger batch.",
            call="batch_norm_act",
        )
    if not training and (running_mean is None or running_var is None):
        raise ShapeError("evaluation needs running_mean and running_var.", call="batch_norm_act")
    output, mean, inverse = torch.ops.convscope.batch_norm_act.default(
        input,
        residual,
        weight,
        bias,
        None if training else running_mean,
        None if training else running_var,
        eps,
        activation,
    )
    if training and pixels and running_mean is not None and running_var is not None:
        with torch.no_grad():
            variance = (inverse.pow(-2) - eps).clamp_min_(0).mul_(pixels / (pixels - 1))
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            running_var.lerp_(variance.to(running_var.dtype), momentum)
    return output


Forward = tuple[Tensor, Tensor, Tensor]
Gradients = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


def _compute(input: Tensor, residual: Tensor | None, *rest: Any) -> Forward:
    library = native_for("batch_norm", input, residual)
    if library is None or not input.numel():
        return _fallback(input, residual, *rest)
    return forward(library, input, residual, *rest)


def forward(
    library: Library,
    input: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    eps: float,
    activation: str,
) -> Forward:
    """Return output, mean and 1 / sqrt(variance + eps); without a given mean those of the input."""
    input = channels_last(input)
    residual = None if residual is None else channels_last(residual)
    weight, bias = _parameter(weight), _parameter(bias)
    channels = input.shape[1]
    if mean is None or variance is None:
        used_mean, inverse = (torch.empty(channels, dtype=torch.float64) for _ in range(2))
    else:
        used_mean, inverse = mean.double(), (variance.double() + eps).rsqrt_()
    output = empty_maps(input, input.shape)
    library.batch_norm_forward(
        element_type(input),
        ACTIVATION_NUMBERS[activation],
        mean is None,
        input.numel() // channels,
        channels,
        eps,
        pointer(input),
        pointer(residual),
        pointer(weight),
        pointer(bias),
        pointer(used_mean),
        pointer(inverse),
        pointer(output),
        torch.get_num_threads(),
    )
    return output, used_mean, inverse


def _parameter(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.float().contiguous()


def _fallback(
    input: Tensor,
    residual: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    eps: float,
    activation: str,
) -> Forward:
    if mean is None or variance is None:
        output, used_mean, inverse = torch.native_batch_norm(input, weight, bias, None, None, True, 0.0, eps)
    else:
        output = F.batch_norm(input, mean, variance, weight, bias, False, 0.0, eps)
        used_mean, inverse = mean, (variance.double() + eps).rsqrt()
    output = ACTIVATIONS[activation](output if residual is None else output + residual)
    output = output.clone() if output is input else output
    return channels_last(output), used_mean.to(torch.float64, copy=True), inverse.double()


def _gradients(
    grad: Tensor, input: Tensor, residual: Tensor | None, output: Tensor | None, *rest: Any
) -> Gradients:
    library = native_for("batch_norm", input, grad, residual, output)
    if library is None or not input.numel():
        return _fallback_gradients(grad, input, residual, output, *rest)
    return backward(library, grad, input, residual, output, *rest)


def backward(
    library: Library,
    grad: Tensor,
    input: Tensor,
    residual: Tensor | None,
    output: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    inverse: Tensor,
    training: bool,
    eps: float,
    activation: str,
    wanted: list[bool],
) -> Gradients:
    """Return those gradients of input, residual, weight and bias that are wanted.

    Where a residual was added, `output` or `residual` tells the activation's slope.
    """
    del eps  # within `inverse`
    grad, input = channels_last(grad), channels_last(input)
    residual = None if residual is None else channels_last(residual)
    output = None if output is None else channels_last(output)
    weight, bias = _parameter(weight), _parameter(bias)
    channels = input.shape[1]
    found = (
        empty_maps(input, input.shape) if wanted[0] else None,
        empty_maps(input, input.shape) if wanted[1] else None,
        torch.empty(channels) if wanted[2] else None,
        torch.empty(channels) if wanted[3] else None,
    )
    library.batch_norm_backward(
        element_type(input),
        ACTIVATION_NUMBERS[activation],
        training,
        input.numel() // channels,
        channels,
        pointer(grad),
        pointer(input),
        pointer(residual),
        pointer(output),
        pointer(weight),
        pointer(bias),
        pointer(mean),
        pointer(inverse),
        *(pointer(each) for each in found),
        torch.get_num_threads(),
    )
    return found


def _fallback_gradients(
    grad: Tensor,
    input: Tensor,
    residual: Tensor | None,
    output: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    inverse: Tensor,
    training: bool,
    eps: float,
    activation: str,
    wanted: list[bool],
) -> Gradients:
    kind = torch.float64 if input.dtype == torch.float64 else torch.float32
    mean, variance, inverse = mean.to(kind), (inverse.pow(-2) - eps).to(kind), inverse.to(kind)
    if output is None:
        output = F.batch_norm(input, mean, variance, weight, bias, False, 0.0, eps)
        output = output if residual is None else output + residual
    grad = ACTIVATION_GRADIENTS[activation](grad, output)
    found = torch.ops.aten.native_batch_norm_backward(
        grad, input, weight, mean, variance, mean, inverse, training, eps, [wanted[0], wanted[2], wanted[3]]
    )
    of_input, of_weight, of_bias = (
        each if want else None for each, want in zip(found, (wanted[0], *wanted[2:]), strict=True)
    )
    of_input = None if of_input is None else channels_last(of_input)
    return of_input, channels_last(grad) if wanted[1] else None, of_weight, of_bias


_NAME = "convscope::batch_norm_act"
_LIBRARY = torch.library.Library("convscope", "FRAGMENT")
_LIBRARY.define(
    "batch_norm_act(Tensor input, Tensor? residual, Tensor? weight, Tensor? bias, Tensor? mean, Tensor? variance,"
    " float eps, str activation) -> (Tensor output, Tensor mean, Tensor inverse)"
)
_LIBRARY.define(
    "batch_norm_act_backward(Tensor grad, Tensor input, Tensor? residual, Tensor? output, Tensor? weight, Tensor? bias,"
    " Tensor mean, Tensor inverse, bool training, float eps, str activation, bool[4] wanted)"
    " -> (Tensor?, Tensor?, Tensor?, Tensor?)"
)
_LIBRARY.impl("batch_norm_act", _compute, "CPU")
_LIBRARY.impl("batch_norm_act", _fallback, "CompositeExplicitAutograd")
_LIBRARY.impl("batch_norm_act_backward", _gradients, "CPU")
_LIBRARY.impl("batch_norm_act_backward", _fallback_gradients, "CompositeExplicitAutograd")


def _save(ctx: Any, inputs: tuple[Any, ...], output: Forward) -> None:
    input, residual, weight, bias, mean, _, eps, activation = inputs
    ctx.training, ctx.eps, ctx.activation = mean is None, eps, activation
    ctx.set_materialize_grads(False)
    ctx.mark_non_differentiable(output[1], output[2])
    slope_from_output = activation in _SLOPE_FROM_OUTPUT and residual is not None
    ctx.save_for_backward(
        input,
        residual if residual is not None and activation != "none" and not slope_from_output else None,
        output[0] if slope_from_output else None,
        weight,
        bias,
        output[1],
        output[2],
    )


def _differentiate(ctx: Any, grad: Tensor | None, *_: Any) -> tuple[Any, ...]:
    if grad is None:
        return (None,) * 8
    input, residual, output, weight, bias, mean, inverse = ctx.saved_tensors
    needed = list(ctx.needs_input_grad[:4])
    through = needed[1] and ctx.activation == "none"
    of_input, of_residual, of_weight, of_bias = torch.ops.convscope.batch_norm_act_backward(
        grad,
        input,
        residual,
        output,
        weight,
        bias,
        mean,
        inverse,
        ctx.training,
        ctx.eps,
        ctx.activation,
        [needed[0], needed[1] and not through, *needed[2:]],
    )
    return (
        of_input,
        grad if through else of_residual,
        None if of_weight is None else of_weight.to(weight.dtype),
        None if of_bias is None else of_bias.to(bias.dtype),
        *[None] * 4,
    )


torch.library.register_autograd(_NAME, _differentiate, setup_context=_save, lib=_LIBRARY)


@family("batch_norm")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernels with float64 on small shapes."""
    for number, activation in enumerate(ACTIVATIONS):
        for dtype, bound in ((torch.float32, 4e-6), (torch.bfloat16, 1.2e-2)):
            for with_residual in (False, True):
                shape = (2, 19 + 13 * number, 9, 7)
                input = torch.randn(shape).add_(3).to(dtype)
                residual = torch.randn(shape).to(dtype) if with_residual else None
                weight, bias = torch.randn(2, shape[1]).unbind()
                true_input, true_residual = input.double(), None if residual is None else residual.double()
                truth, mean, inverse = _fallback(
                    true_input, true_residual, weight.double(), bias.double(), None, None, 1e-5, activation
                )
                result, my_mean, my_inverse = forward(
                    library, input, residual, weight, bias, None, None, 1e-5, activation
                )
                text = f"{activation}, {dtype}, {shape}{', residual' if with_residual else ''}"
                yield Comparison(f"output, {text}", error_of(result, truth), bound)
                kept_output = truth if with_residual and activation in _SLOPE_FROM_OUTPUT else None
                kept = true_residual if kept_output is None and activation != "none" else None
                grad = torch.randn(shape).to(dtype)
                wanted = [True, with_residual and activation != "none", True, True]
                settings = (True, 1e-5, activation, wanted)
                true = _fallback_gradients(
                    grad.double(),
                    true_input,
                    kept,
                    kept_output,
                    weight.double(),
                    bias.double(),
                    mean,
                    inverse,
                    *settings,
                )
                mine = backward(
                    library,
                    grad,
                    input,
                    None if kept is None else residual,
                    None if kept_output is None else kept_output.to(dtype),
                    weight,
                    bias,
                    my_mean,
                    my_inverse,
                    *settings,
                )
                for name, each, right in zip(
                    ("input", "residual", "weight", "bias"), mine, true, strict=True
                ):
                    if each is not None and right is not None:
                        yield Comparison(f"gradient of {name}, {text}", error_of(each, right), bound)
