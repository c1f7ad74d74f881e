"""Files built for the tests, chunk by chunk where a library would not write what is wanted."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

GREY, RGB, PALETTE, GREY_ALPHA, RGB_ALPHA = 0, 2, 3, 4, 6  # colour types of PNG


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    colour: int, depth: int, width: int, rows: list[bytes], *extra: bytes, height: int | None = None
) -> bytes:
    """Write a PNG file from packed rows; `extra` chunks go before the pixels."""
    header = struct.pack(">IIBBBBB", width, len(rows) if height is None else height, depth, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [png_chunk(b"IHDR", header), *extra, png_chunk(b"IDAT", pixels), png_chunk(b"IEND", b"")]
    )


def tiff(
    pixels: np.ndarray, bits: int, *, order: str = "<", photometric: int = 1, sample_format: int = 1
) -> bytes:
    """Write an uncompressed grey TIFF of one strip from (H, W) samples that are in the byte order already."""
    height, width = pixels.shape[0], pixels.shape[1] * pixels.itemsize * 8 // bits
    body = pixels.tobytes()
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(body)),
        (339, 3, sample_format),
    ]
    entries = b"".join(
        struct.pack(order + "HHI", tag, kind, 1)
        + (struct.pack(order + "HH", value, 0) if kind == 3 else struct.pack(order + "I", value))
        for tag, kind, value in tags
    )
    mark = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(order + "H", len(tags)) + entries + struct.pack(order + "I", 0)
    return mark + struct.pack(order + "I", 8 + len(body)) + body + directory


def saved(pixels: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    """Return what Pillow writes."""
    picture = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    stream = io.BytesIO()
    picture.save(stream, kind, **options)
    return stream.getvalue()


def photograph(height: int = 48, width: int = 60) -> np.ndarray:
    """Return coloured patches with some noise: (height, width, 3) uint8."""
    random = np.random.default_rng(0)
    patches = np.kron(random.integers(0, 250, (height // 6, width // 6, 3)), np.ones((6, 6, 1), int))
    return (patches + random.integers(0, 6, patches.shape)).astype(np.uint8)
