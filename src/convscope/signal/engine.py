"""The part of a convolution that does not depend on the kind of the signals: what to compute, and how.

An engine fills the slots for one kind (NumPy arrays in `arrays.py`, tensors in `tensors.py`); `convolve` here
puts them together. Signals that arrive here are of one working dtype, have the same number of axes (at least
one) and no empty axis.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from convscope.errors import UsageError
from convscope.signal.cost import region_cost
from convscope.signal.fourier import integers_stay_exact, transform_shape
from convscope.signal.regions import Region, Shape, crop

__all__ = ["Engine"]


class Engine(ABC):
    """What a kind of array must be able to do to be convolved."""

    kind: str

    def __init__(self, call: str) -> None:
        self.call = call  # the public function, named in errors

    @abstractmethod
    def promote(self, f: Any, g: Any) -> tuple[Any, Any]:
        """Bring both signals to their common dtype."""

    @abstractmethod
    def to_working(self, signal: Any) -> Any:
        """Cast to the dtype the sums are kept in: half precision to float32, booleans to counts."""

    @abstractmethod
    def from_working(self, result: Any, like: Any) -> Any:
        """Cast a result back to the dtype of `like`."""

    @abstractmethod
    def dtype_name(self, signal: Any) -> str:
        """The dtype in one word, for example 'float32'."""

    @abstractmethod
    def reverse(self, signal: Any) -> Any:
        """Flip every axis and conjugate."""

    @abstractmethod
    def zeros(self, shape: Shape, like: Any, fillvalue: Any = 0) -> Any:
        """A new signal of one value, with the dtype (and device) of `like`."""

    @abstractmethod
    def take(self, signal: Any, indices: tuple[np.ndarray, ...]) -> Any:
        """Read the given indices along each axis."""

    @abstractmethod
    def is_integer(self, signal: Any) -> bool:
        """Whether the dtype is an integer."""

    @abstractmethod
    def is_finite(self, signal: Any) -> bool:
        """Whether no value is NaN or infinite."""

    @abstractmethod
    def norm(self, signal: Any) -> float:
        """The Euclidean norm, in float64."""

    @abstractmethod
    def direct(self, f: Any, g: Any, region: Region) -> Any:
        """Sum the products of the definition; samples outside a signal take no part."""

    @abstractmethod
    def fft(self, f: Any, g: Any, region: Region, shape: Shape) -> Any:
        """Multiply spectra of the given transform lengths; integers come back rounded."""

    def convolve(self, f: Any, g: Any, region: Region, method: str) -> Any:
        """Compute the outputs of one region; zero where it leaves the full convolution."""
        cut = crop(tuple(f.shape), tuple(g.shape), region)
        if cut is None:
            return self.zeros(region.size, f)
        f_slices, g_slices, inner, place = cut
        f, g = f[f_slices], g[g_slices]
        shape = transform_shape(tuple(f.shape), tuple(g.shape), inner)
        if self._choose(f, g, inner, method, shape) == "fft":
            result = self.fft(f, g, inner, shape)
        else:
            result = self.direct(f, g, inner)
        if inner.size == region.size:
            return result
        padded = self.zeros(region.size, f)
        padded[place] = result
        return padded

    def _choose(self, f: Any, g: Any, region: Region, method: str, shape: Shape) -> str:
        if method == "direct":
            return "direct"
        if method == "auto":
            name = self.dtype_name(f)
            cost = region_cost(tuple(f.shape), tuple(g.shape), region, kind=self.kind, dtype=name)
            if cost.method == "direct":
                return "direct"
        if self.is_integer(f):
            norms = self.norm(f), self.norm(g)
            if integers_stay_exact(*norms, shape):
                return "fft"
            if method == "fft":
                raise UsageError(
                    f"method='fft' cannot be certain to keep these integers exact: with norms {norms[0]:.3g} and "
                    f"{norms[1]:.3g} and {math.prod(shape)} transform points, the float64 rounding bound "
                    "exceeds 1/4. Use method='direct' or 'auto', or convert to float64 first.",
                    call=self.call,
                )
            return "direct"
        if method == "auto" and not (self.is_finite(f) and self.is_finite(g)):
            return "direct"  # an FFT would spread one NaN or infinity over every output
        return "fft"
