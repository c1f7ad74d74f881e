"""Straight to the size that is wanted: the same picture as in full, and the same bits whichever decoder is there."""

from __future__ import annotations

import functools
import importlib
import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from picture_files import photograph, saved
from PIL import Image
from refusals import refused

from convscope.data import cat_path, decode_fitted, decode_image, fit_image, fitted
from convscope.data.resize import fit_box_quickly
from convscope.errors import BadImageError, UsageError

CAT = Image.fromarray(decode_image(cat_path()))


def jpeg(picture: Image.Image = CAT, *, orientation: int = 1, **options: object) -> bytes:
    if orientation != 1:
        exif = Image.Exif()
        exif[274] = orientation
        options["exif"] = exif
    return saved(picture, "JPEG", **options)


def without_simplejpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fitted, "_simplejpeg", lambda: None)


KINDS = {
    "baseline": jpeg(),
    "progressive": jpeg(progressive=True),
    "full chroma": jpeg(subsampling=0),
    "half chroma": jpeg(subsampling=1),
    "poor": jpeg(quality=20),
    "grey": jpeg(CAT.convert("L")),
    "cmyk": jpeg(CAT.convert("CMYK")),
    "rgb": jpeg(keep_rgb=True),
    "restarts": jpeg(restart_marker_rows=1),
    "odd": jpeg(CAT.crop((0, 0, 301, 203))),
    **{f"turned {turn}": jpeg(CAT.crop((0, 0, 300, 203)), orientation=turn) for turn in range(2, 9)},
}
FILES = pytest.mark.parametrize("content", KINDS.values(), ids=KINDS)


@FILES
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_exact_is_decode_and_fit(content: bytes, mode) -> None:
    for size in (32, (50, 31), (400, 301)):
        np.testing.assert_array_equal(
            decode_fitted(content, size, mode, exact=True), fit_image(decode_image(content, mode), size)
        )


@FILES
@pytest.mark.parametrize("size", [17, 32, (50, 31), (100, 40), 224])
def test_reduced_is_close_to_exact(content: bytes, size) -> None:
    exact, reduced = (decode_fitted(content, size, exact=choice).astype(float) for choice in (True, False))
    assert np.abs(exact - reduced).mean() < 4
    assert 10 * np.log10(255**2 / max(np.mean((exact - reduced) ** 2), 1e-9)) > 30  # decibels


@FILES
def test_both_decoders_give_the_same_bits(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    importlib.import_module("simplejpeg")  # of the extra dev: never left out
    for size in (17, 32, (50, 31), 112, 224):
        fast = decode_fitted(content, size)
        with monkeypatch.context() as patch:
            without_simplejpeg(patch)
            np.testing.assert_array_equal(fast, decode_fitted(content, size))


@functools.cache
def small() -> bytes:
    return saved(photograph(48, 60), "JPEG", progressive=False)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(small()) - 1), st.integers(0, 255)), max_size=4),
    st.integers(0, 400),
)
def test_damage_is_judged_alike_by_both_decoders(changes: list[tuple[int, int]], cut: int) -> None:
    importlib.import_module("simplejpeg")  # of the extra dev: never left out
    content = bytearray(small())
    for place, value in changes:
        content[place] = value
    damaged = bytes(content[: len(content) - cut if cut % 2 else len(content)])
    found: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        for _ in range(2):
            try:
                found.append(decode_fitted(damaged, 12).tolist())
            except BadImageError as error:
                found.append(str(error))
            without_simplejpeg(patch)
    assert found[0] == found[1]


@settings(max_examples=100, deadline=None)
@given(
    old=st.tuples(st.integers(20, 300), st.integers(20, 300)),
    new=st.tuples(st.integers(16, 150), st.integers(16, 150)),
    grey=st.booleans(),
)
def test_quick_resizing_is_that_of_fit_image(old: tuple[int, int], new: tuple[int, int], grey: bool) -> None:
    image = np.array(CAT.resize(old).convert("L" if grey else "RGB"))
    expected = fit_image(image, new)
    quick = fit_box_quickly(image, new, (0, 0, image.shape[1], image.shape[0]))
    assert quick.shape == expected.shape
    assert np.abs(quick.astype(int) - expected).mean() < 1.5


def test_files_other_than_jpeg_are_always_exact() -> None:
    content = saved(CAT, "PNG")
    np.testing.assert_array_equal(decode_fitted(content, 100), fit_image(decode_image(content), 100))


def test_plain_files_go_the_fast_way_and_others_do_not() -> None:
    plain = {name: fitted._plain_jpeg(content) is not None for name, content in KINDS.items()}
    assert {name for name, is_plain in plain.items() if is_plain} == {
        "baseline", "progressive", "full chroma", "half chroma", "poor", "restarts", "odd",
    }  # fmt: skip
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff", saved(photograph(), "PNG"), KINDS["odd"][:30]):
        assert fitted._plain_jpeg(content) is None


def test_a_broken_installation_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import builtins

    imported = builtins.__import__

    def broken(name: str, *rest, **options):
        if name == "simplejpeg":
            raise OSError("libjpeg.so: cannot open shared object file")
        return imported(name, *rest, **options)

    fitted._simplejpeg.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(builtins, "__import__", broken)
        assert fitted._simplejpeg() is None
    fitted._simplejpeg.cache_clear()


def test_the_scale_is_the_largest_that_still_covers() -> None:
    for width, height, size, expected in ((640, 480, 64, 4), (640, 480, 60, 8), (640, 480, 241, 1)):
        stream = io.BytesIO(jpeg(CAT.resize((width, height))))
        picture = Image.open(stream)
        picture.draft(None, (size, size))
        assert picture.size == (width // expected, height // expected)
        assert fitted.jpeg_scale((height, width), (size, size)) == expected


def test_refusals() -> None:
    with refused(UsageError, "decode_fitted", "size must be", "got 0", exit_code=2):
        decode_fitted(small(), 0)
    with refused(UsageError, "decode_fitted", "mode must be", exit_code=2):
        decode_fitted(small(), 8, "CMYK")  # type: ignore[arg-type]
    with refused(UsageError, "decode_fitted", "max_pixels", exit_code=2):
        decode_fitted(small(), 8, max_pixels=0)
    with refused(BadImageError, "decode_image", "60 x 48 = 2,880 pixels; at most 100", exit_code=1):
        decode_fitted(small(), 8, max_pixels=100)
