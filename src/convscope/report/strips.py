"""Small pictures for pages: test images, and rows of filters or maps, as PNG files in the text itself."""

from __future__ import annotations

import base64
import io

import numpy as np
from PIL import Image
from torch import Tensor

from convscope.inspection import Scale
from convscope.report.colours import map_of, palette

__all__ = ["data_address", "plane_strips", "thumbnail"]

_THUMBNAIL_SIDE = 64  # pixels; larger images are made smaller
_GAP = 1


def thumbnail(picture: np.ndarray, side: int = _THUMBNAIL_SIDE) -> bytes:
    """Return a picture, (H, W) or (H, W, 3) uint8, as a PNG of at most `side` pixels a side.

    Example:
        >>> Image.open(io.BytesIO(thumbnail(np.zeros((128, 64, 3), np.uint8)))).size
        (32, 64)
    """
    image = Image.fromarray(picture)
    image.thumbnail((side, side))
    return _png(image)


def data_address(png: bytes) -> str:
    """Return a PNG as an address that an `img` element can have for its source."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"


def plane_strips(values: Tensor, scale: Scale, columns: int) -> tuple[bytes, int]:
    """Return filters or maps in rows as one PNG in the colours of their scale; and its width.

    Filters of three channels, (N, 3, H, W), become coloured pictures with grey for zero.

    Shapes:
        values (N, H, W) or (N, C, H, W); of other than three channels the first is shown
    """
    coloured = values.dim() == 4 and values.shape[1] == 3
    planes = values if coloured else values[:, :1] if values.dim() == 4 else values[:, None]
    levels = np.moveaxis(scale.levels(planes), 1, -1)
    count, height, width, channels = levels.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    # Level 0 is none of the values', which begin at 1: it is the transparent ground between.
    sheet = np.zeros((rows * (height + _GAP) - _GAP, columns * (width + _GAP) - _GAP, channels), np.uint8)
    for number, plane in enumerate(levels):
        top, left = number // columns * (height + _GAP), number % columns * (width + _GAP)
        sheet[top : top + height, left : left + width] = plane
    if coloured:
        return _png(Image.fromarray(sheet), transparency=(0, 0, 0)), sheet.shape[1]
    image = Image.fromarray(sheet[..., 0])
    image.putpalette(palette(map_of(scale)).tobytes())
    return _png(image, transparency=0), sheet.shape[1]


def _png(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True, **options)
    return buffer.getvalue()
