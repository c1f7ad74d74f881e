"""What both styles of network figures draw alike: colours, round corners, arrows, signs, tags, the page."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from convscope.report.drawing import Drawing, Group, Point, Shape, Text, elided, text_width
from convscope.report.figures import BLUE, GREY, INK, ORANGE, TEAL
from convscope.report.network.places import Layout, Route
from convscope.report.network.story import NetworkStory, Stage

__all__ = [
    "COLOURS",
    "Palette",
    "bracket_groups",
    "edge_groups",
    "finished_page",
    "mixed",
    "rounded_box",
    "sign_group",
    "wrapped",
]

PURPLE, NAVY = "#7d5ba6", "#1f3f66"
# Families, in the legend's order; PURPLE and NAVY stand apart from the house's five also for colour-blind readers.
COLOURS = {
    "input": ("input", "#c9d1d9"),
    "convolution": ("convolution", BLUE),
    "block": ("block of layers", NAVY),
    "pooling": ("pooling", ORANGE),
    "resizing": ("resizing", "#e8a33d"),
    "dense": ("dense", TEAL),
    "attention": ("attention", PURPLE),
    "join": ("join of branches", "#f2d7a6"),
    "normalisation": ("normalisation, activation", "#a9b4bf"),
    "other": ("other", "#9c8f80"),
}
SIGNS = {"add": "+", "multiply": "×", "subtract": "−", "divide": "÷"}
SIGN_RADIUS = 6.5
MARGIN, NARROWEST_PAGE = 14.0, 300.0
EDGE = "#56636f"


@dataclass(frozen=True, slots=True)
class Palette:
    """The shades of one box: what faces us, what faces up, what faces right, and its outline."""

    front: str
    top: str
    side: str
    line: str

    @classmethod
    def of(cls, stage: Stage) -> Palette:
        """Return the shades of a stage's family."""
        colour = COLOURS[stage.family][1]
        return cls(mixed(colour, 0.78), mixed(colour, 0.5), colour, mixed(colour, 0.7, "#000000"))


def mixed(colour: str, share: float, other: str = "#ffffff") -> str:
    """Return a colour mixed with another.

    Example:
        >>> mixed("#000000", 0.5)
        '#808080'
    """
    pairs = zip(bytes.fromhex(colour[1:]), bytes.fromhex(other[1:]), strict=True)
    return "#" + "".join(f"{round(share * a + (1 - share) * b):02x}" for a, b in pairs)


def wrapped(
    text: str, width: float, size: float, bold: bool = False, lines: int = 2, *, at_most: float | None = None
) -> list[str]:
    """Break a text at its spaces into a few lines of a width; what exceeds `at_most` ends in an ellipsis.

    Example:
        >>> wrapped("max pool 3×3 /2", 64, 8.5)
        ['max pool', '3×3 /2']
    """
    rows = [""]
    for word in re.split(r" (?![/↑×])", text):  # `3×3 /2` stays together
        longer = f"{rows[-1]} {word}".strip()
        if rows[-1] and text_width(longer, size, bold) > width and len(rows) < lines:
            rows.append(word)
        else:
            rows[-1] = longer
    return [elided(row, at_most or width, size, bold) for row in rows if row]


def circle(x: float, y: float, radius: float) -> tuple[Point, ...]:
    """Return a circle as a polygon."""
    turns = [2 * math.pi * step / 32 for step in range(32)]
    return tuple((x + radius * math.cos(turn), y + radius * math.sin(turn)) for turn in turns)


def rounded(points: Sequence[Point], radius: float = 4) -> tuple[Point, ...]:
    """Return a line with its corners rounded."""
    made: list[Point] = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        reach = min(radius, math.dist(before, corner) / 2, math.dist(corner, after) / 2)
        if reach < 0.1:
            made.append(corner)
            continue
        start, stop = _towards(corner, before, reach), _towards(corner, after, reach)
        for step in range(5):
            t = step / 4
            made.append(
                (
                    (1 - t) ** 2 * start[0] + 2 * t * (1 - t) * corner[0] + t**2 * stop[0],
                    (1 - t) ** 2 * start[1] + 2 * t * (1 - t) * corner[1] + t**2 * stop[1],
                )
            )
    made.append(points[-1])
    return tuple(made)


def _towards(start: Point, goal: Point, distance: float) -> Point:
    share = distance / math.dist(start, goal)
    return start[0] + share * (goal[0] - start[0]), start[1] + share * (goal[1] - start[1])


