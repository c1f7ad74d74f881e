"""Convolution, cross-correlation and autocorrelation of signals of any number of axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from convscope.errors import ShapeError
from convscope.signal.engine import Engine
from convscope.signal.operands import check_fillvalue, read_operands
from convscope.signal.regions import (
    BOUNDARIES,
    METHODS,
    MODES,
    check_name,
    extension,
    output_region,
)

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

__all__ = ["autocorrelate", "convolve", "correlate"]


def convolve(
    f: npt.ArrayLike | Tensor,
    g: npt.ArrayLike | Tensor,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
    method: str = "auto",
) -> Any:
    """Flip one signal, slide it over the other, and sum the products at every shift.

    out[k] = sum_j g[j] f[k - j], along every axis. The values are those of `scipy.signal.convolve` and, for the
    other boundaries, of `scipy.signal.convolve2d`, with any number of axes.

    Shapes:
        f (N_1, ..., N_d); g (M_1, ..., M_d)
        returns (N + M - 1) per axis for 'full', N for 'same', |N - M| + 1 for 'valid'
    Args:
        f, g: both arrays (or anything `numpy.asarray` reads) or both tensors; the result is of the same kind, and
            tensors keep their gradients. Dtypes promote as in NumPy or torch. Integers are exact and wrap on
            overflow; booleans give or-of-ands; half precision is summed in float32.
        mode: 'full', every shift with an overlap; 'same', as many outputs as f has samples, the first of them
            output (M - 1) // 2 of the full result; 'valid', the shifts where one signal covers the other.
        boundary: what f is outside its samples, for 'full' and 'same': 'fill', the value `fillvalue`; 'wrap',
            periodic; 'symm', mirrored with the edge sample repeated. g may be larger than f.
        method: 'direct', the sum itself; 'fft', a product of spectra; 'auto', the one that `choose_method`
            predicts to be faster, but direct when a value is NaN or infinite (an FFT spreads it over every output)
            or when the FFT might round integers wrongly.
    Raises:
        ShapeError: different numbers of axes; an empty signal, except an empty f with mode='same', which gives an
            empty result; no signal covers the other in mode='valid'.
        UsageError: an array with a tensor; values that are no numbers; a fill value without effect or outside the
            dtype; integers with method='fft' that it cannot promise to keep exact.
        UnknownNameError: a mode, boundary or method that is not known.
    Cost:
        `method_cost` counts the multiply-adds and predicts the seconds of both methods.
    Example:
        >>> convolve([1, 2, 3], [1, 0, -1])
        array([ 1,  2,  2, -2, -3])
        >>> convolve([1, 2, 3], [1, 0, -1], mode="same", boundary="wrap")
        array([-1,  2, -1])
    """
    return _apply("convolve", f, g, mode, boundary, fillvalue, method)


def correlate(
    f: npt.ArrayLike | Tensor,
    g: npt.ArrayLike | Tensor,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
    method: str = "auto",
) -> Any:
    """Slide g over f without flipping it, and sum the products with its conjugate at every shift.

    out[k] = sum_i f[i] conj(g[i - lag]), where the full result has the lags -(M - 1) .. N - 1 in this order. It is
    not commutative: exchanging f and g reverses and conjugates the full result. The values are those of
    `scipy.signal.correlate`. Arguments, shapes and errors are those of `convolve`.

    There is one rule for mode='same', with every boundary: the first output is number (M - 1) // 2 of the full
    result. `scipy.signal.correlate2d` starts one later when M is even.

    Example:
        >>> correlate([1, 2, 3], [0, 1, 2])
        array([2, 5, 8, 3, 0])
        >>> correlate([0, 1, 2], [1, 2, 3])
        array([0, 3, 8, 5, 2])
    """
    return _apply("correlate", f, g, mode, boundary, fillvalue, method)


def autocorrelate(
    f: npt.ArrayLike | Tensor,
    mode: str = "full",
    boundary: str = "fill",
    fillvalue: complex = 0,
    method: str = "auto",
) -> Any:
    """Correlate a signal with itself: how much it resembles its own shifted copy.

    The full result is symmetric about lag 0 (conjugate-symmetric for complex signals), and its value there,
    the largest, is the energy sum |f|^2. Arguments, shapes and errors are those of `correlate(f, f)`.

    Example:
        >>> autocorrelate([1, 2, 3])
        array([ 3,  8, 14,  8,  3])
    """
    return _apply("autocorrelate", f, f, mode, boundary, fillvalue, method)


def _apply(call: str, f: Any, g: Any, mode: str, boundary: str, fillvalue: Any, method: str) -> Any:
    for kind, name, known in (
        ("mode", mode, MODES),
        ("boundary", boundary, BOUNDARIES),
        ("method", method, METHODS),
    ):
        check_name(call, kind, name, known)
    engine, f, g = read_operands(call, f, g)
    check_fillvalue(call, fillvalue, boundary, engine, f)
    shape, g_shape = tuple(f.shape), tuple(g.shape)
    if 0 in g_shape or (0 in shape and mode != "same"):
        raise ShapeError(
            f"an empty signal has no sums to form: f has shape {shape} and g {g_shape}. "
            "Give both at least one sample along every axis.",
            call=call,
        )
    if 0 in shape:
        return engine.zeros(shape, f)
    like, f, g = f, engine.to_working(f), engine.to_working(g)
    if not shape:  # two single numbers: one axis of one sample each
        f, g = f.reshape(1), g.reshape(1)
    if call != "convolve":
        g = engine.reverse(g)
    region = output_region(call, tuple(f.shape), tuple(g.shape), mode)
    if mode != "valid" and (boundary != "fill" or fillvalue != 0):
        needed, region = extension(region, tuple(g.shape))
        f = _extend(engine, f, needed, boundary, fillvalue)
    result = engine.from_working(engine.convolve(f, g, region, method), like)
    return result if shape else result.reshape(())


def _extend(engine: Engine, f: Any, needed: tuple[range, ...], boundary: str, fillvalue: Any) -> Any:
    """Read f at positions outside its samples."""
    axes = list(zip(needed, f.shape, strict=True))
    if boundary != "fill":
        return engine.take(
            f, tuple(_inside(np.arange(axis.start, axis.stop), n, boundary) for axis, n in axes)
        )
    extended = engine.zeros(tuple(len(axis) for axis in needed), f, fillvalue)
    # 'same' with a large g does not read all of f.
    own = tuple(slice(max(axis.start, 0), min(axis.stop, n)) for axis, n in axes)
    wanted = tuple(
        slice(part.start - axis.start, part.stop - axis.start) for part, axis in zip(own, needed, strict=True)
    )
    extended[wanted] = f[own]
    return extended


def _inside(positions: np.ndarray, size: int, boundary: str) -> np.ndarray:
    """The samples that positions outside 0 .. size-1 repeat."""
    if boundary == "wrap":
        return positions % size
    mirrored = positions % (2 * size)
    return np.where(mirrored < size, mirrored, 2 * size - 1 - mirrored)
