"""From cells by name to pixels: the colours, the grid, the page with its captions and legend."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from convscope.report.window_story import Mark, Step, Story

__all__ = ["FRAME", "RING", "STILL", "STYLES", "Painter", "Scale", "palette"]

INK, FAINT, PAPER, RING, BEAM = "#22303C", "#66727D", "#FFFFFF", "#E8590C", "#FDE8D7"


@dataclass(frozen=True, slots=True)
class _Style:
    fill: str | None = None
    hatch: str | None = None
    edge: str | None = None
    pale: str | None = None  # dashed edges, and what stands for them where cells are too small for dashes


STYLES = {
    "pixel": _Style(fill="#9CCBF5"),
    "padding": _Style(fill=PAPER, edge="#A3ADB7", pale="#E6EAEE"),
    "beyond": _Style(fill=PAPER, edge="#E59A4F", pale=BEAM),
    "unread": _Style(fill="#FADBD8", hatch="#D9675F"),
    "hole": _Style(edge="#1D3F66"),
    "tap": _Style(fill="#1D3F66"),
    "outside tap": _Style(fill=FAINT),
    "source": _Style(fill="#1D3F66"),
    "waiting": _Style(fill="#DDF1EE"),
    "done": _Style(fill="#62BFB2"),
    "now": _Style(fill="#00594F"),
    "cut": _Style(fill=PAPER, hatch="#C9CFD6", edge="#A3ADB7", pale="#E6EAEE"),
    "cut now": _Style(fill=FAINT),
    "unwritten": _Style(fill="#FADBD8", hatch="#D9675F"),
    "extra": _Style(edge="#C98A00"),
}


# How it is drawn.

TICK, SMALL, TEXT, HEADING = 11, 12, 13, 16  # pixels
MARGIN, GUTTER, BEAM_HEIGHT = 16, 56, 72
SEPARATE_CELLS = 6  # smaller cells touch, and lose their outlines
ROW_HEIGHT = 24  # of a signal whose cells are narrower
NARROWEST_PAGE = 560


@dataclass(frozen=True, slots=True)
class Scale:
    longest_side: int
    longest_signal: int
    largest_cell: int


FRAME, STILL = Scale(480, 880, 36), Scale(220, 680, 22)
WIDEST_STRIP = 1500


@dataclass(frozen=True, slots=True)
class _Grid:
    """Where the cells of a panel lie on paper."""

    left: int
    top: int
    rows: range
    columns: range
    cell_width: float
    cell_height: float
    gap: int  # paper between cells: 0, 1 or 2; smaller cells are drawn more plainly

    @property
    def right(self) -> int:
        return self.left + max(round(len(self.columns) * self.cell_width), 1)

    @property
    def bottom(self) -> int:
        return self.top + max(round(len(self.rows) * self.cell_height), 1)

    def box(self, rows: Sequence[int], columns: Sequence[int]) -> tuple[int, int, int, int]:
        """Return the paper (left, top, right, bottom), all inclusive, of a block of cells."""
        left = self.left + round((columns[0] - self.columns.start) * self.cell_width)
        top = self.top + round((rows[0] - self.rows.start) * self.cell_height)
        right = self.left + round((columns[-1] + 1 - self.columns.start) * self.cell_width) - 1 - self.gap
        bottom = self.top + round((rows[-1] + 1 - self.rows.start) * self.cell_height) - 1 - self.gap
        return left, top, max(left, right), max(top, bottom)

    def ring(self, rows: Sequence[int], columns: Sequence[int]) -> tuple[int, int, int, int]:
        """Return the box drawn round a block: never too small to be seen."""
        left, top, right, bottom = self.box(rows, columns)
        wide, high = max(2, (8 - right + left) // 2), max(2, (8 - bottom + top) // 2)
        return left - wide, top - high, right + wide, bottom + high

    def blocks(self, mark: Mark) -> Iterator[tuple[int, int, int, int]]:
        """Yield the boxes of a mark: cell by cell where cells are apart, else run by run; one cell fills its ring."""
        if len(mark.rows) == len(mark.columns) == 1:
            left, top, right, bottom = self.ring(mark.rows, mark.columns)
            yield left + 2, top + 2, right - 2, bottom - 2
            return
        column_runs = list(_runs(mark.columns, split=self.gap > 0))
        for rows in _runs(mark.rows, split=self.gap > 0):
            for columns in column_runs:
                yield self.box(rows, columns)


def _runs(positions: Sequence[int], split: bool) -> Iterator[range]:
    """Yield the runs of neighbours in rising `positions`, or each alone."""
    start = None
    for here, following in itertools.zip_longest(positions, positions[1:]):
        start = here if start is None else start
        if split or following != here + 1:
            yield range(start, here + 1)
            start = None


class Painter:
    """Lay a story out once, then draw any of its steps."""

    def __init__(self, story: Story, scale: Scale, note: str = "") -> None:
        self.story = story
        folder = Path(matplotlib.get_data_path(), "fonts", "ttf")
        self.fonts = {
            size: ImageFont.truetype(folder / name, size)
            for size, name in (
                (TICK, "DejaVuSans.ttf"),
                (SMALL, "DejaVuSans.ttf"),
                (TEXT, "DejaVuSans.ttf"),
                (HEADING, "DejaVuSans-Bold.ttf"),
            )
        }
        self.input, self.output = self._stack(scale) if story.stacked else self._side_by_side(scale)
        self.tile_width = MARGIN + max(
            max(grid.right, grid.left + self._width(panel.label, SMALL))
            for grid, panel in ((self.input, story.input), (self.output, story.output))
        )
        self.tile_width = max(self.tile_width, scale.longest_side)
        self.caption_top = max(self.input.bottom, self.output.bottom) + (44 if story.stacked else 12)
        self.captions = {step.caption: self._caption(*step.caption, note) for step in story.steps}
        self.tile_height = self.caption_top + 18 * max(map(len, self.captions.values())) + 6
        self.base = self._base()

    def page(self, steps: Sequence[Step]) -> Image.Image:
        """Draw some steps in rows, under the title and over the legend."""
        rows = -(-len(steps) // max(1, WIDEST_STRIP // self.tile_width))
        columns = -(-len(steps) // rows)
        width = max(columns * self.tile_width, NARROWEST_PAGE)
        title = self._wrap(self.story.title, HEADING, width - 2 * MARGIN)
        legend = self._legend(width - 2 * MARGIN)
        top = 12 + 22 * len(title)
        page = Image.new("RGB", (width, top + rows * self.tile_height + legend.height + 10), PAPER)
        draw = ImageDraw.Draw(page)
        for number, line in enumerate(title):
            draw.text((MARGIN, 10 + 22 * number), line, INK, self.fonts[HEADING])
        for number, step in enumerate(steps):
            row, column = divmod(number, columns)
            page.paste(self._tile(step), (column * self.tile_width, top + row * self.tile_height))
        page.paste(legend, (MARGIN, top + rows * self.tile_height))
        return page.quantize(palette=palette(), dither=Image.Dither.NONE)

    def _side_by_side(self, scale: Scale) -> tuple[_Grid, _Grid]:
        first, second = self.story.input, self.story.output
        longest = max(map(len, (first.rows, first.columns, second.rows, second.columns)))
        cell = _cell(scale.longest_side / longest, scale.largest_cell)
        left = MARGIN + self._tick_room(first.rows)
        one = _Grid(left, 44, first.rows, first.columns, cell, cell, _gap(cell))
        left = max(one.right, left + self._width(first.label, SMALL)) + GUTTER + self._tick_room(second.rows)
        return one, _Grid(left, 44, second.rows, second.columns, cell, cell, _gap(cell))

    def _stack(self, scale: Scale) -> tuple[_Grid, _Grid]:
        first, second = self.story.input.columns, self.story.output.columns
        longest = max(len(first), len(second))
        cell = _cell(scale.longest_signal / longest, scale.largest_cell)
        high = max(cell, ROW_HEIGHT)
        left, other = (MARGIN + round((longest - len(columns)) * cell / 2) for columns in (first, second))
        one = _Grid(left, 46, range(1), first, cell, high, _gap(cell))
        return one, _Grid(other, one.bottom + BEAM_HEIGHT, range(1), second, cell, high, _gap(cell))

    def _tick_room(self, positions: range) -> int:
        return max(self._width(str(end), TICK) for end in (positions[0], positions[-1])) + 6

    def _base(self) -> Image.Image:
        """Draw what no step changes."""
        base = Image.new("RGB", (self.tile_width, self.tile_height), PAPER)
        draw = ImageDraw.Draw(base)
        for grid, panel in ((self.input, self.story.input), (self.output, self.story.output)):
            below = self.story.stacked and grid is self.output
            label_top = grid.bottom + 20 if below else grid.top - 40
            draw.text((grid.left, label_top), panel.label, INK, self.fonts[SMALL])
            for mark in panel.marks:
                _paint(base, grid, mark)
            self._column_ticks(draw, grid, below)
            if not self.story.stacked:
                self._row_ticks(draw, grid)
        if not self.story.stacked:
            left = self.output.left - self._tick_room(self.output.rows) - GUTTER + 12
            _arrow(draw, left, (self.input.top + min(self.input.bottom, self.output.bottom)) // 2)
        return base

    def _column_ticks(self, draw: ImageDraw.ImageDraw, grid: _Grid, below: bool) -> None:
        for column in _every(grid.columns, self._tick_room(grid.columns) / grid.cell_width):
            left, _, right, bottom = grid.box(grid.rows, [column])
            place = ((left + right) / 2, bottom + 5 if below else grid.top - 6)
            draw.text(place, str(column), FAINT, self.fonts[TICK], anchor="ma" if below else "ms")

    def _row_ticks(self, draw: ImageDraw.ImageDraw, grid: _Grid) -> None:
        for row in _every(grid.rows, 15 / grid.cell_height):
            _, top, _, bottom = grid.box([row], grid.columns)
            place = (grid.left - 6, (top + bottom) / 2)
            draw.text(place, str(row), FAINT, self.fonts[TICK], anchor="rm")

    def _tile(self, step: Step) -> Image.Image:
        tile = self.base.copy()
        draw = ImageDraw.Draw(tile)
        rings = self.input.ring(*step.input_ring), self.output.ring(*step.output_ring)
        if self.story.stacked:
            (left, _, right, bottom), (out_left, out_top, out_right, _) = rings
            beam = [
                (left, bottom + 1),
                (right, bottom + 1),
                (out_right, out_top - 1),
                (out_left, out_top - 1),
            ]
            draw.polygon(beam, fill=BEAM)
        for grid, marks in ((self.input, step.input_marks), (self.output, step.output_marks)):
            for mark in marks:
                _paint(tile, grid, mark)
        for ring in rings:
            draw.rectangle(ring, outline=RING, width=2)
        for number, line in enumerate(self.captions[step.caption]):
            draw.text((MARGIN, self.caption_top + 18 * number), line, INK, self.fonts[TEXT])
        return tile

    def _legend(self, width: int) -> Image.Image:
        places: list[tuple[int, int, str]] = []
        x = y = 0
        for style in self.story.styles():
            wide = 20 + self._width(self.story.words[style], SMALL)
            if x and x + wide > width:
                x, y = 0, y + 22
            places.append((x, y, style))
            x += wide + 20
        legend = Image.new("RGB", (width, y + 22), PAPER)
        draw = ImageDraw.Draw(legend)
        for x, y, style in places:
            _paint(legend, _Grid(x, y + 2, range(1), range(1), 16, 16, self.input.gap), Mark(style, [0], [0]))
            draw.text((x + 20, y + 9), self.story.words[style], INK, self.fonts[SMALL], anchor="lm")
        return legend

    def _width(self, text: str, size: int) -> int:
        return round(self.fonts[size].getlength(text) + 0.5)

    def _caption(self, first: str, *more: str) -> list[str]:
        width = self.tile_width - 2 * MARGIN
        second = "; ".join(filter(None, more))
        return self._wrap(first, TEXT, width) + (self._wrap(second, TEXT, width) if second else [])

    def _wrap(self, text: str, size: int, width: int) -> list[str]:
        lines = [""]
        for word in text.split(" "):
            longer = f"{lines[-1]} {word}".strip()
            if self._width(longer, size) > width and lines[-1]:
                lines.append(word)
            else:
                lines[-1] = longer
        return lines


def _cell(room: float, largest: int) -> float:
    """Return the size of a cell: whole pixels, unless cells are too small to be told apart."""
    return min(int(room), largest) if room >= SEPARATE_CELLS else room


def _gap(cell: float) -> int:
    return (cell >= SEPARATE_CELLS) + (cell >= 2 * SEPARATE_CELLS)


def _every(positions: range, at_least: float) -> list[int]:
    """Return the round positions that are at least so far apart."""
    steps = (digit * 10**power for power in itertools.count() for digit in (1, 2, 5))
    step = next(step for step in steps if step >= at_least)
    return [position for position in positions if position % step == 0]


def _paint(image: Image.Image, grid: _Grid, mark: Mark) -> None:
    style = STYLES[mark.style]
    draw = ImageDraw.Draw(image)
    mask = _hatching(image.size) if style.hatch and len(mark.rows) and len(mark.columns) else None
    for box in grid.blocks(mark):
        left, top, right, bottom = box
        fill = style.pale if style.pale and grid.gap < 2 else style.fill
        if fill:
            draw.rectangle(box, fill=fill)
        if style.hatch and mask:
            area = (left, top, right + 1, bottom + 1)
            image.paste(style.hatch, area, mask.crop(area))
        if style.edge and style.pale and grid.gap == 2:
            _dashes(draw, box, style.edge)
        elif style.edge and not style.pale:
            draw.rectangle(box, outline=style.edge, width=max(grid.gap, 1))


def _hatching(size: tuple[int, int]) -> Image.Image:
    width, height = size
    mask = Image.new("1", size)
    draw = ImageDraw.Draw(mask)
    for start in range(-height, width, 6):
        draw.line([(start, height), (start + height, 0)], fill=1)
    return mask


def _dashes(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], colour: str) -> None:
    left, top, right, bottom = box
    for x in range(left, right + 1, 6):
        for y in (top, bottom):
            draw.line([(x, y), (min(x + 2, right), y)], fill=colour)
    for y in range(top, bottom + 1, 6):
        for x in (left, right):
            draw.line([(x, y), (x, min(y + 2, bottom))], fill=colour)


def _arrow(draw: ImageDraw.ImageDraw, left: int, middle: int) -> None:
    draw.rectangle((left, middle - 1, left + 20, middle + 1), fill=FAINT)
    draw.polygon([(left + 20, middle - 6), (left + 20, middle + 6), (left + 29, middle)], fill=FAINT)


def palette() -> Image.Image:
    """Return every colour that is drawn, and the shades between the texts and the paper."""
    names = {
        name
        for style in STYLES.values()
        for name in (style.fill, style.hatch, style.edge, style.pale)
        if name
    }
    colours = [_rgb(name) for name in sorted(names | {INK, FAINT, PAPER, RING, BEAM})]
    paper = _rgb(PAPER)
    for text in (INK, FAINT):
        for share in range(1, 8):
            mixed = [
                (ink * share + white * (8 - share)) // 8 for ink, white in zip(_rgb(text), paper, strict=True)
            ]
            colours.append(tuple(mixed))
    palette = Image.new("P", (1, 1))
    palette.putpalette([channel for colour in colours for channel in colour])
    return palette


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
