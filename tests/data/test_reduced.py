"""Photographs decoded no finer than they are needed."""

import io

import numpy as np
import pytest
from PIL import Image

from convscope.data import cat_path, decode_image, decode_reduced
from convscope.errors import BadImageError, UsageError


def photograph(size, kind="JPEG", **options):
    with Image.open(cat_path()) as picture:
        file = io.BytesIO()
        picture.convert("RGB").resize(size, Image.Resampling.BICUBIC).save(file, kind, **options)
        return file.getvalue()


@pytest.mark.parametrize(
    ("at_least", "scale"), [((64, 64), 8), ((100, 100), 4), ((200, 300), 2), ((500, 500), 1), ((9000, 1), 1)]
)
def test_scales(at_least, scale):
    content = photograph((900, 602))
    reduced = decode_reduced(content, at_least)
    assert reduced.shape == (602 // scale, 900 // scale, 3)
    whole = Image.fromarray(decode_image(content)[: reduced.shape[0] * scale, : reduced.shape[1] * scale])
    boxes = np.asarray(whole.resize(reduced.shape[1::-1], Image.Resampling.BOX)).astype(int)
    assert np.abs(boxes - reduced).mean() < 3


def test_turned_photographs_keep_their_detail():
    exif = Image.Exif()
    exif[274] = 6
    content = photograph((803, 402), exif=exif)
    assert decode_reduced(content, (400, 100)).shape == (401, 201, 3)
    assert decode_reduced(content, (410, 100)).shape == (803, 402, 3)


def test_other_files_are_read_whole():
    assert np.array_equal(decode_reduced(cat_path(), (8, 8)), decode_image(cat_path()))


def test_refusals(tmp_path):
    with pytest.raises(BadImageError, match=r"declares 900 x 602 = 541,800 pixels"):
        decode_reduced(photograph((900, 602)), (8, 8), max_pixels=100)
    with pytest.raises(UsageError, match="decode_reduced: size must be"):
        decode_reduced(cat_path(), (0, 8))
    with pytest.raises(UsageError, match="no\\.jpg"):
        decode_reduced(tmp_path / "no.jpg", (8, 8))
