"""Options that several families take, and the refusals of wrong ones."""

from __future__ import annotations

from typing import Literal, get_args

from convscope.errors import UnknownNameError, UsageError

__all__ = ["Stem", "check_positive", "check_probability", "check_stem", "scaled_width"]

# How a network starts: as published for ImageNet, or for images of 32x32 without the first two halvings of the sides.
Stem = Literal["imagenet", "cifar"]


def check_stem(call: str, stem: Stem) -> Stem:
    """Return `stem` if there is such a one.

    Raises:
        UnknownNameError: there is none; the known ones are told.
    """
    if stem not in get_args(Stem):
        raise UnknownNameError("stem", stem, get_args(Stem), call=call)
    return stem


def check_probability(call: str, argument: str, value: float) -> float:
    """Return `value` if it is in [0, 1).

    Raises:
        UsageError: it is not.
    """
    if not 0 <= value < 1:
        raise UsageError(f"{argument} is {value}; it must be at least 0 and below 1.", call=call)
    return value


def check_positive(call: str, argument: str, value: float) -> float:
    """Return `value` if it is above 0 and finite.

    Raises:
        UsageError: it is not.
    """
    if not 0 < value < float("inf"):
        raise UsageError(f"{argument} is {value}; it must be above 0 and finite.", call=call)
    return value


def scaled_width(channels: int, width_mult: float) -> int:
    """Return channels times a width multiplier: the nearest multiple of 8, at least 8.

    Where that takes away more than a tenth, it is the next multiple.

    Example:
        >>> scaled_width(32, 1.4), scaled_width(24, 0.75), scaled_width(16, 0.1)
        (48, 24, 8)
    """
    wanted = channels * width_mult
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest
