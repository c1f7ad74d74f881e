"""Decode a picture to 8-bit RGB or grey values, or say in one line why not.

What is read: PNG, JPEG, GIF, WebP, BMP, TIFF, and PPM with its relatives, by content, whatever the file name.

| in the file                       | becomes                                                                      |
|-----------------------------------|------------------------------------------------------------------------------|
| 16 bits, grey                     | value / 257, rounded; a 12-bit TIFF value * 255 / 4095                       |
| 16 bits, colour                   | the high byte, at most one level from value / 257 (the decoder offers no more) |
| 32-bit integers                   | read as 16-bit values; refused outside 0 .. 65535                            |
| floats                            | value * 255, rounded; refused outside 0 .. 1, and NaN and infinity too       |
| transparency of any kind          | composited on `background`                                                   |
| 1 bit                             | 0 and 255                                                                    |
| CMYK                              | (1 - C)(1 - K) and so on; a JPEG is taken as Adobe writes it, inverted         |
| EXIF orientation                  | applied: the array is the picture as a viewer shows it                       |
| an ICC profile                    | not applied: networks are trained on the numbers in the file                 |
| several frames or pages           | the first                                                                    |

Integers and floats are never stretched to the range found in one file: two pictures of one folder would get
different scales.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from convscope.data.regular_file import read_regular_file
from convscope.errors import BadImageError, UsageError, printable

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image as Picture

__all__ = ["check_max_pixels", "decode_content", "decode_image", "jpeg_scale", "picture_content"]

_FORMATS = ("PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM")
_MAX_FILE_BYTES = 2**29
_PNG_END = b"IEND\xaeB`\x82"  # the last chunk: its name and its checksum
_SMALL_TILE = 2**22  # pixels; a small picture may lie in one tile of this size
_PHOTOMETRIC, _ORIENTATION, _TILE_WIDTH, _TILE_HEIGHT, _SAMPLE_FORMAT = 262, 274, 322, 323, 339  # TIFF tags

# First bytes -> what to call it: a name that Pillow knows, or the words for a refusal. The first match counts.
_SIGNATURES = tuple(
    (re.compile(pattern, re.DOTALL), kind)
    for pattern, kind in (
        (rb"\x89PNG\r\n\x1a\n", "PNG"),
        (rb"\xff\xd8\xff", "JPEG"),
        (rb"GIF8[79]a", "GIF"),
        (rb"RIFF....WEBP", "WEBP"),
        (rb"BM", "BMP"),
        (rb"II[*+]\0|MM\0[*+]", "TIFF"),
        (rb"P[1-6][ \t\r\n#]|P[fF][ \t\r\n]", "PPM"),
        (rb"\s*%!PS|\xc5\xd0\xd3\xc6", "a PostScript document"),
        (rb"\s*%PDF", "a PDF document"),
        (
            rb"(?i)(\xef\xbb\xbf)?\s*(<\?xml.{,900}?)?(<!--.{,900}?-->\s*)?(<!doctype svg.{,900}?)?<svg",
            "an SVG drawing",
        ),
        (rb"(?i)(\xef\xbb\xbf)?\s*(<!--.{,900}?-->\s*)?<(!doctype html|html|head|body)", "an HTML page"),
        (rb"(?i)(\xef\xbb\xbf)?\s*<\?xml", "an XML document"),
        (rb"....ftyp(heic|heix|hevc|mif1|msf1)", "a HEIC picture"),
        (rb"....ftypavi[fs]", "an AVIF picture"),
        (rb"....ftyp", "a video"),
        (rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51", "a JPEG 2000 picture"),
        (rb"\0\0\0\x0cJXL |\xff\x0a", "a JPEG XL picture"),
        (rb"8BPS", "a Photoshop document"),
        (rb"\0\0[\x01\x02]\0", "an icon"),
        (rb"PK\x03\x04", "a ZIP archive"),
        (rb"\x1f\x8b", "a gzip file"),
        (rb"\x93NUMPY", "a NumPy array"),
        (rb"version https://git-lfs", "a Git LFS pointer, not the file itself"),
    )
)


def decode_image(
    source: str | os.PathLike[str] | bytes | bytearray | memoryview,
    mode: Literal["RGB", "L"] = "RGB",
    *,
    max_pixels: int = 40_000_000,
    background: Sequence[int] = (255, 255, 255),
) -> np.ndarray:
    """Read a picture from a file or from the bytes of one.

    The table at the head of this module says what becomes of 16-bit, float, transparent, CMYK and rotated files.

    Shapes:
        returns (H, W, 3) for "RGB", (H, W) for "L"; uint8
    Args:
        source: a path, or the content of a file.
        mode: colour or grey (ITU-R 601 luma).
        max_pixels: width * height; checked in the header, before anything is unpacked.
        background: red, green and blue, 0 to 255, behind transparent pixels.
    Raises:
        BadImageError: the bytes are not a whole picture of a kind that is read, or the file cannot be read.
        UsageError: there is no such file, it is a folder, or an argument is not as above.
    Cost:
        up to 16 bytes of memory a pixel while decoding.
    Example:
        >>> decode_image(b"P3 2 1 255  255 0 0  0 0 255").tolist()
        [[[255, 0, 0], [0, 0, 255]]]
        >>> decode_image(b"<html>")
        Traceback (most recent call last):
        ...
        convscope.errors.BadImageError: decode_image: the picture given as bytes (6 bytes) is an HTML page. \
