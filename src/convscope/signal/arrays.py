"""Convolution of NumPy arrays."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from convscope.errors import UsageError
from convscope.signal.engine import Engine
from convscope.signal.regions import Region, Shape, output_terms, tap_overlaps

__all__ = ["ArrayEngine"]

_BLOCK_BYTES = 1 << 18  # a block of outputs and its products stay in the second-level cache


class ArrayEngine(Engine):
    kind = "array"

    def promote(self, f: np.ndarray, g: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        for name, signal in (("f", f), ("g", g)):
            if signal.dtype.kind not in "biufc":
                raise UsageError(
                    f"{name} has dtype {signal.dtype}, which is not a number. "
                    "Convert it to bool, int, float or complex first.",
                    call=self.call,
                )
        dtype = np.result_type(f.dtype, g.dtype)
        return f.astype(dtype, copy=False), g.astype(dtype, copy=False)

    def to_working(self, signal: np.ndarray) -> np.ndarray:
        working = {"bool": np.int64, "float16": np.float32}.get(signal.dtype.name)
        return signal if working is None else signal.astype(working)

    def from_working(self, result: np.ndarray, like: np.ndarray) -> np.ndarray:
        if like.dtype == np.bool_:
            return result != 0
        with np.errstate(over="ignore"):  # too large for float16 is infinite, as in any other sum
            return result.astype(like.dtype, copy=False)

    def dtype_name(self, signal: np.ndarray) -> str:
        return signal.dtype.name

    def reverse(self, signal: np.ndarray) -> np.ndarray:
        return np.flip(signal).conj()

    def zeros(self, shape: Shape, like: np.ndarray, fillvalue: Any = 0) -> np.ndarray:
        return np.full(shape, fillvalue, like.dtype)

    def take(self, signal: np.ndarray, indices: tuple[np.ndarray, ...]) -> np.ndarray:
        return signal[np.ix_(*indices)]

    def is_integer(self, signal: np.ndarray) -> bool:
        return signal.dtype.kind in "iu"

    def is_finite(self, signal: np.ndarray) -> bool:
        return bool(np.isfinite(signal).all())

    def norm(self, signal: np.ndarray) -> float:
        return float(np.linalg.norm(signal.astype(np.float64).ravel()))

    def direct(self, f: np.ndarray, g: np.ndarray, region: Region) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            if f.ndim == 1:
                return _direct_1d(f, g, region)
            if math.prod(region.size) < min(f.size, g.size):
                return _output_by_output(f, g, region)
            return _tap_by_tap(f, g, region) if g.size <= f.size else _tap_by_tap(g, f, region)

    def fft(self, f: np.ndarray, g: np.ndarray, region: Region, shape: Shape) -> np.ndarray:
        integer = self.is_integer(f)
        inputs = (f.astype(np.float64), g.astype(np.float64)) if integer else (f, g)
        axes = tuple(range(f.ndim))
        forward, inverse = (
            (np.fft.fftn, np.fft.ifftn) if f.dtype.kind == "c" else (np.fft.rfftn, np.fft.irfftn)
        )
        with np.errstate(over="ignore", invalid="ignore"):
            product = forward(inputs[0], shape, axes) * forward(inputs[1], shape, axes)
            result = inverse(product, shape, axes)[_slices(region)]
        # By way of int64, so that a sum too large for a small integer wraps as it does in the direct method.
        return (np.rint(result).astype(np.int64) if integer else result).astype(f.dtype)


def _slices(region: Region) -> tuple[slice, ...]:
    return tuple(slice(start, start + size) for start, size in zip(region.start, region.size, strict=True))


def _direct_1d(f: np.ndarray, g: np.ndarray, region: Region) -> np.ndarray:
    valid_start, valid_size = min(f.size, g.size) - 1, abs(f.size - g.size) + 1
    start, size = region.start[0], region.size[0]
    if valid_start <= start and start + size <= valid_start + valid_size:
        return np.convolve(f, g, "valid")[start - valid_start :][:size]
    return np.convolve(f, g)[start : start + size]


def _tap_by_tap(f: np.ndarray, g: np.ndarray, region: Region) -> np.ndarray:
    """Add each tap of g times the samples of f under it, one block of output rows at a time."""
    out = np.zeros(region.size, f.dtype)
    rows = max(1, _BLOCK_BYTES // (math.prod(region.size[1:]) * f.itemsize))
    product = np.empty((min(rows, region.size[0]), *region.size[1:]), f.dtype)
    for row in range(0, region.size[0], rows):
        block = out[row : row + rows]
        part = Region((region.start[0] + row, *region.start[1:]), block.shape)
        for tap, outputs, samples in tap_overlaps(f.shape, g.shape, part):
            target = block[outputs]
            scratch = product[tuple(slice(n) for n in target.shape)]
            np.multiply(f[samples], g[tap], out=scratch)
            target += scratch
    return out


def _output_by_output(f: np.ndarray, g: np.ndarray, region: Region) -> np.ndarray:
    """Sum the products of each output; cheaper when the outputs are fewer than the taps."""
    out = np.empty(region.size, f.dtype)
    reversed_g = np.ascontiguousarray(np.flip(g))
    for output, samples, taps in output_terms(f.shape, g.shape, region):
        out[output] = np.multiply(f[samples], reversed_g[taps]).sum(dtype=f.dtype)
    return out
