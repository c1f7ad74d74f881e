"""The figure that papers and lectures use: a network as volumes to scale, left to right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from convscope.errors import UnknownNameError
from convscope.report.drawing import Drawing, Group, Point, Shape, Text, elided, text_width, write_drawing
from convscope.report.figures import INK
from convscope.report.network.axes import Volume
from convscope.report.network.layout import lay_out
from convscope.report.network.marks import (
    GREY_TEXT,
    SIGN_RADIUS,
    Palette,
    bracket_groups,
    edge_groups,
    finished_page,
    mixed,
    sign_group,
    wrapped,
)
from convscope.report.network.places import Cell, Layout, Measures
from convscope.report.network.story import NetworkStory, Stage, tell_network
from convscope.trace import Trace

__all__ = ["Drawing", "Scale", "draw_network", "write_drawing"]

STYLES = ("volumes", "blocks")
LONGEST_ROW = 620.0
TALLEST, WIDEST, THICKEST = 104.0, 150.0, 84.0  # points: of the largest height, width and number of channels
LONGEST = 116.0  # points: of the longest vector
OBLIQUE = 0.34  # along x and along y, for each point of width
LEAST, THINNEST = 5.0, 2.2  # points: smaller sides are drawn as long as this
PLATES_AT_MOST, PLATE_GAP = 3, 3.5
LABEL, WIDEST_LABEL = 64.0, 98.0  # points: labels break at the first, and are cut at the second
TALLEST_FIGURE = 440.0
SHRINKING = (1.0, 0.8, 0.65, 0.5)


def draw_network(
    trace: Trace,
    *,
    style: Literal["volumes", "blocks"] = "volumes",
    depth: int | None = None,
    name: str | None = None,
) -> Drawing:
    """Draw a network as volumes to scale, or as a graph of blocks.

    Args:
        style: `volumes`: every step's output as a box; height and width are its positions, thickness its channels,
            each to one linear scale that the legend shows. `blocks`: the steps as boxes of text, top to bottom.
        depth: how deep to open the module tree, 1 for the network's own modules; by default as deep as gives at most
            16 stages.
        name: what to call the network in the title, instead of its class.
    Raises:
        UnknownNameError: another style.
        UsageError: depth below 1.
    Example:
        >>> from torch import nn
        >>> from convscope.trace import trace
        >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2))
        >>> drawing = draw_network(trace(net, (1, 3, 32, 32)))
        >>> drawing.title
        'Sequential on 3×32×32: 224 parameters, 194,400 MACs'
    """
    if style not in STYLES:
        raise UnknownNameError("style", style, STYLES, call="draw_network")
    story = tell_network(trace, depth, name=name)
    if style == "blocks":
        from convscope.report.network.blocks import draw_blocks

        return draw_blocks(story)
    return draw_volumes(story)


@dataclass(frozen=True, slots=True)
class Scale:
    """Points for each position along an axis, and for each channel."""

    position: float
    channel: float

    @classmethod
    def of(cls, volumes: Sequence[Volume], shrunk: float = 1.0) -> Scale:
        """Return the largest scale at which everything keeps within its limits, those made smaller by a factor."""
        heights = [_sides(volume)[0] for volume in volumes]
        widths = [_sides(volume)[1] for volume in volumes]
        maps = [volume.channels for volume in volumes if volume.positions]
        vectors = [volume.channels for volume in volumes if not volume.positions]
        return cls(
            shrunk * min(TALLEST / max(heights), WIDEST / max(widths), 12.0),
            shrunk * min(THICKEST / max(maps, default=1), LONGEST / max(vectors, default=1), 12.0),
        )

    def size(self, volume: Volume) -> tuple[float, float, float]:
        """Return thickness, height and width of a volume in points."""
        height, width = _sides(volume)
        return (
            max(volume.channels * self.channel, THINNEST),
            max(height * self.position, LEAST),
            max(width * self.position, LEAST),
        )


def _sides(volume: Volume) -> tuple[int, int]:
    """Return height and width; a signal and a row of tokens stand upright."""
    if not volume.positions:
        return 1, 1
    if len(volume.positions) == 1:
        return volume.positions[0], 1
    return volume.positions[-2], volume.positions[-1]


@dataclass(frozen=True, slots=True)
class _Label:
    """The lines under a stage."""

    lines: tuple[tuple[str, float, str, bool, str], ...]  # text, size, colour, bold, full text

    @classmethod
    def of(cls, stage: Stage, several_outputs: bool) -> _Label:
        repeated = f" ×{stage.count}" if stage.count > 1 else ""
        lines: list[tuple[str, float, str, bool, str]] = []

        def add(text: str, size: float, colour: str, bold: bool, lines_at_most: int = 2) -> None:
            rows = wrapped(text, LABEL, size, bold, lines_at_most, at_most=WIDEST_LABEL)
            lines.extend((row, size, colour, bold, text) for row in rows)

        if not stage.is_operator:
            add(str(stage.volume), 8.5, INK, True, 1)
        if stage.family != "input" and not stage.is_operator:
            add(", ".join((*stage.before, stage.words)) + repeated, 8.5, INK, False)
        for text in (stage.detail, ", ".join(stage.after)):
            if text:
                add(text, 8, GREY_TEXT, False)
        if stage.path and not stage.is_operator:
            short = elided(stage.path, WIDEST_LABEL, 8, keep_end=True)
            lines.append((short, 8, GREY_TEXT, False, stage.name))
        if stage.is_output and several_outputs:
            add("output", 8, INK, True)
        return cls(tuple(lines))

    @property
    def width(self) -> float:
        return max((text_width(text, size, bold) for text, size, _, bold, _ in self.lines), default=0.0)

    @property
    def depth(self) -> float:
        return 10.5 * len(self.lines)

    def texts(self, x: float, y: float) -> list[Text]:
        return [
            Text(x, y + 8 + 10.5 * row, text, size, "middle", colour, bold, full)
            for row, (text, size, colour, bold, full) in enumerate(self.lines)
        ]


def draw_volumes(story: NetworkStory) -> Drawing:
    """Draw a story as volumes."""
    several = sum(stage.is_output for stage in story.stages) > 1
    labels = [_Label.of(stage, several) for stage in story.stages]
    scale, cells, layout = _best_size(story, labels)
    groups: list[Group] = []
    for stage, cell, place, label in zip(story.stages, cells, layout.places, labels, strict=True):
        centre = place.u + cell.label_at
        texts = label.texts(centre, place.label_v)
        if stage.is_operator:
            beside = label.texts(place.u, place.v + SIGN_RADIUS + 1)
            groups.append(sign_group(stage, place.u, place.v, beside))
            continue
        shapes: list[Shape | Text] = [*_plates(stage, scale, place.u, place.v)]
        bottom = max(y for shape in shapes if isinstance(shape, Shape) for _, y in shape.points)
        if place.label_v - bottom > 14:
            leader = ((centre, bottom + 1.5), (centre, place.label_v - 0.5))
            shapes.append(Shape(leader, None, "#b9c2cb", 0.6, closed=False, role="leader"))
        groups.append(Group((*shapes, *texts), stage.title, "stage"))
    groups += edge_groups(story, layout, turned=False) + bracket_groups(layout, turned=False)
    return finished_page(story, groups, lambda width: _scale_key(scale, story, width), ())


def _best_size(story: NetworkStory, labels: Sequence[_Label]) -> tuple[Scale, list[Cell], Layout]:
    """Return the largest volumes that need the fewest rows, and no row much higher than a page is."""
    found: list[tuple[int, bool, float, tuple[Scale, list[Cell], Layout]]] = []
    for shrunk in SHRINKING:
        scale = Scale.of([stage.volume for stage in story.stages if not stage.is_operator], shrunk)
        cells = [_cell(stage, scale, label) for stage, label in zip(story.stages, labels, strict=True)]
        layout = lay_out(story, cells, Measures(LONGEST_ROW))
        high = layout.depth > TALLEST_FIGURE * layout.num_rows
        found.append((layout.num_rows, high, -shrunk, (scale, cells, layout)))
        if layout.num_rows == 1 and not high:
            break
    return min(found, key=lambda entry: entry[:3])[3]


def _cell(stage: Stage, scale: Scale, label: _Label) -> Cell:
    half = label.width / 2
    if stage.is_operator:
        r = SIGN_RADIUS
        wide = max(r, half)
        return Cell(wide, wide, r, r + label.depth, r, r, r)
    thickness, height, width = scale.size(stage.volume)
    front, dx, dy = _front(stage, thickness), width * OBLIQUE, width * OBLIQUE
    total, tall = front + dx, height + dy
    at = -dx / 2
    # The axis runs through the middle of the box; where it meets the outline on the left.
    enter = total / 2 - max(0.0, (dy - tall / 2) / dy * dx if dy > tall / 2 else 0.0)
    return Cell(
        total / 2, total / 2, tall / 2, tall / 2, enter, total / 2 - dx / 2, height / 2, half, at, label.depth
    )


def _front(stage: Stage, thickness: float) -> float:
    plates = min(stage.count, PLATES_AT_MOST)
    return plates * thickness + (plates - 1) * PLATE_GAP


def _plates(stage: Stage, scale: Scale, x: float, y: float) -> list[Shape]:
    """Return the faces of a volume whose middle is at (x, y), for a folded run of up to three."""
    thickness, height, width = scale.size(stage.volume)
    dx = dy = width * OBLIQUE
    left, bottom = x - (_front(stage, thickness) + dx) / 2, y + (height + dy) / 2
    palette = Palette.of(stage)
    shapes: list[Shape] = []
    for plate in range(min(stage.count, PLATES_AT_MOST)):
        start = left + plate * (thickness + PLATE_GAP)
        shapes += box_faces(start, bottom, thickness, height, dx, dy, palette)
    return shapes


def box_faces(
    left: float, bottom: float, thickness: float, height: float, dx: float, dy: float, palette: Palette
) -> list[Shape]:
    """Return front, top and side of a box in oblique projection."""
    right, top = left + thickness, bottom - height
    faces: list[tuple[str, str, tuple[Point, ...]]] = [
        ("top", palette.top, ((left, top), (left + dx, top - dy), (right + dx, top - dy), (right, top))),
        (
            "side",
            palette.side,
            ((right, bottom), (right + dx, bottom - dy), (right + dx, top - dy), (right, top)),
        ),
        ("front", palette.front, ((left, bottom), (right, bottom), (right, top), (left, top))),
    ]
    return [Shape(points, fill, palette.line, 0.6, role=role) for role, fill, points in faces]


# The key ----------------------------------------------------------------------------------------------------


def _scale_key(scale: Scale, story: NetworkStory, width: float) -> Group:
    """Return a box of round sizes with its measures, and what is not to scale."""
    volumes = [stage.volume for stage in story.stages if not stage.is_operator]
    channels = _round(24 / scale.channel, max(v.channels for v in volumes))
    flat = all(len(v.positions) < 2 for v in volumes)
    largest = max(max(_sides(v)) for v in volumes)
    positions = _round(26 / scale.position, largest)
    thickness, height = channels * scale.channel, positions * scale.position
    across = 0.0 if flat else height
    dx = dy = across * OBLIQUE
    palette = Palette("#eef1f4", "#f8fafb", "#dde3e8", "#8b98a5")
    faces: list[Shape | Text] = [*box_faces(0, height + dy, thickness, height, dx, dy, palette)]
    unit = "positions" if flat else "pixels"
    words = f"Scale: this box is {channels} channels thick (left to right)"
    if largest > 1:
        words += f" and {positions} {unit} high" + (
            "" if flat else f" and {positions} pixels wide (obliquely)"
        )
    words += "."
    thin = sorted({v.channels for v in volumes if v.channels * scale.channel < THINNEST})
    small = sorted({s for v in volumes for s in _sides(v) if s * scale.position < LEAST})
    clipped = []
    if thin:
        clipped.append(f"under {-(-THINNEST // scale.channel):.0f} channels")
    if small and largest > 1:
        clipped.append(f"under {-(-LEAST // scale.position):.0f} {unit}")
    if clipped:
        words += f" Drawn larger, to stay visible: {', '.join(clipped)}."
    if any(len(v.positions) > 2 for v in volumes):
        words += " Of more than two axes of positions the last two are drawn; the label has all."
    start = thickness + dx + 10
    lines = wrapped(words, width - start, 8, lines=4)
    top = max((height + dy - 11 * len(lines)) / 2, 0.0)
    for row, line in enumerate(lines):
        faces.append(Text(start, top + 8 + 11 * row, line, 8, colour=mixed(INK, 0.75)))
    return Group(tuple(faces), role="scale")


def _round(wanted: float, largest: int) -> int:
    """Return the power of two next to a number, not above what occurs."""
    value = 1
    while value * 1.5 < wanted and value * 2 <= max(largest, 1):
        value *= 2
    return value
