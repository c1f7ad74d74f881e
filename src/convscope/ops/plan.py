"""What one call does to each axis: the settings checked against the sizes once, then remembered."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from convscope.errors import ShapeError, UsageError
from convscope.geometry import AXIS_NAMES, Padding, Windows

__all__ = ["Plan", "Sizes", "check_axes", "plan_axes", "pool_plan", "reached_pads"]

Sizes = int | Sequence[int]


class Plan(NamedTuple):
    """The settings of a call, one entry an axis, for inputs of one size.

    `padding` is one number an axis where both sides get the same, which torch's kernels add without a copy;
    None where they differ.
    """

    windows: Windows
    kernel_size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    padding: tuple[int, ...] | None


def plan_axes(
    build: Callable[..., Windows], sizes: Sequence[int], *settings: object, **named: object
) -> Plan:
    """Return what `build(*settings, **named)` does to an input of these spatial sizes.

    Settings met before cost about a microsecond. While torch compiles or exports, sizes may be symbols, which
    comparing them with the kernel would fix: then that is left to torch.

    Raises:
        ShapeError: a setting out of its range, or a kernel that does not fit.
    Example:
        >>> plan_axes(Windows.of, (9, 8), 2, (3, 3), stride=2, padding="same").pads
        ((1, 1), (0, 1))
    """
    # Dynamo shows symbols as ints and warns of lru_cache; torch.jit.trace shows tensors.
    if torch.compiler.is_compiling() or not set(map(type, sizes)) <= {int}:
        return _plan(build, tuple(sizes), False, *settings, **named)
    try:
        # Written out, settings that only equal each other stay apart: (True, 2.0) is no (1, 2).
        return _remembered(repr((settings, named)), build, tuple(sizes), *settings, **named)
    except TypeError:  # a list among the settings has no hash
        return _plan(build, tuple(sizes), True, *settings, **named)


def _plan(
    build: Callable[..., Windows], sizes: tuple[int, ...], known: bool, *settings: object, **named: object
) -> Plan:
    windows = build(*settings, **named)
    if known:
        windows.output_size(sizes)
    pads = windows.pads(sizes)
    padding = tuple(before for before, _ in pads) if all(before == after for before, after in pads) else None
    return Plan(windows, windows.kernel_size, windows.stride, windows.dilation, pads, padding)


@lru_cache(maxsize=4096)
def _remembered(
    written: str, build: Callable[..., Windows], sizes: tuple[int, ...], *settings: object, **named: object
) -> Plan:
    return _plan(build, sizes, True, *settings, **named)


def check_axes(ndim: int, input: Tensor) -> None:
    """Raise ShapeError unless `input` is (N, C, *spatial) or, without the batch axis, (C, *spatial).

    Example:
        >>> check_axes(2, torch.ones(5, 5))
        Traceback (most recent call last):
        convscope.errors.ShapeError: input (5, 5) has 2 axes; give (N, C, height, width), or (C, height, width).
    """
    if input.ndim not in (ndim + 1, ndim + 2):
        axes = ", ".join(("C", *AXIS_NAMES[ndim]))
        given = "1 axis" if input.ndim == 1 else f"{input.ndim} axes"
        raise ShapeError(f"input {tuple(input.shape)} has {given}; give (N, {axes}), or ({axes}).")


def pool_plan(
    call: str,
    ndim: int,
    input: Tensor,
    kernel_size: Sizes,
    stride: Sizes | None,
    padding: Padding,
    dilation: Sizes,
    ceil_mode: bool,
) -> Plan:
    """Return the plan of a pooling call, refused in its name."""
    try:
        check_axes(ndim, input)
        sizes = input.shape[-ndim:]
        return plan_axes(
            Windows.pool, sizes, ndim, kernel_size, stride, padding, dilation, ceil_mode=ceil_mode
        )
    except UsageError as error:
        raise error.at(call) from error


def reached_pads(plan: Plan, input: Tensor, ceil_mode: bool) -> tuple[tuple[int, int], ...]:
    """Return the padding that the windows read: under `ceil_mode` to the end of the last one."""
    if not ceil_mode:
        return plan.pads
    sizes = input.shape[-len(plan.pads) :]
    outputs = plan.windows.output_size(sizes)
    return tuple(
        (before, max(after, (count - 1) * window.stride + window.span - before - size))
        for (before, after), count, window, size in zip(
            plan.pads, outputs, plan.windows.axes, sizes, strict=True
        )
    )
