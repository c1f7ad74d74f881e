"""Where the stages of a network stand on paper: columns along the flow, lanes for branches, rows when it is long.

The longest path is the main lane. Edges inside it that pass stages over become arcs on the side of smaller v; branches
have lanes of their own on the other side, so that no edge runs through a stage or a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from convscope.report.drawing import Point
from convscope.report.network.flow import Flow
from convscope.report.network.places import Bracket, Cell, Layout, Measures, Place, Route
from convscope.report.network.rows import Row, break_into_rows
from convscope.report.network.story import NetworkStory, Repeat

__all__ = ["lay_out"]

ROW_START = -10.0  # where the line from the row before comes down
PORT = 4.0  # from the middle of a stage, where arcs both begin and end there
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Edge = tuple[int, int]


def lay_out(story: NetworkStory, cells: Sequence[Cell], measures: Measures) -> Layout:
    """Place every stage and every edge.

    Example:
        >>> from torch import nn
        >>> from convscope.report.network.story import tell_network
        >>> from convscope.trace import trace
        >>> story = tell_network(trace(nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2)), (1, 1, 8, 8)))
        >>> layout = lay_out(story, [Cell(5, 5, 5, 5, 5, 5, 5)] * 3, Measures(100, gap=20))
        >>> [place.u for place in layout.places], layout.routes[0].points
        ([5.0, 35.0, 65.0], ((10.0, 5.0), (30.0, 5.0)))
    """
    sheet = _Sheet(Flow.of(story), cells, measures)
    v = 0.0
    for number in range(len(sheet.rows)):
        v = sheet.fill_row(number, v) + measures.row_gap
    sheet.route()
    return sheet.layout


class _Sheet:
    """One layout in the making."""

    def __init__(self, flow: Flow, cells: Sequence[Cell], measures: Measures) -> None:
        self.flow, self.cells, self.measures = flow, cells, measures
        self.rows = break_into_rows(flow, cells, measures)
        self.layout = Layout([], num_rows=len(self.rows))
        row_of = {column: number for number, row in enumerate(self.rows) for column in row.columns}
        for stage in range(len(cells)):
            number = row_of[flow.column[stage]]
            row = self.rows[number]
            self.layout.places.append(
                Place(
                    row.u[flow.column[stage]],
                    row=number,
                    lane=flow.lane[stage],
                    level=row.levels.get(stage, 0),
                )
            )
        self.heights = {edge: height for row in self.rows for edge, height in self._arc_heights(row).items()}

    # Edges that leave their row -----------------------------------------------------------------------------

    @cached_property
    def wrapped(self) -> set[Edge]:
        """Return the edges from the last stage of a row's main lane into the next row: they share one line."""
        places, flow = self.layout.places, self.flow
        return {
            (a, b)
            for a, b in flow.edges
            if flow.lane[a] == 0
            and flow.column[a] == self.rows[places[a].row].columns[-1]
            and places[b].row == places[a].row + 1
            and flow.ways[a, b] != "arc and turn"
        }

    @cached_property
    def tagged(self) -> list[Edge]:
        """Return the other edges into another row: they end in a tag and begin again at its twin."""
        places = self.layout.places
        return [
            (a, b)
            for a, b in self.flow.edges
            if places[a].row != places[b].row and (a, b) not in self.wrapped
        ]

    @cached_property
    def tags(self) -> dict[int, str]:
        """Return the letters of each stage whose edges leave its row."""
        sources = dict.fromkeys(a for a, _ in self.tagged)
        return {source: LETTERS[n % 26] * (1 + n // 26) for n, source in enumerate(sources)}

    # Across the flow ----------------------------------------------------------------------------------------

    def fill_row(self, number: int, v: float) -> float:
        """Give the stages of one row their place across the flow, from v on; return where the row ends."""
        row, cells, places = self.rows[number], self.cells, self.layout.places
        stages = [s for column in row.columns for s in self.flow.stages_in(column)]
        ends = {stage for edge in self.tagged for stage in edge}
        arcs = [(edge, height) for edge, height in self.heights.items() if self._in_row(edge, row)]
        for lane in sorted({self.flow.lane[s] for s in stages}):
            here = [s for s in stages if self.flow.lane[s] == lane]
            above = max(cells[s].above for s in here)
            above = max([above, *(height + 3 for edge, height in arcs if self.flow.lane[edge[0]] == lane)])
            if ends.intersection(here):
                above += 20
            brackets = self._bracket_heights(row) if lane == 0 else {}
            above = max([above, *(height + self.measures.bracket for height in brackets.values())])
            axis = v + above
            for repeat, height in brackets.items():
                self.layout.brackets.append(self._bracket(repeat, row, axis - height))
            bottom = axis + max(cells[s].below for s in here)
            depths = [
                max((cells[s].label_depth for s in here if row.levels.get(s, 0) == level), default=0.0)
                for level in (0, 1)
            ]
            for stage in here:
                place = places[stage]
                place.v = axis + cells[stage].shift
                place.label_v = bottom + (4 + (depths[0] + 3 if place.level else 0) if any(depths) else 0)
            labels = sum(depth + 3 for depth in depths if depth) + (4 if any(depths) else 0)
            v = bottom + labels + self.measures.lane_gap
        self.layout.depth = v - self.measures.lane_gap
        return self.layout.depth

    def _bracket_heights(self, row: Row) -> dict[Repeat, float]:
        """Return how high above the axis each bracket of a row stands: above stages, arcs and tags."""
        column, heights = self.flow.column, {}
        tagged = {stage for edge in self.tagged for stage in edge}
        for repeat in self.flow.repeats:
            if column[repeat.first] in row.columns:
                span = range(column[repeat.first], column[repeat.last] + 1)
                inside = [s for c in span for s in self.flow.stages_in(c) if self.flow.lane[s] == 0]
                passed = [
                    height
                    for (a, b), height in self.heights.items()
                    if self.flow.lane[a] == 0 and column[a] <= span[-1] and column[b] >= span[0]
                ]
                top = max([*(self.cells[s].above for s in inside), *passed])
                heights[repeat] = top + 11 + (20 if tagged.intersection(inside) else 0)
        return heights

    def _bracket(self, repeat: Repeat, row: Row, v: float) -> Bracket:
        places, cells = self.layout.places, self.cells
        inside = [s for s in range(repeat.first, repeat.last + 1) if self.flow.column[s] in row.columns]
        start = min(places[s].u - cells[s].before for s in inside) - 3
        return Bracket(start, max(places[s].u + cells[s].after for s in inside) + 3, v, repeat.times)

    def _in_row(self, edge: Edge, row: Row) -> bool:
        """Tell whether an arc runs in a row; one from the last stage of the row before comes in from its start."""
        first = row.columns[0] - (1 if self.flow.ways[edge] == "arc" and not self.flow.lane[edge[0]] else 0)
        return self.flow.column[edge[0]] >= first and self.flow.column[edge[1]] in row.columns

    def _arc_heights(self, row: Row) -> dict[Edge, float]:
        """Return how high above its lane's axis each arc runs: above what it spans, shorter arcs included."""
        column, lane, gap = self.flow.column, self.flow.lane, self.measures.arc_gap
        arcs = [edge for edge in self.flow.arcs if self._in_row(edge, row)]
        heights: dict[Edge, float] = {}
        for a, b in sorted(arcs, key=lambda edge: (column[edge[1]] - column[edge[0]], edge)):
            spanned = range(max(column[a], row.columns[0]), column[b] + 1)
            under = [s for c in spanned for s in self.flow.stages_in(c) if lane[s] == lane[a]]
            height = max((self.cells[s].above for s in under), default=0.0) + gap
            beside = [
                other
                for (c, d), other in heights.items()
                if lane[c] == lane[a] and column[c] < column[b] and column[d] > column[a]
            ]
            while any(abs(height - other) < gap for other in beside):
                height += 1
            heights[a, b] = height
        return heights

    # Routes -------------------------------------------------------------------------------------------------

    def route(self) -> None:
        """Find the way of every edge."""
        routes = self.layout.routes
        for a, b in self.flow.edges:
            if (a, b) not in self.tagged:
                points = self._from_row_before(a, b) if (a, b) in self.wrapped else self._within_row(a, b)
                routes.append(Route(a, b, tuple(points)))
        for source, tag in self.tags.items():
            u, v = self.layout.places[source].u + PORT, self._top(source)
            routes.append(Route(source, -1, ((u, v), (u, self._tag_v(source))), False, tag))
        for target in dict.fromkeys(b for _, b in self.tagged):
            read = " ".join(self.tags[a] for a, b in self.tagged if b == target)
            u, v = self.layout.places[target].u - PORT, self._top(target)
            routes.append(Route(-1, target, ((u, self._tag_v(target)), (u, v)), True, read))

    def _leave(self, stage: int) -> Point:
        place = self.layout.places[stage]
        return place.u + self.cells[stage].leave, place.v

    def _enter(self, stage: int) -> Point:
        place = self.layout.places[stage]
        return place.u - self.cells[stage].enter, place.v

    def _top(self, stage: int) -> float:
        return self.layout.places[stage].v - self.cells[stage].top

    def _axis(self, stage: int) -> float:
        return self.layout.places[stage].v - self.cells[stage].shift

    @cached_property
    def _starts(self) -> set[int]:
        return {a for a, _ in self.flow.arcs} | set(self.tags)

    @cached_property
    def _stops(self) -> set[int]:
        return {b for a, b in self.flow.arcs if self.flow.lane[a] == self.flow.lane[b]} | {
            b for _, b in self.tagged
        }

    def _within_row(self, a: int, b: int) -> list[Point]:
        leave, enter = self._leave(a), self._enter(b)
        way, row = self.flow.ways[a, b], self.rows[self.layout.places[a].row]
        if (a, b) in self.heights:
            level = self._axis(a) - self.heights[a, b]
            start = self.layout.places[a].u + (PORT if a in self._stops else 0)
            up = [(start, self._top(a)), (start, level)]
            if way == "arc":
                return [*up, *self._down_into(b, level)]
            wall = row.in_walls[b]
            return [*up, (wall, level), (wall, enter[1]), enter]
        if way != "straight":
            wall = row.out_walls[a] if way == "turn first" else row.in_walls[b]
            return [leave, (wall, leave[1]), (wall, enter[1]), enter]
        reach = min(cell.above + cell.below for cell in (self.cells[a], self.cells[b])) - 8
        if abs(leave[1] - enter[1]) < max(reach, 1):  # one straight line touches both
            middle = (leave[1] + enter[1]) / 2
            return [(leave[0], middle), (enter[0], middle)]
        bend = (leave[0] + enter[0]) / 2
        return [leave, (bend, leave[1]), (bend, enter[1]), enter]

    def _down_into(self, stage: int, level: float) -> list[Point]:
        """Return the end of an arc."""
        end = self.layout.places[stage].u - (PORT if stage in self._starts else 0)
        return [(end, level), (end, self._top(stage))]

    def _from_row_before(self, a: int, b: int) -> list[Point]:
        """Return the way from the end of one row into the next; all but one branch off the main lane's line."""
        enter = self._enter(b)
        if (a, b) in self.heights:
            level = self._axis(b) - self.heights[a, b]
            return [(ROW_START, level), *self._down_into(b, level)]
        if self.flow.lane[b]:
            main = next(
                s
                for s in self.flow.stages_in(self.rows[self.layout.places[b].row].columns[0])
                if not self.flow.lane[s]
            )
            return [(ROW_START, self._enter(main)[1]), (ROW_START, enter[1]), enter]
        places, cells = self.layout.places, self.cells
        here = [s for s, place in enumerate(places) if place.row == places[a].row]
        bottom = max(
            max(self._axis(s) + cells[s].below, places[s].label_v + cells[s].label_depth) for s in here
        )
        right = max(places[s].u + max(cells[s].after, cells[s].label_at + cells[s].label) for s in here)
        leave, between = self._leave(a), bottom + 9
        turn = right + 8
        return [leave, (turn, leave[1]), (turn, between), (ROW_START, between), (ROW_START, enter[1]), enter]

    def _tag_v(self, stage: int) -> float:
        """Return where the tag above a stage stands: above the arcs that pass over it."""
        column = self.flow.column
        passing = [
            height
            for (a, b), height in self.heights.items()
            if column[a] <= column[stage] <= column[b] and self.flow.lane[stage] == self.flow.lane[a]
        ]
        return self._axis(stage) - max([self.cells[stage].above, *passing]) - 8
