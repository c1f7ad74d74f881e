"""A data set as one picture: a row of images for each class."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

from convscope.data import fit_image
from convscope.data.survey import DatasetSurvey
from convscope.errors import printable
from convscope.report.figures import GREY, INK, new_figure, plain

__all__ = ["draw_dataset"]

# Pixels.
_CELL, _GAP, _MARGIN, _HEAD = 64, 4, 16, 48
_LETTER = 11
_CLASSES_AT_MOST = 100
_LETTERS_AT_MOST = 28


def draw_dataset(survey: DatasetSurvey, *, columns: int = 12, seed: int = 0) -> Figure:
    """Draw up to `columns` images of each class, drawn at random, each pixel as a square of whole pixels.

    Images of more than 64 pixels are shown smaller. Of many classes the first 100 are shown.
    """
    images = survey.images
    rows = survey.sample(columns, seed)[:_CLASSES_AT_MOST]
    names = [_label(name) for name in images.classes[: len(rows)]]
    counts = images.class_counts()
    cells = [[_cell(images.picture(index)) for index in row] for row in rows]
    height, width, _ = next(cell.shape for row in cells for cell in row)
    mosaic = np.full((len(rows) * (height + _GAP), columns * (width + _GAP), 3), 255, np.uint8)
    for row, entries in enumerate(cells):
        for column, cell in enumerate(entries):
            top, left = row * (height + _GAP), column * (width + _GAP)
            mosaic[top : top + height, left : left + width] = cell
    beside = 2 * _MARGIN + _LETTER * max(10, *map(len, names))
    total_width, total_height = beside + mosaic.shape[1] + _MARGIN, _HEAD + mosaic.shape[0] + _MARGIN
    dpi = 144
    figure = new_figure(total_width / dpi, total_height / dpi)
    figure.set_layout_engine("none")  # every image has its place in pixels
    figure.figimage(mosaic, beside, _MARGIN, origin="upper")
    some = (
        ""
        if len(rows) == len(images.classes)
        else f", the first {len(rows)} of {len(images.classes)} classes"
    )
    figure.text(
        _MARGIN / total_width,
        1 - _HEAD / 2 / total_height,
        f"{plain(_spelled(images.name))}, {survey.split}: {len(images):,} images{some}",
        fontsize=11,
        color=INK,
        va="center",
    )
    for row, (name, count) in enumerate(zip(names, counts, strict=False)):
        middle = 1 - (_HEAD + row * (height + _GAP) + height / 2) / total_height
        right = (beside - _MARGIN) / total_width
        figure.text(right, middle, plain(name), fontsize=9, color=INK, ha="right", va="bottom")
        figure.text(right, middle, f"{count:,}", fontsize=8, color=GREY, ha="right", va="top")
    return figure


def _cell(picture: np.ndarray) -> np.ndarray:
    """Return a picture in colour, every pixel repeated to fill the cell; a larger one resized."""
    height, width = picture.shape[:2]
    if max(height, width) > 2 * _CELL:
        scale = 2 * _CELL / max(height, width)
        picture = fit_image(picture, (max(1, round(height * scale)), max(1, round(width * scale))))
        height, width = picture.shape[:2]
    times = max(1, round(_CELL / max(height, width)))
    enlarged = picture.repeat(times, 0).repeat(times, 1)
    return (
        enlarged if enlarged.ndim == 3 and enlarged.shape[2] == 3 else np.stack([enlarged.squeeze()] * 3, -1)
    )


def _label(name: str) -> str:
    text = _spelled(name)
    return text if len(text) <= _LETTERS_AT_MOST else text[: _LETTERS_AT_MOST - 3] + "..."


def _spelled(name: str) -> str:
    """Return a name of unknown origin in letters that the font has."""
    font = get_font(findfont(FontProperties()))
    return "".join(letter if font.get_char_index(ord(letter)) else "?" for letter in printable(name))
