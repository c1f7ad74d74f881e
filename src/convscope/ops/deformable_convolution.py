"""Deformable convolution, v1 and v2: each tap of the kernel reads where an offset moves it, between the pixels.

The operator is `convscope::deform_conv2d`, with the schema of torchvision's, and `convscope::deform_conv2d_backward`
for its gradients. For float32 and bfloat16 on the CPU the native kernels compute (`kernels.deformable`). The others are
computed here from torch's operations, in chunks of output positions: the patches that a chunk's kernels read, moved,
are one `embedding_bag` (4 pixels a tap, weighted), which a matrix product follows.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from convscope.errors import ShapeError, UsageError
from convscope.geometry import Padding, Windows, check_groups
from convscope.kernels import deformable_backward, deformable_forward, native_for
from convscope.ops.deformed_patches import DeformedPatches, DeformedSettings
from convscope.ops.plan import Sizes, plan_axes

__all__ = ["deform_conv2d"]


def deform_conv2d(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    mask: Tensor | None = None,
) -> Tensor:
    """Slide a kernel over an image, each of whose taps reads where its offset moves it: v1, with `mask` v2.

    Equals `torchvision.ops.deform_conv2d`, which takes these arguments in this order. Between pixels it reads
    bilinearly, pixels outside being 0. Where an offset puts a tap exactly on a pixel, the value has a corner there,
    and the offset's gradient is the one towards larger coordinates, as in torchvision.

    Shapes:
        input (N, C_in, H, W); weight (C_out, C_in // groups, K_h, K_w); bias (C_out,)
        offset (N, 2 * offset_groups * K_h * K_w, H_out, W_out): for each group, for each tap, (height, width)
        mask (N, offset_groups * K_h * K_w, H_out, W_out)
        returns (N, C_out, H_out, W_out), sizes from `geometry.Windows`
    Args:
        offset: pixels to move each tap by, at each output position. The channels of the input are divided among
            the offset groups, the first ones to the first.
        weight: its second axis tells the channel groups of the convolution.
        stride, padding, dilation: where the taps are before they are moved; as in `conv2d`.
        mask: what each tap's value is multiplied by (the modulation of v2).
    Raises:
        ShapeError: the shapes do not belong together, or the kernel does not fit.
        UsageError: operands of different types, outside autocast, or not of floating point.
        NotImplementedError: derivatives in forward mode (`torch.func.jvp`), or second ones.
    Cost:
        N * C_out * H_out * W_out * (C_in // groups) * K_h * K_w MACs, as a plain convolution, and 4 times
        N * C_in * H_out * W_out * K_h * K_w multiplications to read between pixels. Patches are made 16 MiB at a
        time (float32) and again in backward, not kept. Types below float32 are computed in float32.
    Source:
        Dai et al., Deformable convolutional networks, arXiv:1703.06211, equations 2 to 4; Zhu et al., Deformable
        ConvNets v2, arXiv:1811.11168, equation 1.
    Example:
        >>> image, kernel = torch.arange(9.0).reshape(1, 1, 3, 3), torch.ones(1, 1, 1, 1)
        >>> offset = torch.zeros(1, 2, 3, 3)
        >>> offset[:, 1] = 0.5  # half a pixel to the right
        >>> deform_conv2d(image, offset, kernel).tolist()
        [[[[0.5, 1.5, 1.0], [3.5, 4.5, 2.5], [6.5, 7.5, 4.0]]]]
    """
    try:
        settings = _settings(input, offset, weight, bias, stride, padding, dilation, mask)
    except UsageError as error:
        raise error.at("deform_conv2d") from error
    nothing = input.new_empty(0)
    operands = input, weight, offset, nothing if mask is None else mask, nothing if bias is None else bias
    _refuse_forward_mode(operands)
    if not _autocast(input):
        return torch.ops.convscope.deform_conv2d(*operands, *settings)
    # As in torchvision: positions need float32, and the result is of the input's type.
    return torch.ops.convscope.deform_conv2d(*(each.float() for each in operands), *settings).to(input.dtype)


def _settings(
    input: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    mask: Tensor | None,
) -> tuple[object, ...]:
    """Check the call and return the operator's arguments after its tensors."""
    groups, offset_groups = _check_channels(input, offset, weight, bias)
    plan = plan_axes(Windows.of, input.shape[2:], 2, weight.shape[2:], stride, padding, dilation)
    sizes = input.shape[2:], offset.shape[2:]
    # While torch exports, sizes are symbols, which a comparison would fix.
    if not torch.compiler.is_compiling() and {type(size) for pair in sizes for size in pair} <= {int}:
        wanted = (input.shape[0], offset.shape[1], *plan.windows.output_size(sizes[0]))
        if tuple(offset.shape) != wanted:
            raise ShapeError(
                f"offset {tuple(offset.shape)} must be {wanted}: the batch of input {tuple(input.shape)} and the "
                f"{wanted[2]}x{wanted[3]} outputs of kernel {plan.kernel_size}, stride {plan.stride}, "
                f"padding {plan.pads}, dilation {plan.dilation}."
            )
        taps = (*wanted[:1], wanted[1] // 2, *wanted[2:])
        if mask is not None and tuple(mask.shape) != taps:
            raise ShapeError(
                f"mask {tuple(mask.shape)} must be {taps}: a number where offset {wanted} has a pair."
            )
    _check_types(input, offset=offset, weight=weight, bias=bias, mask=mask)
    before = tuple(pair[0] for pair in plan.pads)  # what comes after shows in the offset's sizes
    return (*plan.stride, *before, *plan.dilation, groups, offset_groups, mask is not None)


def _check_channels(input: Tensor, offset: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[int, int]:
    """Return the groups of the convolution and of the offsets."""
    axes = {"input": "N, C, height, width", "offset": "N, 2*offset_groups*K_h*K_w, H_out, W_out"}
    for name, tensor in {"input": input, "offset": offset, "weight": weight}.items():
        if tensor.ndim != 4:
            wanted = axes.get(name, "C_out, C_in/groups, K_h, K_w")
            raise ShapeError(f"{name} {tuple(tensor.shape)} has {tensor.ndim} axes; give 4: ({wanted}).")
    in_channels, (out_channels, in_group, *kernel) = input.shape[1], weight.shape
    if not in_group or not in_channels or in_channels % in_group:
        raise ShapeError(
            f"input {tuple(input.shape)} has {in_channels} channels, which weight {tuple(weight.shape)} cannot "
            f"divide into groups of {in_group}."
        )
    groups = in_channels // in_group
    check_groups(in_channels, out_channels, groups)
    if bias is not None and tuple(bias.shape) != (out_channels,):
        raise ShapeError(
            f"bias {tuple(bias.shape)} must be ({out_channels},): one number for each output channel."
        )
    pairs = 2 * kernel[0] * kernel[1]
    if not pairs or not offset.shape[1] or offset.shape[1] % pairs:
        raise ShapeError(
            f"offset {tuple(offset.shape)} has {offset.shape[1]} channels; it must have a multiple of "
            f"2*K_h*K_w = 2*{kernel[0]}*{kernel[1]} = {pairs}: a (height, width) pair for each tap of each group."
        )
    offset_groups = offset.shape[1] // pairs
    if in_channels % offset_groups:
        raise ShapeError(
            f"offset {tuple(offset.shape)} has {offset.shape[1]}/{pairs} = {offset_groups} offset groups, which must "
            f"divide the {in_channels} channels of input {tuple(input.shape)}."
        )
    return groups, offset_groups


def _check_types(input: Tensor, **others: Tensor | None) -> None:
    if not input.is_floating_point():
        raise UsageError(f"input is {input.dtype}; give floating-point numbers, as in input.float().")
    for name, other in others.items():
        if other is not None and other.dtype != input.dtype and not _autocast(input):
            raise UsageError(
                f"input is {input.dtype} and {name} is {other.dtype}; convert one, as in input.to({name}.dtype), "
                "or run under torch.autocast."
            )


def _autocast(input: Tensor) -> bool:
    device = input.device.type
    return device != "meta" and torch.is_autocast_enabled(device)  # asking for meta raises


def _refuse_forward_mode(operands: tuple[Tensor, ...]) -> None:
    """Refuse tangents, which an operator of a library would drop: the derivative would be 0 without a word."""
    if torch.compiler.is_compiling() or forward_ad._current_level < 0:
        return
    if any(forward_ad.unpack_dual(each).tangent is not None for each in operands):
        raise NotImplementedError(
            "deform_conv2d has no forward-mode derivatives; take reverse ones, as in torch.func.vjp."
        )


def _forward(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *settings: Any
) -> Tensor:
    with torch.autocast(input.device.type, enabled=False):
        call = DeformedPatches(input, weight, offset, mask, DeformedSettings(*settings))
        made = call.table.new_empty(call.rows, weight.shape[0])
        by_group = made.unflatten(1, (call.settings.groups, -1)).transpose(0, 1)
        for rows in call.chunks():
            corners = call.corners(rows)
            by_group[:, rows] = call.patches(corners, corners.shares()) @ call.weight
        if bias.numel():
            made += bias
    return _empty_output(input, weight, offset).copy_(call.output_maps(made))


def _empty_output(input: Tensor, weight: Tensor, offset: Tensor, *_: Any) -> Tensor:
    """Return maps without values, channels last if the input is."""
    last = input.is_contiguous(memory_format=torch.channels_last) and not input.is_contiguous()
    return input.new_empty((input.shape[0], weight.shape[0], *offset.shape[2:])).to(
        memory_format=torch.channels_last if last else torch.contiguous_format
    )


def _backward(
    grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *settings: Any
) -> tuple[Tensor, ...]:
    """Return the gradients of the five tensors, laid out as they are."""
    with torch.autocast(input.device.type, enabled=False):
        call = DeformedPatches(input, weight, offset, mask, DeformedSettings(*settings))
        given = call.grad_by_groups(grad)
        table, kernels = torch.zeros_like(call.table), torch.zeros_like(call.weight)
        shifts = torch.empty_like(call.offset)
        modulation = torch.empty_like(shifts[..., 0])
        for rows in call.chunks():
            corners = call.corners(rows)
            shares = corners.shares()
            kernels += call.patches(corners, shares).transpose(1, 2) @ given[:, rows]
            read = call.from_groups(given[:, rows] @ call.weight.transpose(1, 2))
            call.scatter(table, read, corners, shares, rows)
            at = shifts[rows].shape[:-1]
            top_left, top_right, bottom_left, bottom_right = call.along_corners(read, corners)
            _, down, right, factor = corners
            top, bottom = torch.lerp(top_left, top_right, right), torch.lerp(bottom_left, bottom_right, right)
            along_h = bottom - top
            along_w = torch.lerp(top_right - top_left, bottom_right - bottom_left, down)
            if factor is not None:
                modulation[rows] = torch.lerp(top, bottom, down).view(at)
                along_h, along_w = along_h * factor, along_w * factor
            shifts[rows, ..., 0], shifts[rows, ..., 1] = along_h.view(at), along_w.view(at)

    results = _empty_gradients(grad, input, weight, offset, mask, bias)
    results[0].copy_(call.pixel_maps(table))
    results[1].copy_(call.weight_maps(kernels))
    results[2].copy_(call.output_maps(shifts.transpose(1, 2).flatten(1)))
    if call.settings.use_mask:
        results[3].copy_(call.output_maps(modulation.transpose(1, 2).flatten(1)))
    if bias.numel():
        results[4].copy_(given.sum(1).flatten())
    return results


def _empty_gradients(_: Tensor, *operands: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(operand) for operand in operands[:5])


def _forward_on_cpu(
    input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *settings: Any
) -> Tensor:
    tensors = input, weight, offset, mask, bias
    library = native_for("deformable", *tensors)
    if library is None or not all(each.numel() for each in tensors[:3]):
        return _forward(*tensors, *settings)
    output = deformable_forward(library, *tensors, settings)
    return _as_laid_out(output, _empty_output(*tensors))


def _backward_on_cpu(
    grad: Tensor, input: Tensor, weight: Tensor, offset: Tensor, mask: Tensor, bias: Tensor, *settings: Any
) -> tuple[Tensor, ...]:
    tensors = input, weight, offset, mask, bias
    library = native_for("deformable", grad, *tensors)
    if library is None or not all(each.numel() for each in tensors[:3]):
        return _backward(grad, *tensors, *settings)
    found = deformable_backward(library, grad, *tensors, settings)
    return tuple(
        place if gradient is None else _as_laid_out(gradient, place)
        for gradient, place in zip(found, _empty_gradients(grad, *tensors), strict=True)
    )


def _as_laid_out(result: Tensor, place: Tensor) -> Tensor:
    """Return the result in the type and layout of `place`, there if it is not already."""
    return result if (result.dtype, result.stride()) == (place.dtype, place.stride()) else place.copy_(result)


def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(*inputs[:5])
    ctx.settings = inputs[5:]


def _differentiate(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    grads = torch.ops.convscope.deform_conv2d_backward(grad, *ctx.saved_tensors, *ctx.settings)
    return (*grads, *[None] * len(ctx.settings))


def _refuse_twice(ctx: Any, *grads: Tensor) -> None:
    raise NotImplementedError("deform_conv2d has first derivatives only.")


_TENSORS = "Tensor input, Tensor weight, Tensor offset, Tensor mask, Tensor bias"
_NUMBERS = ", ".join(f"SymInt {name}" for name in DeformedSettings._fields[:-1]) + ", bool use_mask"
_LIBRARY = torch.library.Library("convscope", "DEF")
_LIBRARY.define(f"deform_conv2d({_TENSORS}, {_NUMBERS}) -> Tensor")
_LIBRARY.define(
    f"deform_conv2d_backward(Tensor grad, {_TENSORS}, {_NUMBERS}) -> (Tensor, Tensor, Tensor, Tensor, Tensor)"
)
_LIBRARY.impl("deform_conv2d", _forward_on_cpu, "CPU")
_LIBRARY.impl("deform_conv2d_backward", _backward_on_cpu, "CPU")
# Made of torch's operations, these run on every device that has those; tried on CPU only.
_LIBRARY.impl("deform_conv2d", _forward, "CompositeExplicitAutograd")
_LIBRARY.impl("deform_conv2d", _empty_output, "Meta")
_LIBRARY.impl("deform_conv2d_backward", _backward, "CompositeExplicitAutograd")
_LIBRARY.impl("deform_conv2d_backward", _empty_gradients, "Meta")
torch.library.register_autograd("convscope::deform_conv2d", _differentiate, setup_context=_save, lib=_LIBRARY)
torch.library.register_autograd(
    "convscope::deform_conv2d_backward",
    _refuse_twice,
    setup_context=lambda ctx, inputs, output: None,
    lib=_LIBRARY,
)
