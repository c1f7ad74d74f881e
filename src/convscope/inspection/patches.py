"""Boxes of a map that differ from one case to the next, cut out of the map that they share and put back into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from convscope.geometry import Spans, progressions
from convscope.kernels import channels_last

__all__ = ["Patches", "SharedMap"]

Pads = tuple[tuple[int, int], tuple[int, int]]  # (before, after) of height and width


@dataclass(frozen=True, eq=False)
class Patches:
    """What a grid of cases has changed of a map: a box each, all of one size.

    Args:
        values: (cases, C, h, w), row by row of the grid, channels-last.
        rows: where the cases of each row of the grid have changed the map, along its height.
        columns: where those of each column have changed it, along its width.
    """

    values: Tensor
    rows: Spans
    columns: Spans

    @property
    def count(self) -> int:
        """Return the number of cases."""
        return len(self.rows.spans) * len(self.columns.spans)

    @property
    def grid(self) -> Tensor:
        """Return the values as (rows, columns, h, w, C)."""
        shape = len(self.rows.spans), len(self.columns.spans)
        return channels_last(self.values).permute(0, 2, 3, 1).unflatten(0, shape)


class SharedMap:
    """A map (1, C, H, W) that all cases share, where they have not changed it."""

    def __init__(self, values: Tensor) -> None:
        self.values = channels_last(values)
        self._padded: dict[tuple[Pads, float], Tensor] = {}

    def boxes(
        self,
        rows: Sequence[int],
        columns: Sequence[int],
        size: tuple[int, int],
        patches: Patches | None = None,
        pads: Pads = ((0, 0), (0, 0)),
        fill: float = 0.0,
    ) -> Tensor:
        """Return a box of each case's map, changed where its patch has changed it: (cases, C, *size), channels-last.

        Args:
            rows, columns: where the boxes of each row and column of the grid begin; below 0, and behind the map's
                end, lies padding.
            pads: as much padding as any box of this operator's reads.
            fill: the value of the padding.
        """
        height, width = size
        if patches is not None and (
            (tuple(rows), height) == (patches.rows.starts, patches.rows.length)
            and (tuple(columns), width) == (patches.columns.starts, patches.columns.length)
        ):
            return patches.values
        plane = self._plane(pads, fill)
        down, across, step = plane.stride()
        made = torch.empty(
            (len(rows) * len(columns), plane.shape[2], height, width),
            dtype=plane.dtype,
            memory_format=torch.channels_last,
        )
        grid = made.permute(0, 2, 3, 1).unflatten(0, (len(rows), len(columns)))
        for top, count, by in progressions(rows):
            for left, breadth, along in progressions(columns):
                place = (rows[top] + pads[0][0]) * down + (columns[left] + pads[1][0]) * across
                grid[top : top + count, left : left + breadth] = plane.as_strided(
                    (count, breadth, height, width, plane.shape[2]),
                    (by * down, along * across, down, across, step),
                    plane.storage_offset() + place,
                )
        if patches is not None:
            source = patches.grid
            for down_part, to_row, from_row in _overlaps(patches.rows, rows, height):
                for across_part, to_column, from_column in _overlaps(patches.columns, columns, width):
                    grid[down_part, across_part, to_row, to_column] = source[
                        down_part, across_part, from_row, from_column
                    ]
        return made

    def whole(self, patches: Patches) -> Tensor:
        """Return each case's whole map."""
        height, width = self.values.shape[2:]
        return self.boxes(
            [0] * len(patches.rows.spans), [0] * len(patches.columns.spans), (height, width), patches
        )

    def _plane(self, pads: Pads, fill: float) -> Tensor:
        """Return the map as (H, W, C) in one piece, with its padding."""
        if (pads, fill) not in self._padded:
            (top, bottom), (left, right) = pads
            padded = self.values
            if any(map(any, pads)):
                padded = torch.nn.functional.pad(padded, (left, right, top, bottom), value=fill)
            self._padded[pads, fill] = padded[0].permute(1, 2, 0).contiguous()
        return self._padded[pads, fill]


def _overlaps(changed: Spans, starts: Sequence[int], length: int) -> Iterator[tuple[slice, slice, slice]]:
    """Return which cases lie alike in their boxes, and where: the cases, places in the box, places in the patch."""
    offsets = [at - start for at, start in zip(changed.starts, starts, strict=True)]
    first = 0
    for offset, alike in groupby(offsets):
        cases = slice(first, first := first + len(list(alike)))
        to, source = max(offset, 0), max(-offset, 0)
        count = min(length - to, changed.length - source)
        if count > 0:
            yield cases, slice(to, to + count), slice(source, source + count)
