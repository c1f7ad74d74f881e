"""The font of pictures that are not matplotlib's, and how wide texts are in it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import matplotlib
from PIL import ImageFont

__all__ = ["elided", "font", "text_width"]

_MEASURED = 64  # pixels at which widths are measured


@cache
def font(size: float = _MEASURED, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return DejaVu Sans, which matplotlib brings, at so many pixels."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", name), size)


@cache
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Return how wide a text is, in the unit of its size.

    Example:
        >>> text_width("mm", 10) == 2 * text_width("m", 10)
        True
    """
    return font(bold=bold).getlength(text) * size / _MEASURED


def elided(text: str, width: float, size: float, bold: bool = False, *, keep_end: bool = False) -> str:
    """Return a text cut to fit a width, with an ellipsis for what is gone.

    Example:
        >>> elided("a long story", 40, 9), elided("features.4.1.block", 60, 9, keep_end=True)
        ('a long…', '…s.4.1.block')
    """
    if text_width(text, size, bold) <= width:
        return text
    for count in range(len(text) - 1, 0, -1):
        short = "…" + text[-count:] if keep_end else text[:count].rstrip(" ,") + "…"
        if text_width(short, size, bold) <= width:
            return short
    return "…"
