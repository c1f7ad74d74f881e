"""What becomes of each kind of picture file: the rules in the docstring of `decode`, one by one."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
import pytest
from picture_files import GREY, GREY_ALPHA, PALETTE, RGB, RGB_ALPHA, photograph, png, png_chunk, saved, tiff
from PIL import ExifTags, Image

from convscope.data import cat_path, decode_image
from convscope.errors import BadImageError

RAMP16 = np.arange(0, 65536, 16, dtype=np.uint16).reshape(16, 256)
RAMP16_LEVELS = np.floor(RAMP16 / 257 + 0.5).astype(np.uint8)  # no value lies half way: 257 is odd
ENDS16 = struct.pack(">4H", 0, 0x0102, 0x8000, 0xFFFF)
WHITE, BLACK, RED, GREEN, BLUE = (255,) * 3, (0,) * 3, (255, 0, 0), (0, 255, 0), (0, 0, 255)


def big(values: np.ndarray) -> list[bytes]:
    return [row.astype(">u2").tobytes() for row in values]


# ---------------------------------------------------------------------------------------------- 8 bits


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_lossless_colour_comes_back_as_it_was(kind: str) -> None:
    pixels = photograph()
    decoded = decode_image(saved(pixels, kind))
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    np.testing.assert_array_equal(decoded, pixels)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("WEBP", {"lossless": True}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
        ("TIFF", {"compression": "packbits"}),
        ("PNG", {"optimize": True}),
    ],
)
def test_compressed_lossless_colour_comes_back_as_it_was(kind: str, options: dict[str, object]) -> None:
    np.testing.assert_array_equal(decode_image(saved(photograph(), kind, **options)), photograph())


@pytest.mark.parametrize(
    "options", [{}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_blocks": 2}]
)
def test_jpeg_comes_back_nearly_as_it_was(options: dict[str, object]) -> None:
    decoded = decode_image(saved(photograph(), "JPEG", quality=98, **{"subsampling": 0, **options}))
    assert np.abs(decoded.astype(int) - photograph()).mean() < 2


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM", "GIF"])
def test_grey_stays_grey_in_both_modes(kind: str) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(8, 32)
    data = saved(grey, kind)
    np.testing.assert_array_equal(decode_image(data, "L"), grey)
    np.testing.assert_array_equal(decode_image(data, "RGB"), np.repeat(grey[..., None], 3, axis=2))


def test_colour_to_grey_is_luma() -> None:
    pixels = np.array([[RED, GREEN, BLUE]], np.uint8)
    luma = np.array([[0.299, 0.587, 0.114]]) * 255
    assert np.abs(decode_image(saved(pixels, "PNG"), "L") - luma).max() <= 0.5


@pytest.mark.parametrize(("depth", "step"), [(1, 255), (2, 85), (4, 17)])
def test_few_bits_span_black_to_white(depth: int, step: int) -> None:
    levels = list(range(2**depth))
    packed = int("".join(f"{level:0{depth}b}" for level in levels).ljust(8, "0"), 2)
    row = packed.to_bytes(max(1, depth * len(levels) // 8), "big")
    decoded = decode_image(png(GREY, depth, len(levels), [row]), "L")
    assert decoded.tolist() == [[level * step for level in levels]]


@pytest.mark.parametrize("kind", ["BMP", "TIFF", "PPM", "PNG", "GIF"])
def test_one_bit_is_black_and_white(kind: str) -> None:
    picture = Image.fromarray(np.array([[0, 255], [255, 0]], np.uint8)).convert("1")
    assert decode_image(saved(picture, kind), "L").tolist() == [[0, 255], [255, 0]]


def test_white_is_zero_tiff() -> None:
    assert decode_image(tiff(np.array([[0, 255]], np.uint8), 8, photometric=0), "L").tolist() == [[255, 0]]


def test_palette() -> None:
    colours = png_chunk(b"PLTE", bytes([*RED, *GREEN, *BLUE]))
    assert decode_image(png(PALETTE, 8, 3, [b"\0\1\2"], colours)).tolist() == [
        [list(RED), list(GREEN), list(BLUE)]
    ]


def test_lab_tiff_becomes_srgb() -> None:
    lightness, neutral = bytes([255, 137, 0]), bytes([128] * 3)
    bands = [Image.frombytes("L", (3, 1), row) for row in (lightness, neutral, neutral)]
    decoded = decode_image(saved(Image.merge("LAB", bands), "TIFF")).astype(int)
    assert np.ptp(decoded, axis=2).max() <= 4  # no colour
    assert decoded[0, 0].min() > 250
    assert 120 < decoded[0, 1].mean() < 135
    assert decoded[0, 2].max() < 5


# ------------------------------------------------------------------------------------- 16 bits and floats


def test_16_bit_grey_png_is_scaled_and_rounded() -> None:
    np.testing.assert_array_equal(decode_image(png(GREY, 16, 256, big(RAMP16)), "L"), RAMP16_LEVELS)


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bit_grey_tiff_is_scaled_and_rounded(order: str) -> None:
    data = tiff(RAMP16.astype(order + "u2"), 16, order=order)
    np.testing.assert_array_equal(decode_image(data, "L"), RAMP16_LEVELS)
    np.testing.assert_array_equal(decode_image(data)[..., 1], RAMP16_LEVELS)


def test_16_bit_white_is_zero_tiff_is_inverted() -> None:
    data = tiff(RAMP16, 16, photometric=0)
    np.testing.assert_array_equal(decode_image(data, "L"), 255 - RAMP16_LEVELS)


def test_16_bit_grey_ppm_is_scaled_and_rounded() -> None:
    data = b"P5 256 16 65535\n" + RAMP16.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode_image(data, "L"), RAMP16_LEVELS)


def test_10_bit_ppm_reaches_white() -> None:
    data = b"P5 2 1 1023\n" + struct.pack(">2H", 0, 1023)
    assert decode_image(data, "L").tolist() == [[0, 255]]


def test_12_bit_tiff_reaches_white() -> None:
    packed = np.array([[0x00, 0x0F, 0xFF, 0x80, 0x00, 0x10]], np.uint8)  # 0x000 0xFFF 0x800 0x010
    assert decode_image(tiff(packed, 12), "L").tolist() == [[0, 255, 128, 1]]


@pytest.mark.parametrize(("colour", "samples"), [(RGB, 3), (GREY_ALPHA, 2), (RGB_ALPHA, 4)])
def test_16_bit_channels_are_within_a_level(colour: int, samples: int) -> None:
    pixels = np.repeat(RAMP16[..., None], samples, axis=2)
    if colour != RGB:
        pixels[..., -1] = 65535
    decoded = decode_image(png(colour, 16, 256, [row.astype(">u2").tobytes() for row in pixels]))
    assert np.abs(decoded.astype(int) - RAMP16_LEVELS[..., None]).max() <= 1
    assert decoded[0, 0].tolist() == [0, 0, 0]
    assert decoded[-1, -1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("order", ["<", ">"])
def test_32_bit_integers_are_16_bit_values(order: str) -> None:
    wide = RAMP16.astype(order + "i4")
    for sample_format in (1, 2):
        if (order, sample_format) == (">", 1):
            continue  # Pillow reads unsigned 32-bit samples in the little-endian order only
        decoded = decode_image(tiff(wide, 32, order=order, sample_format=sample_format), "L")
        np.testing.assert_array_equal(decoded, RAMP16_LEVELS)


@pytest.mark.parametrize("order", ["<", ">"])
def test_float_tiff_from_0_to_1(order: str) -> None:
    values = np.linspace(0, 1, 256).reshape(4, 64)
    decoded = decode_image(tiff(values.astype(order + "f4"), 32, order=order, sample_format=3), "L")
    assert decoded.tolist() == np.arange(256).reshape(4, 64).tolist()


def test_float_that_overshoots_by_less_than_half_a_level_is_rounded() -> None:
    values = np.array([[-0.001, 1.001]], "<f4")
    assert decode_image(tiff(values, 32, sample_format=3), "L").tolist() == [[0, 255]]


def test_portable_float_map_from_0_to_1() -> None:
    data = b"Pf\n2 1\n-1.0\n" + struct.pack("<2f", 0.0, 1.0)
    assert decode_image(data, "L").tolist() == [[0, 255]]


OFF_THE_SCALE = [
    ([0, 70000], "<i4", 2, "samples from 0 to 70000; integers are read as 16-bit, 0 to 65,535. Rescale it"),
    ([-5, 9], "<i2", 2, "samples from -5 to 9; integers are read as 16-bit"),
    ([-5, 9], "<i1", 2, "signed 8-bit samples"),
    ([0, 200], "<f4", 3, "samples from 0 to 200; floats are read from 0 to 1. Rescale it"),
    ([0, -0.01], "<f4", 3, "samples from -0.01 to 0; floats are read from 0 to 1"),
    ([0, np.nan], "<f4", 3, "NaN or infinity in 1 of 2 samples"),
    ([0, -np.inf], "<f4", 3, "NaN or infinity in 1 of 2 samples"),
    ([0, 1], "<f8", 3, "of a kind that is not read"),
]


@pytest.mark.parametrize(("values", "dtype", "sample_format", "complaint"), OFF_THE_SCALE)
def test_samples_off_the_scale_are_refused(
    values: list[float], dtype: str, sample_format: int, complaint: str
) -> None:
    samples = np.array([values], dtype)
    data = tiff(samples, samples.itemsize * 8, sample_format=sample_format)
    with pytest.raises(BadImageError, match=complaint):
        decode_image(data)


# ---------------------------------------------------------------------------------------- transparency


def test_hidden_colour_does_not_show() -> None:
    pixels = np.array([[(255, 0, 0, 0), (255, 0, 0, 255), (0, 0, 0, 128)]], np.uint8)
    for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})):
        data = saved(pixels, kind, **options)
        assert decode_image(data).tolist() == [[list(WHITE), list(RED), [127] * 3]]
        assert decode_image(data, background=BLUE).tolist() == [[list(BLUE), list(RED), [0, 0, 127]]]
        assert decode_image(data, "L", background=BLACK)[0, 0] == 0


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_grey_with_alpha(kind: str) -> None:
    bands = [Image.frombytes("L", (3, 1), bytes(values)) for values in ((0, 0, 0), (0, 255, 128))]
    assert decode_image(saved(Image.merge("LA", bands), kind), "L").tolist() == [[255, 0, 127]]


def test_tiff_with_premultiplied_grey_alpha() -> None:
    bands = [Image.new("L", (1, 1), value) for value in (100, 128)]
    plain, premultiplied = (struct.pack("<HHIH", 338, 3, 1, extra) for extra in (2, 1))  # tag ExtraSamples
    data = saved(Image.merge("LA", bands), "TIFF")
    assert plain in data
    assert decode_image(data.replace(plain, premultiplied), "L").tolist() == [[100 + 255 - 128]]


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_transparent_grey_is_meant_on_the_scale_of_the_file(depth: int) -> None:
    key = 2**depth - 1  # white is transparent
    transparent = png_chunk(b"tRNS", struct.pack(">H", key))
    for level, shown in ((key, RED), (0, BLACK)):
        data = png(GREY, depth, 1, [bytes([level << (8 - depth)])], transparent)
        assert decode_image(data, background=RED).tolist() == [[list(shown)]]


def test_transparent_16_bit_grey_is_one_value_only() -> None:
    data = png(GREY, 16, 4, [ENDS16], png_chunk(b"tRNS", struct.pack(">H", 0x0102)))
    assert decode_image(data, background=RED).tolist() == [[[0] * 3, list(RED), [128] * 3, [255] * 3]]


def test_transparent_16_bit_colour() -> None:
    row = struct.pack(">6H", 0x1200, 0x3400, 0x5600, 0, 0, 0)
    data = png(RGB, 16, 2, [row], png_chunk(b"tRNS", struct.pack(">3H", 0x1200, 0x3400, 0x5600)))
    assert decode_image(data, background=RED).tolist() == [[list(RED), list(BLACK)]]


def test_transparent_palette_entries() -> None:
    colours = png_chunk(b"PLTE", bytes([*RED, *GREEN, *BLUE]))
    data = png(PALETTE, 8, 3, [b"\0\1\2"], colours, png_chunk(b"tRNS", b"\0\xff\x80"))
    assert decode_image(data).tolist() == [[list(WHITE), list(GREEN), [127, 127, 255]]]


def test_transparent_gif() -> None:
    picture = Image.frombytes("P", (2, 1), b"\0\1")
    picture.putpalette([*RED, *GREEN])
    data = saved(picture, "GIF", transparency=0)
    assert decode_image(data, background=BLUE).tolist() == [[list(BLUE), list(GREEN)]]


# ------------------------------------------------------------------------------------------------ CMYK


def cmyk(c: int, m: int, y: int, k: int) -> Image.Image:
    return Image.new("CMYK", (16, 16), (c, m, y, k))


INKS = [
    ((255, 0, 0, 0), (0, 255, 255)),
    ((0, 255, 255, 0), RED),
    ((0, 0, 0, 255), BLACK),
    ((0, 0, 0, 0), WHITE),
    ((0, 0, 0, 128), (127, 127, 127)),
]


@pytest.mark.parametrize(("inks", "colour"), INKS)
def test_cmyk_tiff(inks: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    assert np.abs(decode_image(saved(cmyk(*inks), "TIFF")).astype(int) - colour).max() <= 1


@pytest.mark.parametrize("marker", [True, False])
@pytest.mark.parametrize(("inks", "colour"), INKS)
def test_cmyk_jpeg_is_stored_inverted(inks: tuple[int, ...], colour: tuple[int, ...], marker: bool) -> None:
    """As Adobe writes it, and as every viewer takes it, with the Adobe marker or without."""
    stored = Image.merge("CMYK", [Image.new("L", (16, 16), 255 - ink) for ink in inks])
    data = four_channel_jpeg(stored)
    assert b"Adobe" in data
    start = data.index(b"\xff\xee")
    if not marker:
        data = data[:start] + data[start + 16 :]
    assert np.abs(decode_image(data).astype(int) - colour).max() <= 3


@pytest.mark.parametrize(("inks", "colour"), INKS)
def test_ycck_jpeg(inks: tuple[int, int, int, int], colour: tuple[int, int, int]) -> None:
    c, m, y, k = inks
    luma_chroma = Image.new("RGB", (16, 16), (c, m, y)).convert("YCbCr").split()
    stored = Image.merge("CMYK", [*luma_chroma, Image.new("L", (16, 16), 255 - k)])
    data = bytearray(four_channel_jpeg(stored))
    data[data.index(b"Adobe") + 11] = 2  # the transform: YCCK
    assert np.abs(decode_image(bytes(data)).astype(int) - colour).max() <= 3


def four_channel_jpeg(stored: Image.Image) -> bytes:
    """Store four channels as they are: Pillow inverts what it writes, so it gets the inverse."""
    inverted = Image.merge("CMYK", [band.point(lambda value: 255 - value) for band in stored.split()])
    return saved(inverted, "JPEG", quality=100, subsampling=0)


# ------------------------------------------------------------------------------- orientation, profiles, frames

# What a viewer does to the stored rows to show the picture, for each value of the tag.
TURNS = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


ROTATABLE = [
    ("JPEG", {"quality": 95}),
    ("PNG", {}),
    ("TIFF", {}),
    ("TIFF", {"compression": "tiff_lzw"}),
    ("WEBP", {"lossless": True}),
]


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize(("kind", "options"), ROTATABLE)
def test_exif_orientation_is_applied_once(kind: str, options: dict[str, object], orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    plain = decode_image(saved(photograph(), kind, **options))
    turned = decode_image(saved(photograph(), kind, exif=exif, **options))
    np.testing.assert_array_equal(turned, TURNS[orientation](plain))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientation_outside_1_to_8_turns_nothing(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    np.testing.assert_array_equal(decode_image(saved(photograph(), "PNG", exif=exif)), photograph())


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "block",
    [
        b"garbage, not TIFF",
        b"II*\0\xff\xff\0\0garbage",
        b"II*\0\x08\0\0\0\xff\xff",
        b"MM\0*\0\0\0\x08\0\x01"
        + struct.pack(">HHI4s", 0x0112, 2, 4, b"abc\0")
        + bytes(4),  # a word for a number
    ],
)
def test_damaged_exif_turns_nothing_and_warns_of_nothing(kind: str, block: bytes) -> None:
    data = saved(photograph(), kind, exif=b"Exif\0\0" + block)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(data).shape == (48, 60, 3)


def test_profile_is_not_applied() -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("XYZ")).tobytes()
    np.testing.assert_array_equal(decode_image(saved(photograph(), "PNG", icc_profile=profile)), photograph())


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_of_several_frames(kind: str) -> None:
    frames = [Image.new("RGB", (4, 3), colour) for colour in (RED, GREEN, BLUE)]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert decode_image(data).tolist() == [[list(RED)] * 4] * 3


# --------------------------------------------------------------------------------------------- sources


def test_path_bytes_and_views_are_the_same(tmp_path) -> None:
    data = saved(photograph(), "PNG")
    path = tmp_path / "wrong extension.jpg"
    path.write_bytes(data)
    for source in (path, str(path), data, bytearray(data), memoryview(data)):
        np.testing.assert_array_equal(decode_image(source), photograph())


def test_the_cat() -> None:
    decoded = decode_image(cat_path())
    assert decoded.shape == (300, 451, 3)
    np.testing.assert_array_equal(decoded, np.asarray(Image.open(io.BytesIO(cat_path().read_bytes()))))
