"""Files that are no picture, or only half of one, or too much of one: one typed error, one line, quickly."""

from __future__ import annotations

import contextlib
import os
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib

import numpy as np
import pytest
from picture_files import GREY, RGB, photograph, png, png_chunk, saved
from PIL import GifImagePlugin, Image, ImageFile
from refusals import refused

from convscope.data import decode_image
from convscope.data.decode import _pillow_warnings_off
from convscope.errors import BadImageError, UsageError

KINDS = {
    "PNG": {},
    "JPEG": {},
    "GIF": {},
    "WEBP": {},
    "BMP": {},
    "TIFF": {},
    "PPM": {},
    "JPEG progressive": {"progressive": True},
    "WEBP lossless": {"lossless": True},
    "TIFF lzw": {"compression": "tiff_lzw"},
    "TIFF deflate": {"compression": "tiff_adobe_deflate"},
    "TIFF jpeg": {"compression": "jpeg"},
}
FILES = {name: saved(photograph(), name.split()[0], **options) for name, options in KINDS.items()}


def bad(data: bytes | str | os.PathLike[str], *words: str, **options: object) -> None:
    with refused(BadImageError, "decode_image", *words, exit_code=1):
        decode_image(data, **options)  # type: ignore[arg-type]


# --------------------------------------------------------------------------------------------- no picture