Save it as one of PNG, JPEG, GIF, WEBP, BMP, TIFF, PPM.
    """
    _check_arguments(mode, max_pixels, background)
    data, name = picture_content(source)
    return decode_content(data, name, mode, max_pixels, background)[0]


def decode_content(
    data: bytes,
    name: str,
    mode: str,
    max_pixels: int,
    background: Sequence[int] = (255, 255, 255),
    at_least: tuple[int, int] | None = None,
) -> tuple[np.ndarray, tuple[float, float, float, float]]:
    """Decode as `decode_image` does, a JPEG at a reduced scale if `at_least` is given.

    The scale is 1/2, 1/4 or 1/8, as long as both sides keep the (height, width) pixels of `at_least`; the decoder
    then leaves out the fine part of each block instead of computing it. A side that the scale does not divide ends
    in a pixel that the picture fills only partly: the second result is the box (left, top, right, bottom) that it
    does fill.
    """
    kind = _kind(data, name)
    try:
        with _pillow_warnings_off():
            picture, layout, filled = _open(data, name, kind, max_pixels, at_least)
            levels = _eight_bits(picture, layout, name, background)
            orientation = _orientation(picture)
            image = _as_array(levels, orientation, mode)
            return image, _filled_box(image, filled, orientation)
    except BadImageError:
        raise
    # Pillow's parsers raise whatever damaged bytes lead them to: OSError, SyntaxError, ValueError, IndexError ...
    except Exception as error:
        raise BadImageError(
            f"decode_image: {name} is a damaged or cut off {kind} file: {_reason(error)}. "
            "Save or fetch it again."
        ) from error


def check_max_pixels(max_pixels: object, call: str) -> None:
    """Refuse a limit that is no number of pixels, or above what Pillow lets through."""
    from PIL import Image

    # Above twice its own limit, which belongs to the whole process, Pillow refuses by itself.
    highest = 2 * (Image.MAX_IMAGE_PIXELS or 2**30)
    if isinstance(max_pixels, bool) or not isinstance(max_pixels, int) or not 1 <= max_pixels <= highest:
        raise UsageError(f"{call}: max_pixels must be an integer from 1 to {highest:,}, got {max_pixels!r}.")


def _check_arguments(mode: object, max_pixels: object, background: Sequence[int]) -> None:
    if mode not in ("RGB", "L"):
        raise UsageError(f"decode_image: mode must be 'RGB' or 'L', got {mode!r}.")
    check_max_pixels(max_pixels, "decode_image")
    is_triple = isinstance(background, Sequence) and len(background) == 3
    if not is_triple or not all(isinstance(value, int) and 0 <= value <= 255 for value in background):
        raise UsageError(
            f"decode_image: background must be three integers from 0 to 255, got {background!r}."
        )


def picture_content(source: object) -> tuple[bytes, str]:
    """Return the bytes of a picture, and how messages call them."""
    if isinstance(source, bytes | bytearray | memoryview):
        data, name = bytes(source), "the picture given as bytes"
    elif isinstance(source, str | os.PathLike):
        data, name = (
            read_regular_file(source, "decode_image", BadImageError, _MAX_FILE_BYTES),
            repr(os.fspath(source)),
        )
    else:
        raise UsageError(f"decode_image: source must be a path or bytes, got {type(source).__name__}.")
    if not data:
        raise BadImageError(f"decode_image: {name} is empty (0 bytes). Save or fetch it again.")
    return data, f"{name} ({len(data):,} bytes)"


def _kind(data: bytes, name: str) -> str:
    """Return which of the formats the first bytes announce; the file name is not asked."""
    kind = next((kind for pattern, kind in _SIGNATURES if pattern.match(data[:1024])), None)
    if kind not in _FORMATS:
        found = f"is {kind}" if kind else f"is not a picture: it starts with {data[:8].hex(' ')}"
        raise BadImageError(f"decode_image: {name} {found}. Save it as one of {', '.join(_FORMATS)}.")
    return kind


def _open(
    data: bytes, name: str, kind: str, max_pixels: int, at_least: tuple[int, int] | None
) -> tuple[Picture, str, tuple[float, float]]:
    """Read the header, refuse what is too large, then unpack the pixels of the first frame.

    Also returns how samples are packed in the file, and the height and width that the picture fills.
    """
    from PIL import Image, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

    del (
        TiffImagePlugin,
        WebPImagePlugin,
    )  # imported to be registered; Pillow would look through all its formats
    limit = f"at most {max_pixels:,} are decoded. Scale it down, or raise max_pixels."
    try:
        picture = Image.open(io.BytesIO(data), formats=(kind,))
    except Image.DecompressionBombError as error:
        declared = re.search(r"\((\d+) pixels\)", str(error))
        count = f"{int(declared[1]):,}" if declared else "too many"
        raise BadImageError(f"decode_image: {name} declares {count} pixels; {limit}") from error
    except UnidentifiedImageError as error:
        raise BadImageError(
            f"decode_image: {name} starts like a {kind} file, but the rest of its header is damaged, cut off, or of "
            f"a kind that is not read. Save it again as 8-bit PNG."
        ) from error
    width, height = picture.size
    if width * height > max_pixels:
        raise BadImageError(
            f"decode_image: {name} declares {width:,} x {height:,} = {width * height:,} pixels; {limit}"
        )
    layout = _sample_layout(picture)  # Pillow forgets it when it unpacks
    if kind == "TIFF":
        _check_tiff(picture, name, max_pixels)
    filled = (float(height), float(width))
    if kind == "JPEG" and at_least is not None:
        turned = (at_least[1], at_least[0]) if _orientation(picture) >= 5 else at_least
        scale = jpeg_scale(filled, turned)
        if scale > 1:
            picture.draft(None, (width // scale, height // scale))
            filled = (height / scale, width / scale)
    picture.load()
    if kind == "PNG" and _PNG_END not in data:
        raise BadImageError(
            f"decode_image: {name} is a cut off PNG file: its end mark is missing. Save or fetch it again."
        )
    return picture, layout, filled


def jpeg_scale(size: tuple[float, float], at_least: tuple[int, int]) -> int:
    """Return by how much a JPEG of that (height, width) may be reduced: 1, 2, 4 or 8.

    Example:
        >>> jpeg_scale((1200, 1600), (224, 224)), jpeg_scale((375, 500), (224, 224))
        (4, 1)
    """
    room = min(size[0] // at_least[0], size[1] // at_least[1])
    return next(scale for scale in (8, 4, 2, 1) if scale <= max(room, 1))


def _check_tiff(picture: Picture, name: str, max_pixels: int) -> None:
    """Refuse what the size alone does not show: samples below 0, and tiles far larger than the picture."""
    tags = _tiff_tags(picture)
    if tags.get(_SAMPLE_FORMAT, (1,))[0] == 2 and picture.mode == "L":
        raise BadImageError(
            f"decode_image: {name} holds signed 8-bit samples; a picture has 0 to 255. Shift them by 128."
        )
    width, height = tags.get(_TILE_WIDTH, 1), tags.get(_TILE_HEIGHT, 1)
    if width * height > max(max_pixels, _SMALL_TILE):
        raise BadImageError(
            f"decode_image: {name} declares tiles of {width:,} x {height:,} = {width * height:,} pixels; at most "
            f"{max(max_pixels, _SMALL_TILE):,} are decoded. Save it with smaller tiles."
        )


def _tiff_tags(picture: Picture) -> Mapping[int, Any]:
    return getattr(picture, "tag_v2", {})


def _sample_layout(picture: Picture) -> str:
    """Return how samples are packed in the file, in Pillow's words: "L;4" 4 bits, "RGB;16B" 16 bits, ..."""
    tiles: Any = getattr(picture, "tile", None)
    arguments = tiles[0][3] if tiles else ""
    return arguments if isinstance(arguments, str) else str(arguments[0])


