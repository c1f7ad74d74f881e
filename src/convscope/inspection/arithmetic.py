"""The arithmetic of one output value of a convolution, channel by channel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from convscope.display import Shown
from convscope.errors import ShapeError, UsageError
from convscope.geometry import Windows
from convscope.ops import PaddingMode, conv1d, conv2d, conv3d, pad
from convscope.trace.arithmetic import ChannelSum, convolution_sums

__all__ = ["ChannelSum", "ConvolutionValue", "explain_convolution"]

_CONV = {1: conv1d, 2: conv2d, 3: conv3d}


@dataclass(frozen=True, eq=False)
class ConvolutionValue(Shown):
    """One value of a convolution's output, with every product that went into it.

    Attributes:
        at: (output channel, position along each axis).
        positions: for each axis the input positions that the window reads; those outside are padding.
        channels: one entry an input channel of the value's group.
        total: the sum of all channels and the bias, in float64.
        engine_value: what torch computed for the same place, in the input's own precision.
    """

    at: tuple[int, ...]
    positions: tuple[tuple[int, ...], ...]
    input_size: tuple[int, ...]
    channels: tuple[ChannelSum, ...]
    bias: float
    total: float
    engine_value: float

    def __str__(self) -> str:
        place = ", ".join(map(str, self.at))
        lines = [f"output[{place}]"]
        axes = (
            ("length",) if len(self.positions) == 1 else ("depth", "height", "width")[-len(self.positions) :]
        )
        for axis, size, positions in zip(axes, self.input_size, self.positions, strict=True):
            marked = ", ".join(
                f"{position} (padding)" if not 0 <= position < size else str(position)
                for position in positions
            )
            lines.append(f"reads {axis} {marked}")
        for entry in self.channels:
            terms = " + ".join(
                f"({value:.4g})*({weight:.4g})"
                for value, weight in zip(
                    entry.window.flatten().tolist(), entry.weights.flatten().tolist(), strict=True
                )
            )
            lines.append(f"channel {entry.channel}: {terms} = {entry.total:.6g}")
        sums = " + ".join(f"({entry.total:.6g})" for entry in self.channels)
        lines.append(f"sum of channels + bias: {sums} + ({self.bias:.6g}) = {self.total:.6g}")
        lines.append(f"torch computed {self.engine_value:.6g}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Return every number as plain values for JSON."""
        return {
            "at": list(self.at),
            "positions": [list(axis) for axis in self.positions],
            "input_size": list(self.input_size),
            "channels": [
                {
                    "channel": entry.channel,
                    "window": entry.window.tolist(),
                    "weights": entry.weights.tolist(),
                    "products": entry.products.tolist(),
                    "total": entry.total,
                }
                for entry in self.channels
            ],
            "bias": self.bias,
            "total": self.total,
            "engine_value": self.engine_value,
        }


def explain_convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: Any = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
    *,
    at: Sequence[int],
    padding_mode: PaddingMode = "zeros",
    padding_value: float = 0.0,
    flip: bool = False,
) -> ConvolutionValue:
    """Take one output value of a convolution apart: window, weights, products a channel, bias, total.

    Shapes:
        input (C_in, *size) or (1, C_in, *size); weight (C_out, C_in // groups, *K); 1 to 3 axes
    Args:
        at: (output channel, position along each axis).
        flip, padding_mode, padding_value and the rest: as in `ops.conv2d`. With `flip` the weights shown are
            the flipped ones, tap by tap as they meet the window.
    Raises:
        ShapeError: `at` is outside the output, or the arguments do not fit together.
    Example:
        >>> image = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])
        >>> value = explain_convolution(image, torch.ones(1, 1, 2, 2), torch.tensor([0.5]), at=(0, 0, 0))
        >>> print(value)
        output[0, 0, 0]
        reads height 0, 1
        reads width 0, 1
        channel 0: (1)*(1) + (2)*(1) + (3)*(1) + (4)*(1) = 10
        sum of channels + bias: (10) + (0.5) = 10.5
        torch computed 10.5
    """
    if not isinstance(input, Tensor) or not isinstance(weight, Tensor):
        raise UsageError(
            f"got a {type(input).__name__} and a {type(weight).__name__}; give tensors, of a layer `layer.weight`.",
            call="explain_convolution",
        )
    ndim = weight.dim() - 2
    if ndim not in _CONV:
        raise ShapeError(f"weight has {weight.dim()} axes; give 3 to 5.", call="explain_convolution")
    if input.dim() == ndim + 2:
        if input.shape[0] != 1:
            raise ShapeError(
                f"input has {input.shape[0]} images; one value comes from one: give input[i].",
                call="explain_convolution",
            )
        input = input[0]
    with torch.no_grad():
        output = _CONV[ndim](
            input,
            weight,
            bias,
            stride,
            padding,
            dilation,
            groups,
            padding_mode=padding_mode,
            padding_value=padding_value,
            flip=flip,
        )
    at = tuple(at)
    if len(at) != output.dim() or any(
        not 0 <= index < size for index, size in zip(at, output.shape, strict=True)
    ):
        valid = ", ".join(f"0 to {size - 1}" for size in output.shape)
        raise ShapeError(
            f"at {at} is outside the output of shape {tuple(output.shape)}; valid (channel, *position): {valid}.",
            call="explain_convolution",
        )

    size = tuple(input.shape[1:])
    windows = Windows.of(ndim, tuple(weight.shape[2:]), stride, padding, dilation)
    pads = windows.pads(size)
    # The padded image makes every tap a pixel; positions are told in those of the image itself.
    padded = pad(input.detach(), pads, padding_mode, padding_value, ndim=ndim)
    kernels = weight.detach().flip(tuple(range(2, ndim + 2))) if flip else weight.detach()
    inner = Windows.of(ndim, windows.kernel_size, windows.stride, 0, windows.dilation)
    sums = convolution_sums(padded, kernels, inner, groups, at)
    positions = tuple(
        tuple(place - before for place in axis)
        for axis, (before, _) in zip(sums.positions, pads, strict=True)
    )
    shift = 0.0 if bias is None else float(bias.detach()[at[0]])
    return ConvolutionValue(
        at=at,
        positions=positions,
        input_size=size,
        channels=sums.channels,
        bias=shift,
        total=sum(entry.total for entry in sums.channels) + shift,
        engine_value=float(output[at]),
    )
