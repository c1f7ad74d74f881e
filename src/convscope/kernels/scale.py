"""Maps times a number for each channel of each image, as in squeeze and excitation: `convscope::scale_maps`.

Back, both gradients come from one pass over gradient and maps, where PyTorch writes their product to sum it up. What
the kernel does not take (other types or devices) goes to PyTorch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from convscope.errors import ShapeError
from convscope.kernels.layouts import channels_last, empty_maps, error_of, pointer
from convscope.kernels.library import Library, declare, element_type
from convscope.kernels.registry import Comparison, family, native_for

__all__ = ["scale_maps"]

declare("scale_forward", "illlpppi")
declare("scale_backward", "illlpppppi")


def scale_maps(input: Tensor, scale: Tensor) -> Tensor:
    """Return `input * scale`, channels-last.

    Shapes:
        input, result (N, C, H, W); scale (N, C, 1, 1)
    """
    if input.ndim != 4 or scale.shape != (*input.shape[:2], 1, 1):
        raise ShapeError(
            f"input {tuple(input.shape)} and scale {tuple(scale.shape)} do not fit; "
            "give (N, C, H, W) and (N, C, 1, 1).",
            call="scale_maps",
        )
    return torch.ops.convscope.scale_maps.default(input, scale)


def forward(library: Library, input: Tensor, scale: Tensor) -> Tensor:
    """Return the output."""
    input, factors = channels_last(input), _factors(scale)
    output = empty_maps(input, input.shape)
    library.scale_forward(
        *_described(input), pointer(input), pointer(factors), pointer(output), torch.get_num_threads()
    )
    return output


def _factors(scale: Tensor) -> Tensor:
    return scale.flatten().float().contiguous()


def _described(input: Tensor) -> tuple[int, int, int, int]:
    images, channels, height, width = input.shape
    return element_type(input), images, height * width, channels


Gradients = tuple[Tensor | None, Tensor]


def backward(library: Library, grad: Tensor, input: Tensor, scale: Tensor, want_input: bool) -> Gradients:
    """Return the gradients of input, if it is wanted, and scale."""
    grad, input, factors = channels_last(grad), channels_last(input), _factors(scale)
    of_input = empty_maps(input, input.shape) if want_input else None
    of_scale = torch.empty_like(factors)
    library.scale_backward(
        *_described(input),
        *map(pointer, (grad, input, factors, of_input, of_scale)),
        torch.get_num_threads(),
    )
    return of_input, of_scale.view(scale.shape).to(scale.dtype)


def _compute(input: Tensor, scale: Tensor) -> Tensor:
    library = native_for("scale", input, scale)
    if library is None or not input.numel():
        return _fallback(input, scale)
    return forward(library, input, scale)


def _fallback(input: Tensor, scale: Tensor) -> Tensor:
    return channels_last(input * scale)


def _gradients(grad: Tensor, input: Tensor, scale: Tensor, want_input: bool) -> Gradients:
    library = native_for("scale", input, scale, grad)
    if library is None or not input.numel():
        return _fallback_gradients(grad, input, scale, want_input)
    return backward(library, grad, input, scale, want_input)


def _fallback_gradients(grad: Tensor, input: Tensor, scale: Tensor, want_input: bool) -> Gradients:
    return channels_last(grad * scale) if want_input else None, (grad * input).sum((2, 3), keepdim=True)


_LIBRARY = torch.library.Library("convscope", "FRAGMENT")
_LIBRARY.define("scale_maps(Tensor input, Tensor scale) -> Tensor")
_LIBRARY.define(
    "scale_maps_backward(Tensor grad, Tensor input, Tensor scale, bool want_input) -> (Tensor?, Tensor)"
)
_LIBRARY.impl("scale_maps", _compute, "CPU")
_LIBRARY.impl("scale_maps", _fallback, "CompositeExplicitAutograd")
_LIBRARY.impl("scale_maps_backward", _gradients, "CPU")
_LIBRARY.impl("scale_maps_backward", _fallback_gradients, "CompositeExplicitAutograd")


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs)


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
    return torch.ops.convscope.scale_maps_backward(grad, *ctx.saved_tensors, ctx.needs_input_grad[0])


torch.library.register_autograd("convscope::scale_maps", _differentiate, setup_context=_save, lib=_LIBRARY)


@family("scale")
def check(library: Library) -> Iterator[Comparison]:
    """Compare the kernels with float64 on small shapes."""
    for shape in ((2, 19, 9, 11), (1, 32, 20, 13), (3, 5, 1, 2)):
        for dtype, bound in ((torch.float32, 2e-6), (torch.bfloat16, 1e-2)):
            input, grad = torch.randn(2, *shape).to(dtype).unbind()
            scale = torch.rand(*shape[:2], 1, 1).to(dtype)
            true = input.double(), scale.double()
            text = f"{dtype}, {shape}"
            yield Comparison(
                f"output, {text}", error_of(forward(library, input, scale), _fallback(*true)), bound
            )
            mine = backward(library, grad, input, scale, True)
            right = _fallback_gradients(grad.double(), *true, True)
            for name, each, exact in zip(("input", "scale"), mine, right, strict=True):
                assert each is not None
                assert exact is not None
                yield Comparison(f"gradient of {name}, {text}", error_of(each, exact), bound)
