"""Class activation over the photograph, and beside it as the layer has it, one row a class."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from convscope.errors import printable
from convscope.inspection import ClassActivation, min_max_image
from convscope.report.figures import INK, PAGE_WIDTH, new_figure, picture_axes, plain
from convscope.report.terminal import table

__all__ = ["activation_alt_text", "activation_text", "draw_class_activation"]

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
    if picture is None:
        given = found.images[image]
        picture = min_max_image((given if given.shape[0] in (1, 3) else given[:1]).float())
    grey = picture.ndim == 2 or picture.shape[2] == 1
    planes, large = found.maps[image].float(), found.upsampled()[image].float()
    height, width = picture.shape[:2]
    figure = new_figure(PAGE_WIDTH, 0.6 + (min(_PANEL * height / width, 5) + 0.25) * len(planes))
    figure.suptitle(plain(_heading(found)), fontsize=10, color=INK, x=0.01, ha="left")
    grid = figure.subplots(len(planes), 3, squeeze=False, width_ratios=(1, 1, 1.12))
    for place, (photograph, over, raw) in enumerate(grid):
        limit = float(planes[place].abs().max()) or 1.0
        colours, low = ("viridis", 0.0) if found.relu else ("RdBu_r", -limit)
        name = plain(_short(found.name_of(image, place)))
        picture_axes(photograph, "what the network sees" if not place else "")
        photograph.imshow(picture, cmap="gray" if grey else None)
        photograph.set_ylabel(
            f"{name}\nscore {float(found.scores[image, place]):.4g}", fontsize=10, color=INK
        )
        picture_axes(over, "the map over it" if not place else "")
        over.imshow(picture if grey else picture.mean(axis=2), cmap="gray", vmin=0, vmax=255)
        over.imshow(
            large[place].numpy(), cmap=colours, vmin=low, vmax=limit, alpha=_OPAQUE,
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )  # fmt: skip
        rows, columns = planes.shape[1:]
        picture_axes(raw, f"the map as it is, {rows} x {columns}" if not place else "")
        shown = raw.imshow(
            planes[place].numpy(), cmap=colours, vmin=low, vmax=limit, interpolation="nearest",
            extent=(-0.5, width - 0.5, height - 0.5, -0.5),
        )  # fmt: skip
        bar = figure.colorbar(shown, ax=raw, fraction=0.06, pad=0.03)
        bar.ax.tick_params(labelsize=8, colors=INK, length=2)
        bar.outline.set_linewidth(0.5)  # pyright: ignore[reportCallIssue]
    return figure


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
