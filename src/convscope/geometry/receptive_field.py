"""Receptive fields along one axis: which input pixels an output position can see, in exact integers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from convscope.geometry.reads import Reads

__all__ = ["AxisField", "Span", "TableField", "hull"]

Span = tuple[int, int]  # lowest and highest input pixel, both included


def hull(spans: Sequence[Span | None]) -> Span | None:
    """Return the smallest span that holds all; None if there are none.

    Example:
        >>> hull([(0, 2), None, (5, 6)])
        (0, 6)
    """
    found = [span for span in spans if span is not None]
    if not found:
        return None
    return min(low for low, _ in found), max(high for _, high in found)


@dataclass(frozen=True, slots=True)
class AxisField:
    """The field of every position of an axis, as if the image went on for ever: a pattern that repeats.

    Position o sees `spans[o % period]`, moved by `shift` for each whole period before it. Plain convolutions
    have the period 1; transposed ones and upsampling repeat after as many positions as they make of one.

    Attributes:
        regular: False where fields of different strides were joined; then `spans` lists every position.
    Source:
        Araujo, Norris & Sim, Distill 2019 (size, stride, padding); here with the phases of fractional strides.
    Example:
        >>> from convscope.geometry import Window
        >>> field = AxisField.identity()
        >>> for window in (Window(7, 2, 3), Window(3, 2, 1)):
        ...     field = field.read_by(Reads.of(window, 224), 112)
        >>> field.size, field.stride, field.padding
        (11, Fraction(4, 1), 5)
    """

    period: int
    shift: int
    spans: tuple[Span | None, ...]
    regular: bool = True

    @classmethod
    def identity(cls, size: int = 0) -> AxisField:
        """Return the field of the input itself: each position sees itself."""
        return cls(1, 1, ((0, 0),))

    def at(self, position: int) -> Span | None:
        """Return the span of one position, or None where nothing is seen."""
        if not self.regular:
            return self.spans[min(max(position, 0), self.period - 1)]
        turns, phase = divmod(position, self.period)
        span = self.spans[phase]
        moved = turns * self.shift
        return span if span is None or not moved else (span[0] + moved, span[1] + moved)

    @property
    def size(self) -> int:
        """Return the number of input pixels that a position sees, the largest over the phases."""
        return max((high - low + 1 for low, high in filter(None, self.spans)), default=0)

    @property
    def stride(self) -> Fraction | None:
        """Return input pixels from one position to the next; None where it is not the same everywhere."""
        return Fraction(self.shift, self.period) if self.regular and self.shift else None

    @property
    def padding(self) -> int:
        """Return how many pixels before the image the field of position 0 begins; negative: inside it."""
        span = self.spans[0]
        return -span[0] if span else 0

    @property
    def offset(self) -> Fraction:
        """Return the centre of position 0's field in input pixels: -padding + (size-1)/2."""
        span = self.spans[0]
        return Fraction(span[0] + span[1], 2) if span else Fraction(0)

    def read_by(self, reads: Reads, output_size: int) -> AxisField:
        """Return the field of an operator's output that reads this axis so."""
        if not self.regular:
            rows = (reads.at(o) for o in range(output_size))
            return AxisField(output_size, 0, tuple(hull([self.at(t) for t in taps]) for taps in rows), False)
        # After `turns` periods of the reads, the field has moved by whole periods of its own.
        turns = self.period // gcd(reads.shift, self.period) if reads.shift else 1
        period = reads.period * turns
        shift = self.shift * reads.shift * turns // self.period
        spans = tuple(hull([self.at(tap) for tap in reads.at(o)]) for o in range(period))
        return _normal(period, shift, spans)

    def union(self, other: AxisField, size: int) -> AxisField:
        """Return the field of a position that sees what both see, on an axis of `size` positions."""
        if self == other:
            return self
        if self.regular and other.regular and self.shift * other.period == other.shift * self.period:
            period = lcm(self.period, other.period)
            spans = tuple(hull([self.at(o), other.at(o)]) for o in range(period))
            return _normal(period, self.shift * (period // self.period), spans)
        size = max(size, 1)
        return AxisField(size, 0, tuple(hull([self.at(o), other.at(o)]) for o in range(size)), False)

    def patched(self, patch: AxisField, start: int, step: int, count: int, size: int) -> AxisField:
        """Return the field after `count` positions from `start` were overwritten by those of `patch`.

        Where both parts see as much at the same stride, such as wrapped padding beside the image, the pattern is that
        of the larger part; otherwise every position is listed.
        """
        blank = all(span is None for span in self.spans)
        alike = self.regular and patch.regular and (self.size, self.stride) == (patch.size, patch.stride)
        if step == 1 and (blank or alike):
            return patch.read_by(Reads.slice(-start), size) if blank or 2 * count >= size else self
        rows = [self.at(position) for position in range(size)]
        for index in range(count):
            rows[start + index * step] = patch.at(index)
        return AxisField(max(size, 1), 0, tuple(rows), False)


def _normal(period: int, shift: int, spans: tuple[Span | None, ...]) -> AxisField:
    """Return the pattern with its shortest period."""
    for short in range(1, period // 2 + 1):
        if period % short or shift % (period // short):
            continue
        step = shift // (period // short)
        if all(spans[o] == _moved(spans[o % short], o // short * step) for o in range(short, period)):
            return AxisField(short, step, spans[:short])
    return AxisField(period, shift, spans)


def _moved(span: Span | None, by: int) -> Span | None:
    return None if span is None else (span[0] + by, span[1] + by)


@dataclass(frozen=True, slots=True)
class TableField:
    """The field of every position of an axis in one image of a given size: cut at every border on the way.

    Example:
        >>> from convscope.geometry import Window
        >>> TableField.identity(4).read_by(Reads.of(Window(3, padding=1), 4), 4).spans
        ((0, 1), (0, 2), (1, 3), (2, 3))
    """

    spans: tuple[Span | None, ...]

    @classmethod
    def identity(cls, size: int) -> TableField:
        """Return the field of the input itself."""
        return cls(tuple((position, position) for position in range(size)))

    def at(self, position: int) -> Span | None:
        """Return the span of one position, or None where nothing is seen."""
        return self.spans[position]

    def read_by(self, reads: Reads, output_size: int) -> TableField:
        """Return the field of an operator's output that reads this axis so."""
        size = len(self.spans)
        if reads.edges is None and reads.period == 1 and len(reads.taps[0]) == 1:
            start, step = reads.taps[0][0], reads.shift
            if start == 0 and step == 1 and output_size == size:
                return self
        rows = (reads.inside(o, size) for o in range(output_size))
        return TableField(tuple(hull([self.spans[tap] for tap in taps]) for taps in rows))

    def union(self, other: TableField, size: int) -> TableField:
        """Return the field of a position that sees what both see."""
        if self == other:
            return self
        return TableField(tuple(hull(pair) for pair in zip(self.spans, other.spans, strict=True)))

    def patched(self, patch: TableField, start: int, step: int, count: int, size: int) -> TableField:
        """Return the field after `count` positions from `start` were overwritten by those of `patch`."""
        rows = list(self.spans)
        for index in range(count):
            rows[start + index * step] = patch.at(index)
        return TableField(tuple(rows))
