"""Class activation over the photograph, and beside it as the layer has it, one row a class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from torch import Tensor

from convscope.errors import printable
from convscope.inspection import Attribution, ClassActivation, min_max_image, scale_of
from convscope.report.colours import AMOUNTS, GREYS, INK, SIGNED, map_of
from convscope.report.columns import table
from convscope.report.figures import PAGE_WIDTH, new_figure, picture_axes, plain

__all__ = [
    "activation_alt_text",
    "activation_text",
    "activations_text",
    "attributions_text",
    "draw_attributions",
    "draw_class_activation",
    "draw_class_activations",
]

_PANEL = 3.1  # inches that a picture is wide
_OPAQUE = 0.55  # how much of the map covers the photograph


def draw_class_activation(
    found: ClassActivation, picture: np.ndarray | None = None, image: int = 0
) -> Figure:
    """Draw the photograph, the map over it, and the map itself with its scale; one row a class.

    Maps of only what speaks for a class are drawn from violet, nothing, to yellow; signed ones from blue, against,
    over white to red, for.

    Args:
        picture: what to lay the maps over, as the network saw it, (H, W), (H, W, 1) or (H, W, 3) uint8; by default the
            network's own input, its smallest value black and its largest white.
        image: number of the image in the batch.
    """
    given = found.images[image]
    planes, large = found.maps[image].float(), found.upsampled()[image].float()
    rows, columns = planes.shape[1:]
    drawn: list[_Row] = []
    for place, plane in enumerate(planes):
        limit = float(plane.abs().max()) or 1.0
        colours, low = (AMOUNTS, 0.0) if found.relu else (SIGNED, -limit)
        label = f"{_short(found.name_of(image, place))}\nscore {float(found.scores[image, place]):.4g}"
        drawn.append(_Row(label, plane, large[place], colours, low, limit))
    shown = _seen(given) if picture is None else picture
    return _draw_rows(_heading(found), f"the map as it is, {rows} x {columns}", drawn, shown)


def draw_attributions(
    found: Sequence[Attribution], names: Sequence[str], images: Tensor, picture: np.ndarray | None = None
) -> Figure:
    """Draw the photograph, the map over it and the map itself for what pixels have to do with some classes.

    Shapes:
        images (1, C, H, W), what the network was given
    Args:
        found: by one method, an entry a class, of one image.
        names: of the classes.
        picture: as in `draw_class_activation`.
    """
    drawn: list[_Row] = []
    for entry, name in zip(found, names, strict=True):
        plane = entry.planes[0].float()
        scale = scale_of([plane])
        label = f"{_short(name)}\nscore {entry.scores[0]:.4g}"
        drawn.append(_Row(label, plane, plane, map_of(scale), scale.low, scale.high))
    shown = _seen(images[0]) if picture is None else picture
    return _draw_rows(found[0].method, "the map", drawn, shown)


@dataclass(frozen=True, slots=True)
class _Row:
    """A class's map as it is and at the photograph's size, and the colours between two values."""

    label: str
    plane: Tensor
    large: Tensor
    colours: str
    low: float
    high: float


def _seen(image: Tensor) -> np.ndarray:
    """Return a network's input (C, H, W) as a picture, its smallest value black and its largest white."""
    return min_max_image((image if image.shape[0] in (1, 3) else image[:1]).float())


def _draw_rows(heading: str, title: str, rows: Sequence[_Row], picture: np.ndarray) -> Figure:
    height, width = picture.shape[:2]
    grey = picture.ndim == 2 or picture.shape[2] == 1
    figure = new_figure(PAGE_WIDTH, 0.6 + (min(_PANEL * height / width, 5) + 0.25) * len(rows))
    figure.suptitle(plain(heading), fontsize=10, color=INK, x=0.01, ha="left")
    grid = figure.subplots(len(rows), 3, squeeze=False, width_ratios=(1, 1, 1.12))
    for place, ((photograph, over, raw), row) in enumerate(zip(grid, rows, strict=True)):
        picture_axes(photograph, "what the network sees" if not place else "")
        photograph.imshow(picture, cmap=GREYS if grey else None)
        photograph.set_ylabel(plain(row.label), fontsize=10, color=INK)
        picture_axes(over, "the map over it" if not place else "")
        _overlay(over, picture, row.large, row.colours, row.low, row.high)
        picture_axes(raw, title if not place else "")
        shown = raw.imshow(
            row.plane.numpy(), cmap=row.colours, vmin=row.low, vmax=row.high, interpolation="nearest",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )  # fmt: skip
        bar = figure.colorbar(shown, ax=raw, fraction=0.06, pad=0.03)
        bar.ax.tick_params(labelsize=8, colors=INK, length=2)
        bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
    return figure


