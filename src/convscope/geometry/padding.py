"""Padding as people write it, turned once into one entry an axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeGuard, get_args

from convscope.errors import ShapeError, UnknownNameError
from convscope.geometry.integers import as_int, is_sequence

__all__ = ["PADDING_WORDS", "AxisPadding", "Padding", "PaddingWord", "axis_padding", "paddings"]

PaddingWord = Literal["valid", "same", "full"]
AxisPadding = int | tuple[int, int] | PaddingWord
Padding = AxisPadding | Sequence[AxisPadding]

PADDING_WORDS: tuple[PaddingWord, ...] = get_args(PaddingWord)


def is_padding_word(padding: object) -> TypeGuard[PaddingWord]:
    """Tell whether `padding` is one of the words valid, same and full."""
    return padding in PADDING_WORDS


def axis_padding(padding: object) -> tuple[int, int] | PaddingWord:
    """Normalise the padding of one axis: an int, a (before, after) pair, or a word.

    Raises:
        UnknownNameError: a word that is not valid, same or full.
        ShapeError: a negative number, or not two of them.
    Example:
        >>> axis_padding(2), axis_padding((0, 1)), axis_padding("same")
        ((2, 2), (0, 1), 'same')
    """
    if isinstance(padding, str):
        if not is_padding_word(padding):
            raise UnknownNameError("padding", padding, PADDING_WORDS)
        return padding
    if is_sequence(padding):
        if len(padding) != 2:
            raise ShapeError(
                f"padding {tuple(padding)!r} has {len(padding)} entries for one axis; "
                "give one number, or a (before, after) pair."
            )
        return as_int("padding before", padding[0], at_least=0), as_int(
            "padding after", padding[1], at_least=0
        )
    size = as_int("padding", padding, at_least=0)
    return size, size


def paddings(padding: object, ndim: int) -> tuple[tuple[int, int] | PaddingWord, ...]:
    """Normalise a padding of `ndim` axes: one entry for all of them, or one an axis.

    A flat sequence of `ndim` ints is one number an axis, as torch reads it; (before, after) pairs are nested.
    On a single axis, where a flat pair has no other meaning, it is (before, after).

    Example:
        >>> paddings(1, 2), paddings((1, 2), 2), paddings(((1, 2), "same"), 2)
        (((1, 1), (1, 1)), ((1, 1), (2, 2)), ((1, 2), 'same'))
        >>> paddings((1, 2), 1)
        ((1, 2),)
    """
    if not is_sequence(padding):
        return (axis_padding(padding),) * ndim
    if ndim == 1 and len(padding) == 2 and not isinstance(padding[0], str) and not is_sequence(padding[0]):
        return (axis_padding(padding),)
    if len(padding) == 1:
        return (axis_padding(padding[0]),) * ndim
    if len(padding) != ndim:
        raise ShapeError(
            f"padding {tuple(padding)!r} has {len(padding)} entries for {ndim} axes; "
            f"give one number for all, {ndim} numbers, or {ndim} (before, after) pairs."
        )
    return tuple(axis_padding(entry) for entry in padding)
