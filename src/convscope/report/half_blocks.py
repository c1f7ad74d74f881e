"""Pictures in a terminal: two pixels a letter, the upper half block in one colour on the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Literal

import numpy as np
from PIL import Image

from convscope.errors import printable
from convscope.inspection import averaged
from convscope.report.colours import painted, ramp, scale_text
from convscope.report.mosaic import Block

__all__ = ["Colours", "blocks_text", "half_blocks"]

Colours = Literal["24-bit", "256"]
_BLOCK, _RESET = "\u2580", "\x1b[0m"
_TILE = 20  # pixels of a map's longer side
_TALLEST_PICTURE = 40  # pixels
_BAR = 32  # letters


def half_blocks(pixels: np.ndarray, colours: Colours = "24-bit") -> str:
    """Return a picture as lines of half blocks with colours around them.

    Shapes:
        pixels (H, W, 3) uint8; returns ceil(H / 2) lines of W letters
    Example:
        >>> print(ascii(half_blocks(np.array([[[255, 0, 0]], [[0, 0, 255]]], np.uint8))))
        '\\x1b[38;2;255;0;0;48;2;0;0;255m\\u2580\\x1b[0m'
    """
    code = _true if colours == "24-bit" else _of_256
    lines = []
    for top in range(0, len(pixels), 2):
        upper = pixels[top].tolist()
        lower = pixels[top + 1].tolist() if top + 1 < len(pixels) else [None] * len(upper)
        line, before = [], None
        for above, below in zip(upper, lower, strict=True):
            now = (tuple(above), None if below is None else tuple(below))
            if now != before:
                ground = "49" if now[1] is None else f"48;{code(*now[1])}"
                line.append(f"\x1b[38;{code(*now[0])};{ground}m")
            line.append(_BLOCK)
            before = now
        lines.append("".join(line) + _RESET)
    return "\n".join(lines)


def _true(red: int, green: int, blue: int) -> str:
    return f"2;{red};{green};{blue}"


@cache
def _of_256(red: int, green: int, blue: int) -> str:
    """Return the nearest of the 240 colours that every terminal with 256 has alike."""
    distances = ((_cube_and_greys() - np.array([red, green, blue])) ** 2).sum(1)
    return f"5;{16 + int(distances.argmin())}"


@cache
def _cube_and_greys() -> np.ndarray:
    steps = np.array([0, 95, 135, 175, 215, 255])
    cube = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), -1).reshape(-1, 3)
    greys = np.repeat(8 + 10 * np.arange(24), 3).reshape(-1, 3)
    return np.concatenate([cube, greys])


def blocks_text(
    blocks: Sequence[Block],
    width: int,
    colours: Colours = "24-bit",
    above: Sequence[tuple[str, np.ndarray]] = (),
) -> str:
    """Return blocks for a terminal: title and scale, then a line of tiles for each row, as many as the width holds.

    Args:
        width: letters of a line.
        above: as in `draw_mosaic`; the first picture is shown.
    """
    parts = []
    for title, pixels in above[:1]:
        parts += [printable(title), half_blocks(_small(pixels, width), colours)]
    for block in blocks:
        bar = np.broadcast_to(
            ramp(block.scale, coloured=block.coloured)[np.linspace(0, 254, _BAR).round().astype(int)],
            (1, _BAR, 3),
        )
        height, wide = block.rows[0].planes.shape[-2:]
        shrink = max(1, -(-max(height, wide) // min(_TILE, width)))
        times = max(1, min(_TILE, width) // max(height, wide)) if shrink == 1 else 1
        size = (max(1, height // shrink), max(1, wide // shrink))
        total = len(block.rows[0].planes)
        shown = min(total, block.columns or total, max(1, (width + 1) // (size[1] * times + 1)))
        some = f"; the first {shown} of {total:,} here, all with --output" if shown < total else ""
        parts.append(f"\n{printable(block.title)}{some}")
        parts.append(f"{half_blocks(bar, colours)} {scale_text(block.scale, coloured=block.coloured)}")
        for row in block.rows:
            if row.label:
                parts.append(printable(row.label))
            tiles = painted(averaged(row.planes[:shown], size), block.scale, coloured=block.coloured)
            parts.append(half_blocks(_line(tiles.repeat(times, 1).repeat(times, 2)), colours))
    return "\n".join(parts)


def _line(tiles: np.ndarray) -> np.ndarray:
    """Lay tiles (N, h, w, 3) beside each other with a black pixel between."""
    framed = np.pad(tiles, ((0, 0), (0, 0), (0, 1), (0, 0)))
    return framed.swapaxes(0, 1).reshape(tiles.shape[1], -1, 3)[:, :-1]


def _small(pixels: np.ndarray, width: int) -> np.ndarray:
    """Return a picture no taller than 40 pixels and no wider than the terminal, in colour."""
    image = Image.fromarray(pixels.squeeze(2) if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
    share = min(_TALLEST_PICTURE / image.height, width / image.width, 1.0)
    size = (max(1, round(image.width * share)), max(1, round(image.height * share)))
    return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX))
