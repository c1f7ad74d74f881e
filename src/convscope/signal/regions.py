"""Which outputs of the full convolution a mode asks for, and which inputs they need.

The full convolution of N and M samples has the outputs k = 0 .. N+M-2, with out[k] = sum_j g[j] f[k-j].
Every mode is a run of those outputs, so each engine needs one operation only: "outputs start .. start+size-1".
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from convscope.errors import ShapeError, UnknownNameError

__all__ = [
    "BOUNDARIES",
    "METHODS",
    "MODES",
    "Region",
    "Shape",
    "check_name",
    "crop",
    "extension",
    "mac_count",
    "output_region",
    "output_terms",
    "tap_overlaps",
]

MODES = ("full", "same", "valid")
BOUNDARIES = ("fill", "wrap", "symm")
METHODS = ("auto", "direct", "fft")

Shape = tuple[int, ...]
Slices = tuple[slice, ...]


@dataclass(frozen=True)
class Region:
    """Outputs `start` .. `start + size - 1` of the full convolution, along each axis."""

    start: Shape
    size: Shape


def check_name(call: str, kind: str, name: object, known: tuple[str, ...]) -> None:
    """Refuse a word that is not one of the known ones."""
    if name not in known:
        raise UnknownNameError(kind, name, known, call=call)


def output_region(call: str, f_shape: Shape, g_shape: Shape, mode: str) -> Region:
    """Translate a mode into output positions; 'same' is centred as (M-1)//2 along each axis."""
    check_name(call, "mode", mode, MODES)
    axes = list(zip(f_shape, g_shape, strict=True))
    if mode == "full":
        return Region((0,) * len(axes), tuple(n + m - 1 for n, m in axes))
    if mode == "same":
        return Region(tuple((m - 1) // 2 for _, m in axes), f_shape)
    if not (all(n >= m for n, m in axes) or all(m >= n for n, m in axes)):
        raise ShapeError(
            f"mode='valid' needs one signal at least as large as the other along every axis, "
            f"but f has shape {f_shape} and g {g_shape}. Use mode='same' or 'full', or crop one of them.",
            call=call,
        )
    return Region(tuple(min(n, m) - 1 for n, m in axes), tuple(abs(n - m) + 1 for n, m in axes))


def extension(region: Region, g_shape: Shape) -> tuple[tuple[range, ...], Region]:
    """The samples of an unbounded f that a region reads, and the same region counted from the first of them."""
    needed = tuple(
        range(start - m + 1, start + size)
        for start, size, m in zip(region.start, region.size, g_shape, strict=True)
    )
    return needed, Region(tuple(m - 1 for m in g_shape), region.size)


def crop(f_shape: Shape, g_shape: Shape, region: Region) -> tuple[Slices, Slices, Region, Slices] | None:
    """Cut both signals to the samples that a region reads.

    Returns the slices of f and of g, the region counted in the cut signals, and the slices of the wanted output
    that it fills; None when the region lies wholly outside the full convolution, where every output is zero.
    """
    cut = []
    for n, m, start, size in zip(f_shape, g_shape, region.start, region.size, strict=True):
        first, stop = max(start, 0), min(start + size, n + m - 1)
        if stop <= first:
            return None
        f_first, g_first = max(0, first - m + 1), max(0, first - n + 1)
        cut.append(
            (
                slice(f_first, min(n, stop)),
                slice(g_first, min(m, stop)),
                (first - f_first - g_first, stop - first),
                slice(first - start, stop - start),
            )
        )
    f_slices, g_slices, inner, place = (tuple(column) for column in zip(*cut, strict=True))
    return f_slices, g_slices, Region(*(tuple(part) for part in zip(*inner, strict=True))), place


def mac_count(f_shape: Shape, g_shape: Shape, region: Region) -> int:
    """Products f[i] g[j] whose output i+j lies in the region: the multiply-adds of the direct method."""

    def pairs_below(x: int) -> int:  # pairs (i, j) >= 0 with i + j < x
        return x * (x + 1) // 2 if x > 0 else 0

    def pairs(n: int, m: int, x: int) -> int:  # the same with i < n and j < m
        return pairs_below(x) - pairs_below(x - n) - pairs_below(x - m) + pairs_below(x - n - m)

    return math.prod(
        pairs(n, m, start + size) - pairs(n, m, start)
        for n, m, start, size in zip(f_shape, g_shape, region.start, region.size, strict=True)
    )


def tap_overlaps(f_shape: Shape, g_shape: Shape, region: Region) -> Iterator[tuple[Shape, Slices, Slices]]:
    """For each tap of g: its index, the outputs it contributes to, and the samples of f it multiplies."""
    axes = [
        [
            (tap, slice(first - start, stop - start), slice(first - tap, stop - tap))
            for tap in range(m)
            if (first := max(start, tap)) < (stop := min(start + size, tap + n))
        ]
        for n, m, start, size in zip(f_shape, g_shape, region.start, region.size, strict=True)
    ]
    yield from _combinations(axes)


def output_terms(f_shape: Shape, g_shape: Shape, region: Region) -> Iterator[tuple[Shape, Slices, Slices]]:
    """For each output: its index, the samples of f, and the samples of the reversed g that multiply them."""
    axes = []
    for n, m, start, size in zip(f_shape, g_shape, region.start, region.size, strict=True):
        terms = []
        for k in range(start, start + size):
            f_first, f_stop = max(0, k - m + 1), min(n, k + 1)
            offset = m - 1 - k  # g[k-i] is the reversed g at i + offset
            terms.append((k - start, slice(f_first, f_stop), slice(f_first + offset, f_stop + offset)))
        axes.append(terms)
    yield from _combinations(axes)


def _combinations(axes: list[list[tuple[int, slice, slice]]]) -> Iterator[tuple[Shape, Slices, Slices]]:
    if not axes:
        yield (), (), ()
        return
    for index, first, second in axes[0]:
        for more_index, more_first, more_second in _combinations(axes[1:]):
            yield (index, *more_index), (first, *more_first), (second, *more_second)
