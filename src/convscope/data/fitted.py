"""Decode a picture straight to the size that a network wants, as fast as its file allows."""

from __future__ import annotations

import functools
import math
import os
from types import ModuleType
from typing import TYPE_CHECKING, Literal

from convscope.data.decode import check_max_pixels, decode_content, jpeg_scale, picture_content
from convscope.data.resize import fit_box, fit_box_quickly, size_pair
from convscope.errors import UsageError

if TYPE_CHECKING:
    import numpy as np

__all__ = ["decode_fitted", "decode_reduced"]

_JPEG = b"\xff\xd8\xff"
_FRAMES = (0xC0, 0xC1, 0xC2)  # baseline, extended and progressive, Huffman-coded
_EXIF_OR_XMP, _ADOBE = 0xE1, 0xEE  # may say that the picture is turned, or that its channels are others


def decode_fitted(
    source: str | os.PathLike[str] | bytes,
    size: int | tuple[int, int],
    mode: Literal["RGB", "L"] = "RGB",
    *,
    exact: bool = False,
    max_pixels: int = 40_000_000,
) -> np.ndarray:
    """Read a picture and bring it to `size` by the rule of `fit_image`.

    A JPEG is decoded at 1/2, 1/4 or 1/8 of its size where that leaves at least `size`. On twenty photographs of 512
    to 1024 pixels, pixels then differ from those of the full decoding by 1.6 (size 224), 2.6 (128) and 2.7 (64)
    levels on average; the ratio of peak to noise is 36 to 41 dB. Its resizing, too, may be off by a level. `exact`
    decodes in full and resizes as `fit_image` does; other files are always treated so. The package simplejpeg (the
    extra `fast`), where it is installed, gives the same pixels in less time.

    Shapes:
        returns (height, width, 3) for "RGB", (height, width) for "L"; uint8
    Args:
        size: pixels; an int for a square, or a (height, width) pair.
        max_pixels: width * height in the file, as in `decode_image`.
    Raises:
        BadImageError, UsageError: as `decode_image` does.
    Example:
        >>> from convscope.data import cat_path
        >>> decode_fitted(cat_path(), 64).shape
        (64, 64, 3)
    """
    pair = size_pair(size, "decode_fitted")
    if mode not in ("RGB", "L"):
        raise UsageError(f"decode_fitted: mode must be 'RGB' or 'L', got {mode!r}.")
    check_max_pixels(max_pixels, "decode_fitted")
    data, name = picture_content(source)
    found = _by_simplejpeg(data, pair, mode, exact, max_pixels)
    image, box = found or decode_content(data, name, mode, max_pixels, at_least=None if exact else pair)
    quickly = not exact and data.startswith(_JPEG)
    return (fit_box_quickly if quickly else fit_box)(image, pair, box)


def decode_reduced(
    source: str | os.PathLike[str] | bytes, at_least: tuple[int, int], *, max_pixels: int = 40_000_000
) -> np.ndarray:
    """Read a picture in its proportions, a large JPEG at 1/2, 1/4 or 1/8 of its size.

    Fine detail that is lost when the picture is made smaller anyway is not decoded. Other files are decoded in full.

    Shapes:
        returns (H, W, 3) uint8, H and W the file's or a part of them that leaves `at_least`
    Args:
        at_least: height and width to keep, pixels.
        max_pixels: width * height in the file, as in `decode_image`.
    Raises:
        BadImageError, UsageError: as `decode_image` does.
    Cost:
        About a fifth of the time of a full decoding for a photograph of 12 megapixels, and a tenth of the memory.
    Example:
        >>> from convscope.data import cat_path
        >>> decode_reduced(cat_path(), (64, 64)).shape
        (300, 451, 3)
    """
    pair = size_pair(at_least, "decode_reduced")
    check_max_pixels(max_pixels, "decode_reduced")
    data, name = picture_content(source)
    image, (left, top, right, bottom) = decode_content(data, name, "RGB", max_pixels, at_least=pair)
    # Without the last row or column where the picture fills only a part of it.
    return image[math.ceil(top) : math.floor(bottom), math.ceil(left) : math.floor(right)]


def _by_simplejpeg(
    data: bytes, size: tuple[int, int], mode: str, exact: bool, max_pixels: int
) -> tuple[np.ndarray, tuple[float, float, float, float]] | None:
    """Decode a plain JPEG, or return None: the general decoder is to be asked, for pixels or for a refusal."""
    simplejpeg = _simplejpeg()
    if simplejpeg is None or mode != "RGB" or (header := _plain_jpeg(data)) is None:
        return None
    height, width = header
    if height * width > max_pixels:
        return None
    scale = 1 if exact else jpeg_scale(header, size)
    try:
        pixels = simplejpeg.decode_jpeg(
            data, "RGB", min_height=-(-height // scale), min_width=-(-width // scale)
        )
    except ValueError:  # damaged, or with anything that the library warns of
        return None
    return pixels, (0.0, 0.0, width / scale, height / scale)


def _plain_jpeg(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) of a JPEG of 8-bit Y, Cb and Cr that nothing turns; None of all other files."""
    if not data.startswith(_JPEG):
        return None
    at = 2
    while at + 18 < len(data) and data[at] == 0xFF:
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4])
        if marker in _FRAMES:
            precision, channels = data[at + 4], data[at + 9]
            height, width = (int.from_bytes(data[place : place + 2]) for place in (at + 5, at + 7))
            names = data[at + 10 : at + 19 : 3]
            plain = precision == 8 and channels == 3 and names == b"\1\2\3" and height and width
            return (height, width) if plain else None
        if marker in (_EXIF_OR_XMP, _ADOBE) or not (
            0xE0 <= marker <= 0xEF or marker in (0xC4, 0xDB, 0xDD, 0xFE)
        ):
            return None
        at += 2 + length
    return None


@functools.cache
def _simplejpeg() -> ModuleType | None:
    try:
        import simplejpeg  # pyright: ignore[reportMissingImports]  # the extra `fast`
    except Exception:  # a broken installation raises whatever its loader raises
        return None
    return simplejpeg