def rounded_box(left: float, top: float, right: float, bottom: float, radius: float) -> tuple[Point, ...]:
    """Return a box with round corners as a polygon."""
    middle = ((left + right) / 2, top)
    corners = [middle, (right, top), (right, bottom), (left, bottom), (left, top), middle]
    return rounded(corners, radius)[:-1]


def _arrow(points: Sequence[Point], size: float = 5.5) -> tuple[tuple[Point, ...], Point]:
    """Return the head of an arrow at the end of a line, and where the line stops at it."""
    (x0, y0), (x1, y1) = points[-2], points[-1]
    length = math.hypot(x1 - x0, y1 - y0) or 1.0
    dx, dy = (x1 - x0) / length, (y1 - y0) / length
    back = (x1 - size * dx, y1 - size * dy)
    half = size * 0.42
    return (
        (x1, y1),
        (back[0] - half * dy, back[1] + half * dx),
        (back[0] + half * dy, back[1] - half * dx),
    ), back


def edge_groups(story: NetworkStory, layout: Layout, turned: bool) -> list[Group]:
    """Return the edges as lines with arrows; `turned` when the flow runs down instead of right."""
    groups: list[Group] = []
    for route in layout.routes:
        points = [(v, u) if turned else (u, v) for u, v in route.points]
        items: list[Shape | Text] = []
        # An arc is lighter than the main flow.
        width = 1.0
        if route.arrow:
            head, stop = _arrow(points)
            items.append(Shape(rounded([*points[:-1], stop]), None, EDGE, width, closed=False, role="edge"))
            items.append(Shape(head, EDGE, role="head"))
        else:
            items.append(Shape(rounded(points), None, EDGE, width, closed=False, role="edge"))
        if route.tag:
            items += _tag(route, points, turned)
        groups.append(Group(tuple(items), _edge_title(story, route), "edge"))
    return groups


def bracket_groups(layout: Layout, turned: bool) -> list[Group]:
    """Return the brackets over groups that are gone through several times."""
    groups: list[Group] = []
    for bracket in layout.brackets:
        text = f"×{bracket.times}"
        along = [(bracket.start, bracket.v + 5), (bracket.start, bracket.v), (bracket.stop, bracket.v)]
        along.append((bracket.stop, bracket.v + 5))
        points = [(v, u) if turned else (u, v) for u, v in along]
        line = Shape(rounded(points, 3), None, INK, 1.1, closed=False, role="bracket")
        middle = (bracket.start + bracket.stop) / 2
        place = (bracket.v - 4, middle + 3.5) if turned else (middle, bracket.v - 4)
        word = Text(*place, text, 9.5, "end" if turned else "middle", INK, True)
        groups.append(Group((line, word), f"repeated {bracket.times} times", "bracket"))
    return groups


def _edge_title(story: NetworkStory, route: Route) -> str:
    names = [story.stages[s].name if s >= 0 else "" for s in (route.source, route.target)]
    if route.source < 0:
        return f"{route.tag} → {names[1]}"
    return f"{names[0]} → {names[1] or route.tag}"


def _tag(route: Route, points: Sequence[Point], turned: bool) -> list[Shape | Text]:
    """Return the letters in a ring at the loose end of an edge that goes on in another row."""
    x, y = points[0] if route.source < 0 else points[-1]
    half = text_width(route.tag, 7.5, True) / 2
    x, y = (x - half - 3, y) if turned else (x, y - 6)
    box = rounded_box(x - half - 3, y - 5.5, x + half + 3, y + 5.5, 5)
    return [
        Shape(box, "#ffffff", EDGE, 0.8, role="tag"),
        Text(x, y + 2.8, route.tag, 7.5, "middle", INK, True),
    ]


def sign_group(stage: Stage, x: float, y: float, more: Sequence[Text]) -> Group:
    """Return a join such as an addition: a sign in a ring."""
    palette = Palette.of(stage)
    sign = SIGNS[stage.words]
    arm = SIGN_RADIUS * 0.55
    marks: list[Shape] = []
    if sign in "+−÷":
        marks.append(Shape(((x - arm, y), (x + arm, y)), None, INK, 1.2, closed=False))
    if sign == "+":
        marks.append(Shape(((x, y - arm), (x, y + arm)), None, INK, 1.2, closed=False))
    if sign == "÷":
        marks += [Shape(circle(x, y + side * arm * 0.7, 0.9), INK) for side in (-1, 1)]
    if sign == "×":
        d = arm * 0.75
        marks += [
            Shape(((x - d, y - d), (x + d, y + d)), None, INK, 1.2, closed=False),
            Shape(((x - d, y + d), (x + d, y - d)), None, INK, 1.2, closed=False),
        ]
    ring = Shape(circle(x, y, SIGN_RADIUS), mixed(COLOURS["join"][1], 0.8), palette.line, 0.8, role="sign")
    return Group((ring, *marks, *more), stage.title, "stage")


