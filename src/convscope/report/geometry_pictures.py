"""The window sliding over the padded input, as an animation and as a strip of stills.

Every position comes from `geometry`; this file only chooses colours and places them.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import matplotlib
from PIL import Image, ImageDraw, ImageFont

from convscope.errors import UsageError
from convscope.files import atomic_path
from convscope.geometry import TransposedWindow, Window, Windows, as_int

__all__ = ["ANIMATION_SUFFIXES", "animate_windows"]

ANIMATION_SUFFIXES = (".gif", ".webp", ".png")

FRAME_MS, LAST_FRAME_MS = 450, 1800
STILLS = 6

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

SLIDING_WORDS = {
    "pixel": "input",
    "padding": "padding",
    "beyond": "beyond the padding (ceil mode)",
    "unread": "read by no window",
    "tap": "read now",
    "outside tap": "read now, outside the input",
    "hole": "skipped by the dilation",
    "waiting": "output to come",
    "done": "output done",
    "now": "output now",
}
TRANSPOSED_WORDS = {
    "pixel": "input",
    "source": "input now",
    "waiting": "output to come",
    "done": "output written",
    "now": "written now",
    "hole": "skipped by the dilation",
    "cut": "cut by the padding",
    "cut now": "written now and cut",
    "extra": "output padding",
    "unwritten": "written by no input",
}


def animate_windows(
    windows: Windows,
    input_size: Sequence[int],
    path: str | os.PathLike[str],
    *,
    frames_at_most: int = 48,
) -> tuple[Path, Path]:
    """Draw each window where it reads (transposed: where it writes), as an animation and a strip of stills.

    Args:
        windows: one or two axes, of a convolution, a pooling or a transposed convolution.
        input_size: pixels along each axis.
        path: the animation; its suffix chooses GIF, WebP or animated PNG, and without one it is `.gif`.
        frames_at_most: with more windows than this, one in so many is drawn, and always the first and last.
    Returns:
        The paths of the animation and of `<stem>-strip.png` beside it.
    Raises:
        UsageError: three axes; a suffix of another format.
        ShapeError: the window does not fit the input.
        OutputError: a file cannot be written; then neither is.
    Example:
        >>> import tempfile
        >>> animation, strip = animate_windows(Windows.of(2, 3), (5, 5), Path(tempfile.mkdtemp(), "k3"))
        >>> animation.name, strip.name
        ('k3.gif', 'k3-strip.png')
    """
    if windows.ndim not in (1, 2):
        raise UsageError(
            f"the windows have {windows.ndim} axes; 1 or 2 axes are drawn. Leave one axis out.",
            call="animate_windows",
        )
    animation = _with_known_suffix(Path(path))
    strip = animation.with_name(f"{animation.stem}-strip.png")
    story = _tell(windows, tuple(input_size), as_int("frames_at_most", frames_at_most, at_least=2))
    painter = _Painter(story, FRAME, story.note)
    frames = [painter.page([step]) for step in story.steps]
    stills = _Painter(story, STILL).page(_evenly(story.steps, STILLS))
    with atomic_path(animation) as animation_file, atomic_path(strip) as strip_file:
        _save(frames, animation_file, animation.suffix.lower())
        stills.save(strip_file, format="PNG", optimize=True)
    return animation, strip


def _with_known_suffix(path: Path) -> Path:
    if not path.suffix:
        return path.with_name(path.name + ".gif")
    if path.suffix.lower() not in ANIMATION_SUFFIXES:
        raise UsageError(
            f"cannot animate to {path.suffix!r} ({str(path)!r}); use {', '.join(ANIMATION_SUFFIXES[:-1])} "
            f"or {ANIMATION_SUFFIXES[-1]}.",
            call="animate_windows",
        )
    return path


def _save(frames: Sequence[Image.Image], path: Path, suffix: str) -> None:
    durations = [FRAME_MS] * (len(frames) - 1) + [LAST_FRAME_MS]
    first, rest = frames[0], list(frames[1:])
    if suffix == ".gif":
        first.save(path, "GIF", save_all=True, append_images=rest, duration=durations, loop=0, optimize=False)
    elif suffix == ".webp":
        colour = [frame.convert("RGB") for frame in frames]
        colour[0].save(
            path,
            "WEBP",
            save_all=True,
            append_images=colour[1:],
            duration=durations,
            loop=0,
            lossless=True,
            quality=30,
            method=2,
        )
    else:
        first.save(path, "PNG", save_all=True, append_images=rest, duration=durations, loop=0)


def _evenly(steps: Sequence[_Step], count: int) -> list[_Step]:
    if len(steps) <= count:
        return list(steps)
    return [steps[number * (len(steps) - 1) // (count - 1)] for number in range(count)]


# What is shown: cells by name, before any of them is a colour or a place on paper.


@dataclass(frozen=True, slots=True)
class _Mark:
    """Every cell at one of `rows` and one of `columns`, drawn in one style."""

    style: str
    rows: Sequence[int]
    columns: Sequence[int]


@dataclass(frozen=True, slots=True)
class _Panel:
    label: str
    rows: range
    columns: range
    marks: list[_Mark]


_Block = tuple[Sequence[int], Sequence[int]]  # rows and columns, of which the first and the last count


@dataclass(frozen=True, slots=True)
class _Step:
    """One window: its marks over the input and over the output, and the block of cells to ring in each."""

    caption: tuple[str, str]
    input_marks: list[_Mark]
    input_ring: _Block
    output_marks: list[_Mark]
    output_ring: _Block


@dataclass(frozen=True, slots=True)
class _Story:
    title: str
    words: dict[str, str]
    input: _Panel
    output: _Panel
    steps: list[_Step]
    note: str
    stacked: bool

    def styles(self) -> list[str]:
        """Return the styles that occur, in the order of `words`."""
        marks = [*self.input.marks, *self.output.marks]
        for step in self.steps:
            marks += [*step.input_marks, *step.output_marks]
        used = {mark.style for mark in marks if len(mark.rows) and len(mark.columns)}
        return [style for style in self.words if style in used]


def _tell(windows: Windows, sizes: tuple[int, ...], frames_at_most: int) -> _Story:
    outputs = windows.output_size(sizes)
    # The sizes stay on one line.
    title = f"{_setting(windows, sizes)}: {_by(sizes)}\u00a0->\u00a0{_by(outputs)}"
    stacked = windows.ndim == 1
    # A signal is an image of one row that a kernel of one row reads.
    if isinstance(windows.axes[0], TransposedWindow):
        axes = cast("tuple[TransposedWindow, ...]", windows.axes)
        pair = (TransposedWindow(1), *axes) if stacked else axes
        return _transposed_story(title, pair, (1, *sizes)[-2:], stacked, frames_at_most)
    axes = cast("tuple[Window, ...]", windows.axes)
    pair = (Window(1), *axes) if stacked else axes
    return _sliding_story(title, pair, (1, *sizes)[-2:], stacked, frames_at_most)


def _sliding_story(
    title: str, axes: Sequence[Window], sizes: Sequence[int], stacked: bool, frames_at_most: int
) -> _Story:
    pairs = list(zip(axes, sizes, strict=True))
    pixels = [range(size) for size in sizes]
    outputs = [range(axis.output_size(size)) for axis, size in pairs]
    padded = [axis.padded(size) for axis, size in pairs]
    unread = [axis.unread_pixels(size) for axis, size in pairs]
    last = [axis.taps(indices[-1], size)[-1] for (axis, size), indices in zip(pairs, outputs, strict=True)]
    shown = [range(whole.start, max(whole.stop, end + 1)) for whole, end in zip(padded, last, strict=True)]

    label = f"input {_by(sizes, stacked)}"
    ground = [
        _Mark("pixel", *pixels),
        _Mark("unread", unread[0], pixels[1]),
        _Mark("unread", pixels[0], unread[1]),
    ]
    if padded != pixels:
        label += f", padded to {_by([len(whole) for whole in padded], stacked)}"
        ground.insert(0, _Mark("padding", *padded))
    if shown != padded:
        ground.insert(0, _Mark("beyond", *shown))
    left = _Panel(label, shown[0], shown[1], ground)
    right = _Panel(
        f"output {_by([len(axis) for axis in outputs], stacked)}",
        outputs[0],
        outputs[1],
        [_Mark("waiting", *outputs)],
    )

    steps: list[_Step] = []
    places, note = _sample(outputs, frames_at_most)
    for row, column in places:
        rows, columns = axes[0].taps(row, sizes[0]), axes[1].taps(column, sizes[1])
        inside = _inside(rows, pixels[0]), _inside(columns, pixels[1])
        outside = len(rows) * len(columns) - len(inside[0]) * len(inside[1])
        caption = f"output {_index(row, column, stacked)} reads {_reach(rows, columns, stacked)}"
        more = f"{outside} of {len(rows) * len(columns)} taps outside the input" if outside else ""
        steps.append(
            _Step(
                (caption, more),
                [
                    *_holes(rows, columns),
                    *([_Mark("outside tap", rows, columns)] if outside else []),
                    _Mark("tap", *inside),
                ],
                (rows, columns),
                [
                    _Mark("done", outputs[0][:row], outputs[1]),
                    _Mark("done", [row], outputs[1][:column]),
                    _Mark("now", [row], [column]),
                ],
                ([row], [column]),
            )
        )
    return _Story(title, SLIDING_WORDS, left, right, steps, note, stacked)


def _transposed_story(
    title: str, axes: Sequence[TransposedWindow], sizes: Sequence[int], stacked: bool, frames_at_most: int
) -> _Story:
    pairs = list(zip(axes, sizes, strict=True))
    pixels = [range(size) for size in sizes]
    outputs = [range(axis.output_size(size)) for axis, size in pairs]
    full = [axis.full_result(size) for axis, size in pairs]
    shown = [
        range(whole.start, max(whole.stop, kept.stop)) for whole, kept in zip(full, outputs, strict=True)
    ]
    writes = [[axis.writes(index, size) for index in range(size)] for axis, size in pairs]
    unwritten = [
        [index for index in kept if not axis.taps(index, size)]
        for (axis, size), kept in zip(pairs, outputs, strict=True)
    ]
    extra = [kept[len(kept) - axis.output_padding :] for axis, kept in zip(axes, outputs, strict=True)]

    label = f"output {_by([len(axis) for axis in outputs], stacked)}"
    border = [_Mark("extra", extra[0], outputs[1]), _Mark("extra", outputs[0], extra[1])]
    never = [_Mark("unwritten", unwritten[0], outputs[1]), _Mark("unwritten", outputs[0], unwritten[1])]
    ground = [_Mark("waiting", *outputs), *never, *border]
    if shown != outputs:
        label += f", cut from {_by([len(axis) for axis in shown], stacked)}"
        ground.insert(0, _Mark("cut", *shown))
    left = _Panel(f"input {_by(sizes, stacked)}", pixels[0], pixels[1], [_Mark("pixel", *pixels)])
    right = _Panel(label, shown[0], shown[1], ground)

    steps: list[_Step] = []
    places, note = _sample(pixels, frames_at_most)
    every_column = _inside(_union(writes[1]), outputs[1])
    for row, column in places:
        rows, columns = writes[0][row], writes[1][column]
        kept = _inside(rows, outputs[0]), _inside(columns, outputs[1])
        lost = len(rows) * len(columns) - len(kept[0]) * len(kept[1])
        caption = f"input {_index(row, column, stacked)} writes {_reach(rows, columns, stacked)}"
        more = f"{lost} of {len(rows) * len(columns)} products cut" if lost else ""
        steps.append(
            _Step(
                (caption, more),
                [_Mark("source", [row], [column])],
                ([row], [column]),
                [
                    _Mark("done", _inside(_union(writes[0][:row]), outputs[0]), every_column),
                    _Mark("done", kept[0], _inside(_union(writes[1][:column]), outputs[1])),
                    *_holes(rows, columns),
                    *([_Mark("cut now", rows, columns)] if lost else []),
                    _Mark("now", *kept),
                    *border,
                ],
                (rows, columns),
            )
        )
    return _Story(title, TRANSPOSED_WORDS, left, right, steps, note, stacked)


def _holes(rows: range, columns: range) -> list[_Mark]:
    spans = range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1)
    return [_Mark("hole", *spans)] if spans != (rows, columns) else []


def _sample(places: Sequence[range], at_most: int) -> tuple[list[tuple[int, int]], str]:
    """Return the places to show, row by row, and the words that say how many are left out."""
    total = len(places[0]) * len(places[1])
    skip = 1 if total <= at_most else -(-(total - 1) // (at_most - 1))
    numbers = [*range(0, total - 1, skip), total - 1]
    note = f"1 window in {skip} is shown, and the last" if skip > 1 else ""
    return [divmod(number, len(places[1])) for number in numbers], note


def _inside(positions: Sequence[int], axis: range) -> list[int]:
    return [position for position in positions if position in axis]


def _union(ranges: Sequence[range]) -> list[int]:
    return sorted(set(itertools.chain.from_iterable(ranges)))


def _setting(windows: Windows, sizes: tuple[int, ...]) -> str:
    words = [str(axis.padding) for axis in windows.axes if isinstance(axis.padding, str)]
    numbers = [
        str(before) if before == after else f"{before}+{after}" for before, after in windows.pads(sizes)
    ]
    padding = _once(numbers)
    if len(words) == windows.ndim:
        padding = f"{_once(words)} ({padding})"
    parts = [
        f"kernel {_by(windows.kernel_size)}",
        f"stride {_once(windows.stride)}",
        f"padding {padding}",
        f"dilation {_once(windows.dilation)}",
    ]
    if any(isinstance(axis, Window) and axis.ceil_mode for axis in windows.axes):
        parts.append("ceil mode")
    extra = [axis.output_padding for axis in windows.axes if isinstance(axis, TransposedWindow)]
    if extra:
        parts = [f"transposed {parts[0]}", *parts[1:], f"output padding {_once(extra)}"]
    return ", ".join(parts)


def _by(sizes: Sequence[int], stacked: bool = False) -> str:
    return "x".join(map(str, sizes[-1:] if stacked else sizes))


def _once(values: Sequence[object]) -> str:
    """Return one number for all axes where they agree."""
    texts = [str(value) for value in values]
    if len(set(texts)) == 1:
        return texts[0]
    return ("x" if all(map(str.isdigit, texts)) else " x ").join(texts)


def _index(row: int, column: int, stacked: bool) -> str:
    return str(column) if stacked else f"({row}, {column})"


def _reach(rows: range, columns: range, stacked: bool) -> str:
    if stacked:
        return _positions("position", columns)
    return f"{_positions('row', rows)} and {_positions('column', columns)}"


def _positions(noun: str, positions: range) -> str:
    if len(positions) == 1:
        return f"{noun} {positions[0]}"
    if len(positions) <= 5:
        return f"{noun}s {', '.join(map(str, positions))}"
    by = f" by {positions.step}" if positions.step > 1 else ""
    return f"{noun}s {positions[0]} to {positions[-1]}{by}"


# How it is drawn.

TICK, SMALL, TEXT, HEADING = 11, 12, 13, 16  # pixels
MARGIN, GUTTER, BEAM_HEIGHT = 16, 56, 72
SEPARATE_CELLS = 6  # smaller cells touch, and lose their outlines
ROW_HEIGHT = 24  # of a signal whose cells are narrower
NARROWEST_PAGE = 560


@dataclass(frozen=True, slots=True)
class _Scale:
    longest_side: int
    longest_signal: int
    largest_cell: int


FRAME, STILL = _Scale(480, 880, 36), _Scale(220, 680, 22)
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

    def blocks(self, mark: _Mark) -> Iterator[tuple[int, int, int, int]]:
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


class _Painter:
    """Lay a story out once, then draw any of its steps."""

    def __init__(self, story: _Story, scale: _Scale, note: str = "") -> None:
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

    def page(self, steps: Sequence[_Step]) -> Image.Image:
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
        return page.quantize(palette=_palette(), dither=Image.Dither.NONE)

    def _side_by_side(self, scale: _Scale) -> tuple[_Grid, _Grid]:
        first, second = self.story.input, self.story.output
        longest = max(map(len, (first.rows, first.columns, second.rows, second.columns)))
        cell = _cell(scale.longest_side / longest, scale.largest_cell)
        left = MARGIN + self._tick_room(first.rows)
        one = _Grid(left, 44, first.rows, first.columns, cell, cell, _gap(cell))
        left = max(one.right, left + self._width(first.label, SMALL)) + GUTTER + self._tick_room(second.rows)
        return one, _Grid(left, 44, second.rows, second.columns, cell, cell, _gap(cell))

    def _stack(self, scale: _Scale) -> tuple[_Grid, _Grid]:
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

    def _tile(self, step: _Step) -> Image.Image:
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
            _paint(
                legend, _Grid(x, y + 2, range(1), range(1), 16, 16, self.input.gap), _Mark(style, [0], [0])
            )
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


def _paint(image: Image.Image, grid: _Grid, mark: _Mark) -> None:
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


def _palette() -> Image.Image:
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
