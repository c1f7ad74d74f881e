"""How many maps of one size stand beside each other, and how large, so that all of them can be seen."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["Tiling", "sheet", "tiling"]

LEAST = 20  # pixels of a tile's longer side, while there is room
# Pixels of the longer side of a tile that shows each value as several pixels, and as one: of the only one, of one in a
# table, of one among several.
_ALONE, _IN_TABLE, _AMONG_OTHERS = (480, 700), (48, 480), (224, 480)
_GAPS = ((3, 0), (16, 1), (40, 2), (10**9, 4))  # of tiles smaller than so many pixels


@dataclass(frozen=True, slots=True)
class Tiling:
    """Rows and columns of tiles; lengths are pixels of the picture."""

    rows: int
    columns: int
    tile_height: int
    tile_width: int
    gap: int

    @property
    def height(self) -> int:
        """Return the height of all rows, gaps between them included."""
        return self.rows * (self.tile_height + self.gap) - self.gap

    @property
    def width(self) -> int:
        """Return the width of all columns, gaps between them included."""
        return self.columns * (self.tile_width + self.gap) - self.gap


def tiling(
    count: int, size: tuple[int, int], *, room: int, tallest: int, columns: int | None = None
) -> Tiling:
    """Choose the largest tiles with which `count` maps fit the room, but none too small to be seen.

    A map is drawn with each value as a square of whole pixels, or, where it is too large, with some values averaged
    to a pixel. Tiles are not made smaller than 20 pixels for the sake of `tallest`: then there are more rows.

    Args:
        size: height and width of a map, values.
        room, tallest: width and height that the tiles should fit, pixels.
        columns: asked for, whatever that means for the width.
    Example:
        >>> few, many = (tiling(count, (7, 7), room=1480, tallest=700) for count in (3, 2048))
        >>> (few.columns, few.tile_width), (many.rows, many.columns, many.tile_width)
        ((3, 224), (32, 64, 21))
    """
    found = None
    most = _IN_TABLE if columns is not None else _ALONE if count == 1 else _AMONG_OTHERS
    for height, width in _tile_sizes(size, *most):
        longest = max(height, width)
        gap = next(pixels for below, pixels in _GAPS if longest < below)
        across = columns or max(1, min(count, (room + gap) // (width + gap)))
        smaller = Tiling(math.ceil(count / across), across, height, width, gap)
        if found is not None and longest < LEAST and (columns is None or longest < max(size)):
            return found
        found = smaller
        if found.height <= tallest and found.width <= room:
            return found
    assert found is not None
    return found


def _tile_sizes(size: tuple[int, int], most_enlarged: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield tile sizes, the largest first: whole multiples of the map, then whole parts of it."""
    height, width = size
    longest = max(size)
    for times in range(max(1, most_enlarged // longest), 0, -1):
        if longest * times <= (most_enlarged if times > 1 else most):
            yield height * times, width * times
    for part in range(2, longest + 1):
        if math.ceil(longest / part) <= most:
            yield max(1, round(height / part)), max(1, round(width / part))


def sheet(tiles: np.ndarray, layout: Tiling, ground: tuple[int, int, int]) -> np.ndarray:
    """Lay tiles out in rows on a ground.

    Shapes:
        tiles (N, h, w, 3) uint8, where `layout`'s tiles are whole multiples of h and w
        returns (layout.height, layout.width, 3) uint8
    Example:
        >>> tiles = np.zeros((2, 1, 1, 3), np.uint8)
        >>> sheet(tiles, Tiling(1, 2, 2, 2, 1), (9, 9, 9))[0, :, 0].tolist()
        [0, 0, 9, 0, 0]
    """
    count, height, width, _ = tiles.shape
    down, across = layout.tile_height // height, layout.tile_width // width
    whole = np.empty(
        (layout.rows * layout.columns, layout.tile_height + layout.gap, layout.tile_width + layout.gap, 3),
        np.uint8,
    )
    whole[:count], whole[count:] = ground, 255
    whole[:count, : layout.tile_height, : layout.tile_width] = tiles.repeat(down, 1).repeat(across, 2)
    rows = whole.reshape(layout.rows, layout.columns, *whole.shape[1:]).swapaxes(1, 2)
    laid = rows.reshape(layout.rows * whole.shape[1], layout.columns * whole.shape[2], 3)
    return laid[: layout.height, : layout.width]
