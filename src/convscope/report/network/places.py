"""What a layout of a network is given and what it gives: rooms of stages, their places, routes of edges.

The flow runs along u, and lanes lie side by side along v; a painter takes u for x or for y.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from convscope.report.drawing import Point

__all__ = ["Bracket", "Cell", "Layout", "Measures", "Place", "Route"]


@dataclass(frozen=True, slots=True)
class Cell:
    """The room that a stage needs around its point.

    Attributes:
        before, after: along the flow.
        above, below: across it, towards the arcs and away from them.
        enter, leave: how far before and after its point its edges touch it.
        top: how far above its point arcs touch it.
        label: half the length of its label along the flow, `label_at` the place of the label's middle.
        label_depth: room of the label across the flow, below everything of its lane.
        shift: across the flow, for drawings that show a stage's depth so.
    """

    before: float
    after: float
    above: float
    below: float
    enter: float
    leave: float
    top: float
    label: float = 0.0
    label_at: float = 0.0
    label_depth: float = 0.0
    shift: float = 0.0


@dataclass(frozen=True, slots=True)
class Measures:
    """Lengths in points: gaps between columns, lanes and rows, how long a row may be, room for a bracket's text."""

    longest_row: float
    gap: float = 20
    lane_gap: float = 14
    row_gap: float = 26
    arc_gap: float = 9
    bend: float = 7
    bracket: float = 13


@dataclass(slots=True)
class Place:
    """Where one stage stands, and where its label begins; `row` and `level` are for tests and painters."""

    u: float = 0.0
    v: float = 0.0
    row: int = 0
    lane: int = 0
    column: int = 0
    level: int = 0
    label_v: float = 0.0


@dataclass(frozen=True, slots=True)
class Route:
    """An edge as a line with corners; one that leaves its row ends in a tag, and begins again at the tag's twin."""

    source: int
    target: int
    points: tuple[Point, ...]
    arrow: bool = True
    tag: str = ""


@dataclass(frozen=True, slots=True)
class Bracket:
    """The span along the flow of stages that are gone through several times; it stands on the side of the arcs."""

    start: float
    stop: float
    v: float
    times: int


@dataclass(slots=True)
class Layout:
    """All places and routes, and how far the whole reaches across the flow."""

    places: list[Place]
    routes: list[Route] = field(default_factory=list)
    depth: float = 0.0
    brackets: list[Bracket] = field(default_factory=list)
    num_rows: int = 1
