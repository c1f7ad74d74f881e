"""GELU in its exact form, x times the normal distribution's integral up to x: `convscope::gelu`, native on the CPU.

Back it reads the input only, which is all that is kept. What the kernel does not take goes to PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.kernels.layouts import error_of, pointer
from convscope.kernels.library import Library, declare, element_type
from convscope.kernels.registry import Comparison, family, native_for

__all__ = ["gelu"]

declare("gelu_forward", "ilppi")
declare("gelu_backward", "ilpppi")


def gelu(input: Tensor) -> Tensor:
    """Return `torch.nn.functional.gelu(input)`, in the layout of the input.

    In float32 within 1e-6 of the true value, relative to it, above -5; below, within 1e-11.
    """
    return torch.ops.convscope.gelu.default(input)


def forward(library: Library, input: Tensor) -> Tensor:
    """Return the output."""
    input = _dense(input)
    output = torch.empty_like(input)
    library.gelu_forward(
        element_type(input), input.numel(), pointer(input), pointer(output), torch.get_num_threads()
    )
    return output


def backward(library: Library, grad: Tensor, input: Tensor) -> Tensor:
    """Return the input's gradient."""
    input = _dense(input)
    found = torch.empty_like(input)
    if grad.stride() != input.stride():
        grad = torch.empty_like(input).copy_(grad)
    library.gelu_backward(
        element_type(input),
        input.numel(),
        pointer(grad),
        pointer(input),
        pointer(found),
        torch.get_num_threads(),
    )
    return found


def _dense(input: Tensor) -> Tensor:
    """Return the numbers without gaps between them, in what order ever."""
    if torch.ops.aten.is_non_overlapping_and_dense(input):
        return input
    return input.contiguous()


def _compute(input: Tensor) -> Tensor:
    library = native_for("gelu", input)
    return F.gelu(input) if library is None else forward(library, input)


def _gradient(grad: Tensor, input: Tensor) -> Tensor:
    library = native_for("gelu", input, grad)
    return _fallback_gradient(grad, input) if library is None else backward(library, grad, input)


def _fallback_gradient(grad: Tensor, input: Tensor) -> Tensor:
    return torch.ops.aten.gelu_backward(grad, input)


_LIBRARY = torch.library.Library("convscope", "FRAGMENT")
_LIBRARY.define("gelu(Tensor input) -> Tensor")
_LIBRARY.define("gelu_backward(Tensor grad, Tensor input) -> Tensor")
_LIBRARY.impl("gelu", _compute, "CPU")
_LIBRARY.impl("gelu", F.gelu, "CompositeExplicitAutograd")
_LIBRARY.impl("gelu_backward", _gradient, "CPU")
_LIBRARY.impl("gelu_backward", _fallback_gradient, "CompositeExplicitAutograd")


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> Tensor:
    return torch.ops.convscope.gelu_backward(grad, *ctx.saved_tensors)


torch.library.register_autograd("convscope::gelu", _differentiate, setup_context=_save, lib=_LIBRARY)


@family("gelu")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernels with float64, each value for itself."""
    for dtype, bound in ((torch.float32, 1e-6), (torch.bfloat16, 1e-2)):
        input = torch.linspace(-5, 12, 4000).to(dtype)  # without zero; below, float64 loses the tail
        truth = F.gelu(input.double())
        ratio = forward(library, input).double() / truth
        yield Comparison(f"output, {dtype}", error_of(ratio, torch.ones_like(ratio)), bound)
        grad = torch.randn(input.shape).to(dtype)
        right = torch.ops.aten.gelu_backward(grad.double(), input.double())
        yield Comparison(f"gradient, {dtype}", error_of(backward(library, grad, input), right), bound)
