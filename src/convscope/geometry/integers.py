"""Whole numbers at the edge: what a person typed, checked once."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import TypeGuard

from convscope.errors import ShapeError

__all__ = ["as_int", "as_ints", "is_sequence"]


def is_sequence(value: object) -> TypeGuard[Sequence[object]]:
    """Tell whether `value` is a list, a tuple or the like, and not a word."""
    return isinstance(value, Sequence) and not isinstance(value, str)


def as_int(name: str, value: object, *, at_least: int) -> int:
    """Return `value` as an int not below `at_least`; refuse fractions, booleans and strings.

    Example:
        >>> as_int("stride", 0, at_least=1)
        Traceback (most recent call last):
        convscope.errors.ShapeError: stride is 0; it must be at least 1.
    """
    try:
        if isinstance(value, bool):
            raise TypeError
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ShapeError(f"{name} is {value!r}; it must be a whole number.") from None
    if number < at_least:
        raise ShapeError(f"{name} is {number}; it must be at least {at_least}.")
    return number


def as_ints(name: str, value: object, ndim: int, *, at_least: int) -> tuple[int, ...]:
    """Return one int an axis from an int for all axes or a sequence of `ndim`.

    Example:
        >>> as_ints("kernel_size", 3, 2, at_least=1), as_ints("kernel_size", (3, 5), 2, at_least=1)
        ((3, 3), (3, 5))
    """
    if is_sequence(value):
        entries = value
        if len(entries) == 1:
            entries = [entries[0]] * ndim
        if len(entries) != ndim:
            raise ShapeError(
                f"{name} {tuple(entries)!r} has {len(entries)} entries; the input has {ndim} axes."
            )
        return tuple(as_int(name, entry, at_least=at_least) for entry in entries)
    return (as_int(name, value, at_least=at_least),) * ndim
