"""Which positions of an input axis each output position reads, for every operator that moves along an axis."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import floor, gcd
from typing import Literal

from convscope.errors import ShapeError
from convscope.geometry.integers import as_int
from convscope.geometry.transposed import TransposedWindow
from convscope.geometry.window import Window

__all__ = ["Reads"]

Taps = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reads:
    """The positions that outputs read along one axis: a pattern that repeats every `period` outputs.

    Output o reads `taps[o % period]`, moved by `shift` for each whole period before it. Positions may lie
    outside the input: that is padding.

    Args:
        period: outputs after which the pattern repeats; 1 for a convolution, the stride for a transposed one.
        shift: input positions by which the pattern moves in one period.
        taps: for each of the first `period` outputs the positions read; () for an output that reads nothing.
        edges: for each output of the axis what it really reads, where borders differ from the pattern
            (mirrored or wrapped padding); None where cutting the taps at the input's ends says it all.
    Example:
        >>> Reads.of(Window(kernel_size=3, stride=2, padding=1), 8).at(2)
        (3, 4, 5)
    """

    period: int
    shift: int
    taps: tuple[Taps, ...]
    edges: tuple[Taps, ...] | None = None

    def at(self, output: int) -> Taps:
        """Return the positions that this output reads; those outside the input are padding."""
        turns, phase = divmod(output, self.period)
        moved = turns * self.shift
        return tuple(tap + moved for tap in self.taps[phase]) if moved else self.taps[phase]

    def inside(self, output: int, input_size: int) -> Taps:
        """Return the pixels of an input of `input_size` that this output reads."""
        if self.edges is not None:
            return self.edges[output]
        return tuple(tap for tap in self.at(output) if 0 <= tap < input_size)

    @classmethod
    def identity(cls) -> Reads:
        """Return the pattern of an elementwise operator."""
        return cls(1, 1, ((0,),))

    @classmethod
    def of(cls, window: Window | TransposedWindow, input_size: int) -> Reads:
        """Return the pattern of a convolution, a pooling window or a transposed convolution.

        Example:
            >>> Reads.of(TransposedWindow(kernel_size=3, stride=2), 4).taps
            ((-1, 0), (0,))
        """
        before = window.pads(input_size)[0]
        if isinstance(window, Window):
            return cls(1, window.stride, (tuple(range(-before, window.span - before, window.dilation)),))
        phases: list[Taps] = []
        for output in range(window.stride):
            pairs = (
                divmod(output + before - tap * window.dilation, window.stride)
                for tap in reversed(range(window.kernel_size))
            )
            phases.append(tuple(source for source, rest in pairs if rest == 0))
        return cls(window.stride, 1, tuple(phases))

    @classmethod
    def slice(cls, start: int, step: int = 1) -> Reads:
        """Return the pattern of taking every `step`-th position from `start`: crops, strided slices, flips.

        Padding of `before` pixels is a slice from `-before`.
        """
        return cls(1, step, ((start,),))

    @classmethod
    def table(cls, taps: tuple[Taps, ...], pattern: Reads) -> Reads:
        """Return what is written out an output, with the `pattern` that holds away from the borders."""
        return cls(pattern.period, pattern.shift, pattern.taps, taps)

    @classmethod
    def rolled(cls, shift: int, size: int) -> Reads:
        """Return the pattern of `torch.roll`: output o reads o - shift, round the end."""
        return cls.table(tuple(((o - shift) % size,) for o in range(size)), cls.slice(-shift))

    @classmethod
    def padded(
        cls, before: int, size: int, after: int, mode: Literal["reflect", "replicate", "circular"]
    ) -> Reads:
        """Return the pattern of padding with pixels of the input itself.

        Example:
            >>> [Reads.padded(2, 4, 1, "reflect").inside(o, 4) for o in range(7)]
            [(2,), (1,), (0,), (1,), (2,), (3,), (2,)]
        """

        def turn(position: int) -> int:
            if mode == "circular":
                return position % size
            if mode == "replicate":
                return min(max(position, 0), size - 1)
            return abs(position) if position < size else 2 * (size - 1) - position

        return cls.table(tuple((turn(p),) for p in range(-before, size + after)), cls.slice(-before))

    @classmethod
    def adaptive(cls, input_size: int, output_size: int) -> Reads:
        """Return the pattern of adaptive pooling: bins floor(o*n/m) to ceil((o+1)*n/m).

        Source: torch.nn.AdaptiveAvgPool2d.
        Example:
            >>> Reads.adaptive(5, 3).taps
            ((0, 1), (1, 2, 3), (3, 4))
        """
        period, shift = _reduced(output_size, input_size)
        return cls(
            period,
            shift,
            tuple(
                tuple(range(o * input_size // output_size, -(-(o + 1) * input_size // output_size)))
                for o in range(period)
            ),
        )

    @classmethod
    def digit(cls, inner: int, size: int | None = None) -> Reads:
        """Return the pattern of reading one digit of a merged axis: position (o // inner) % size.

        Without a size the digit is the outermost one, as in upsampling by repetition.
        """
        if size is None:
            return cls(inner, 1, ((0,),) * inner)
        return cls(size * inner, 0, tuple((o // inner,) for o in range(size * inner)))

    @classmethod
    def smoothed(cls, input_size: int, output_size: int, taps: int, *, step: float) -> Reads:
        """Return the pattern of interpolation with antialiasing: a kernel widened by the reduction.

        Args:
            taps: of the kernel before widening, 2 for linear and 4 for cubic.
            step: pixels from one output to the next.
        Source: torch.nn.functional.interpolate(..., antialias=True), after Pillow.
        Example:
            >>> Reads.smoothed(8, 4, 2, step=2.0).inside(1, 8)
            (1, 2, 3, 4)
        """
        reach = taps / 2 * max(step, 1.0)
        rows: list[Taps] = []
        for output in range(output_size):
            centre = step * (output + 0.5)
            rows.append(tuple(range(floor(centre - reach + 0.5), floor(centre + reach + 0.5))))
        # A tap at the very end of the kernel has no weight, nor has one where the cubic kernel crosses zero.
        zeros = (2.0, 1.0) if taps == 4 else (1.0,)
        seen = [
            tuple(
                tap
                for tap in row
                if all(
                    abs(abs(tap + 0.5 - step * (output + 0.5)) / max(step, 1.0) - zero) > 1e-9
                    for zero in zeros
                )
            )
            for output, row in enumerate(rows)
        ]
        period, shift = _reduced(output_size, input_size)
        inside = tuple(tuple(tap for tap in row if 0 <= tap < input_size) for row in seen)
        return cls(period, shift, tuple(seen[:period]), inside)

    @classmethod
    def resized(
        cls,
        input_size: int,
        output_size: int,
        kind: Literal["nearest", "nearest-exact", "linear", "cubic"],
        *,
        align_corners: bool = False,
        scale: float | None = None,
    ) -> Reads:
        """Return the pattern of interpolation along one axis.

        Args:
            scale: outputs a pixel where the caller gave it (torch uses it instead of the two sizes).
        Source: torch.nn.functional.interpolate; half-pixel centres unless corners are aligned.
        Example:
            >>> Reads.resized(4, 8, "linear").taps
            ((-1, 0), (0, 1))
        """
        input_size = as_int("input size", input_size, at_least=1)
        output_size = as_int("output size", output_size, at_least=1)
        step = input_size / output_size if not scale else 1.0 / scale
        if align_corners:
            step = (input_size - 1) / (output_size - 1) if output_size > 1 else 0.0
            period, shift = _reduced(output_size - 1, input_size - 1) if output_size > 1 else (1, 0)
        elif scale and abs(step - input_size / output_size) > 1e-9:
            # Not the ratio of the two sizes, but one of its own.
            slope = Fraction(step).limit_denominator(1000)
            period, shift = slope.denominator, slope.numerator
        else:
            period, shift = _reduced(output_size, input_size)
        taps = tuple(
            _interpolated(o * step if align_corners else (o + 0.5) * step - 0.5, o * step, kind)
            for o in range(period)
        )
        rows = tuple(
            tuple(sorted({min(max(tap, 0), input_size - 1) for tap in cls(period, shift, taps).at(o)}))
            for o in range(output_size)
        )
        return cls(period, shift, taps, rows)


def _interpolated(centre: float, corner: float, kind: str) -> Taps:
    """Return the taps around a position in input pixels; a tap of weight zero is left out."""
    if kind == "nearest":
        return (floor(corner + 1e-9),)
    if kind == "nearest-exact":
        return (floor(centre + 0.5 + 1e-9),)
    if kind not in ("linear", "cubic"):
        raise ShapeError(f"interpolation {kind!r} has no taps; give nearest, nearest-exact, linear or cubic.")
    low = floor(centre + 1e-9)
    if abs(centre - low) < 1e-9:
        return (low,)
    return (low, low + 1) if kind == "linear" else (low - 1, low, low + 1, low + 2)


def _reduced(outputs: int, inputs: int) -> tuple[int, int]:
    common = gcd(outputs, inputs) or 1
    return outputs // common or 1, inputs // common
