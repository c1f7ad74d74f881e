"""Mosaics of maps and filters: every tile is there, in the colours of its value, with its scale and its words."""

import io

import matplotlib
import numpy as np
import pytest
import torch
from PIL import Image

from convscope.errors import UsageError
from convscope.inspection import FeatureMaps, FilterBank, Scale, film_of, on_one_scale, scale_of
from convscope.report.colours import AMOUNTS, NOT_FINITE, SIGNED, painted, palette, scale_text
from convscope.report.images import alt_of, image_png, write_image
from convscope.report.mosaic import Block, Row, draw_mosaic
from convscope.report.planes import draw_before_after, draw_films, draw_planes
from convscope.report.tiles import LEAST, sheet, tiling


def reopened(image):
    """The picture as somebody else reads it."""
    return Image.open(io.BytesIO(image_png(image)))


def places(image, colour):
    """Where a colour is: rows and columns."""
    return np.nonzero((np.asarray(image) == np.array(colour)).all(2))


def maps(values, layer="conv", kind="Conv2d"):
    return FeatureMaps(layer, kind, 0, values[None])


def luminance(colours):
    """CIE lightness of sRGB colours."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    y = linear @ np.array([0.2126, 0.7152, 0.0722])
    return np.where(y > 0.008856, 116 * np.cbrt(y) - 16, 903.3 * y)


def test_amounts_become_lighter_evenly_and_signs_differ_in_hue():
    steps = np.diff(luminance(palette(AMOUNTS)[1::15] / 255))
    assert steps.min() > 0.8 * steps.mean()
    assert steps.max() < 1.2 * steps.mean()
    signed = palette(SIGNED)[1:] / 255
    assert luminance(signed).argmax() == 127
    assert signed[0, 2] > 2 * signed[0, 0]
    assert signed[-1, 0] > 2 * signed[-1, 2]
    for name in (AMOUNTS, SIGNED):
        theirs = matplotlib.colormaps[name](np.linspace(0, 1, 255))[:, :3]
        assert np.abs(palette(name)[1:] / 255 - theirs).max() <= 0.5 / 255 + 1e-9


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 64, 100, 512, 1000, 2048])
@pytest.mark.parametrize("size", [(1, 1), (7, 7), (14, 9), (56, 56), (224, 224), (300, 451), (1, 1000)])
def test_tiles_fit_and_are_large_enough(count, size):
    layout = tiling(count, size, room=1480, tallest=700)
    assert layout.rows * layout.columns >= count
    assert (layout.rows - 1) * layout.columns < count
    assert layout.width <= 1480
    assert max(layout.tile_height, layout.tile_width) >= LEAST
    assert layout.height <= 700 or max(layout.tile_height, layout.tile_width) < 2 * LEAST
    times = layout.tile_height / size[0], layout.tile_width / size[1]
    if min(times) >= 1:
        assert times[0] == times[1] == int(times[0])
    else:
        shown = sorted((layout.tile_height / layout.tile_width, size[0] / size[1]))
        assert shown[1] / shown[0] < 1.2 or min(layout.tile_height, layout.tile_width) < 10


def test_all_tiles_of_2048_channels_are_drawn():
    values = torch.zeros(2048, 7, 7)
    values[:, 3, 3] = 1
    image = reopened(draw_planes([maps(values)]))
    lit = places(image, palette(AMOUNTS)[255])
    layout = tiling(2048, (7, 7), room=1480, tallest=700)
    bar = 12  # pixels of the last colour in the scale's bar
    assert len(lit[0]) - bar == 2048 * (layout.tile_width // 7) ** 2
    assert image.width < 1600
    assert image.height < 900


def test_tiles_stand_in_order():
    tiles = np.zeros((5, 2, 3, 3), np.uint8)
    tiles[:, :, :, 0] = np.arange(1, 6)[:, None, None]
    layout = tiling(5, (2, 3), room=300, tallest=400)
    laid = sheet(tiles, layout, (9, 9, 9))
    assert laid.shape == (layout.height, layout.width, 3)
    middle = layout.tile_width // 2
    seen = [
        int(
            laid[
                row * (layout.tile_height + layout.gap), column * (layout.tile_width + layout.gap) + middle, 0
            ]
        )
        for row in range(layout.rows)
        for column in range(layout.columns)
    ]
    assert seen[:5] == [1, 2, 3, 4, 5]
    assert set(seen[5:]) <= {255}


def test_signed_maps_diverge_about_zero_and_amounts_begin_there():
    values = torch.stack([torch.full((4, 4), value) for value in (-2.0, 0.0, 2.0)])
    image = reopened(draw_planes([maps(values)]))
    columns = [places(image, palette(SIGNED)[level])[1].max() for level in (1, 128, 255)]
    assert columns == sorted(columns)
    image = reopened(draw_planes([maps(values.relu())]))
    assert len(places(image, palette(SIGNED)[1])[0]) == 0
    dark, bright = (len(places(image, palette(AMOUNTS)[level])[0]) for level in (1, 255))
    assert dark == pytest.approx(2 * bright, rel=0.02)


def test_the_scale_stands_beside_its_bar():
    values = torch.linspace(-1, 1, 400).reshape(1, 20, 20)
    values[0, 0, 0] = 30.0
    image = draw_planes([maps(values)])
    bar = np.asarray(reopened(image))
    ramp = palette(SIGNED)[1:]
    found = [
        row
        for row in range(bar.shape[0])
        for column in range(200)
        if (bar[row, column] == ramp[0]).all() and (bar[row, column : column + 120] == ramp[:120]).all()
    ]
    assert len(found) >= 10
    assert alt_of(image) == (
        "conv (Conv2d): 1 map of 20 x 20: blue -0.995, white 0, red 0.995; values from -0.995 to 30."
    )


def test_what_is_no_number_is_shown_as_such():
    values = torch.ones(2, 4, 4)
    values[0, 0, 0] = torch.nan
    image = draw_planes([maps(values)])
    assert len(places(reopened(image), NOT_FINITE)[0]) > 0
    assert "1 values are NaN or infinite" in alt_of(image)


def test_large_maps_are_averaged_and_say_so():
    values = torch.rand(64, 200, 300, generator=torch.Generator().manual_seed(0))
    block = Block("b", scale_of([values]), [Row("", values)])
    image = draw_mosaic([block])
    layout = tiling(64, (200, 300), room=1480, tallest=700)
    assert layout.tile_width < 300
    assert image.height < 900
    # The mean of many even random numbers is 1/2: the middle of the colours.
    page = np.asarray(image)
    tile = page[-18 - layout.tile_height + 5 : -18 - 5, 18 + 5 : 18 + layout.tile_width - 5].reshape(-1, 3)
    assert np.abs(tile.mean(0) - palette(AMOUNTS)[128]).max() < 20


def test_films_have_a_row_a_frame_on_one_scale():
    frames = [("before", torch.full((2, 3, 3), -1.0)), ("after epoch 3", torch.full((2, 3, 3), 4.0))]
    image = draw_films([film_of("conv", "Conv2d", "maps", frames)])
    picture = reopened(image)
    weak = palette(SIGNED)[int(Scale(-4.0, 4.0, -1.0, 4.0).levels(torch.tensor([-1.0]))[0])]
    assert places(picture, weak)[0].max() < places(picture, palette(SIGNED)[255])[0].max()
    assert len(places(picture, weak)[0]) > 500
    assert "(before, after epoch 3)" in alt_of(image)


def test_before_and_after_share_one_scale():
    before, after = torch.randn(4, 5, 6), 3 * torch.randn(4, 5, 6)
    pair = on_one_scale("conv1", before, after)
    image = draw_before_after([pair], "maps")
    assert f"conv1: 4 maps of 5 x 6; root mean square {pair.root_mean_squares[0]:.2g} before" in alt_of(image)
    assert f"red {pair.high:.3g}" in alt_of(image)


def test_filters_in_colour_as_tables_and_as_planes():
    red = torch.zeros(2, 3, 4, 4)
    red[1, 0] = 1
    red[0, 1] = -1
    image = draw_planes([FilterBank("conv1", "Conv2d", red)])
    assert len(places(reopened(image), (255, 128, 128))[0]) > 1000
    assert len(places(reopened(image), (128, 1, 128))[0]) > 1000
    assert "in colour, grey is zero" in alt_of(image)
    table = torch.zeros(5, 7, 3, 3)
    table[4, 6] = 1
    image = draw_planes([FilterBank("conv2", "Conv2d", table)])
    rows, _ = places(reopened(image), palette(AMOUNTS)[255])
    assert rows.max() > image.height - 25  # the last row of the table, its last column
    assert "a row a filter, a column one of 7 input channels" in alt_of(image)
    flat = FeatureMaps("fc", "Linear", 0, torch.randn(1, 10))
    plane = FilterBank("fc", "Linear", torch.randn(1, 1, 400, 3000))
    assert "one plane of 400 x 3,000" in alt_of(draw_planes([plane, flat]))
    with pytest.raises(UsageError, match="none of the layers has maps"):
        draw_planes([flat])


def test_all_512_by_512_kernels_are_drawn():
    bank = torch.zeros(512, 512, 3, 3)
    bank[:, :, 1, 1] = 1
    image = reopened(draw_planes([FilterBank("deep", "Conv2d", bank)]))
    assert len(places(image, palette(AMOUNTS)[255])[0]) - 12 == 512 * 512


def test_pictures_above_have_their_titles_and_pixels():
    picture = np.full((100, 50, 3), (10, 200, 30), np.uint8)
    seen = np.full((8, 8, 1), 77, np.uint8)
    image = reopened(draw_planes([maps(torch.randn(1, 5, 5))], picture, seen))
    rows, _ = places(image, (10, 200, 30))
    assert len(rows) == 200 * 100
    assert len(places(image, (77, 77, 77))[0]) == (8 * (260 // 8)) ** 2


def test_hostile_and_long_names_stay_in_the_picture():
    values = torch.randn(3, 4, 4)
    image = draw_planes([maps(values, layer="x\x1b[31m\n" * 200, kind="가방")])
    assert image.width == 1516
    image = draw_films([film_of("conv", "", "maps", [("long " * 50, values), ("b", values)])])
    assert image.width == 1516


def test_too_many_pixels_are_refused(monkeypatch):
    monkeypatch.setattr("convscope.report.mosaic._PIXELS_AT_MOST", 1000)
    with pytest.raises(UsageError, match=r"1 layers would need [\d,]+ pixels; a picture has at most 1,000"):
        draw_planes([maps(torch.randn(3, 5, 5))])


def test_the_file_is_a_png_with_its_text(tmp_path):
    image = draw_planes([maps(torch.randn(3, 5, 5))])
    path = write_image(image, tmp_path / "maps.png")
    with Image.open(path) as opened:
        assert opened.text["Description"] == alt_of(image)
        assert opened.text["Software"] == "convscope"
    with pytest.raises(UsageError, match="end its name with \\.png"):
        write_image(image, tmp_path / "maps.jpg")


def test_words_of_scales():
    assert scale_text(Scale(0.0, 2.0, 0.0, 2.0), coloured=True) == "in colour, black is zero, full strength 2"
    assert painted(torch.tensor([[0.0, 2.0]]), Scale(0.0, 2.0, 0.0, 2.0)).shape == (1, 2, 3)
