"""Convolution and transposed convolution in 1, 2 and 3 dimensions: torch's kernels, with every kind of padding."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import ShapeError, UsageError
from convscope.geometry import AXIS_NAMES, Padding, Windows, as_int, check_groups
from convscope.ops.padding import PaddingMode, check_padding_mode, pad
from convscope.ops.plan import Sizes, check_axes, plan_axes

__all__ = ["conv1d", "conv2d", "conv3d", "conv_transpose1d", "conv_transpose2d", "conv_transpose3d"]

_CONV: dict[int, Callable[..., Tensor]] = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE: dict[int, Callable[..., Tensor]] = {
    1: F.conv_transpose1d,
    2: F.conv_transpose2d,
    3: F.conv_transpose3d,
}


def conv1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    padding_value: float = 0.0,
    flip: bool = False,
) -> Tensor:
    """Slide a kernel over a signal; arguments, errors and cost as in `conv2d`.

    Shapes:
        input (N, C_in, L) or (C_in, L); weight (C_out, C_in // groups, K); bias (C_out,)
        returns (N, C_out, L_out) or (C_out, L_out)
    Example:
        >>> signal, kernel = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[[0.0, 1.0, 0.5]]])
        >>> conv1d(signal, kernel, padding="full", flip=True).tolist()
        [[0.0, 1.0, 2.5, 4.0, 1.5]]
    """
    return _convolve(
        1, input, weight, bias, stride, padding, dilation, groups, padding_mode, padding_value, flip
    )


def conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    padding_value: float = 0.0,
    flip: bool = False,
) -> Tensor:
    """Slide a kernel over an image: at each place, the sum of kernel times pixels.

    Equals `torch.nn.functional.conv2d`, which is a cross-correlation, and calls it; torch lacks `same` with a
    stride, `full`, unequal sides, most padding modes and `flip`.

    Shapes:
        input (N, C_in, H, W) or (C_in, H, W); weight (C_out, C_in // groups, K_h, K_w); bias (C_out,)
        returns (N, C_out, H_out, W_out) or (C_out, H_out, W_out), sizes from `geometry.Windows`
    Args:
        stride, dilation: pixels; one number, or (height, width).
        padding: pixels on each side; one number, (height, width), a (before, after) pair an axis, or a word:
            `valid` none, `full` every overlap, `same` ceil(H / stride) outputs with the odd pixel after.
        groups: channel groups; divides both C_in and C_out. With C_in groups it is depthwise.
        padding_mode: what lies beyond the edge; see `pad`.
        padding_value: what the mode `constant` fills with.
        flip: turn the kernel round along every spatial axis: the convolution of mathematics.
    Raises:
        ShapeError: channels, groups, bias and weight disagree, or the kernel does not fit.
        UnknownNameError: a padding word or mode that is not known.
        UsageError: input and weight of different types, outside autocast.
    Cost:
        N * C_out * H_out * W_out * (C_in // groups) * K_h * K_w MACs, bias not counted. Padding other than
        zeros, equal on both sides, copies the input once; `flip` copies the weight. The checks take about
        6 microseconds.
    Source:
        Output size: Dumoulin & Visin, arXiv:1603.07285, relationship 15.
    Example:
        >>> image, kernel = torch.arange(9.0).reshape(1, 3, 3), torch.tensor([[[[1.0, 2.0], [0.0, 0.0]]]])
        >>> conv2d(image, kernel).tolist(), conv2d(image, kernel, flip=True).tolist()
        ([[[2.0, 5.0], [11.0, 14.0]]], [[[10.0, 13.0], [19.0, 22.0]]])
        >>> conv2d(image, kernel, stride=2, padding="same", padding_mode="replicate").shape
        torch.Size([1, 2, 2])
    """
    return _convolve(
        2, input, weight, bias, stride, padding, dilation, groups, padding_mode, padding_value, flip
    )


def conv3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
    *,
    padding_mode: PaddingMode = "zeros",
    padding_value: float = 0.0,
    flip: bool = False,
) -> Tensor:
    """Slide a kernel over a volume or a clip; arguments, errors and cost as in `conv2d`.

    Shapes:
        input (N, C_in, D, H, W) or (C_in, D, H, W); weight (C_out, C_in // groups, K_d, K_h, K_w); bias (C_out,)
        returns (N, C_out, D_out, H_out, W_out) or the same without N
    Example:
        >>> conv3d(torch.ones(1, 1, 4, 5, 6), torch.ones(2, 1, 3, 3, 3), padding=(1, 0, 0)).shape
        torch.Size([1, 2, 4, 3, 4])
    """
    return _convolve(
        3, input, weight, bias, stride, padding, dilation, groups, padding_mode, padding_value, flip
    )


def _convolve(
    ndim: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
    padding_mode: PaddingMode,
    padding_value: float,
    flip: bool,
) -> Tensor:
    try:
        check_padding_mode(padding_mode, padding_value)
        _check_operands(ndim, input, weight, bias, groups, transposed=False)
        plan = plan_axes(Windows.of, input.shape[-ndim:], ndim, weight.shape[2:], stride, padding, dilation)
        sides = plan.padding
        zeros = padding_mode == "zeros" or (padding_mode == "constant" and not padding_value)
        if sides is None or (any(sides) and not zeros):
            input = pad(input, plan.pads, padding_mode, padding_value)
            sides = (0,) * ndim
    except UsageError as error:
        raise error.at(f"conv{ndim}d") from error
    if flip:
        weight = weight.flip(tuple(range(2, 2 + ndim)))
    return _CONV[ndim](input, weight, bias, plan.stride, sides, plan.dilation, groups)


def conv_transpose1d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Let each sample write a kernel's worth of outputs; arguments and errors as in `conv_transpose2d`.

    Shapes:
        input (N, C_in, L) or (C_in, L); weight (C_in, C_out // groups, K); bias (C_out,)
        returns (N, C_out, L_out) or (C_out, L_out)
    Example:
        >>> conv_transpose1d(torch.tensor([[1.0, 2.0]]), torch.tensor([[[1.0, 3.0, 5.0]]]), stride=2).tolist()
        [[1.0, 3.0, 7.0, 6.0, 10.0]]
    """
    return _convolve_transposed(1, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Let each pixel write a kernel's worth of outputs, and add where they overlap.

    The gradient of `conv2d` with respect to its input, used to enlarge a feature map. Equals
    `torch.nn.functional.conv_transpose2d` and calls it; torch lacks unequal sides.

    Shapes:
        input (N, C_in, H, W) or (C_in, H, W); weight (C_in, C_out // groups, K_h, K_w); bias (C_out,)
        returns (N, C_out, H_out, W_out) or (C_out, H_out, W_out), sizes from `geometry.TransposedWindow`
    Args:
        stride, dilation: pixels of the output; one number, or (height, width).
        padding: pixels cut from each side of the result; one number, (height, width), or a (before, after)
            pair an axis.
        output_padding: outputs added at the end of each axis; below the larger of stride and dilation.
        groups: channel groups; divides both C_in and C_out.
    Raises:
        ShapeError: channels, groups, bias and weight disagree, or nothing is left of the output.
        UsageError: input and weight of different types, outside autocast.
    Cost:
        N * C_in * H * W * (C_out // groups) * K_h * K_w MACs, bias not counted.
    Source:
        Dumoulin & Visin, arXiv:1603.07285, relationship 14.
    Example:
        >>> pixel, kernel = torch.ones(1, 1, 1), torch.arange(9.0).reshape(1, 1, 3, 3)
        >>> conv_transpose2d(pixel, kernel, padding=[(0, 1), (0, 1)]).tolist()
        [[[0.0, 1.0], [3.0, 4.0]]]
    """
    return _convolve_transposed(2, input, weight, bias, stride, padding, output_padding, groups, dilation)


def conv_transpose3d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """Let each voxel write a kernel's worth of outputs; arguments and errors as in `conv_transpose2d`.

    Shapes:
        input (N, C_in, D, H, W) or (C_in, D, H, W); weight (C_in, C_out // groups, K_d, K_h, K_w); bias (C_out,)
        returns (N, C_out, D_out, H_out, W_out) or the same without N
    Example:
        >>> conv_transpose3d(torch.ones(1, 1, 2, 3, 4), torch.ones(1, 2, 2, 2, 2), stride=2).shape
        torch.Size([1, 2, 4, 6, 8])
    """
    return _convolve_transposed(3, input, weight, bias, stride, padding, output_padding, groups, dilation)


def _convolve_transposed(
    ndim: int,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Padding,
    output_padding: Sizes,
    groups: int,
    dilation: Sizes,
) -> Tensor:
    try:
        _check_operands(ndim, input, weight, bias, groups, transposed=True)
        plan = plan_axes(
            Windows.transposed,
            input.shape[-ndim:],
            ndim,
            weight.shape[2:],
            stride,
            padding,
            output_padding,
            dilation,
        )
    except UsageError as error:
        raise error.at(f"conv_transpose{ndim}d") from error
    # torch cuts the same from both sides; what one side is to lose beyond that is cut from its result.
    shared = tuple(min(pair) for pair in plan.pads)
    output = _CONV_TRANSPOSE[ndim](
        input, weight, bias, plan.stride, shared, output_padding, groups, plan.dilation
    )
    if plan.padding is None:
        for axis, ((before, after), cut) in enumerate(zip(plan.pads, shared, strict=True), start=-ndim):
            size = output.shape[axis] - (before - cut) - (after - cut)
            output = output.narrow(axis, before - cut, size)
    return output


def _check_operands(
    ndim: int, input: Tensor, weight: Tensor, bias: Tensor | None, groups: int, *, transposed: bool
) -> None:
    check_axes(ndim, input)
    if weight.ndim != ndim + 2:
        channels = "C_in, C_out/groups" if transposed else "C_out, C_in/groups"
        kernel = ", ".join(f"K_{name[0]}" for name in AXIS_NAMES[ndim])
        raise ShapeError(
            f"weight {tuple(weight.shape)} has {weight.ndim} axes; it must have {ndim + 2}: ({channels}, {kernel})."
        )
    groups = as_int("groups", groups, at_least=1)
    in_channels = input.shape[-ndim - 1]
    if transposed:
        wanted, out_channels = weight.shape[0], weight.shape[1] * groups
    else:
        wanted, out_channels = weight.shape[1] * groups, weight.shape[0]
    if wanted % groups or out_channels % groups:
        check_groups(wanted, out_channels, groups)
    if in_channels != wanted:
        reads = f"with groups={groups} reads {weight.shape[1]}*{groups} = {wanted}"
        raise ShapeError(
            f"input {tuple(input.shape)} has {in_channels} channels, but weight {tuple(weight.shape)} "
            f"{f'reads {wanted}' if transposed else reads}. Give an input of {wanted} channels, or another weight."
        )
    if bias is not None and tuple(bias.shape) != (out_channels,):
        raise ShapeError(
            f"bias {tuple(bias.shape)} must be ({out_channels},): one number for each output channel."
        )
    _check_types(input, weight, bias)


def _check_types(input: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    others = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
    for name, other in others.items():
        if other.dtype != input.dtype and not _autocast(input):
            raise UsageError(
                f"input is {input.dtype} and {name} is {other.dtype}; convert one, as in input.to({name}.dtype), "
                "or run under torch.autocast."
            )


def _autocast(input: Tensor) -> bool:
    device = input.device.type
    return device != "meta" and torch.is_autocast_enabled(device)  # asking for meta raises
