"""Pictures made of pixels as PNG files, with the text for those who cannot see them in the file itself."""

from __future__ import annotations

import io
import os
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from convscope.errors import UsageError
from convscope.files import write_bytes

__all__ = ["alt_of", "described", "image_png", "png_path", "write_image"]

_ALT = "Description"  # the keyword that PNG has for it
_COMPRESSION = 3  # of 9: half the time of the usual 6, files of mosaics a twentieth larger


def described(image: Image.Image, alt: str) -> Image.Image:
    """Return the picture, knowing the text for those who cannot see it."""
    image.info[_ALT] = alt
    return image


def alt_of(image: Image.Image) -> str:
    """Return the text that `described` gave a picture, "" without.

    Example:
        >>> alt_of(described(Image.new("RGB", (1, 1)), "a pixel")), alt_of(Image.new("RGB", (1, 1)))
        ('a pixel', '')
    """
    return str(image.info.get(_ALT, ""))


def image_png(image: Image.Image) -> bytes:
    """Return a picture as the bytes of a PNG file, which holds its text too.

    Example:
        >>> alt_of(Image.open(io.BytesIO(image_png(described(Image.new("RGB", (1, 1)), "ein Pünktchen")))))
        'ein Pünktchen'
    """
    notes = PngInfo()
    notes.add_text("Software", "convscope")
    if alt_of(image):
        notes.add_itxt(_ALT, alt_of(image))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", compress_level=_COMPRESSION, pnginfo=notes)
    return buffer.getvalue()


def png_path(path: str | os.PathLike[str]) -> Path:
    """Return the path if a PNG picture may be written there.

    Raises:
        UsageError: its ending promises another format.
    """
    path = Path(path)
    if path.suffix.lower() not in (".png", ""):
        raise UsageError(f"{str(path)!r} would hold a PNG picture; end its name with .png.", call="write_png")
    return path


def write_image(image: Image.Image, path: str | os.PathLike[str]) -> Path:
    """Write a picture as a PNG file, whole or not at all."""
    path = png_path(path)
    write_bytes(path, image_png(image))
    return path
