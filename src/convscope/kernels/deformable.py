"""Deformable convolution, v1 and v2: what `convscope::deform_conv2d` calls for float32 and bfloat16 on the CPU.

Chunk by chunk of output positions, the kernels read the patches between the pixels and torch multiplies them with the
weights; in the backward pass torch makes the patches' gradient, which the kernels take apart. Arithmetic is float32.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from convscope.kernels.layouts import channels_last, error_of, pointer
from convscope.kernels.library import Convolution, Library, declare
from convscope.kernels.registry import Comparison, family

__all__ = ["deformable_backward", "deformable_forward"]

declare("deformable_read", "plllpppp")
declare("deformable_backward", "plllppppppp")

_PATCH_ELEMENTS = 2**20  # of the patches of all threads that are held at once, at least: 4 MiB


class _Call:
    """One call as the kernels take it: float32, channels last, weights (groups, C_out/groups, K_h*K_w*C_in/groups)."""

    def __init__(
        self, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, settings: Sequence[int | bool]
    ):
        *numbers, self.groups, self.offset_groups, use_mask = map(int, settings)
        window = [tuple(numbers[i : i + 2]) for i in (0, 2, 4)]
        self.threads = torch.get_num_threads()
        described = Convolution(
            *input.shape,
            weight.shape[0],
            *offset.shape[2:],
            tuple(weight.shape[2:]),
            *window,
            self.groups,
            self.threads,
        )
        self.input = channels_last(input.float())
        self.offset = channels_last(offset.float())
        self.mask = channels_last(mask.float()) if use_mask else None
        self.kernel = weight.shape[2:]
        by_group = weight.float().unflatten(0, (self.groups, -1))
        self.weight = by_group.permute(0, 1, 3, 4, 2).flatten(2)
        self.rows = offset.shape[0] * offset.shape[2] * offset.shape[3]
        self.columns = self.weight.shape[2]  # of a patch's group
        self.described = ctypes.byref(described)

    def chunks(self) -> Iterator[tuple[int, int, list[Tensor]]]:
        """Yield the first position and the count of a chunk, and room for its patches, (count, columns) a group."""
        width = self.groups * self.columns
        step = max(1, min(self.rows, self.threads * _PATCH_ELEMENTS // width))
        step = -(-self.rows // -(-self.rows // step))  # of equal sizes
        room = self.input.new_empty(step, width)
        for first in range(0, self.rows, step):
            count = min(step, self.rows - first)
            yield first, count, list(room[:count].split(self.columns, 1))

    def weight_maps(self, by_group: Tensor) -> Tensor:
        """Return weights by group as (C_out, C_in/groups, K_h, K_w)."""
        return by_group.unflatten(2, (*self.kernel, -1)).permute(0, 1, 4, 2, 3).flatten(0, 1)


def _maps(rows: Tensor, like: Tensor) -> Tensor:
    """Return rows of positions as (N, columns, H_out, W_out), with the sizes of `like`."""
    return rows.view(like.shape[0], *like.shape[2:], rows.shape[1]).permute(0, 3, 1, 2)


def _by_position(maps: Tensor) -> Tensor:
    """Return maps as a float32 row for each position."""
    return channels_last(maps.float()).permute(0, 2, 3, 1).flatten(0, 2)


def deformable_forward(
    library: Library,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    settings: Sequence[int | bool],
) -> Tensor:
    """Return the output in float32, channels-last. The arguments are those of `convscope::deform_conv2d`."""
    with torch.autocast("cpu", enabled=False):
        call = _Call(input, weight, offset, mask, settings)
        output = call.input.new_empty(call.rows, weight.shape[0])
        outputs = output.split(call.weight.shape[1], 1)
        added = bias.float().split(call.weight.shape[1]) if bias.numel() else None
        for first, count, patches in call.chunks():
            library.deformable_read(
                call.described,
                call.offset_groups,
                first,
                count,
                pointer(call.input),
                pointer(call.offset),
                pointer(call.mask),
                pointer(patches[0]),
            )
            for group, read in enumerate(patches):
                kernels, made = call.weight[group].t(), outputs[group][first : first + count]
                if added is None:
                    torch.mm(read, kernels, out=made)
                else:
                    torch.addmm(added[group], read, kernels, out=made)
    return _maps(output, offset)


def deformable_backward(
    library: Library,
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    bias: Tensor,
    settings: Sequence[int | bool],
) -> tuple[Tensor, Tensor, Tensor, Tensor | None, Tensor | None]:
    """Return the gradients of input, weight, offset, mask and bias in float32, maps channels-last."""
    with torch.autocast("cpu", enabled=False):
        call = _Call(input, weight, offset, mask, settings)
        given = _by_position(grad)
        given_groups = given.split(call.weight.shape[1], 1)
        grad_input = torch.zeros_like(call.input.permute(0, 2, 3, 1))
        grad_weight = torch.zeros_like(call.weight)
        grad_offset = call.input.new_empty(call.rows, offset.shape[1])
        grad_mask = None if call.mask is None else call.input.new_empty(call.rows, mask.shape[1])
        for first, count, patches in call.chunks():
            chunk = slice(first, first + count)
            for group, room in enumerate(patches):
                torch.mm(given_groups[group][chunk], call.weight[group], out=room)
            library.deformable_backward(
                call.described,
                call.offset_groups,
                first,
                count,
                pointer(call.input),
                pointer(call.offset),
                pointer(call.mask),
                pointer(patches[0]),
                pointer(grad_input),
                pointer(grad_offset[first:]),
                None if grad_mask is None else pointer(grad_mask[first:]),
            )
            for group, read in enumerate(patches):
                grad_weight[group].addmm_(given_groups[group][chunk].t(), read)
    return (
        grad_input.permute(0, 3, 1, 2),
        call.weight_maps(grad_weight),
        _maps(grad_offset, offset),
        None if grad_mask is None else _maps(grad_mask, offset),
        given.sum(0) if bias.numel() else None,
    )


def _by_definition(
    grad: Tensor,
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor,
    settings: Sequence[int | bool],
) -> tuple[Tensor, ...]:
    """Return the output before its bias, and the gradients, from torch's plain operations.

    By the chain rule, not autograd, which is out of reach where an operator's first call runs the check.
    """
    stride_h, stride_w, pad_h, pad_w, dilation_h, dilation_w, groups, offset_groups, use_mask = settings
    height, width = input.shape[2:]
    moved = input.shape[1] // offset_groups  # channels that share an offset
    kernel_h, kernel_w = weight.shape[2:]
    out_h, out_w = offset.shape[2:]
    places = offset.unflatten(1, (offset_groups, kernel_h, kernel_w, 2)).repeat_interleave(moved, 1)
    tap_y, tap_x = torch.arange(kernel_h) * dilation_h, torch.arange(kernel_w) * dilation_w
    out_y, out_x = torch.arange(out_h) * stride_h - pad_h, torch.arange(out_w) * stride_w - pad_w
    y = places[..., 0, :, :] + tap_y[:, None, None, None] + out_y[:, None]  # (N, C, K_h, K_w, H_out, W_out)
    x = places[..., 1, :, :] + tap_x[:, None, None] + out_x
    top, left = y.floor(), x.floor()
    down, right = y - top, x - left
    value, slope_h, slope_w = (torch.zeros_like(y) for _ in range(3))
    corners: list[tuple[Tensor, Tensor]] = []
    for row, share_h, sign_h in ((top, 1 - down, -1), (top + 1, down, 1)):
        for column, share_w, sign_w in ((left, 1 - right, -1), (left + 1, right, 1)):
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            pixel = torch.where(inside, row * width + column, 0).long().flatten(2)
            read = inside * input.flatten(2).gather(2, pixel).view_as(y)
            value += read * share_h * share_w
            slope_h += read * sign_h * share_w
            slope_w += read * share_h * sign_w
            corners.append((pixel, inside * share_h * share_w))
    factor = (
        mask.unflatten(1, (offset_groups, kernel_h, kernel_w)).repeat_interleave(moved, 1) if use_mask else 1
    )
    patches, kernels = (value * factor).unflatten(1, (groups, -1)), weight.unflatten(0, (groups, -1))
    output = torch.einsum("ngcyxhw,gocyx->ngohw", patches, kernels).flatten(1, 2)
    given = grad.unflatten(1, (groups, -1))
    back = torch.einsum("ngohw,gocyx->ngcyxhw", given, kernels).flatten(1, 2)
    grad_input = torch.zeros_like(input).flatten(2)
    for pixel, share in corners:
        grad_input.scatter_add_(2, pixel, (back * factor * share).flatten(2))
    grad_mask, *shifts = (
        each.unflatten(1, (offset_groups, moved)).sum(2)
        for each in (back * value, back * factor * slope_h, back * factor * slope_w)
    )
    return (
        output,
        grad_input.view_as(input),
        torch.einsum("ngohw,ngcyxhw->gocyx", given, patches).flatten(0, 1),
        torch.stack(shifts, 4).flatten(1, 4),
        grad_mask.flatten(1, 3),
        grad.sum((0, 2, 3)),
    )


# input, weight, offset groups, use_mask, biased, stride, padding, dilation
_CASES: tuple[tuple[tuple[int, ...], tuple[int, ...], int, bool, bool, tuple[int, ...]], ...] = (
    ((2, 19, 6, 7), (5, 19, 3, 3), 1, True, True, (1, 1, 1, 1, 1, 1)),
    ((1, 32, 9, 8), (8, 16, 2, 3), 4, False, False, (2, 1, 0, 2, 1, 2)),
    ((3, 12, 5, 5), (8, 3, 3, 1), 3, True, False, (1, 2, 3, 1, 2, 1)),
)


@family("deformable")
def check(library: Library) -> Iterator[Comparison]:
    """Compare output and gradients with float64, at offsets of some pixels that float32 adds exactly."""
    for shape, weight_shape, offset_groups, use_mask, biased, window in _CASES:
        stride, padding, dilation = window[:2], window[2:4], window[4:]
        spans = [d * (k - 1) + 1 for k, d in zip(weight_shape[2:], dilation, strict=True)]
        sizes = [(shape[2 + i] + 2 * padding[i] - spans[i]) // stride[i] + 1 for i in (0, 1)]
        taps = offset_groups * weight_shape[2] * weight_shape[3]
        settings = (*window, shape[1] // weight_shape[1], offset_groups, use_mask)
        for dtype, bound in ((torch.float32, 4e-6), (torch.bfloat16, 1.2e-2)):
            operands = [
                torch.randn(shape),
                torch.randn(weight_shape),
                (64 * torch.randn(shape[0], 2 * taps, *sizes)).round() / 32,
                torch.randn(shape[0], taps, *sizes) if use_mask else torch.empty(0),
                torch.randn(weight_shape[0]) if biased else torch.empty(0),
            ]
            input, weight, offset, mask, bias = (each.to(dtype) for each in operands)
            grad = torch.randn(shape[0], weight_shape[0], *sizes).to(dtype)
            truth, *gradients = _by_definition(
                grad.double(), input.double(), weight.double(), offset.double(), mask.double(), settings
            )
            if biased:
                truth = truth + bias.double()[:, None, None]
            operands = input, weight, offset, mask, bias
            output = deformable_forward(library, *operands, settings)
            found = deformable_backward(library, grad, *operands, settings)
            names = "output", *(f"{each} gradient" for each in ("input", "weight", "offset", "mask", "bias"))
            results, truths = (output, *found), (truth, *gradients)
            for name, result, true in zip(names, results, truths, strict=True):
                if result is not None:
                    text = f"{name}, {dtype}, input {shape}, weight {weight_shape}, offset groups {offset_groups}"
                    yield Comparison(text, error_of(result, true), bound)
