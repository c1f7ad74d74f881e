"""The window of a transposed convolution on one axis: each input pixel writes a kernel's worth of outputs."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import gcd
from typing import cast

from convscope.errors import ShapeError
from convscope.geometry.derivation import Derivation
from convscope.geometry.integers import as_int
from convscope.geometry.padding import AxisPadding, axis_padding

__all__ = ["TransposedWindow"]


@dataclass(frozen=True, slots=True)
class TransposedWindow:
    """A window turned round: input i writes to outputs i*stride - padding + j*dilation.

    Args:
        kernel_size, stride, dilation: as in `Window`, of the convolution that this one transposes.
        padding: pixels cut from each side of the full result; an int or a (before, after) pair.
        output_padding: outputs added at the end, to choose among the sizes that the stride rounds together;
            below the larger of stride and dilation.
        axis: name used in messages.
    Raises:
        ShapeError: a number out of its range, or nothing left of the output.
    Source:
        Dumoulin & Visin, arXiv:1603.07285, relationship 14; torch.nn.ConvTranspose2d.
    Example:
        >>> TransposedWindow(kernel_size=3, stride=2, padding=1, output_padding=1).output_size(16)
        32
    """

    kernel_size: int
    stride: int = 1
    padding: AxisPadding = 0
    output_padding: int = 0
    dilation: int = 1
    axis: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("kernel_size", "stride", "dilation"):
            object.__setattr__(self, name, as_int(name + self._along, getattr(self, name), at_least=1))
        extra = as_int("output_padding" + self._along, self.output_padding, at_least=0)
        object.__setattr__(self, "output_padding", extra)
        if extra >= max(self.stride, self.dilation):
            raise ShapeError(
                f"output_padding{self._along} is {extra}; it must be below max(stride, dilation) = "
                f"max({self.stride}, {self.dilation}) = {max(self.stride, self.dilation)}."
            )
        padding = axis_padding(self.padding)
        if padding == "valid":
            padding = (0, 0)
        if isinstance(padding, str):
            raise ShapeError(
                f"padding {padding!r}{self._along} has no one meaning for a transposed window; give numbers."
            )
        object.__setattr__(self, "padding", padding)

    @property
    def _along(self) -> str:
        return f" along {self.axis}" if self.axis else ""

    @property
    def span(self) -> int:
        """Outputs from the first that one input writes to the last: dilation*(kernel_size-1) + 1."""
        return self.dilation * (self.kernel_size - 1) + 1

    @property
    def overlaps_unevenly(self) -> bool:
        """Tell whether neighbouring outputs get unequal numbers of products, which shows as a checkerboard.

        Taps j*dilation reach all residues of the stride alike only if the kernel is a multiple of the stride, and
        stride and dilation share no factor.

        Source:
            Odena, Dumoulin & Olah, "Deconvolution and Checkerboard Artifacts", Distill 2016.
        Example:
            >>> TransposedWindow(3, stride=2).overlaps_unevenly, TransposedWindow(4, stride=2).overlaps_unevenly
            (True, False)
        """
        return gcd(self.stride, self.dilation) != 1 or self.kernel_size % self.stride != 0

    def pads(self, input_size: int) -> tuple[int, int]:
        """Return the outputs cut (before, after) from the full result; the same for every input size."""
        return cast("tuple[int, int]", self.padding)

    def output_size(self, input_size: int) -> int:
        """Return the size of the output that an input of `input_size` pixels writes.

        Raises:
            ShapeError: the padding cuts everything away.
        """
        input_size = as_int(f"input size{self._along}", input_size, at_least=1)
        before, after = self.pads(input_size)
        outputs = (input_size - 1) * self.stride - before - after + self.span + self.output_padding
        if outputs < 1:
            raise ShapeError(
                f"nothing is left of the output{self._along}: (input-1)*stride + span + output_padding = "
                f"({input_size}-1)*{self.stride} + {self.span} + {self.output_padding} = "
                f"{outputs + before + after}, and the padding cuts {before} + {after} = {before + after}. "
                "Use less padding or a larger input."
            )
        return outputs

    def input_sizes(self, output_size: int) -> range:
        """Return the one input size that gives `output_size`, as a range; empty when none does.

        Example:
            >>> TransposedWindow(kernel_size=2, stride=2).input_sizes(32)
            range(16, 17)
        """
        output_size = as_int(f"output size{self._along}", output_size, at_least=1)
        before, after = self.pads(1)
        room = output_size + before + after - self.span - self.output_padding
        if room < 0 or room % self.stride:
            return range(0)
        return range(room // self.stride + 1, room // self.stride + 2)

    def writes(self, input_index: int, input_size: int) -> range:
        """Return the output positions that input `input_index` writes; those outside the output are cut.

        Example:
            >>> list(TransposedWindow(kernel_size=3, stride=2, padding=1).writes(1, 4))
            [1, 2, 3]
        """
        if not 0 <= input_index < input_size:
            raise ShapeError(f"input index{self._along} is {input_index}; the input has {input_size} pixels.")
        start = input_index * self.stride - self.pads(input_size)[0]
        return range(start, start + self.span, self.dilation)

    def full_result(self, input_size: int) -> range:
        """Return the output positions from the first written to the last, with those that the padding cuts.

        Example:
            >>> window = TransposedWindow(kernel_size=3, stride=2, padding=1)
            >>> window.full_result(4), window.output_size(4)
            (range(-1, 8), 7)
        """
        return range(self.writes(0, input_size)[0], self.writes(input_size - 1, input_size)[-1] + 1)

    def taps(self, output_index: int, input_size: int) -> tuple[tuple[int, int], ...]:
        """Return the (input position, kernel position) pairs whose products make output `output_index`.

        Example:
            >>> TransposedWindow(kernel_size=3, stride=2, padding=1).taps(1, 4)
            ((0, 2), (1, 0))
        """
        outputs = self.output_size(input_size)
        if not 0 <= output_index < outputs:
            raise ShapeError(
                f"output index{self._along} is {output_index}; an input of {input_size} gives {outputs} "
                f"outputs, 0 to {outputs - 1}."
            )
        pairs: list[tuple[int, int]] = []
        for tap in reversed(range(self.kernel_size)):
            source, rest = divmod(output_index + self.pads(input_size)[0] - tap * self.dilation, self.stride)
            if rest == 0 and 0 <= source < input_size:
                pairs.append((source, tap))
        return tuple(pairs)

    def derivation(self, input_size: int) -> Derivation:
        """Return the formula of the output size with these numbers in it.

        Example:
            >>> print(TransposedWindow(kernel_size=4, stride=2, padding=1).derivation(16))
            output_size = (input-1)*stride - before - after + dilation*(kernel_size-1) + output_padding + 1
                        = (16-1)*2 - 1 - 1 + 1*(4-1) + 0 + 1
                        = 32
        """
        outputs = self.output_size(input_size)
        before, after = self.pads(input_size)
        steps = (
            "(input-1)*stride - before - after + dilation*(kernel_size-1) + output_padding + 1",
            f"({input_size}-1)*{self.stride} - {before} - {after} + {self.dilation}*({self.kernel_size}-1)"
            f" + {self.output_padding} + 1",
            str(outputs),
        )
        return Derivation("output_size", steps, outputs, self._notes())

    def _notes(self) -> tuple[str, ...]:
        if not self.overlaps_unevenly:
            return ()
        reason = (
            f"kernel_size {self.kernel_size} is no multiple of stride {self.stride}"
            if self.kernel_size % self.stride
            else f"stride {self.stride} and dilation {self.dilation} share a factor"
        )
        return (f"{reason}: neighbouring outputs get unequal numbers of products (checkerboard)",)

    def input_derivation(self, output_size: int) -> Derivation:
        """Return which input size gives `output_size`; the value is (size, size), or () when none does."""
        before, after = self.pads(1)
        steps = (
            "(output + before + after - dilation*(kernel_size-1) - output_padding - 1) / stride + 1",
            f"({output_size} + {before} + {after} - {self.dilation}*({self.kernel_size}-1)"
            f" - {self.output_padding} - 1) / {self.stride} + 1",
        )
        sizes = self.input_sizes(output_size)
        if not sizes:
            room = output_size + before + after - self.span - self.output_padding
            why = "no input of at least 1 pixel" if room < 0 else "the stride does not divide"
            return Derivation("input_size", (*steps, f"none: {why}"), ())
        return Derivation("input_size", (*steps, str(sizes[0])), (sizes[0], sizes[0]))
