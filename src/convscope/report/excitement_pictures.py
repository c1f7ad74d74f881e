"""What excites the filters of a layer, as a picture: a row a filter, with its weights, its patches, the made input."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from PIL import Image
from torch import Tensor

from convscope.errors import UsageError, printable
from convscope.inspection import (
    ExcitedFilter,
    ExcitingInput,
    ExcitingPatch,
    ExcitingPatches,
    picture_of,
    scale_of,
)
from convscope.report.colours import painted
from convscope.report.drawing import elided
from convscope.report.figures import GREY, INK, ORANGE, new_figure, plain

__all__ = ["draw_excitement", "draw_made_input"]

_ROWS_AT_MOST = 64
# Pixels, at 144 to the inch.
_GAP, _MARGIN, _LABEL, _HEAD, _LINE = 6, 20, 156, 92, 20
_DPI = 144
_FRAME = np.array((190, 198, 206), np.uint8)  # so that white pictures have an end
_OUTSIDE = np.array((214, 220, 226), np.uint8)  # what of a field lies outside the image


def draw_excitement(
    found: ExcitingPatches, weights: Tensor | None = None, made: Sequence[ExcitingInput] = ()
) -> Figure:
    """Draw a row for each filter: its weights, the patches that excite it most, the input made for it.

    Patches of a filter are drawn to one scale; grey is what of a receptive field lies outside the image, unless that is
    more than the image itself. Of more than 64 filters the first are drawn.

    Shapes:
        weights (C_out, C_in, K_h, K_w), of all filters of the layer; left out where C_in is neither 1 nor 3
    Raises:
        UsageError: there is no filter.
    """
    rows = found.filters[:_ROWS_AT_MOST]
    if not rows:
        raise UsageError("there is no filter to draw.", call="draw_excitement")
    # The matrix of a fully connected layer is one picture for all filters.
    if weights is not None and (len(weights) != found.num_channels or weights.shape[1] not in (1, 3)):
        weights = None
    cell = 160 if len(rows) <= 3 else 120 if len(rows) <= 10 else 88
    inputs = {entry.channel: entry for entry in made}
    columns = max(len(entry.patches) for entry in rows)
    first = _LABEL + (cell + 3 * _GAP if weights is not None else 0)  # pixels left of the patches
    after = first + columns * (cell + _GAP)
    step = cell + _LINE + _GAP
    block = after + (cell + 3 * _GAP if inputs else 0) + _MARGIN
    blocks = (
        1 if len(rows) <= 16 else 2 if len(rows) <= 36 else 3
    )  # side by side, so that a screen holds them
    lines = -(-len(rows) // blocks)
    width, height = blocks * block, _HEAD + lines * step + _MARGIN
    sheet = np.full((height, width, 3), 255, np.uint8)
    figure = new_figure(width / _DPI, height / _DPI)
    figure.set_layout_engine("none")  # every picture has its place in pixels
    words = _Words(figure, width, height)
    words.heading(found, len(rows))
    kind = "images" if all(patch.seen.whole for entry in rows for patch in entry.patches) else "patches"
    for start in range(0, width, block):
        if weights is not None:
            words.put("weights", start + _LABEL, _HEAD - 9, 8, GREY)
        words.put(f"{kind}, the strongest first", start + first, _HEAD - 9, 8, GREY)
        if inputs:
            words.put("made, its score", start + after + 3 * _GAP, _HEAD - 9, 8, GREY)
    for number, entry in enumerate(rows):
        start, top = number // lines * block, _HEAD + number % lines * step
        words.put(f"filter {entry.channel}", start + _MARGIN, top + 18, 9.5, INK, bold=True)
        if weights is not None:
            _paste(sheet, _fitted(_weights_picture(weights[entry.channel]), cell), top, start + _LABEL, cell)
        if entry.silent:
            words.put(f"{entry.least:.4g} everywhere", start + _MARGIN, top + 38, 7.5, ORANGE)
        else:
            words.put(f"least {entry.least:.3g}", start + _MARGIN, top + 38, 7.5, GREY)
            for place, (patch, picture) in enumerate(zip(entry.patches, _patches(entry, cell), strict=True)):
                left = start + first + place * (cell + _GAP)
                _paste(sheet, picture, top, left, cell)
                words.below(_caption(patch, cell), left, top + cell, cell)
        if entry.channel in inputs:
            left = start + after + 3 * _GAP
            _paste(sheet, _fitted(inputs[entry.channel].picture, cell), top, left, cell)
            words.below(f"{inputs[entry.channel].score:.3g}", left, top + cell, cell)
    figure.figimage(sheet, 0, 0, origin="upper", zorder=-1)
    return figure


def draw_made_input(made: ExcitingInput) -> Figure:
    """Draw an input made to excite a unit beside its score, step by step."""
    figure = new_figure(7.2, 3.2)
    left, right = figure.subplots(1, 2)
    left.set_axis_off()
    left.imshow(made.picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
    right.plot(made.scores, color=ORANGE, lw=1.5)
    right.set_xlabel("step", fontsize=9, color=INK)
    right.set_title(plain(f"{made.layer}, channel {made.channel}: score"), fontsize=9, color=INK)
    right.grid(alpha=0.3)
    right.spines[["top", "right"]].set_visible(False)
    return figure


class _Words:
    """Texts at places in pixels from the upper left corner."""

    def __init__(self, figure: Figure, width: int, height: int) -> None:
        self.figure, self.width, self.height = figure, width, height

    def put(
        self,
        text: str,
        x: float,
        y: float,
        size: float,
        color: str,
        *,
        bold: bool = False,
        align: str = "left",
    ) -> None:
        self.figure.text(
            x / self.width, 1 - y / self.height, plain(text), fontsize=size, color=color, ha=align, va="baseline",
            fontweight="bold" if bold else "normal",
        )  # fmt: skip

    def below(self, text: str, left: int, bottom: int, cell: int) -> None:
        self.put(elided(text, 0.47 * cell, 7), left, bottom + 14, 7, INK)

    def heading(self, found: ExcitingPatches, shown: int) -> None:
        some = "" if shown == len(found.filters) else f", the first {shown} of {len(found.filters)}"
        where = f" of {printable(found.set_name)}" if found.set_name else ""
        self.put(
            f"{found.layer} ({found.kind}): what excites its filters{some}", _MARGIN, 28, 11, INK, bold=True
        )
        sees = str(found.receptive_field).removeprefix(f"{found.layer}: ")
        room = (self.width - 2 * _MARGIN) / 2  # points
        text = f"{found.num_images:,} images{where}; a value sees {sees}"
        self.put(elided(text, room, 8), _MARGIN, 50, 8, GREY)


def _caption(patch: ExcitingPatch, cell: int) -> str:
    return f"{patch.value:.3g}" + (f" {printable(patch.label)}" if patch.label and cell > 100 else "")


def _patches(entry: ExcitedFilter, cell: int) -> list[np.ndarray]:
    """Return a filter's patches to one scale, the largest as large as the cell."""
    pictures = [_with_padding(patch) for patch in entry.patches]
    longest = max(max(picture.shape[:2]) for picture in pictures)
    return [_fitted(picture, cell, longest) for picture in pictures]