def _eight_bits(picture: Picture, layout: str, name: str, background: Sequence[int]) -> Picture:
    """Return the picture in mode L or RGB, with nothing left that is deep or transparent."""
    from PIL import Image

    transparent = picture.info.get("transparency")
    if picture.mode.startswith("I") or picture.mode == "F":
        grey, alpha = _from_deep_samples(picture, layout, transparent, name)
        if alpha is None:
            return grey
        picture = Image.merge("LA", (grey, alpha))
    elif picture.mode == "La":
        picture = picture.convert("LA")
    elif transparent is not None and layout in ("L;2", "L;4"):
        # The file names the transparent grey on its own scale of 4 or 16 levels; the pixels are on that of 256.
        picture.info["transparency"] = transparent * (85 if layout == "L;2" else 17)
    elif transparent is not None and layout == "RGB;16B":
        picture.info["transparency"] = tuple(value >> 8 for value in transparent)
    if not picture.has_transparency_data:
        return picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    canvas = Image.new("RGB", picture.size, tuple(background))
    with_alpha = picture.convert("RGBA")
    canvas.paste(with_alpha, mask=with_alpha.getchannel("A"))
    return canvas


def _from_deep_samples(
    picture: Picture, layout: str, transparent: int | None, name: str
) -> tuple[Picture, Picture | None]:
    """Scale 16-bit, 32-bit and float grey to 8 bits; also return the alpha channel of a 16-bit PNG that has one."""
    import numpy as np
    from PIL import Image

    samples = np.asarray(picture)
    inverted = _tiff_tags(picture).get(_PHOTOMETRIC) == 0  # 0 is white; Pillow inverts 8 bits only
    if picture.mode == "F":
        if not np.isfinite(samples).all():
            num_bad = int(samples.size - np.isfinite(samples).sum())
            raise BadImageError(
                f"decode_image: {name} holds NaN or infinity in {num_bad:,} of {samples.size:,} samples. Replace them."
            )
        half_level = 0.5 / 255  # what rounds into 0 .. 255 is accepted
        _check_range(samples, -half_level, 1 + half_level, name, "floats are read from 0 to 1")
        levels = np.rint(samples * np.float32(255)).clip(0, 255)
    else:
        _check_range(samples, 0, 65535, name, "integers are read as 16-bit, 0 to 65,535")
        highest = 4095 if layout == "I;12" else 65535
        levels = (samples.astype(np.uint32) * 255 + highest // 2) // highest
    if inverted:
        levels = 255 - levels
    alpha = None
    if transparent is not None and picture.mode != "F":
        alpha = Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8))
    return Image.fromarray(levels.astype(np.uint8)), alpha


