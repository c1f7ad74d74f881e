"""Half blocks read back by a small terminal: the pixels are those of the picture."""

import re

import numpy as np
import pytest
import torch

from convscope.inspection import scale_of
from convscope.report.colours import AMOUNTS, palette
from convscope.report.half_blocks import blocks_text, half_blocks
from convscope.report.mosaic import Block, Row


def screen(text):
    """The pixels that a terminal shows: an array of colours for each letter, two rows a line; None for its ground."""
    pixels = []
    for line in text.split("\n"):
        above, below, ink, ground = [], [], None, None
        for codes, letters in re.findall(r"\x1b\[([\d;]*)m|([^\x1b]+)", line):
            numbers = [int(code) for code in codes.split(";") if code]
            while numbers:
                code = numbers.pop(0)
                if code in (38, 48):
                    kind = numbers.pop(0)
                    colour = tuple(numbers[:3]) if kind == 2 else xterm(numbers[0])
                    del numbers[: 3 if kind == 2 else 1]
                    ink, ground = (colour, ground) if code == 38 else (ink, colour)
                elif code == 49:
                    ground = None
                elif code == 0:
                    ink = ground = None
            for letter in letters:
                assert letter == "▀"
                above.append(ink)
                below.append(ground)
        assert ink is ground is None  # every line gives the terminal back as it was
        pixels += [above, below]
    return pixels


def xterm(number):
    """The colours 16 to 255 as xterm's own source defines them."""
    if number >= 232:
        return (8 + 10 * (number - 232),) * 3
    number -= 16
    return tuple(
        0 if level == 0 else 55 + 40 * level for level in (number // 36, number // 6 % 6, number % 6)
    )


def test_every_pixel_comes_back():
    picture = np.random.default_rng(0).integers(0, 256, (6, 9, 3), np.uint8)
    assert np.array_equal(np.array(screen(half_blocks(picture))), picture)


def test_an_odd_number_of_rows_ends_on_the_terminals_own_ground():
    picture = np.zeros((3, 2, 3), np.uint8)
    assert screen(half_blocks(picture))[2:] == [[(0, 0, 0)] * 2, [None] * 2]


@pytest.mark.parametrize(
    ("colour", "number"),
    [
        ((255, 0, 0), 196),
        ((0, 0, 0), 16),
        ((255, 255, 255), 231),
        ((128, 128, 128), 244),
        ((95, 135, 175), 67),
    ],
)
def test_256_colours(colour, number):
    text = half_blocks(np.array([[colour]], np.uint8), "256")
    assert f"38;5;{number};49m" in text
    assert screen(text)[0] == [xterm(number)]


def test_the_nearest_of_256_is_near():
    picture = np.random.default_rng(1).integers(0, 256, (8, 16, 3), np.uint8)
    shown = np.array(screen(half_blocks(picture, "256")))
    assert np.abs(shown.astype(int) - picture).max() <= 48


def block(count, size=7, rows=1):
    values = torch.zeros(count, size, size)
    values[:, size // 2, size // 2] = 1
    return Block(
        "a layer", scale_of([values]), [Row(f"row {n}" if rows > 1 else "", values) for n in range(rows)]
    )


@pytest.mark.parametrize("width", [20, 80, 133])
@pytest.mark.parametrize(("count", "size"), [(1, 7), (3, 30), (64, 56), (2048, 7), (2048, 1)])
def test_lines_fit_the_terminal_and_say_what_is_left_out(width, count, size):
    text = blocks_text([block(count, size)], width)
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line) for line in text.split("\n")]
    tiles = [line for line in lines if set(line) == {"▀"}]
    assert tiles
    assert max(map(len, tiles)) <= width
    left_out = re.search(r"the first (\d+) of ([\d,]+) here, all with --output", text)
    if left_out:
        assert int(left_out[1]) < count
        assert left_out[2] == f"{count:,}"
    else:
        assert count <= 3
    assert "dark 0, bright 1" in text


def test_tiles_have_the_colours_of_their_values():
    text = blocks_text([block(2)], 80)
    tiles = [line for line in text.split("\n") if "bright" not in line and "▀" in line]
    shown = screen("\n".join(tiles))
    lit = tuple(int(level) for level in palette(AMOUNTS)[255])
    assert sum(row.count(lit) for row in shown) == 2 * 2 * 2


def test_rows_have_labels_and_the_picture_stands_above():
    picture = np.full((300, 100, 3), (200, 10, 10), np.uint8)
    text = blocks_text([block(2, rows=2)], 80, above=[("the picture", picture), ("seen", picture)])
    assert text.startswith("the picture\n\x1b[38;2;200;10;10;48;2;200;10;10m▀")
    assert "\nrow 0\n" in text
    assert "\nrow 1\n" in text
    assert "seen" not in text
