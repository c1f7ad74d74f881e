"""How a kernel meets one axis: size, stride, padding, dilation. Integers in, integers out."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field
from typing import cast

from convscope.errors import ShapeError
from convscope.geometry.derivation import Derivation
from convscope.geometry.integers import as_int
from convscope.geometry.padding import AxisPadding, axis_padding

__all__ = ["Window", "pool_window"]


@dataclass(frozen=True, slots=True)
class Window:
    """A kernel that slides over one axis.

    Args:
        kernel_size, stride, dilation: pixels, at least 1. Tap j of window o reads padded position
            o*stride + j*dilation.
        padding: pixels added to each side; a (before, after) pair; or a word. `valid` adds none; `full` adds
            dilation*(kernel_size-1) to each side, so every overlap counts; `same` makes
            ceil(input_size/stride) outputs, the odd pixel after.
        ceil_mode: let the last window stick out beyond the padded end, if it starts inside the input or the
            padding before it (torch's pooling rule, taken literally: where the padding after is as long as the
            whole kernel, it can give one window fewer than without).
        axis: name used in messages, such as `height`.
    Raises:
        ShapeError: a number out of its range; also from the methods, where the window does not fit.
    Source:
        Sizes: Dumoulin & Visin, arXiv:1603.07285, relationships 6 and 15. `same` with a stride: TensorFlow's
        rule. `ceil_mode`: torch.nn.MaxPool2d.
    Example:
        >>> Window(kernel_size=5, padding=2).output_size(32)
        32
        >>> Window(kernel_size=3, stride=2).input_sizes(5)
        range(11, 13)
    """

    kernel_size: int
    stride: int = 1
    padding: AxisPadding = 0
    dilation: int = 1
    ceil_mode: bool = False
    axis: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        for name in ("kernel_size", "stride", "dilation"):
            object.__setattr__(self, name, as_int(name + self._along, getattr(self, name), at_least=1))
        object.__setattr__(self, "padding", axis_padding(self.padding))

    @property
    def _along(self) -> str:
        return f" along {self.axis}" if self.axis else ""

    @property
    def span(self) -> int:
        """Pixels from the first tap to the last: dilation*(kernel_size-1) + 1."""
        return self.dilation * (self.kernel_size - 1) + 1

    def pads(self, input_size: int) -> tuple[int, int]:
        """Return the pixels added (before, after) an input of this size.

        Example:
            >>> Window(kernel_size=3, stride=2, padding="same").pads(8)
            (0, 1)
        """
        if self.padding == "same":
            outputs = -(-input_size // self.stride)
            total = max((outputs - 1) * self.stride + self.span - input_size, 0)
            return total // 2, total - total // 2
        if self.padding == "full":
            return self.span - 1, self.span - 1
        if self.padding == "valid":
            return 0, 0
        return cast("tuple[int, int]", self.padding)

    def padded(self, input_size: int) -> range:
        """Return the positions of the padded input; the pixels themselves are 0 to input_size - 1.

        Example:
            >>> Window(kernel_size=3, padding=(1, 2)).padded(5)
            range(-1, 7)
        """
        before, after = self.pads(input_size)
        return range(-before, input_size + after)

    def output_size(self, input_size: int) -> int:
        """Return how many windows fit an input of `input_size` pixels.

        Raises:
            ShapeError: the dilated kernel is longer than the padded input.
        """
        input_size = as_int(f"input size{self._along}", input_size, at_least=1)
        outputs = self._count(input_size)
        if outputs < 1:
            before, after = self.pads(input_size)
            missing = self.span - input_size - before - after
            if self.ceil_mode:
                missing -= self.stride - 1  # the first window may stick out by less than a stride
            raise ShapeError(
                f"kernel does not fit{self._along}: dilation*(kernel_size-1)+1 = "
                f"{self.dilation}*({self.kernel_size}-1)+1 = {self.span}, but input + padding = "
                f"{input_size} + {before} + {after} = {input_size + before + after}. "
                f"Add {missing} more padding, shorten the kernel, or give an input of at least "
                f"{input_size + missing}."
            )
        return outputs

    def _count(self, input_size: int) -> int:
        before, after = self.pads(input_size)
        room = input_size + before + after - self.span
        if not self.ceil_mode:
            return room // self.stride + 1
        outputs = -(-room // self.stride) + 1
        if (outputs - 1) * self.stride >= input_size + before:
            outputs -= 1
        return outputs

    def input_sizes(self, output_size: int) -> range:
        """Return every input size, from 1 up, that gives `output_size` windows; the range may be empty.

        Example:
            >>> Window(kernel_size=3, padding=1, stride=2).input_sizes(112)
            range(223, 225)
            >>> Window(kernel_size=1, padding=1).input_sizes(2)
            range(0, 0)
        """
        output_size = as_int(f"output size{self._along}", output_size, at_least=1)
        # The count never falls when the input grows, and grows by at most one a pixel.
        bound = range(1, output_size * self.stride + self.span + 1)
        low = bisect_left(bound, output_size, key=self._count)
        high = bisect_left(bound, output_size + 1, key=self._count)
        return range(bound[low], bound[low] + high - low) if high > low else range(0)

    def taps(self, output_index: int, input_size: int) -> range:
        """Return the input positions that window `output_index` reads; outside [0, input_size) is padding.

        Example:
            >>> list(Window(kernel_size=3, padding=1, dilation=2).taps(0, 8))
            [-1, 1, 3]
        """
        outputs = self.output_size(input_size)
        if not 0 <= output_index < outputs:
            raise ShapeError(
                f"output index{self._along} is {output_index}; an input of {input_size} gives {outputs} "
                f"outputs, 0 to {outputs - 1}."
            )
        start = output_index * self.stride - self.pads(input_size)[0]
        return range(start, start + self.span, self.dilation)

    def dropped_pixels(self, input_size: int) -> int:
        """Return how many pixels at the end of the input lie behind the last window.

        Not zero when the stride does not divide the room that the kernel leaves; those pixels take part in no
        output.

        Example:
            >>> Window(kernel_size=3, stride=2).dropped_pixels(8)
            1
        """
        last = self.taps(self.output_size(input_size) - 1, input_size)
        return max(input_size - 1 - last[-1], 0)

    def unread_pixels(self, input_size: int) -> tuple[int, ...]:
        """Return the pixels that no tap of any window reads: between the windows as well as behind the last.

        Example:
            >>> Window(kernel_size=2, stride=3).unread_pixels(9)
            (2, 5, 8)
        """
        read: set[int] = set()
        for index in range(self.output_size(input_size)):
            read.update(self.taps(index, input_size))
        return tuple(position for position in range(input_size) if position not in read)

    def derivation(self, input_size: int) -> Derivation:
        """Return the formula of the output size with these numbers in it.

        Example:
            >>> print(Window(kernel_size=5, padding=2).derivation(32))
            output_size = floor((input + before + after - dilation*(kernel_size-1) - 1) / stride) + 1
                        = floor((32 + 2 + 2 - 1*(5-1) - 1) / 1) + 1
                        = floor(31 / 1) + 1
                        = 32
        """
        outputs = self.output_size(input_size)
        before, after = self.pads(input_size)
        room = input_size + before + after - self.span
        word = "ceil" if self.ceil_mode else "floor"
        steps = [
            f"{word}((input + before + after - dilation*(kernel_size-1) - 1) / stride) + 1",
            f"{word}(({input_size} + {before} + {after} - {self.dilation}*({self.kernel_size}-1) - 1)"
            f" / {self.stride}) + 1",
            f"{word}({room} / {self.stride}) + 1",
        ]
        rounded = (-(-room // self.stride) if self.ceil_mode else room // self.stride) + 1
        if rounded != outputs:
            steps.append(
                f"{rounded} - 1: window {rounded} would start at {(rounded - 1) * self.stride}, "
                f"not before the end of the input at {before} + {input_size}"
            )
        return Derivation("output_size", (*steps, str(outputs)), outputs, self._notes(input_size))

    def _notes(self, input_size: int) -> tuple[str, ...]:
        before, after = self.pads(input_size)
        notes: list[str] = []
        if self.padding == "same":
            wanted = -(-input_size // self.stride)
            notes.append(
                f"same: ceil({input_size}/{self.stride}) = {wanted} outputs need max(({wanted}-1)*{self.stride}"
                f" + {self.span} - {input_size}, 0) = {before + after} of padding: {before} before, {after} after"
            )
        if self.padding == "full":
            notes.append(f"full: dilation*(kernel_size-1) = {self.span - 1} of padding on each side")
        dropped = self.dropped_pixels(input_size)
        if dropped == 1:
            notes.append("the last pixel of the input lies behind the last window: nothing reads it")
        elif dropped:
            notes.append(
                f"the last {dropped} pixels of the input lie behind the last window: nothing reads them"
            )
        return tuple(notes)

    def input_derivation(self, output_size: int) -> Derivation:
        """Return which input sizes give `output_size`, with these numbers in the inverted formula.

        The value is (smallest, largest), or () when no input gives that output.

        Example:
            >>> print(Window(kernel_size=3, stride=2).input_derivation(5))
            input_size = (output - 1)*stride + dilation*(kernel_size-1) + 1 - before - after, up to stride-1 more
                       = (5 - 1)*2 + 1*(3-1) + 1 - 0 - 0, up to 1 more
                       = 11 to 12
        """
        sizes = self.input_sizes(output_size)
        if self.padding == "same":
            steps = [
                "(output - 1)*stride + 1 to output*stride",
                f"({output_size} - 1)*{self.stride} + 1 to {output_size}*{self.stride}",
            ]
        else:
            before, after = self.pads(1)
            steps = [
                "(output - 1)*stride + dilation*(kernel_size-1) + 1 - before - after, up to stride-1 more",
                f"({output_size} - 1)*{self.stride} + {self.dilation}*({self.kernel_size}-1) + 1"
                f" - {before} - {after}, up to {self.stride - 1} more",
            ]
            if self.ceil_mode:
                steps = [f"the sizes whose output size, rounded up, is {output_size}"]
        if not sizes:
            return Derivation("input_size", (*steps, "none: no input of at least 1 pixel"), ())
        text = str(sizes[0]) if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]}"
        return Derivation("input_size", (*steps, text), (sizes[0], sizes[-1]))


def pool_window(
    kernel_size: int,
    stride: int | None = None,
    padding: AxisPadding = 0,
    dilation: int = 1,
    ceil_mode: bool = False,
    axis: str = "",
) -> Window:
    """Return the window of a pooling layer: the stride defaults to the kernel, the padding is limited.

    Raises:
        ShapeError: more than half a kernel of padding, which torch refuses: a window could see nothing else.
    Source:
        torch.nn.MaxPool2d and torch.nn.AvgPool2d.
    Example:
        >>> pool_window(2).output_size(7), pool_window(2, ceil_mode=True).output_size(7)
        (3, 4)
    """
    window = Window(
        kernel_size, kernel_size if stride is None else stride, padding, dilation, ceil_mode, axis
    )
    if not isinstance(window.padding, str):
        widest = max(window.pads(1))
        if widest > window.kernel_size // 2:
            where = f" along {axis}" if axis else ""
            raise ShapeError(
                f"pooling padding{where} is {widest}; it must be at most half the kernel, "
                f"{window.kernel_size} // 2 = {window.kernel_size // 2}."
            )
    return window