def finished_page(
    story: NetworkStory,
    groups: Sequence[Group],
    key: Callable[[float], Group] | None,
    notes: Sequence[str],
) -> Drawing:
    """Put title, figure, what `key` makes for a width, and legend under each other, cut to what is drawn."""
    boxes = [item.box for group in groups for item in group.items]
    left, top = min(b[0] for b in boxes), min(b[1] for b in boxes)
    right, bottom = max(b[2] for b in boxes), max(b[3] for b in boxes)
    width = max(right - left, NARROWEST_PAGE)
    lines = wrapped(story.title, width, 10.5, True, lines=3)
    title = [
        Text(0, 9 + 14 * row, line, 10.5, "start", INK, True, story.title) for row, line in enumerate(lines)
    ]
    title.append(Text(0, 8 + 14 * len(lines), story.totals, 8.5, colour=GREY_TEXT))
    y = MARGIN + 14 * len(lines) + 24
    parts = [moved(Group(tuple(title), role="title"), MARGIN, MARGIN)]
    parts += [moved(group, MARGIN - left + (width - (right - left)) / 2, y - top) for group in groups]
    y += bottom - top + 16
    below = [Group(tuple(legend(story, width, notes)), role="legend")]
    if key is not None:
        below.insert(0, key(width))
    for group in below:
        parts.append(moved(group, MARGIN, y))
        y += max(item.box[3] for item in group.items) + 10
    description = "; ".join(stage.title for stage in story.stages)
    return Drawing(
        width + 2 * MARGIN, y - 10 + MARGIN, f"{story.title}: {story.totals}", description, tuple(parts)
    )


def moved(group: Group, x: float, y: float) -> Group:
    """Return a group at another place."""
    items = [
        replace(item, points=tuple((px + x, py + y) for px, py in item.points))
        if isinstance(item, Shape)
        else replace(item, x=item.x + x, y=item.y + y)
        for item in group.items
    ]
    return replace(group, items=tuple(items))


def legend(story: NetworkStory, width: float, extra: Sequence[str]) -> list[Shape | Text]:
    """Return the key of the colours and of the short forms, from y = 0 down."""
    items: list[Shape | Text] = []
    used = [family for family in COLOURS if any(s.family == family for s in story.stages)]
    x, y = 0.0, 0.0
    done: set[str] = set()
    for family in used:
        word, colour = COLOURS[family]
        if family == "dense" and any(stage.words == "matrix product" for stage in story.stages):
            word = "dense, matrix product"
        if word in done:
            continue
        done.add(word)
        room = 13 + text_width(word, 8.5)
        if x and x + room > width:
            x, y = 0.0, y + 14
        items.append(
            Shape(
                ((x, y + 1), (x + 9, y + 1), (x + 9, y + 10), (x, y + 10)),
                mixed(colour, 0.78),
                mixed(colour, 0.7, "#000000"),
                0.7,
                role="swatch",
            )
        )
        items.append(Text(x + 13, y + 8.7, word, 8.5))
        x += room + 14
    y += 16
    for note in [*_short_forms(story), *extra]:
        for line in wrapped(note, width, 8, lines=6):
            items.append(Text(0, y + 7.5, line, 8, colour=mixed(INK, 0.75)))
            y += 11
    return items


def _short_forms(story: NetworkStory) -> list[str]:
    """Explain the abbreviations that occur."""
    words = [w for s in story.stages for w in (s.words, s.detail, *s.before, *s.after)]
    told: list[str] = []
    for pattern, meaning in ((r" /(\d+)", "/{0}: stride {0}"), (r"↑(\d+)", "↑{0}: {0} times as large")):
        found = next((match for word in words if (match := re.search(pattern, word))), None)
        if found:
            told.append(meaning.format(found[1]))
    if any("dil." in word for word in words):
        told.append("dil.: dilation")
    told += [
        f"{short}: {name}"
        for short, name in (
            ("BN", "batch norm"),
            ("LN", "layer norm"),
            ("GN", "group norm"),
            ("IN", "instance norm"),
        )
        if short in words
    ]
    counts = [s.count for s in story.stages if s.count > 1] + [repeat.times for repeat in story.repeats]
    if counts:
        told.append(f"×{counts[0]}: {counts[0]} times in a row")
    return ["; ".join(told)] if told else []


GREY_TEXT = mixed(GREY, 0.55, INK)
