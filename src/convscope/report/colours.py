"""The colours of values, the same in every picture: one map for signed values, one for those from zero up."""

from __future__ import annotations

from functools import cache

import matplotlib
import numpy as np
from torch import Tensor

from convscope.inspection import Scale

__all__ = [
    "AMOUNTS",
    "BLUE",
    "GREY",
    "GREYS",
    "GROUND",
    "INK",
    "NOT_FINITE",
    "ORANGE",
    "SHARES",
    "SIGNED",
    "TEAL",
    "ends_text",
    "map_of",
    "painted",
    "palette",
    "ramp",
    "scale_text",
]

INK, GREY, BLUE, TEAL, ORANGE = "#1b2733", "#8b98a5", "#2f6fb0", "#1f9e89", "#d9622b"  # of text and lines
# Names that matplotlib knows. Blue over white at zero to red; from dark to bright by steps that look equal; pictures;
# tables of shares with numbers in them, which must stay readable.
SIGNED, AMOUNTS, GREYS, SHARES = "RdBu_r", "viridis", "gray", "Blues"
GROUND = (139, 152, 165)  # between tiles: unlike the white of zero and the dark of nothing
NOT_FINITE = (255, 0, 255)


def map_of(scale: Scale) -> str:
    """Return the name of the colour map for a scale.

    Example:
        >>> map_of(Scale(-1.0, 1.0, -1.0, 1.0)), map_of(Scale(0.0, 1.0, 0.0, 1.0))
        ('RdBu_r', 'viridis')
    """
    return SIGNED if scale.signed else AMOUNTS


@cache
def palette(name: str) -> np.ndarray:
    """Return the colours of the levels of `Scale.levels`: 255 of a map, and before them that of no value.

    Shapes:
        returns (256, 3) uint8
    Example:
        >>> palette(SIGNED)[[0, 128]].tolist()
        [[255, 0, 255], [247, 246, 246]]
    """
    colours = matplotlib.colormaps[name](np.linspace(0, 1, 255))[:, :3]
    return np.concatenate([[NOT_FINITE], (colours * 255).round()]).astype(np.uint8)


def painted(values: Tensor, scale: Scale, *, coloured: bool = False) -> np.ndarray:
    """Return values as colours.

    Shapes:
        values (...); returns (..., 3) uint8. With `coloured`, values (N, 3, H, W) are red, green and blue, grey for
        zero; returns (N, H, W, 3)
    """
    levels = scale.levels(values)
    if not coloured:
        return palette(map_of(scale))[levels]
    return np.ascontiguousarray(np.moveaxis(levels, 1, -1))


def ramp(scale: Scale, *, coloured: bool = False) -> np.ndarray:
    """Return the colours from the low end of a scale to its high end, (255, 3) uint8."""
    return palette(GREYS if coloured else map_of(scale))[1:]


def ends_text(scale: Scale) -> tuple[str, str]:
    """Return what the two ends of a scale are, with a sign that values go on beyond.

    Example:
        >>> ends_text(Scale(-2.0, 2.0, -1.0, 31.0)), ends_text(Scale(0.0, 2.0, 0.0, 2.0))
        (('-2', '≥ 2'), ('0', '2'))
    """
    below = "≤ " if scale.smallest < scale.low else ""
    beyond = "≥ " if scale.largest > scale.high else ""
    return f"{below}{scale.low:.3g}", f"{beyond}{scale.high:.3g}"


def scale_text(scale: Scale, *, coloured: bool = False) -> str:
    """Return a scale in words, for those who cannot see its bar.

    Example:
        >>> scale_text(Scale(-2.0, 2.0, -1.5, 31.0))
        'blue -2, white 0, red 2; values from -1.5 to 31'
        >>> scale_text(Scale(0.0, 2.0, 0.0, 2.0))
        'dark 0, bright 2'
    """
    if coloured:
        zero = "grey" if scale.signed else "black"
        words = f"in colour, {zero} is zero, full strength {scale.high:.3g}"
    elif scale.signed:
        words = f"blue {scale.low:.3g}, white 0, red {scale.high:.3g}"
    else:
        words = f"dark {scale.low:.3g}, bright {scale.high:.3g}"
    if scale.clipped:
        words += f"; values from {scale.smallest:.3g} to {scale.largest:.3g}"
    if scale.num_not_finite:
        words += f"; {scale.num_not_finite:,} values are NaN or infinite"
    return words