def _check_range(samples: np.ndarray, lowest: float, highest: float, name: str, rule: str) -> None:
    low, high = samples.min(), samples.max()
    if low < lowest or high > highest:
        raise BadImageError(
            f"decode_image: {name} holds samples from {low:g} to {high:g}; {rule}. Rescale it first."
        )


def _orientation(picture: Picture) -> int:
    """Return the EXIF orientation, 1 to 8; a block that cannot be read turns nothing."""
    try:
        return int(picture.getexif().get(_ORIENTATION, 1))
    except Exception:  # as above: any error, from bytes that do not matter to the pixels
        return 1


def _filled_box(
    image: np.ndarray, filled: tuple[float, float], orientation: int
) -> tuple[float, float, float, float]:
    """Return where the filled (height, width) of the upper left of the file lies in the turned picture."""
    height, width = filled if orientation <= 4 else filled[::-1]
    left = image.shape[1] - width if orientation in (2, 3, 6, 7) else 0.0
    top = image.shape[0] - height if orientation in (3, 4, 7, 8) else 0.0
    return left, top, left + width, top + height


def _as_array(picture: Picture, orientation: int, mode: str) -> np.ndarray:
    import numpy as np
    from PIL import Image

    flips = Image.Transpose
    turn = {
        2: flips.FLIP_LEFT_RIGHT,
        3: flips.ROTATE_180,
        4: flips.FLIP_TOP_BOTTOM,
        5: flips.TRANSPOSE,
        6: flips.ROTATE_270,
        7: flips.TRANSVERSE,
        8: flips.ROTATE_90,
    }.get(orientation)
    if turn is not None:
        picture = picture.transpose(turn)
    return np.array(picture.convert(mode))


def _reason(error: Exception) -> str:
    """Return the decoder's words as a part of one line."""
    text = " ".join(str(error).split()).rstrip(".")
    text = printable(text)
    return text[:100] or type(error).__name__


# Pillow also logs some refusals; without a handler Python would print them beside our error.
logging.getLogger("PIL").addHandler(logging.NullHandler())


class _Quiet:
    """Pillow's warnings are off while at least one thread decodes.

    Python 3.11 keeps one list of warning filters for all threads: were each thread to save and restore it, the
    last one out could restore what another had put in. So the first one in saves, and the last one out restores.
    """

    lock = threading.Lock()
    num_inside = 0
    saved: warnings.catch_warnings | None = None


@contextlib.contextmanager
def _pillow_warnings_off() -> Iterator[None]:
    with _Quiet.lock:
        if _Quiet.num_inside == 0:
            _Quiet.saved = warnings.catch_warnings()
            _Quiet.saved.__enter__()
            warnings.filterwarnings("ignore", module=r"PIL\.")
        _Quiet.num_inside += 1
    try:
        yield
    finally:
        with _Quiet.lock:
            _Quiet.num_inside -= 1
            if _Quiet.num_inside == 0 and _Quiet.saved is not None:
                _Quiet.saved.__exit__(None, None, None)
                _Quiet.saved = None
