"""What can be said of windows on one input, or of the inputs that lead to one output, as one record."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from convscope.display import Shown
from convscope.geometry.derivation import Derivation
from convscope.geometry.transposed import TransposedWindow
from convscope.geometry.windows import Windows

__all__ = ["WindowFacts", "window_facts"]


@dataclass(frozen=True, slots=True)
class WindowFacts(Shown):
    """Sizes along each axis with their derivations.

    Attributes:
        input_sizes: the input's size, or, asked backwards, the sizes that lead to the output; one range an axis.
        padding, dropped_pixels: for the one input; None asked backwards.
    """

    windows: Windows
    input_sizes: tuple[range, ...]
    output_size: tuple[int, ...]
    padding: tuple[tuple[int, int], ...] | None
    dropped_pixels: tuple[int, ...] | None
    derivations: tuple[Derivation, ...]

    def __str__(self) -> str:
        texts = [str(derivation) for derivation in self.derivations]
        names = [window.axis for window in self.windows.axes]
        if len(texts) == 1:
            return texts[0]
        if len(set(texts)) == 1:
            return f"{texts[0]}\n(the same along {' and '.join(names)})"
        return "\n".join(f"{name}:\n{text}" for name, text in zip(names, texts, strict=True))

    def to_dict(self) -> dict[str, object]:
        """Return the facts as plain values for JSON; input sizes as [smallest, largest], [] for none."""
        return {
            "kernel_size": list(self.windows.kernel_size),
            "stride": list(self.windows.stride),
            "dilation": list(self.windows.dilation),
            "transposed": isinstance(self.windows.axes[0], TransposedWindow),
            "input_size": [[sizes[0], sizes[-1]] if sizes else [] for sizes in self.input_sizes],
            "output_size": list(self.output_size),
            "padding": None if self.padding is None else [list(pair) for pair in self.padding],
            "dropped_pixels": None if self.dropped_pixels is None else list(self.dropped_pixels),
            "derivations": [derivation.to_dict() for derivation in self.derivations],
        }


def window_facts(
    windows: Windows, *, input_size: Sequence[int] | None = None, output_size: Sequence[int] | None = None
) -> WindowFacts:
    """Say what the windows make of an input, or which inputs they make an output from; give one of the two.

    Example:
        >>> print(window_facts(Windows.of(1, 2, stride=2), output_size=(4,)))
        input_size = (output - 1)*stride + dilation*(kernel_size-1) + 1 - before - after, up to stride-1 more
                   = (4 - 1)*2 + 1*(2-1) + 1 - 0 - 0, up to 1 more
                   = 8 to 9
    """
    if output_size is not None:
        sizes = tuple(output_size)
        return WindowFacts(
            windows, windows.input_sizes(sizes), sizes, None, None, windows.input_derivations(sizes)
        )
    sizes = tuple(input_size or ())
    outputs = windows.output_size(sizes)
    return WindowFacts(
        windows,
        tuple(range(size, size + 1) for size in sizes),
        outputs,
        windows.pads(sizes),
        windows.dropped_pixels(sizes),
        windows.derivations(sizes),
    )