def draw_class_activations(
    found: ClassActivation, pictures: Sequence[np.ndarray], names: Sequence[str]
) -> Figure:
    """Draw a row for each of several images: the photograph, and the map of each class over it; one scale a class.

    Args:
        pictures: as the network saw them, (H, W) or (H, W, 3) uint8.
        names: one an image.
    """
    count, classes = found.maps.shape[:2]
    large = found.upsampled().float()
    figure = new_figure(2.2 * (classes + 1), 0.6 + 1.9 * count)
    figure.suptitle(plain(_heading(found)), fontsize=9, color=INK, x=0.01, ha="left")
    grid = figure.subplots(count, classes + 1, squeeze=False)
    for image, (picture, name, row) in enumerate(zip(pictures, names, grid, strict=True)):
        picture_axes(row[0]).imshow(picture, cmap=GREYS if picture.ndim == 2 else None)
        row[0].set_ylabel(plain(name), fontsize=9, color=INK)
        for place, axes in enumerate(row[1:]):
            limit = float(found.maps[:, place].abs().max()) or 1.0
            colours, low = (AMOUNTS, 0.0) if found.relu else (SIGNED, -limit)
            title = f"{_short(found.name_of(image, place))}: {float(found.scores[image, place]):.3g}"
            picture_axes(axes, plain(title), size=9)
            shown = _overlay(axes, picture, large[image, place], colours, low, limit)
            if image == count - 1:
                bar = figure.colorbar(
                    shown, ax=list(grid[:, place + 1]), location="bottom", fraction=0.04, pad=0.02
                )
                bar.ax.tick_params(labelsize=8, colors=INK, length=2)
    return figure


def _overlay(
    axes: Axes, picture: np.ndarray, plane: Tensor, colours: str, low: float, limit: float
) -> AxesImage:
    """Lay a map over a photograph without its colours."""
    height, width = picture.shape[:2]
    grey = picture if picture.ndim == 2 or picture.shape[2] == 1 else picture.mean(axis=2)
    axes.imshow(grey, cmap=GREYS, vmin=0, vmax=255)
    return axes.imshow(
        plane.numpy(), cmap=colours, vmin=low, vmax=limit, alpha=_OPAQUE,
        extent=(-0.5, width - 0.5, height - 0.5, -0.5),
    )  # fmt: skip


def activations_text(found: ClassActivation, names: Sequence[str]) -> str:
    """Return layer and method, then a row an image: the score of each class and where its map is largest."""
    classes = [found.name_of(0, place) for place in range(found.maps.shape[1])]
    rows = []
    for image, name in enumerate(names):
        cells = []
        for place in range(len(classes)):
            peak = found.peak(image, place)
            where = "nowhere" if peak is None else f"row {peak[0]}, column {peak[1]}"
            cells += [f"{float(found.scores[image, place]):.4g}", where]
        rows.append((name, *cells))
    head = ["image", *(text for name in classes for text in (f"score of {printable(name)}", "largest at"))]
    return "\n".join((printable(_heading(found)), table(head, rows)))


def activation_text(found: ClassActivation, image: int = 0) -> str:
    """Return layer and method, then a table of the classes: score, range of the map, where it is largest."""
    rows = []
    for place, plane in enumerate(found.maps[image]):
        peak = found.peak(image, place)
        rows.append(
            (
                printable(found.name_of(image, place)),
                f"{float(found.scores[image, place]):.4g}",
                f"{float(plane.min()):.3g} to {float(plane.max()):.3g}",
                "0 throughout" if peak is None else f"row {peak[0]}, column {peak[1]}",
            )
        )
    return "\n".join((printable(_heading(found)), table(("class", "score", "map", "largest at pixel"), rows)))


def attributions_text(found: Sequence[Attribution], names: Sequence[str]) -> str:
    """Return a row a class: score, range of the map."""
    rows = [
        (printable(name), f"{entry.scores[0]:.4g}", f"{float(plane.min()):.3g} to {float(plane.max()):.3g}")
        for entry, name in zip(found, names, strict=True)
        for plane in entry.planes[:1]
    ]
    return "\n".join((found[0].method, table(("class", "score", "map"), rows)))


def activation_alt_text(found: ClassActivation, image: int = 0) -> str:
    """Return what the picture shows, for those who cannot see it."""
    parts = []
    for place in range(found.maps.shape[1]):
        peak = found.peak(image, place)
        where = "nowhere" if peak is None else f"most around row {peak[0]}, column {peak[1]}"
        parts.append(f"{found.name_of(image, place)}: {where}")
    height, width = found.images.shape[2:]
    return f"class activation by {found.method} on an image of {height} x {width} pixels; " + "; ".join(parts)


def _heading(found: ClassActivation) -> str:
    chosen = "" if found.how == "named" else f": {found.how}"
    return f"{found.method} of {found.layer}{chosen}"


def _short(text: str) -> str:
    text = printable(text)
    return text if len(text) <= 28 else text[:25] + "..."