def _with_padding(patch: ExcitingPatch) -> np.ndarray:
    """Return the seen pixels, and around them in grey what the field has outside the image."""
    picture = _coloured(picture_of(patch.pixels))
    axes = patch.seen.axes
    if len(axes) != 2 or any(axis.before + axis.after > axis.size for axis in axes):
        return picture
    rows, columns = axes
    sides = (rows.before + rows.size + rows.after, columns.before + columns.size + columns.after)
    sheet = np.full((*sides, 3), _OUTSIDE, np.uint8)
    sheet[rows.before : rows.before + rows.size, columns.before : columns.before + columns.size] = picture
    return sheet


def _weights_picture(values: Tensor) -> np.ndarray:
    """Return three channels as colours about grey, one on the scale from blue over white to red."""
    if len(values) == 3:
        return picture_of(values)
    return painted(values[0], scale_of([values]))


def _coloured(picture: np.ndarray) -> np.ndarray:
    return picture if picture.ndim == 3 else np.repeat(picture[..., None], 3, 2)


def _fitted(picture: np.ndarray, cell: int, longest: int | None = None) -> np.ndarray:
    """Return a picture so enlarged that `longest` pixels, by default its own longer side, fill the cell."""
    picture = _coloured(picture)
    scale = cell / (longest or max(picture.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    kind = Image.Resampling.NEAREST if scale >= 2 else Image.Resampling.BICUBIC
    return np.array(Image.fromarray(picture).resize((width, height), kind))


def _paste(sheet: np.ndarray, picture: np.ndarray, top: int, left: int, cell: int) -> None:
    """Put a picture into the middle of its cell."""
    height, width = picture.shape[:2]
    top, left = top + (cell - height) // 2, left + (cell - width) // 2
    sheet[top - 1 : top + height + 1, left - 1 : left + width + 1] = _FRAME
    sheet[top : top + height, left : left + width] = picture
