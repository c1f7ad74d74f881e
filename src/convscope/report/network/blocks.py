"""A network as a graph of blocks, top to bottom: branches beside it, shortcuts on the left, U-Nets indented."""

from __future__ import annotations

from dataclasses import dataclass
from math import log2, prod, sqrt

from convscope.report.drawing import Drawing, Group, Shape, Text, elided, text_width
from convscope.report.figures import INK
from convscope.report.network.flow import Flow
from convscope.report.network.layout import lay_out
from convscope.report.network.marks import (
    GREY_TEXT,
    SIGN_RADIUS,
    Palette,
    bracket_groups,
    edge_groups,
    finished_page,
    mixed,
    rounded_box,
    sign_group,
)
from convscope.report.network.places import Cell, Measures
from convscope.report.network.story import NetworkStory, Stage

__all__ = ["draw_blocks"]

NARROWEST, WIDEST = 128.0, 216.0  # points, of a block
PADDING, STRIPE, LINE = 7.0, 4.0, 11.5
TALLEST_PANEL, PANEL_GAP = 560.0, 40.0
INDENT, INDENTED_LEVELS = 22.0, 6  # for each halving of the resolution
CARD = 2.5  # how far the cards of a folded run stand out


@dataclass(frozen=True, slots=True)
class _Face:
    """The two lines of a block: what it does and what comes out, what belongs to it and where it stands."""

    words: str
    volume: str
    more: str
    path: str
    output: bool

    @classmethod
    def of(cls, stage: Stage, several_outputs: bool) -> _Face:
        words = ", ".join((*stage.before, stage.words)) + (f" ×{stage.count}" if stage.count > 1 else "")
        more = "; ".join(filter(None, (stage.detail, ", ".join(stage.after))))
        path = stage.path if stage.family != "input" or stage.path != "input" else ""
        return cls(words, str(stage.volume), more, path, stage.is_output and several_outputs)

    @property
    def lines(self) -> int:
        return 2 if self.more or self.path else 1

    @property
    def width(self) -> float:
        first = text_width(self.words, 9, True) + text_width(self.volume, 8.5)
        second = text_width(self.more, 8) + text_width(self.path, 8)
        return max(first, second) + 2 * PADDING + STRIPE + 12


def draw_blocks(story: NetworkStory) -> Drawing:
    """Draw a story as a graph of blocks."""
    several = sum(stage.is_output for stage in story.stages) > 1
    faces = [_Face.of(stage, several) for stage in story.stages]
    blocks = [f.width for f, stage in zip(faces, story.stages, strict=True) if not stage.is_operator]
    width = min(max([NARROWEST, *blocks]), WIDEST)
    shifts = _indents(story)
    cells = [
        _cell(stage, face, width, shift)
        for stage, face, shift in zip(story.stages, faces, shifts, strict=True)
    ]
    whole = sum(cell.before + cell.after + 18 for cell in cells)
    panel = max(TALLEST_PANEL, sqrt(whole * (width + PANEL_GAP) / 1.4))
    measures = Measures(panel, gap=18, lane_gap=16, row_gap=PANEL_GAP, arc_gap=10, bracket=26)
    layout = lay_out(story, cells, measures)
    groups: list[Group] = []
    for stage, face, place in zip(story.stages, faces, layout.places, strict=True):
        if stage.is_operator:
            groups.append(sign_group(stage, place.v, place.u, _sign_texts(stage, face, place.v, place.u)))
        else:
            groups.append(_block(stage, face, width, place.v, place.u))
    groups += edge_groups(story, layout, turned=True) + bracket_groups(layout, turned=True)
    notes = ["Each step to the right halves the resolution."] if any(shifts) else []
    return finished_page(story, groups, None, notes)


