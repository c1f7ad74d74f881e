"""What a sliding window does, step by step: cells by name, before any of them is a colour or a place on paper.

Every position comes from `geometry`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

from convscope.geometry import TransposedWindow, Window, Windows

__all__ = ["Block", "Mark", "Panel", "Step", "Story", "tell_story"]

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


@dataclass(frozen=True, slots=True)
class Mark:
    """Every cell at one of `rows` and one of `columns`, drawn in one style."""

    style: str
    rows: Sequence[int]
    columns: Sequence[int]


@dataclass(frozen=True, slots=True)
class Panel:
    """One side of the picture, input or output: its label, its cells, and the marks that stay."""

    label: str
    rows: range
    columns: range
    marks: list[Mark]


Block = tuple[Sequence[int], Sequence[int]]  # rows and columns, of which the first and the last count


@dataclass(frozen=True, slots=True)
class Step:
    """One window: its marks over the input and over the output, and the block of cells to ring in each."""

    caption: tuple[str, str]
    input_marks: list[Mark]
    input_ring: Block
    output_marks: list[Mark]
    output_ring: Block


@dataclass(frozen=True, slots=True)
class Story:
    """All that one animation shows: the two panels, the steps, and the words of the legend."""

    title: str
    words: dict[str, str]
    input: Panel
    output: Panel
    steps: list[Step]
    note: str
    stacked: bool

    def styles(self) -> list[str]:
        """Return the styles that occur, in the order of `words`."""
        marks = [*self.input.marks, *self.output.marks]
        for step in self.steps:
            marks += [*step.input_marks, *step.output_marks]
        used = {mark.style for mark in marks if len(mark.rows) and len(mark.columns)}
        return [style for style in self.words if style in used]


def tell_story(windows: Windows, sizes: tuple[int, ...], frames_at_most: int) -> Story:
    """Say what to show of windows over an input of these sizes, in at most so many steps."""
    if windows.ndim == 3:
        return _tell_of_a_volume(windows, sizes, frames_at_most)
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


def _tell_of_a_volume(windows: Windows, sizes: tuple[int, ...], frames_at_most: int) -> Story:
    """Show height and width of one depth at a time; the caption says which depths the window meets."""
    outputs = windows.output_size(sizes)
    depth, size = windows.axes[0], sizes[0]
    transposed = isinstance(depth, TransposedWindow)
    plane = tell_story(Windows(windows.axes[1:]), sizes[1:], frames_at_most)
    reach = depth.writes if isinstance(depth, TransposedWindow) else depth.taps
    places, note = _sample(
        [range(size if transposed else outputs[0]), range(len(plane.steps))], frames_at_most
    )
    verb = "writes" if transposed else "reads"
    steps = [
        replace(
            plane.steps[number],
            caption=(
                f"depth {at} {verb} {_positions('depth', reach(at, size))}; in it {plane.steps[number].caption[0]}",
                plane.steps[number].caption[1],
            ),
        )
        for at, number in places
    ]
    return replace(
        plane,
        title=f"{_setting(windows, sizes)}: {_by(sizes)}\u00a0->\u00a0{_by(outputs)}",
        input=replace(plane.input, label=f"one depth of {size}: {plane.input.label}"),
        output=replace(plane.output, label=f"one depth of {outputs[0]}: {plane.output.label}"),
        steps=steps,
        note="some windows are shown, the first and the last among them" if note or plane.note else "",
    )


def _sliding_story(
    title: str, axes: Sequence[Window], sizes: Sequence[int], stacked: bool, frames_at_most: int
) -> Story:
    pairs = list(zip(axes, sizes, strict=True))
    pixels = [range(size) for size in sizes]
    outputs = [range(axis.output_size(size)) for axis, size in pairs]
    padded = [axis.padded(size) for axis, size in pairs]
    unread = [axis.unread_pixels(size) for axis, size in pairs]
    last = [axis.taps(indices[-1], size)[-1] for (axis, size), indices in zip(pairs, outputs, strict=True)]
    shown = [range(whole.start, max(whole.stop, end + 1)) for whole, end in zip(padded, last, strict=True)]

    label = f"input {_by(sizes, stacked)}"
    ground = [
        Mark("pixel", *pixels),
        Mark("unread", unread[0], pixels[1]),
        Mark("unread", pixels[0], unread[1]),
    ]
    if padded != pixels:
        label += f", padded to {_by([len(whole) for whole in padded], stacked)}"
        ground.insert(0, Mark("padding", *padded))
    if shown != padded:
        ground.insert(0, Mark("beyond", *shown))
    left = Panel(label, shown[0], shown[1], ground)
    right = Panel(
        f"output {_by([len(axis) for axis in outputs], stacked)}",
        outputs[0],
        outputs[1],
        [Mark("waiting", *outputs)],
    )

    steps: list[Step] = []
    places, note = _sample(outputs, frames_at_most)
    for row, column in places:
        rows, columns = axes[0].taps(row, sizes[0]), axes[1].taps(column, sizes[1])
        inside = _inside(rows, pixels[0]), _inside(columns, pixels[1])
        outside = len(rows) * len(columns) - len(inside[0]) * len(inside[1])
        caption = f"output {_index(row, column, stacked)} reads {_reach(rows, columns, stacked)}"
        more = f"{outside} of {len(rows) * len(columns)} taps outside the input" if outside else ""
        steps.append(
            Step(
                (caption, more),
                [
                    *_holes(rows, columns),
                    *([Mark("outside tap", rows, columns)] if outside else []),
                    Mark("tap", *inside),
                ],
                (rows, columns),
                [
                    Mark("done", outputs[0][:row], outputs[1]),
                    Mark("done", [row], outputs[1][:column]),
                    Mark("now", [row], [column]),
                ],
                ([row], [column]),
            )
        )
    return Story(title, SLIDING_WORDS, left, right, steps, note, stacked)


def _transposed_story(
    title: str, axes: Sequence[TransposedWindow], sizes: Sequence[int], stacked: bool, frames_at_most: int
) -> Story:
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
    border = [Mark("extra", extra[0], outputs[1]), Mark("extra", outputs[0], extra[1])]
    never = [Mark("unwritten", unwritten[0], outputs[1]), Mark("unwritten", outputs[0], unwritten[1])]
    ground = [Mark("waiting", *outputs), *never, *border]
    if shown != outputs:
        label += f", cut from {_by([len(axis) for axis in shown], stacked)}"
        ground.insert(0, Mark("cut", *shown))
    left = Panel(f"input {_by(sizes, stacked)}", pixels[0], pixels[1], [Mark("pixel", *pixels)])
    right = Panel(label, shown[0], shown[1], ground)

    steps: list[Step] = []
    places, note = _sample(pixels, frames_at_most)
    every_column = _inside(_union(writes[1]), outputs[1])
    for row, column in places:
        rows, columns = writes[0][row], writes[1][column]
        kept = _inside(rows, outputs[0]), _inside(columns, outputs[1])
        lost = len(rows) * len(columns) - len(kept[0]) * len(kept[1])
        caption = f"input {_index(row, column, stacked)} writes {_reach(rows, columns, stacked)}"
        more = f"{lost} of {len(rows) * len(columns)} products cut" if lost else ""
        steps.append(
            Step(
                (caption, more),
                [Mark("source", [row], [column])],
                ([row], [column]),
                [
                    Mark("done", _inside(_union(writes[0][:row]), outputs[0]), every_column),
                    Mark("done", kept[0], _inside(_union(writes[1][:column]), outputs[1])),
                    *_holes(rows, columns),
                    *([Mark("cut now", rows, columns)] if lost else []),
                    Mark("now", *kept),
                    *border,
                ],
                (rows, columns),
            )
        )
    return Story(title, TRANSPOSED_WORDS, left, right, steps, note, stacked)


def _holes(rows: range, columns: range) -> list[Mark]:
    spans = range(rows[0], rows[-1] + 1), range(columns[0], columns[-1] + 1)
    return [Mark("hole", *spans)] if spans != (rows, columns) else []


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
