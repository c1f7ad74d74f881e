"""Columns of a network set one after another, as close as stages and labels let them, and broken into rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from convscope.report.network.flow import Flow
from convscope.report.network.places import Cell, Measures

__all__ = ["Row", "break_into_rows"]

FAR = float("-inf")
ONE_ROW = 1.15  # so much longer may a row be if that saves a second


@dataclass(slots=True)
class Row:
    """The columns of one row, where they stand, and the walls: lines that edges between lanes run along."""

    columns: range
    u: dict[int, float] = field(default_factory=dict)
    out_walls: dict[int, float] = field(default_factory=dict)  # by source
    in_walls: dict[int, float] = field(default_factory=dict)  # by target
    levels: dict[int, int] = field(default_factory=dict)
    length: float = 0.0


def break_into_rows(flow: Flow, cells: Sequence[Cell], measures: Measures) -> list[Row]:
    """Break the columns into rows: one if it fits, else rows of like length that few edges leave."""
    columns = range(flow.num_columns)
    for levels in (1, 2):
        row = _set_row(columns, flow, cells, measures, levels)
        if row.length <= ONE_ROW * measures.longest_row:
            return [row]
    cut = [flow.crossings(column) for column in columns]
    whole = row.length
    num_rows = int(-(-whole // measures.longest_row))
    ideal = min(whole / num_rows * 1.08, measures.longest_row)
    best: list[tuple[float, int]] = [(0.0, 0)]
    for stop in range(1, len(columns) + 1):
        options: list[tuple[float, int]] = []
        for start in range(stop - 1, -1, -1):
            length = _set_row(range(start, stop), flow, cells, measures, 2).length
            if length > measures.longest_row and options:
                break
            slack = (ideal - length) / ideal
            options.append((best[start][0] + slack**2 + 0.02 + 0.3 * cut[start], start))
        best.append(min(options))
    rows: list[Row] = []
    stop = len(columns)
    while stop:
        start = best[stop][1]
        part = range(start, stop)
        plain = _set_row(part, flow, cells, measures, 1)
        rows.append(
            plain if plain.length <= measures.longest_row else _set_row(part, flow, cells, measures, 2)
        )
        stop = start
    return rows[::-1]


def _set_row(columns: range, flow: Flow, cells: Sequence[Cell], measures: Measures, levels: int) -> Row:
    """Place columns one after another, as close as stages, walls and labels let them."""
    row = Row(columns)
    ends: dict[tuple[int, int], float] = {}  # where the last label of a lane and level ends
    leaders: dict[int, float] = {}  # where the last leader of a lane stands
    wall = FAR
    right = 0.0
    for column in columns:
        stages = flow.stages_in(column)
        first = column == columns[0]
        if not first:
            right, wall = _walls(row, column, flow, cells, right, ends, measures, wall)
        u = right + (0 if first else measures.gap) + max(cells[s].before for s in stages)
        if wall > FAR:
            u = max(u, wall + measures.bend + max(cells[s].before for s in stages))
        for stage in stages:
            cell, lane = cells[stage], flow.lane[stage]
            if not cell.label:
                continue
            start = cell.label - cell.label_at  # from the label's beginning to the stage's point
            u = max(u, start, wall + 4 + start)
            needed = [ends.get((lane, level), FAR) + 7 + start for level in range(levels)]
            if levels > 1:
                needed[0] = max(needed[0], leaders.get(lane, FAR) + 3 + start)
                needed[1] = max(needed[1], ends.get((lane, 0), FAR) + 3 - cell.label_at)
            level = row.levels[stage] = min(range(levels), key=lambda n: (max(u, needed[n]), n))
            u = max(u, needed[level])
        row.u[column] = u
        for stage in stages:
            cell, lane = cells[stage], flow.lane[stage]
            if cell.label:
                ends[lane, row.levels[stage]] = u + cell.label_at + cell.label
                if row.levels[stage]:
                    leaders[lane] = u + cell.label_at
        right = u + max(cells[s].after for s in stages)
    row.length = max([right, *ends.values()])
    return row


def _walls(
    row: Row,
    column: int,
    flow: Flow,
    cells: Sequence[Cell],
    right: float,
    ends: dict[tuple[int, int], float],
    measures: Measures,
    wall: float,
) -> tuple[float, float]:
    """Stand the lines of edges between lanes into the gap before a column, clear of the labels on its left."""
    outs = flow.turning_out(column - 1, row.columns)
    ins = flow.turning_in(column, row.columns)
    if not outs and not ins:
        return right, wall
    at = max([right, *(end - measures.bend + 4 for end in ends.values())])
    for stage in outs:
        at += measures.bend
        row.out_walls[stage] = at
    for stage in ins:
        at += measures.bend
        row.in_walls[stage] = at
    return right, at
