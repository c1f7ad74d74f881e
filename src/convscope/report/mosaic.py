"""Maps or filters of any number as one picture: a block a layer, a mosaic of all its tiles, a bar of its scale.

Composed as one array of pixels. Axes of matplotlib would cost a hundredth of a second each, and there may be thousands.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from convscope.errors import UsageError, printable
from convscope.inspection import Scale, averaged
from convscope.report.colours import GREY, GROUND, INK, ends_text, painted, ramp, scale_text
from convscope.report.images import described
from convscope.report.letters import elided, font, text_width
from convscope.report.tiles import Tiling, sheet, tiling

__all__ = ["Block", "Row", "draw_mosaic"]

# Pixels.
ROOM = 1480  # for tiles beside each other
_MARGIN, _LINE, _GAP = 18, 24, 14
_TITLE, _TEXT = 16, 14
_BAR_WIDTH, _BAR_HEIGHT = 255, 12
_LABELS_AT_MOST, _ABOVE = 130, 260  # width of labels beside rows; height of the pictures above
_TALLEST, _TALLEST_OF_ALL = 700, 12_000  # heights that a block, and all together, should not exceed
_PIXELS_AT_MOST = 250_000_000


@dataclass(frozen=True, eq=False)
class Row:
    """Tiles under one label.

    Shapes:
        planes (N, H, W), or (N, 3, H, W) to be drawn in red, green and blue
    """

    label: str
    planes: Tensor


@dataclass(frozen=True, eq=False)
class Block:
    """A layer: rows of tiles of one size on one scale.

    Attributes:
        columns: tiles beside each other; by default as many as fit.
    """

    title: str
    scale: Scale
    rows: Sequence[Row]
    columns: int | None = None

    @property
    def coloured(self) -> bool:
        """Tell whether tiles have three channels."""
        return self.rows[0].planes.dim() == 4

    @property
    def text(self) -> str:
        """Return what there is to see in words."""
        labels = f" ({', '.join(row.label for row in self.rows)})" if len(self.rows) > 1 else ""
        return f"{self.title}{labels}: {scale_text(self.scale, coloured=self.coloured)}"


def draw_mosaic(
    blocks: Sequence[Block], above: Sequence[tuple[str, np.ndarray]] = (), alt: str = ""
) -> Image.Image:
    """Draw blocks one below the other, each with its title, its scale and all of its tiles.

    Args:
        above: titles and pictures to begin with, (H, W) or (H, W, 1 or 3) uint8.
        alt: what the picture is, in a few words; what each block shows is added.
    Raises:
        UsageError: the picture would have more than 250 million pixels.
    """
    tallest = max(_TALLEST_OF_ALL // max(len(blocks), 1), 120)
    parts = [_pictures(above)] if above else []
    layouts = [_layout(block, tallest) for block in blocks]
    pixels = sum(
        len(block.rows) * layout.height * layout.width
        for block, (layout, _) in zip(blocks, layouts, strict=True)
    )
    if pixels > _PIXELS_AT_MOST:
        raise UsageError(
            f"{len(blocks)} layers would need {pixels:,} pixels; a picture has at most {_PIXELS_AT_MOST:,}. Name fewer "
            "layers.",
            call="draw_mosaic",
        )
    parts += [_block(block, *layout) for block, layout in zip(blocks, layouts, strict=True)]
    width = max(ROOM, max((part.width for part in parts), default=0)) + 2 * _MARGIN
    height = 2 * _MARGIN + sum(part.height for part in parts) + _GAP * max(len(parts) - 1, 0)
    page = Image.new("RGB", (width, height), "white")
    top = _MARGIN
    for part in parts:
        page.paste(part, (_MARGIN, top))
        top += part.height + _GAP
    return described(
        page, " ".join([f"{alt}." if alt else "", *(f"{block.text}." for block in blocks)]).strip()
    )


def _pictures(above: Sequence[tuple[str, np.ndarray]]) -> Image.Image:
    """Return the pictures beside each other, each under its title."""
    shown = []
    for title, pixels in above:
        image = Image.fromarray(pixels.squeeze(2) if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)
        times = _ABOVE // image.height
        if times > 1:
            image = image.resize((image.width * times, image.height * times), Image.Resampling.NEAREST)
        elif image.height > _ABOVE:
            wide = max(1, round(image.width * _ABOVE / image.height))
            image = image.resize((wide, _ABOVE), Image.Resampling.BOX, reducing_gap=2.0)
        shown.append((title, image))
    widths = [max(image.width, round(text_width(title, _TEXT)) + 1) for title, image in shown]
    height = max(image.height for _, image in shown)
    strip = Image.new("RGB", (sum(widths) + _GAP * (len(shown) - 1), _LINE + height), "white")
    pen, left = ImageDraw.Draw(strip), 0
    for (title, image), width in zip(shown, widths, strict=True):
        pen.text((left, 2), title, INK, font(_TEXT))
        strip.paste(image, (left, _LINE))
        left += width + _GAP
    return strip


def _layout(block: Block, room: int) -> tuple[Tiling, int]:
    """Return how the tiles of a row are laid out, and how much room labels have on the left; long ones stand above."""
    widest = round(max(text_width(printable(row.label), _TEXT) for row in block.rows))
    beside = widest + 10 if 0 < widest <= _LABELS_AT_MOST else 0
    planes = block.rows[0].planes
    height, width = planes.shape[-2:]
    rows = len(block.rows)
    # A table has its form, and needs height for it. Rows that are to be compared are low, to be near each other.
    tallest = min(room, 4 * _TALLEST if block.columns else _TALLEST)
    tallest = tallest if rows == 1 else max(min(tallest, 2 * _TALLEST) // (2 * rows), 100)
    return tiling(
        len(planes), (height, width), room=ROOM - beside, tallest=tallest, columns=block.columns
    ), beside


def _block(block: Block, layout: Tiling, beside: int) -> Image.Image:
    planes = block.rows[0].planes
    down, across = planes.shape[-2] / layout.tile_height, planes.shape[-1] / layout.tile_width
    reduced = max(down, across) > 1
    bar = _bar(block, f"each pixel the mean of {down:.3g} x {across:.3g} values" if reduced else "")
    between, lines = 6, 0 if beside or not block.rows[0].label else _LINE
    width = max(ROOM, beside + layout.width, bar.width)
    height = 2 * _LINE + len(block.rows) * (layout.height + lines + between) - between
    image = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(image)
    pen.text((0, 0), elided(printable(block.title), width, _TITLE, True), INK, font(_TITLE, True))
    image.paste(bar, (0, _LINE))
    top = 2 * _LINE
    for row in block.rows:
        if row.label:
            label = elided(printable(row.label), width, _TEXT)
            middle = lines // 2 or min(layout.tile_height, _LINE) // 2
            pen.text((0, top + middle), label, INK, font(_TEXT), anchor="lm")
            top += lines
        planes = averaged(row.planes, (layout.tile_height, layout.tile_width)) if reduced else row.planes
        tiles = painted(planes, block.scale, coloured=block.coloured)
        ground = (255, 255, 255) if block.coloured else GROUND  # grey is the zero of coloured tiles
        image.paste(Image.fromarray(sheet(tiles, layout, ground)), (beside, top))
        top += layout.height + between
    return image


def _bar(block: Block, note: str) -> Image.Image:
    """Return the scale as a bar of its colours between its ends, with the zero, and what else is to know in words."""
    scale = block.scale
    low, high = ends_text(scale)
    found = (
        (block.coloured, "in red, green and blue"),
        (scale.clipped, f"values from {scale.smallest:.3g} to {scale.largest:.3g}"),
        (scale.num_not_finite, f"{scale.num_not_finite:,} NaN or infinite, in magenta"),
        (note, note),
    )
    notes = "; ".join(words for holds, words in found if holds)
    lead = round(text_width(low, _TEXT)) + 6
    end = lead + _BAR_WIDTH + 6
    after = end + round(text_width(high, _TEXT)) + 16
    image = Image.new("RGB", (after + round(text_width(notes, _TEXT)) + 2, _LINE), "white")
    pen, middle = ImageDraw.Draw(image), 9
    pen.text((0, middle), low, INK, font(_TEXT), anchor="lm")
    top = middle - _BAR_HEIGHT // 2
    colours = np.broadcast_to(ramp(scale, coloured=block.coloured), (_BAR_HEIGHT, _BAR_WIDTH, 3))
    image.paste(Image.fromarray(np.ascontiguousarray(colours)), (lead, top))
    pen.rectangle((lead - 1, top - 1, lead + _BAR_WIDTH, top + _BAR_HEIGHT), outline=GREY)
    if scale.signed:
        zero = lead + _BAR_WIDTH // 2
        pen.line((zero, top - 3, zero, top + _BAR_HEIGHT + 2), INK)
        pen.text((zero + 4, middle), "0", INK, font(_TEXT), anchor="lm")
    pen.text((end, middle), high, INK, font(_TEXT), anchor="lm")
    pen.text((after, middle), notes, INK, font(_TEXT), anchor="lm")
    return image
