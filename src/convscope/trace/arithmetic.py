"""The products behind one value of a convolution: which pixel meets which weight, in float64."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from typing import cast

import torch
from torch import Tensor

from convscope.geometry import TransposedWindow, Window, Windows

__all__ = [
    "ChannelSum",
    "ConvolutionSums",
    "DeformedTap",
    "convolution_sums",
    "deformable_sums",
    "transposed_sums",
]


@dataclass(frozen=True, eq=False)
class ChannelSum:
    """What one input channel contributes: the window's values, the weights, their products, and the sum.

    Shapes:
        window, weights, products: one entry a tap, float64
    """

    channel: int
    window: Tensor
    weights: Tensor
    products: Tensor
    total: float


@dataclass(frozen=True, eq=False)
class ConvolutionSums:
    """All channels that one output value reads.

    Attributes:
        lead: the batch index, () for an input without batch axis.
        positions: for each axis the input positions that the window reads; those outside are padding.
        input_size: pixels along each axis.
    """

    lead: tuple[int, ...]
    channels: tuple[ChannelSum, ...]
    positions: tuple[tuple[int, ...], ...]
    input_size: tuple[int, ...]

    def rows(self, channel: ChannelSum) -> Iterator[tuple[tuple[int, ...], float, float, float]]:
        """Yield place, pixel, weight and product of each tap of one channel."""
        places = itertools.product(*self.positions)
        columns = (
            tensor.flatten().tolist() for tensor in (channel.window, channel.weights, channel.products)
        )
        yield from zip(places, *columns, strict=True)

    def inside(self, place: tuple[int, ...]) -> bool:
        """Tell whether a place is a pixel; otherwise it is padding."""
        return all(0 <= at < size for at, size in zip(place, self.input_size, strict=True))


def convolution_sums(
    input: Tensor, weight: Tensor, windows: Windows, groups: int, at: tuple[int, ...]
) -> ConvolutionSums:
    """Return the products behind output `at` of a convolution padded with zeros.

    Shapes:
        input ([N,] C_in, *size); weight (C_out, C_in // groups, *K); at ([n,] output channel, *position)
    """
    size = tuple(input.shape[-windows.ndim :])
    positions = tuple(
        tuple(cast("Window", window).taps(index, length))
        for window, index, length in zip(windows.axes, at[-windows.ndim :], size, strict=True)
    )
    out_channel = at[-windows.ndim - 1]
    kernels = weight[out_channel].double()
    in_group = weight.shape[1]
    first = out_channel // (weight.shape[0] // groups) * in_group
    return _sums(input, at, first, in_group, positions, kernels)


def transposed_sums(
    input: Tensor, weight: Tensor, windows: Windows, groups: int, at: tuple[int, ...]
) -> ConvolutionSums:
    """Return the products behind output `at` of a transposed convolution: only taps that meet a pixel.

    Shapes:
        input ([N,] C_in, *size); weight (C_in, C_out // groups, *K); at ([n,] output channel, *position)
    """
    size = tuple(input.shape[-windows.ndim :])
    pairs = [
        cast("TransposedWindow", window).taps(index, length)
        for window, index, length in zip(windows.axes, at[-windows.ndim :], size, strict=True)
    ]
    group, column = divmod(at[-windows.ndim - 1], weight.shape[1])
    in_group = weight.shape[0] // groups
    first = group * in_group
    kernels = weight[first : first + in_group, column].double()
    for axis, taps in enumerate(pairs):
        kernels = kernels.index_select(axis + 1, torch.tensor([tap for _, tap in taps], dtype=torch.long))
    positions = tuple(tuple(source for source, _ in taps) for taps in pairs)
    return _sums(input, at, first, in_group, positions, kernels)


def _sums(
    input: Tensor,
    at: tuple[int, ...],
    first: int,
    count: int,
    positions: tuple[tuple[int, ...], ...],
    kernels: Tensor,
) -> ConvolutionSums:
    """Multiply the pixels at `positions` of `count` channels from `first` by `kernels` (count, *taps)."""
    ndim = len(positions)
    lead = at[: len(at) - ndim - 1]
    window = input[lead][first : first + count]
    for axis, (places, size) in enumerate(zip(positions, input.shape[-ndim:], strict=True), start=1):
        index = torch.tensor(places, dtype=torch.long)
        window = window.index_select(axis, index.clamp(0, size - 1))
        outside = (index < 0) | (index >= size)
        if bool(outside.any()):
            window = window.masked_fill(outside.reshape(-1, *[1] * (ndim - axis)), 0)
    window = window.double()
    products = window * kernels
    channels = tuple(
        ChannelSum(
            first + offset,
            window[offset],
            kernels[offset],
            products[offset],
            float(products[offset].sum()),
        )
        for offset in range(count)
    )
    return ConvolutionSums(lead, channels, positions, tuple(input.shape[-ndim:]))


@dataclass(frozen=True, slots=True)
class DeformedTap:
    """One tap of a deformable convolution: where it really reads, what it finds there, and its product.

    `nearest` is the pixel closest to that place, None outside the image.
    """

    channel: int
    place: tuple[float, float]
    nearest: tuple[int, int] | None
    pixel: float
    mask: float
    weight: float
    product: float


def deformable_sums(
    input: Tensor,
    weight: Tensor,
    offset: Tensor,
    mask: Tensor | None,
    windows: Windows,
    groups: int,
    offset_groups: int,
    at: tuple[int, ...],
) -> tuple[DeformedTap, ...]:
    """Return the products behind output `at` of a deformable convolution (v2 with a mask).

    Shapes:
        input (N, C_in, H, W); weight (C_out, C_in // groups, K_h, K_w); offset (N, 2*G*K_h*K_w, H_out, W_out), pairs
        (height, width); mask (N, G*K_h*K_w, H_out, W_out)
    Source:
        Dai et al., arXiv:1703.06211; Zhu et al., arXiv:1811.11168; argument order of torchvision.
    """
    image, out_channel, *position = at
    height, width = input.shape[-2:]
    in_group = weight.shape[1]
    first = out_channel // (weight.shape[0] // groups) * in_group
    per_offset = input.shape[1] // offset_groups
    rows, columns = (
        tuple(cast("Window", window).taps(index, length))
        for window, index, length in zip(windows.axes, position, (height, width), strict=True)
    )
    where = (slice(None), *position)
    shifts = offset[image].double()[where].tolist()
    shares = mask[image].double()[where].tolist() if mask is not None else None
    taps: list[DeformedTap] = []
    for channel in range(first, first + in_group):
        block = channel // per_offset * len(rows) * len(columns)
        for tap, (row, column) in enumerate(itertools.product(rows, columns)):
            y, x = row + shifts[2 * (block + tap)], column + shifts[2 * (block + tap) + 1]
            pixel = _bilinear(input[image, channel], y, x)
            share = shares[block + tap] if shares is not None else 1.0
            factor = float(weight[out_channel, channel - first].flatten()[tap])
            near = (round(y), round(x))
            inside = 0 <= near[0] < height and 0 <= near[1] < width
            taps.append(
                DeformedTap(
                    channel, (y, x), near if inside else None, pixel, share, factor, pixel * share * factor
                )
            )
    return tuple(taps)


def _bilinear(plane: Tensor, y: float, x: float) -> float:
    """Return the value between four pixels; those outside are 0."""
    height, width = plane.shape
    top, left = floor(y), floor(x)
    total = 0.0
    for row, share_y in ((top, top + 1 - y), (top + 1, y - top)):
        for column, share_x in ((left, left + 1 - x), (left + 1, x - left)):
            if 0 <= row < height and 0 <= column < width:
                total += share_y * share_x * float(plane[row, column])
    return total
