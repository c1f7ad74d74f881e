"""How far a change of some inputs reaches along an axis: reads turned round. Integers in, integers out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from convscope.geometry.reads import Reads
from convscope.geometry.receptive_field import Span, hull

__all__ = ["Reach", "Spans", "progressions"]


@dataclass(frozen=True, slots=True)
class Reach:
    """For each input position the outputs that read it, lowest and highest; None where nothing reads it.

    Example:
        >>> from convscope.geometry import Window
        >>> Reach.of(Reads.of(Window(3, stride=2, padding=1), 6), 6, 3).readers
        ((0, 0), (0, 1), (1, 1), (1, 2), (2, 2), (2, 2))
    """

    readers: tuple[Span | None, ...]

    @classmethod
    def of(cls, reads: Reads, input_size: int, output_size: int) -> Reach:
        """Return the reach of an operator that reads an axis of `input_size` so."""
        readers: list[Span | None] = [None] * input_size
        for output in range(output_size):
            for tap in reads.inside(output, input_size):
                before = readers[tap]
                readers[tap] = (output if before is None else before[0], output)
        return cls(tuple(readers))

    def of_change(self, changed: Span) -> Span | None:
        """Return the outputs that a change of these inputs can alter; None if it alters nothing.

        Example:
            >>> from convscope.geometry import Window
            >>> Reach.of(Reads.of(Window(3, padding=1), 8), 8, 8).of_change((0, 2))
            (0, 3)
        """
        first, last = changed
        return hull(self.readers[first : last + 1])


@dataclass(frozen=True)
class Spans:
    """Where an axis has changed, a span a case; kept together they take boxes of one length.

    Args:
        spans: of each case the first and last changed position.
        size: positions of the axis.
    Example:
        >>> cases = Spans(((0, 1), (2, 4), (5, 5)), 6)
        >>> cases.length, cases.starts
        (3, (0, 2, 3))
    """

    spans: tuple[Span, ...]
    size: int

    @cached_property
    def length(self) -> int:
        """Return the length of the longest span: that of every box."""
        return max(last - first + 1 for first, last in self.spans)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """Return where the boxes begin, each around its span and inside the axis."""
        return tuple(min(first, self.size - self.length) for first, _ in self.spans)

    @property
    def whole(self) -> bool:
        """Tell whether the boxes are the axis itself."""
        return self.length == self.size

    def taken(self, cases: Sequence[int]) -> Spans:
        """Return the spans of some of the cases."""
        return Spans(tuple(self.spans[case] for case in cases), self.size)

    def reached(self, reach: Reach, output_size: int) -> Spans:
        """Return the spans of the outputs that the changes can alter.

        A change that nothing reads is given the first output, which computes what was there before.
        """
        found = (reach.of_change(span) for span in self.spans)
        return Spans(tuple(span or (0, 0) for span in found), output_size)

    def joined(self, other: Spans) -> Spans:
        """Return the spans that hold those of both, case by case.

        Example:
            >>> Spans(((0, 1),), 9).joined(Spans(((3, 4),), 9)).spans
            ((0, 4),)
        """
        pairs = zip(self.spans, other.spans, strict=True)
        return Spans(tuple((min(a[0], b[0]), max(a[1], b[1])) for a, b in pairs), self.size)


def progressions(numbers: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Cut numbers into parts that go up by equal steps, or stay: (place of the first, how many, step).

    Example:
        >>> list(progressions([3, 5, 7, 7, 7]))
        [(0, 3, 2), (3, 2, 0)]
    """
    start = 0
    while start < len(numbers):
        end = start + 1
        step = max(numbers[end] - numbers[start], 0) if end < len(numbers) else 0
        while end < len(numbers) and numbers[end] - numbers[end - 1] == step:
            end += 1
        yield start, end - start, step
        start = end
