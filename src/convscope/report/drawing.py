"""A drawing as a list of polygons, lines and texts, which SVG and PNG are both made from, so that they agree."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Literal

from matplotlib.artist import Artist

from convscope.errors import UsageError
from convscope.files import write_bytes
from convscope.report.figures import INK
from convscope.report.letters import elided, text_width

__all__ = [
    "Drawing",
    "Group",
    "Point",
    "Shape",
    "Text",
    "drawing_path",
    "elided",
    "text_width",
    "write_drawing",
]

Point = tuple[float, float]
FONT = "DejaVu Sans"  # the one that matplotlib brings; Verdana has its widths
_LONGEST_PIXELS = 20_000  # of a PNG's side; matplotlib stops at 65,536
ASCENT, DESCENT = 0.76, 0.24  # of the letters that we write, in font sizes


@dataclass(frozen=True, slots=True)
class Shape:
    """A polygon, or with `closed` off a line. Lengths are points, y runs down. `role` becomes its class in SVG."""

    points: tuple[Point, ...]
    fill: str | None = None
    stroke: str | None = None
    width: float = 0.7
    closed: bool = True
    dashed: bool = False
    role: str = ""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom."""
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        return min(xs), min(ys), max(xs), max(ys)


@dataclass(frozen=True, slots=True)
class Text:
    """One line of text at its baseline; `full` is what it says where `text` is cut short."""

    x: float
    y: float
    text: str
    size: float = 9
    anchor: Literal["start", "middle", "end"] = "start"
    colour: str = INK
    bold: bool = False
    full: str = ""

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom, as the font has them."""
        width = text_width(self.text, self.size, self.bold)
        left = self.x - {"start": 0.0, "middle": 0.5, "end": 1.0}[self.anchor] * width
        return left, self.y - ASCENT * self.size, left + width, self.y + DESCENT * self.size


@dataclass(frozen=True, slots=True)
class Group:
    """What belongs together; `title` is shown when a pointer rests on it."""

    items: tuple[Shape | Text, ...]
    title: str = ""
    role: str = ""


@dataclass(frozen=True)
class Drawing:
    """A finished picture, `width` by `height` points.

    Example:
        >>> square = Shape(((1, 1), (9, 1), (9, 9), (1, 9)), fill="#2f6fb0")
        >>> drawing = Drawing(10, 10, "a square", "", (Group((square,)),))
        >>> drawing.svg()[:14], drawing.png()[1:4]
        ('<svg xmlns="ht', b'PNG')
    """

    width: float
    height: float
    title: str
    description: str
    groups: tuple[Group, ...]

    def svg(self) -> str:
        """Return the picture as an SVG document that needs nothing else: no script, no font, no style sheet."""
        from convscope.report.svg import svg_of

        return svg_of(self)

    def png(self, *, pixels_per_point: float = 2.0) -> bytes:
        """Return the picture as the bytes of a PNG file; one that would be too large for a file gets fewer pixels."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        scale = min(pixels_per_point, _LONGEST_PIXELS / max(self.width, self.height))
        figure = Figure(figsize=(self.width / 72, self.height / 72), dpi=72 * scale, facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_xlim(0, self.width)
        axes.set_ylim(self.height, 0)
        axes.set_axis_off()
        for order, item in enumerate(item for group in self.groups for item in group.items):
            axes.add_artist(_artist(item, order))
        buffer = BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a name in letters that the font lacks
            figure.savefig(buffer, format="png", metadata={"Software": "convscope", "Title": self.title})
        return buffer.getvalue()

    def _repr_svg_(self) -> str:
        return self.svg()


def _artist(item: Shape | Text, order: int) -> Artist:
    from matplotlib import patches, text

    if isinstance(item, Text):
        return text.Text(
            item.x,
            item.y,
            item.text,
            fontsize=item.size,
            fontfamily=FONT,
            fontweight="bold" if item.bold else "normal",
            color=item.colour,
            ha={"start": "left", "middle": "center", "end": "right"}[item.anchor],
            va="baseline",
            parse_math=False,
            zorder=order,
        )
    return patches.Polygon(
        item.points,
        closed=item.closed,
        fill=item.fill is not None,
        facecolor=item.fill or "none",
        edgecolor=item.stroke or "none",
        linewidth=item.width if item.stroke else 0,
        linestyle=(0, (3 / item.width, 2 / item.width)) if item.dashed else "solid",
        joinstyle="round",
        capstyle="butt",
        zorder=order,
    )


def write_drawing(drawing: Drawing, path: str | os.PathLike[str]) -> Path:
    """Write a drawing as .svg or .png, whole or not at all.

    Raises:
        UsageError: another ending.
        OutputError: the file cannot be written.
    Example:
        >>> import tempfile
        >>> folder = tempfile.mkdtemp()
        >>> write_drawing(Drawing(10, 10, "nothing", "", ()), f"{folder}/empty.svg").name
        'empty.svg'
    """
    path = drawing_path(path)
    write_bytes(path, drawing.svg().encode() if path.suffix.lower() == ".svg" else drawing.png())
    return path


def drawing_path(path: str | os.PathLike[str]) -> Path:
    """Return the path if a drawing can be written there.

    Raises:
        UsageError: it ends in neither .svg nor .png.
    """
    path = Path(path)
    if path.suffix.lower() not in (".svg", ".png"):
        raise UsageError(
            f"{str(path)!r} ends in neither .svg nor .png; end it with one of them.", call="write_drawing"
        )
    return path
