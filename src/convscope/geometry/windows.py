"""One window an axis: how a kernel meets a signal, an image or a volume."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from convscope.errors import ShapeError
from convscope.geometry.derivation import Derivation
from convscope.geometry.integers import as_ints
from convscope.geometry.padding import AxisPadding, paddings
from convscope.geometry.transposed import TransposedWindow
from convscope.geometry.window import Window, pool_window

__all__ = ["AXIS_NAMES", "Windows"]

AXIS_NAMES: dict[int, tuple[str, ...]] = {
    1: ("length",),
    2: ("height", "width"),
    3: ("depth", "height", "width"),
}


@dataclass(frozen=True, slots=True)
class Windows:
    """The windows of 1, 2 or 3 axes, in the order of the tensor's axes (depth, height, width).

    Build one with `Windows.of`, `Windows.pool` or `Windows.transposed`; every size argument is an int for all
    axes or one int an axis, as in torch.

    Example:
        >>> windows = Windows.of(2, kernel_size=(3, 5), stride=2, padding="same")
        >>> windows.output_size((224, 225)), windows.input_sizes((112, 113))
        ((112, 113), (range(223, 225), range(225, 227)))
    """

    axes: tuple[Window, ...] | tuple[TransposedWindow, ...]

    @classmethod
    def of(
        cls,
        ndim: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: object = 0,
        dilation: int | Sequence[int] = 1,
        *,
        ceil_mode: bool = False,
    ) -> Windows:
        """Return the windows of a convolution over `ndim` axes."""
        sizes, strides, pads, dilations = _settings(ndim, kernel_size, stride, padding, dilation)
        return cls(
            tuple(
                Window(size, step, pad, spread, ceil_mode, name)
                for name, size, step, pad, spread in zip(
                    AXIS_NAMES[ndim], sizes, strides, pads, dilations, strict=True
                )
            )
        )

    @classmethod
    def pool(
        cls,
        ndim: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: object = 0,
        dilation: int | Sequence[int] = 1,
        *,
        ceil_mode: bool = False,
    ) -> Windows:
        """Return the windows of a pooling layer over `ndim` axes; see `pool_window`."""
        sizes, strides, pads, dilations = _settings(
            ndim, kernel_size, kernel_size if stride is None else stride, padding, dilation
        )
        return cls(
            tuple(
                pool_window(size, step, pad, spread, ceil_mode, name)
                for name, size, step, pad, spread in zip(
                    AXIS_NAMES[ndim], sizes, strides, pads, dilations, strict=True
                )
            )
        )

    @classmethod
    def transposed(
        cls,
        ndim: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: object = 0,
        output_padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
    ) -> Windows:
        """Return the windows of a transposed convolution over `ndim` axes."""
        sizes, strides, pads, dilations = _settings(ndim, kernel_size, stride, padding, dilation)
        extras = as_ints("output_padding", output_padding, ndim, at_least=0)
        return cls(
            tuple(
                TransposedWindow(size, step, pad, extra, spread, name)
                for name, size, step, pad, extra, spread in zip(
                    AXIS_NAMES[ndim], sizes, strides, pads, extras, dilations, strict=True
                )
            )
        )

    @property
    def ndim(self) -> int:
        """Return the number of axes."""
        return len(self.axes)

    @property
    def kernel_size(self) -> tuple[int, ...]:
        """Return the kernel size of each axis."""
        return tuple(window.kernel_size for window in self.axes)

    @property
    def stride(self) -> tuple[int, ...]:
        """Return the stride of each axis."""
        return tuple(window.stride for window in self.axes)

    @property
    def dilation(self) -> tuple[int, ...]:
        """Return the dilation of each axis."""
        return tuple(window.dilation for window in self.axes)

    def pads(self, input_size: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """Return the (before, after) padding of each axis for this input."""
        return tuple(window.pads(size) for window, size in self._zip(input_size))

    def output_size(self, input_size: Sequence[int]) -> tuple[int, ...]:
        """Return the output size of each axis; raise ShapeError naming the axis that does not fit."""
        return tuple(window.output_size(size) for window, size in self._zip(input_size))

    def input_sizes(self, output_size: Sequence[int]) -> tuple[range, ...]:
        """Return the input sizes of each axis that give `output_size`."""
        return tuple(window.input_sizes(size) for window, size in self._zip(output_size))

    def dropped_pixels(self, input_size: Sequence[int]) -> tuple[int, ...]:
        """Return the pixels at the end of each axis that no window reads; 0 for transposed windows."""
        return tuple(
            window.dropped_pixels(size) if isinstance(window, Window) else 0
            for window, size in self._zip(input_size)
        )

    def derivations(self, input_size: Sequence[int]) -> tuple[Derivation, ...]:
        """Return the derivation of the output size of each axis."""
        return tuple(window.derivation(size) for window, size in self._zip(input_size))

    def input_derivations(self, output_size: Sequence[int]) -> tuple[Derivation, ...]:
        """Return the derivation of the possible input sizes of each axis."""
        return tuple(window.input_derivation(size) for window, size in self._zip(output_size))

    def _zip(self, sizes: Sequence[int]) -> list[tuple[Window | TransposedWindow, int]]:
        sizes = tuple(sizes)
        if len(sizes) != self.ndim:
            raise ShapeError(f"sizes {sizes!r} have {len(sizes)} axes; the window has {self.ndim}.")
        return list(zip(cast("tuple[Window | TransposedWindow, ...]", self.axes), sizes, strict=True))


def _settings(
    ndim: int,
    kernel_size: int | Sequence[int],
    stride: int | Sequence[int],
    padding: object,
    dilation: int | Sequence[int],
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[AxisPadding, ...], tuple[int, ...]]:
    if ndim not in AXIS_NAMES:
        raise ShapeError(f"ndim is {ndim!r}; windows have 1, 2 or 3 axes.")
    return (
        as_ints("kernel_size", kernel_size, ndim, at_least=1),
        as_ints("stride", stride, ndim, at_least=1),
        paddings(padding, ndim),
        as_ints("dilation", dilation, ndim, at_least=1),
    )