def test_missing_file(tmp_path) -> None:
    path = tmp_path / "no\nsuch.png"
    with refused(UsageError, "decode_image", "no such file", r"no\nsuch.png", "Check the path", exit_code=2):
        decode_image(path)
    with refused(UsageError, "decode_image", "no such file", exit_code=2):
        decode_image(__file__ + "/below-a-file.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "nowhere.png")
    with refused(UsageError, "decode_image", "no such file", exit_code=2):
        decode_image(tmp_path / "link.png")
    with refused(UsageError, "decode_image", "cannot be a path", exit_code=2):
        decode_image("nul\0inside.png")


def test_folder_in_place_of_a_file(tmp_path) -> None:
    with refused(UsageError, "decode_image", repr(str(tmp_path)), "is a folder", "Name a file", exit_code=2):
        decode_image(tmp_path)


def test_pipe_and_device_do_not_hang(tmp_path) -> None:
    pipe = tmp_path / "pipe.png"
    os.mkfifo(pipe)
    started = time.perf_counter()
    bad(pipe, "not a regular file", "pipe", "Save it to a file first")
    bad("/dev/zero", "not a regular file", "device")
    assert time.perf_counter() - started < 1


def test_link_that_leads_to_itself(tmp_path) -> None:
    loop = tmp_path / "loop.png"
    loop.symlink_to(loop)
    bad(loop, "cannot read", "symbolic links")


def test_file_that_may_not_be_read(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(FILES["PNG"])

    def denied(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", denied)  # the tests may run as root, who may read everything
    bad(path, "cannot read", "secret.png", "Permission denied", "Check its permissions")


def test_file_of_many_gigabytes_is_not_read(tmp_path) -> None:
    path = tmp_path / "huge.png"
    with open(path, "wb") as stream:
        stream.truncate(2**33)  # a hole: takes no space
    bad(path, "8,589,934,592 bytes", "at most 536,870,912", "Store it smaller")


def test_zero_bytes(tmp_path) -> None:
    path = tmp_path / "empty.png"
    path.touch()
    bad(path, "empty.png", "is empty (0 bytes)", "fetch it again")
    bad(b"", "bytes", "is empty (0 bytes)")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html><body>404</body></html>", "an HTML page"),
        (b"\n\n <HTML>", "an HTML page"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "a PostScript document"),
        (b"\xc5\xd0\xd3\xc6" + bytes(28), "a PostScript document"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' width='9' height='9'/>", "an SVG drawing"),
        (b"<?xml version='1.0'?>\n<!-- made by hand -->\n<svg/>", "an SVG drawing"),
        (b"<?xml version='1.0'?><annotation/>", "an XML document"),
        (b"\0\0\0\x18ftypheic" + bytes(16), "a HEIC picture"),
        (b"\0\0\0\x18ftypavif" + bytes(16), "an AVIF picture"),
        (b"\0\0\0\x18ftypisom" + bytes(16), "a video"),
        (b"\0\0\0\x0cjP  \r\n\x87\n", "a JPEG 2000 picture"),
        (b"8BPS\0\1" + bytes(20), "a Photoshop document"),
        (b"\0\0\1\0\1\0\x10\x10" + bytes(20), "an icon"),
        (b"PK\3\4" + bytes(26), "a ZIP archive"),
        (b"\x1f\x8b\x08" + bytes(10), "a gzip file"),
        (b"\x93NUMPY\1\0", "a NumPy array"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"hello, world", "not a picture: it starts with 68 65 6c 6c 6f 2c 20 77"),
        (b"\0", "not a picture: it starts with 00"),
        (bytes(range(256)) * 8, "not a picture"),
    ],
)
def test_other_files_are_called_by_their_name(content: bytes, what: str, tmp_path) -> None:
    path = tmp_path / "holiday.jpg"
    path.write_bytes(content)
    bad(path, "holiday.jpg", f"({len(content):,} bytes)", what, "Save it as one of PNG, JPEG")


@pytest.mark.parametrize("kind", ["ICO", "TGA", "PCX", "SGI", "JPEG2000", "AVIF", "QOI", "DDS"])
def test_formats_that_pillow_could_read_are_refused(kind: str) -> None:
    bad(saved(photograph(), kind), "Save it as one of PNG, JPEG, GIF, WEBP, BMP, TIFF, PPM")


def test_12_bit_jpeg_is_refused() -> None:
    data = bytearray(FILES["JPEG"])
    data[data.index(b"\xff\xc0") + 4] = 12
    bad(bytes(data), "JPEG")


# ------------------------------------------------------------------------------------------- half a picture


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("percent", [10, 50, 90, 99])
def test_cut_off_file(name: str, percent: int) -> None:
    whole = FILES[name]
    bad(whole[: len(whole) * percent // 100], name.split()[0], "cut off")


@pytest.mark.parametrize("name", FILES)
def test_a_cut_anywhere_is_refused_or_loses_no_pixel(name: str) -> None:
    whole = FILES[name]
    expected = decode_image(whole)
    for length in {*range(0, len(whole), max(1, len(whole) // 40)), *range(len(whole) - 16, len(whole))}:
        try:
            decoded = decode_image(whole[:length])
        except BadImageError:
            continue
        np.testing.assert_array_equal(decoded, expected)
        assert length > len(whole) - 4  # a GIF may lack its last two bytes, which say only that it ends


def test_png_without_its_end_mark_is_refused() -> None:
    bad(FILES["PNG"][:-12], "cut off PNG", "end mark is missing")


# ----------------------------------------------------------------------------------------- too much of one


def header_only_png(width: int, height: int) -> bytes:
    return png(GREY, 8, width, [b"\0"], height=height)


def test_9000_by_9000_png_is_refused_by_its_header_with_little_memory(tmp_path) -> None:
    path = tmp_path / "bomb.png"
    rows = zlib.compress(bytes(9001) * 9000, 9)
    header = struct.pack(">IIBBBBB", 9000, 9000, 8, GREY, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")
    )
    program = (
        "import resource, sys, time\n"
        "from convscope.data import cat, decode_image\n"
        "cat()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "started = time.perf_counter()\n"
        "try:\n    decode_image(sys.argv[1])\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
        "seconds = time.perf_counter() - started\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, seconds, 'torch' in sys.modules)\n"
    )
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, path], capture_output=True, text=True, check=True
    )
    message, facts = run.stdout.splitlines()
    kilobytes, seconds, torch_imported = facts.split()
    assert message.startswith("BadImageError decode_image: ")
    assert "declares 9,000 x 9,000 = 81,000,000 pixels; at most 40,000,000 are decoded" in message
    assert int(kilobytes) < 16_000
    assert float(seconds) < 2
    assert torch_imported == "False"
    assert run.stderr == ""


@pytest.mark.parametrize("side", [9000, 12000, 14000, 65535, 2**31 - 1])
def test_declared_size_is_refused_without_a_warning(side: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        bad(header_only_png(side, side), f"{side * side:,}", "at most 40,000,000", "Scale it down")


def test_the_limit_is_the_callers() -> None:
    data = saved(photograph(48, 60), "PNG")
    assert decode_image(data, max_pixels=48 * 60).shape == (48, 60, 3)
    bad(data, "48 = 2,880 pixels", "at most 2,879", "max_pixels", max_pixels=48 * 60 - 1)


def test_a_large_picture_below_a_raised_limit_gives_no_warning() -> None:
    width, height = 10_000, 9_000  # Pillow warns of it
    data = png(GREY, 1, width, [bytes(width // 8)] * height)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert decode_image(data, "L", max_pixels=100_000_000).shape == (height, width)


def test_other_bombs() -> None:
    text = png_chunk(b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10_000_000)))
    bad(png(RGB, 8, 1, [bytes(3)], text), "PNG")
    directory = struct.pack("<HHHII", 1, 256, 3, 1, 1)
    bad(b"II*\0\x08\0\0\0" + directory + struct.pack("<I", 8), "TIFF")  # the next directory is this one


@pytest.mark.parametrize("side", [16384, 2**16, 2**30])
def test_tiff_tile_far_larger_than_the_picture(side: int) -> None:
    tags = [(256, 16), (257, 16), (258, 8), (259, 5), (262, 1), (277, 1)]
    tags += [(322, side), (323, side), (324, 8), (325, 100)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    data = b"II*\0" + struct.pack("<I", 108) + bytes(100) + struct.pack("<H", len(tags)) + entries + bytes(4)
    started = time.perf_counter()
    bad(data, f"tiles of {side:,} x {side:,} = {side * side:,} pixels", "Save it with smaller tiles")
    assert time.perf_counter() - started < 1


def test_frames_after_the_first_are_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    frames = [Image.new("L", (8, 8), index % 2 * 255) for index in range(500)]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    visited: list[int] = []
    look = GifImagePlugin.GifImageFile._seek

    def noted(picture: GifImagePlugin.GifImageFile, frame: int, *rest: bool) -> None:
        visited.append(frame)
        look(picture, frame, *rest)

    monkeypatch.setattr(GifImagePlugin.GifImageFile, "_seek", noted)
    decode_image(data)
    assert set(visited) == {0}


# -------------------------------------------------------------------------------------------------- misuse


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        (None, {}, "source must be a path or bytes, got NoneType"),
        (3, {}, "source must be a path or bytes, got int"),
        (b"x", {"mode": "BGR"}, "mode must be 'RGB' or 'L', got 'BGR'"),
        (b"x", {"max_pixels": 0}, "max_pixels must be an integer from 1 to 178,956,970, got 0"),
        (b"x", {"max_pixels": 1e6}, "max_pixels must be an integer"),
        (b"x", {"max_pixels": 10**12}, "max_pixels must be an integer from 1 to 178,956,970"),
        (b"x", {"background": (0, 0, 256)}, "background must be three integers from 0 to 255"),
        (b"x", {"background": (0, 0)}, "background must be three integers from 0 to 255, got (0, 0)"),
        (b"x", {"background": 255}, "background must be three integers"),
    ],
)
def test_misuse(source: object, options: dict[str, object], words: str) -> None:
    with refused(UsageError, "decode_image", words, exit_code=2):
        decode_image(source, **options)  # type: ignore[arg-type]


# -------------------------------------------------------------------------------------------- whatever else


def test_mutated_files_give_a_picture_or_the_one_error() -> None:
    random = np.random.default_rng(20240229)
    seeds = [saved(photograph(24, 30), name.split()[0], **options) for name, options in KINDS.items()]
    num_pictures, messages = 0, []
    worst = 0.0
    for index in range(6000):
        data = bytearray(seeds[index % len(seeds)])
        for _ in range(random.integers(1, 9)):
            place = int(random.integers(len(data)))
            match random.integers(5):
                case 0:
                    data[place] ^= 1 << int(random.integers(8))
                case 1:
                    data[place] = int(random.choice([0, 1, 127, 128, 255]))
                case 2:
                    del data[place : place + int(random.integers(1, 40))]
                case 3:
                    data[place:place] = random.bytes(int(random.integers(1, 20)))
                case _:
                    data[place : place + 4] = struct.pack(">I", int(random.integers(2**32)))
            data = data or bytearray(b"\0")
        started = time.perf_counter()
        try:
            decoded = decode_image(bytes(data))
        except BadImageError as error:
            messages.append(str(error))
        else:
            assert decoded.dtype == np.uint8
            assert decoded.ndim == 3
            num_pictures += 1
        worst = max(worst, time.perf_counter() - started)
    assert min(num_pictures, len(messages)) > 600  # the mutations are neither all fatal nor all harmless
    assert all(map(str.isprintable, messages))
    assert worst < 2


def test_nothing_of_the_process_is_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters))
    for data in (*FILES.values(), header_only_png(12000, 12000), FILES["PNG"][:100]):
        with contextlib.suppress(BadImageError):
            decode_image(data)
    assert (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)) == before


def test_the_decoders_words_become_a_part_of_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("first\nsecond \x1b[31m" + "x" * 200 + ".")

    monkeypatch.setattr(Image, "open", fail)
    bad(FILES["PNG"], "damaged or cut off PNG file: first second ?[31mxxx", "xxx. Save or fetch it again.")


def test_two_decoders_at_once_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    first, second = _pillow_warnings_off(), _pillow_warnings_off()
    first.__enter__()
    inside = list(warnings.filters)
    second.__enter__()
    first.__exit__(None, None, None)
    assert list(warnings.filters) == inside != before  # the second is still at work
    second.__exit__(None, None, None)
    assert list(warnings.filters) == before


def test_threads_leave_the_warning_filters_as_they_were() -> None:
    before = list(warnings.filters)
    barrier = threading.Barrier(4)

    def work() -> None:
        barrier.wait()
        for _ in range(50):
            decode_image(FILES["GIF"])

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(warnings.filters) == before