def _indents(story: NetworkStory) -> list[float]:
    """Return how far each stage stands right of the finest resolution, for networks that come up again."""
    sizes = [prod(stage.volume.positions) if len(stage.volume.positions) > 1 else 0 for stage in story.stages]
    if any(not size for size in sizes) or any(Flow.of(story).lane):
        return [0.0] * len(sizes)
    rises = any(sizes[b] > 1.5 * sizes[a] for a, b in story.edges)
    if not rises:
        return [0.0] * len(sizes)
    levels = [round(log2(max(sizes) / size) / 2) for size in sizes]
    return [INDENT * min(level, INDENTED_LEVELS) for level in levels]


def _cell(stage: Stage, face: _Face, width: float, shift: float) -> Cell:
    if stage.is_operator:
        r = SIGN_RADIUS
        beside = max((text_width(t.text, t.size) for t in _sign_texts(stage, face, 0, 0)), default=0.0)
        return Cell(r, r, r - shift, r + 6 + beside + shift, r, r, r, shift=shift)
    half = _height(face) / 2
    cards = CARD * (min(stage.count, 3) - 1)
    return Cell(
        half + cards,
        half,
        width / 2 - shift,
        width / 2 + cards + shift,
        half + cards,
        half,
        width / 2,
        shift=shift,
    )


def _height(face: _Face) -> float:
    return LINE * face.lines + 9


def _sign_texts(stage: Stage, face: _Face, x: float, y: float) -> list[Text]:
    text = ", ".join(stage.after) + (" (output)" if face.output else "")
    return [Text(x + SIGN_RADIUS + 5, y + 3, text, 8, colour=GREY_TEXT)] if text else []


def _block(stage: Stage, face: _Face, width: float, x: float, y: float) -> Group:
    palette = Palette.of(stage)
    half = _height(face) / 2
    left, right, top, bottom = x - width / 2, x + width / 2, y - half, y + half
    pale = mixed(palette.side, 0.13)
    shapes: list[Shape | Text] = []
    for card in range(min(stage.count, 3) - 1, 0, -1):  # behind it
        d = CARD * card
        shapes.append(
            Shape(
                rounded_box(left + d, top - d, right + d, bottom - d, 3.5),
                pale,
                palette.line,
                0.7,
                role="card",
            )
        )
    shapes.append(Shape(rounded_box(left, top, right, bottom, 3.5), pale, palette.line, 0.8, role="block"))
    stripe = (
        (left + 0.8, top + 3),
        (left + STRIPE, top + 3),
        (left + STRIPE, bottom - 3),
        (left + 0.8, bottom - 3),
    )
    shapes.append(Shape(stripe, palette.side, role="stripe"))
    start, end = left + STRIPE + PADDING, right - PADDING
    first = top + 4.5 + 9
    room = end - start
    shapes += _pair(start, end, first, (face.words, 9, True, INK), (face.volume, 8.5, False, INK), room, True)
    if face.lines > 1:
        path = face.path + (" (output)" if face.output else "")
        shapes += _pair(
            start, end, first + LINE, (face.more, 8, False, GREY_TEXT), (path, 8, False, GREY_TEXT), room
        )
    return Group(tuple(shapes), stage.title, "stage")


def _pair(
    start: float,
    end: float,
    y: float,
    left: tuple[str, float, bool, str],
    right: tuple[str, float, bool, str],
    room: float,
    keep_right: bool = False,
) -> list[Text]:
    """Return two texts at both ends of a line; the longer gives way, unless the right one must stay whole."""
    texts: list[Text] = []
    widths = [text_width(text, size, bold) for text, size, bold, _ in (left, right)]
    gap = 8.0 if all(widths) else 0.0
    if sum(widths) + gap > room:
        if keep_right or widths[1] <= (room - gap) * 0.4:
            widths[0] = room - gap - widths[1]
        elif widths[0] <= (room - gap) * 0.6:
            widths[1] = room - gap - widths[0]
        else:
            widths = [(room - gap) * 0.6, (room - gap) * 0.4]
    for (text, size, bold, colour), width, at_end in ((left, widths[0], False), (right, widths[1], True)):
        if text:
            short = elided(text, width + 0.01, size, bold, keep_end=at_end)
            texts.append(
                Text(
                    end if at_end else start, y, short, size, "end" if at_end else "start", colour, bold, text
                )
            )
    return texts
