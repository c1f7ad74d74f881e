"""Padding: what a kernel reads beyond the edge of its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor

from convscope.errors import ShapeError, UnknownNameError, UsageError
from convscope.geometry import Padding, paddings

__all__ = ["PADDING_MODES", "PaddingMode", "check_padding_mode", "pad"]

PaddingMode = Literal["zeros", "constant", "reflect", "replicate", "circular", "symmetric", "linear"]

PADDING_MODES: tuple[PaddingMode, ...] = get_args(PaddingMode)


def pad(
    input: Tensor,
    padding: Padding,
    mode: PaddingMode = "zeros",
    value: float = 0.0,
    *,
    ndim: int | None = None,
) -> Tensor:
    """Continue the last axes of `input` beyond both ends.

    With the pixels a b c d along an axis and a padding of 3, the modes give
        zeros       0 0 0 | a b c d | 0 0 0
        constant    v v v | a b c d | v v v       v is `value`
        reflect     d c b | a b c d | c b a       mirrored at the middle of the edge pixel
        symmetric   c b a | a b c d | d c b       mirrored behind the edge pixel
        replicate   a a a | a b c d | d d d
        circular    b c d | a b c d | a b c
        linear      the line through the two pixels at that end, continued
    Padding wider than the input repeats the pattern, as in `numpy.pad`. Each mode works axis by axis, so a
    corner holds what the second axis makes of the first axis's padding. `torch.nn.functional.pad` does the
    first five where its limits allow.

    Shapes:
        input (..., *spatial); returns the same axes, each `before + after` longer.
    Args:
        padding: one (before, after) pair or one number an axis, in the order of the axes, the last axis last
            (torch's function starts with the last); one number for all axes needs `ndim`.
        value: what `constant` fills with.
        ndim: how many axes at the end are padded; by default one for each entry of `padding`.
    Raises:
        UnknownNameError: a mode that is not listed above.
        ShapeError: an axis without the pixels that the mode repeats: one, or two for `linear`.
        UsageError: `value` with another mode than `constant`; `linear` on integers.
    Cost:
        One copy of the output.
    Example:
        >>> row = torch.tensor([1.0, 2.0, 4.0])
        >>> pad(row, [(2, 1)], "symmetric").tolist(), pad(row, [(2, 1)], "linear").tolist()
        ([2.0, 1.0, 1.0, 2.0, 4.0, 4.0], [-1.0, 0.0, 1.0, 2.0, 4.0, 6.0])
    """
    try:
        check_padding_mode(mode, value)
        pads = _pairs(input, padding, ndim)
        if not any(before or after for before, after in pads):
            return input
        if mode in ("zeros", "constant"):
            return F.pad(input, _torch_order(pads), value=value)
        _check_pixels(input, pads, mode)
        if _torch_can(input, pads, mode):
            return F.pad(input, _torch_order(pads), mode=mode)
        for axis, (before, after) in enumerate(pads, start=-len(pads)):
            if before or after:
                input = _pad_axis(input, axis, before, after, mode)
        return input
    except UsageError as error:
        raise error.at("pad") from error


def check_padding_mode(mode: str, value: float = 0.0) -> None:
    """Raise unless `mode` is known and reads `value`, or `value` is left at 0.

    Example:
        >>> check_padding_mode("mirror_symmetric")
        Traceback (most recent call last):
        convscope.errors.UnknownNameError: unknown padding mode 'mirror_symmetric': did you mean 'symmetric'? \
Known: 'zeros', 'constant', 'reflect', 'replicate', 'circular', 'symmetric', 'linear'.
    """
    if mode not in PADDING_MODES:
        raise UnknownNameError("padding mode", mode, PADDING_MODES)
    if value and mode != "constant":
        raise UsageError(
            f"the padding value is {value!r}, but mode {mode!r} reads none; use mode 'constant'."
        )


def _pairs(input: Tensor, padding: Padding, ndim: int | None) -> tuple[tuple[int, int], ...]:
    if ndim is None:
        if isinstance(padding, (int, str)):
            raise ShapeError(
                f"padding {padding!r} does not say how many axes it is for; give ndim, or a list of "
                "(before, after) pairs, one an axis."
            )
        ndim = len(padding)
    if not 1 <= ndim <= input.ndim:
        raise ShapeError(f"padding is for {ndim} axes; input {tuple(input.shape)} has {input.ndim}.")
    pairs: list[tuple[int, int]] = []
    for entry in paddings(padding, ndim):
        if isinstance(entry, str):
            raise ShapeError(f"padding {entry!r} depends on a kernel, and here is none; give numbers.")
        pairs.append(entry)
    return tuple(pairs)


def _torch_order(pads: Sequence[tuple[int, int]]) -> list[int]:
    return [size for pair in reversed(pads) for size in pair]


def _check_pixels(input: Tensor, pads: Sequence[tuple[int, int]], mode: PaddingMode) -> None:
    if mode == "linear" and not (input.is_floating_point() or input.is_complex()):
        raise UsageError(
            f"mode 'linear' leaves the range of the pixels; input is {input.dtype}. Use input.float()."
        )
    needed = 2 if mode == "linear" else 1
    for axis, pair in enumerate(pads, start=input.ndim - len(pads)):
        if any(pair) and input.shape[axis] < needed:
            raise ShapeError(
                f"mode {mode!r} repeats from {needed} pixel{'s' if needed > 1 else ''} of the axis, but input "
                f"{tuple(input.shape)} has {input.shape[axis]} along dim={axis}. Use mode 'zeros' or "
                f"{'replicate' if input.shape[axis] else 'constant'!r}."
            )


def _torch_can(input: Tensor, pads: Sequence[tuple[int, int]], mode: PaddingMode) -> bool:
    """Tell whether torch's kernels take this: ranks, types and widths are all limited there."""
    if mode not in ("reflect", "replicate", "circular") or input.dtype == torch.bool:
        return False
    ndim = len(pads)
    if ndim > 3 or input.ndim not in (ndim + 1, ndim + 2):
        return False
    if mode == "replicate":
        return True
    room = 1 if mode == "reflect" else 0
    return all(max(pair) <= size - room for pair, size in zip(pads, input.shape[-ndim:], strict=True))


def _pad_axis(input: Tensor, axis: int, before: int, after: int, mode: PaddingMode) -> Tensor:
    size = input.shape[axis]
    left = torch.arange(-before, 0, device=input.device)
    right = torch.arange(size, size + after, device=input.device)
    if mode == "linear":
        ends = _line(input, axis, 0, 1, left), _line(input, axis, size - 1, size - 2, right)
    else:
        source = _SOURCES[mode]
        ends = input.index_select(axis, source(left, size)), input.index_select(axis, source(right, size))
    # The middle is copied whole: gathering every pixel would take five times as long.
    return torch.cat((ends[0], input, ends[1]), dim=axis)


def _line(input: Tensor, axis: int, edge: int, inner: int, positions: Tensor) -> Tensor:
    first, second = input.narrow(axis, edge, 1), input.narrow(axis, inner, 1)
    steps = (positions - edge).abs().to(input.dtype)
    return first + (first - second) * steps.reshape(-1, *[1] * (-1 - axis))


def _reflected(position: Tensor, size: int) -> Tensor:
    period = max(2 * size - 2, 1)  # a single pixel is its own mirror image
    return size - 1 - (position.remainder(period) - (size - 1)).abs()


def _mirrored(position: Tensor, size: int) -> Tensor:
    inside = position.remainder(2 * size)
    return torch.minimum(inside, 2 * size - 1 - inside)


# Which pixel of the axis each position outside it shows.
_SOURCES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "reflect": _reflected,
    "symmetric": _mirrored,
    "replicate": lambda position, size: position.clamp(0, size - 1),
    "circular": lambda position, size: position.remainder(size),
}
